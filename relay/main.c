/* One table of commands: checking the line, `boxhaul help` and the completion know no other. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "base/process.h"
#include "command/commands.h"
#include "command/help.h"
#include "command/line.h"
#include "config/config_load.h"
#include "config/settings.h"
#include "run/relay.h"

static enum exit_code run(const struct call *call)
{
	const struct config *config = call->config;
	struct log *log = log_create(STDERR_FILENO, config->log.level, config->log.format);
	enum exit_code code;

	if (log == NULL)
		return EXIT_FAILED;
	code = relay_run(config, log);
	log_free(log);
	return code;
}

static enum exit_code sample(const struct call *call)
{
	(void)call;
	settings_sample(stdout);
	return EXIT_OK;
}

static enum exit_code version(const struct call *call)
{
	(void)call;
	printf("boxhaul %s\n", PACKAGE_VERSION);
	return EXIT_OK;
}

#ifdef BOXHAUL_FAILPOINTS
static enum exit_code failpoints(const struct call *call)
{
	(void)call;
	failpoint_list(stdout);
	return EXIT_OK;
}
#endif

#define CONFIGURED TAKES(OPTION_CONFIG)
#define LETTERS (TAKES(OPTION_KEY) | TAKES(OPTION_REASON) | TAKES(OPTION_OLDER))

/* Options that mean something else here than elsewhere. */
#define OTHER_DATABASE .says = { [OPTION_TO] = "the configuration of the other database" }
#define OF_LETTERS .says = { [OPTION_REASON] = "with this in the reason" }

#define SUBSCRIPTION .argument = VALUE_WORD, .least = 1, .most = 1, .names = "SUBSCRIPTION"

#define SAGA .argument = VALUE_WORD, .least = 1, .most = 1, .names = "ID"

#define CAPTURE .argument = VALUE_WORD, .least = 1, .most = 1, .names = "CAPTURE"

static const struct command commands[] = {
	{ .words = "run", .run = run, .options = CONFIGURED, .summary = "relay messages until SIGTERM" },
	{ .words = "migrate",
	  .run = command_migrate,
	  .options = CONFIGURED | TAKES(OPTION_ALL) | TAKES(OPTION_PRINT) | TAKES(OPTION_DRY_RUN),
	  .of_all = true,
	  .summary = "create or upgrade the schema boxhaul in the database",
	  .more = "With --all in the databases of all relays of the machine, one after the other. What --print writes is for `psql -1 -v ON_ERROR_STOP=1`, or for whoever applies migrations there." },
	{ .words = "check",
	  .run = command_check,
	  .options = CONFIGURED | TAKES(OPTION_JSON),
	  .summary = "look at everything `run` needs and say what to mend" },
	{ .words = "status",
	  .run = command_status,
	  .options = CONFIGURED | TAKES(OPTION_JSON) | TAKES(OPTION_WATCH) | TAKES(OPTION_MAX_LAG) |
		     TAKES(OPTION_EXIT_CODE),
	  .of_all = true,
	  .summary = "show the delivery's state",
	  .more = "Without a NAME, or with a directory: a table of all relays of the machine, worst first." },
	{ .words = "explain",
	  .run = command_explain,
	  .options = CONFIGURED | TAKES(OPTION_KEY) | TAKES(OPTION_INBOX) | TAKES(OPTION_JSON),
	  .argument = VALUE_MESSAGE,
	  .most = 1,
	  .summary = "say where a message is and what will happen to it",
	  .more = "By its id in the outbox, or its message id (Nats-Msg-Id); or, with --key, the message that its key waits for:\n"
		  "the first that is not settled, or else the newest." },
	{ .words = "config show",
	  .run = command_config_show,
	  .options = CONFIGURED | TAKES(OPTION_JSON),
	  .summary = "print every setting that holds, and where it comes from" },
	{ .words = "dead-letters list",
	  .run = command_letters_list,
	  .options = CONFIGURED | LETTERS | TAKES(OPTION_JSON),
	  OF_LETTERS,
	  .summary = "list the messages that were given up, oldest first" },
	{ .words = "dead-letters show",
	  .run = command_letters_show,
	  .options = CONFIGURED | TAKES(OPTION_PAYLOAD) | TAKES(OPTION_JSON),
	  .argument = VALUE_ID,
	  .least = 1,
	  .most = 1,
	  .summary = "show one dead letter" },
	{ .words = "dead-letters redrive",
	  .run = command_letters_redrive,
	  .options = CONFIGURED | LETTERS | TAKES(OPTION_ALL) | TAKES(OPTION_WAIT) | TAKES(OPTION_TIMEOUT),
	  OF_LETTERS,
	  .argument = VALUE_ID,
	  .most = 100,
	  .summary = "send dead letters again",
	  .more = "By id, by --key, --reason and --older together, or --all. A letter that holds its key is sent in its old\n"
		  "place, before what waits behind it. Any other is sent behind everything that is in the outbox now, several\n"
		  "in their old order. All keep their message id: within the stream's duplicate window, what was stored after\n"
		  "all is not stored twice. With --wait it says how many were stored and how many have died again, and why;\n"
		  "the status is 1 unless all were stored." },
	{ .words = "dead-letters discard",
	  .run = command_letters_discard,
	  .options = CONFIGURED | LETTERS | TAKES(OPTION_ALL) | TAKES(OPTION_YES),
	  OF_LETTERS,
	  .argument = VALUE_ID,
	  .most = 100,
	  .summary = "give dead letters up for good",
	  .more = "By id, by --key, --reason and --older together, or --all. Asks first." },
	{ .words = "pause",
	  .run = command_pause,
	  .options = CONFIGURED | TAKES(OPTION_REASON) | TAKES(OPTION_NO_WAIT) | TAKES(OPTION_TIMEOUT),
	  .summary = "send nothing until `resume`",
	  .more = "Waits until what is in flight is answered and marked: from then on nothing is sent. The relay stays leader, and\n"
		  "stays paused over restarts and take-overs. Producers notice nothing; their rows wait." },
	{ .words = "resume",
	  .run = command_resume,
	  .options = CONFIGURED,
	  .summary = "go on after `pause` or `drain`" },
	{ .words = "drain",
	  .run = command_drain,
	  .options = CONFIGURED | TAKES(OPTION_REASON) | TAKES(OPTION_TIMEOUT),
	  .summary = "send everything that is committed now, then pause",
	  .more = "Waits until it is done. What stands behind a dead letter that holds its key is not waited for." },
	{ .words = "reconcile",
	  .run = command_reconcile,
	  .options = CONFIGURED | TAKES(OPTION_JSON),
	  .summary = "compare the outbox with the streams: is everything stored?",
	  .more = "Looks for every message that is marked sent and whose row is still kept, and ends with one line:\n"
		  "committed=N stored=N missing=N pending=N dead=N discarded=N unchecked=N. (discarded: given up, or sent again\n"
		  "under another id.) Those that are missing are listed, and the status is 1 then: `replay --missing` sends them\n"
		  "again. It says what it could not check." },
	{ .words = "replay",
	  .run = command_replay,
	  .options = CONFIGURED | TAKES(OPTION_SINCE) | TAKES(OPTION_FROM) | TAKES(OPTION_TO) | TAKES(OPTION_SUBJECT) |
		     TAKES(OPTION_KEY) | TAKES(OPTION_MISSING) | TAKES(OPTION_DRY_RUN) | TAKES(OPTION_YES),
	  .summary = "send messages again that were sent and whose rows are still kept",
	  .more = "Say --since, or --from and --to; or --missing, for what `reconcile` finds. They become new rows at the end of\n"
		  "the outbox, with new ids, a new message id and the header Boxhaul-Replay-Of, in their old order. Interrupted, it\n"
		  "says how to go on." },
	{ .words = "inbox list",
	  .run = command_inbox_list,
	  .options = CONFIGURED | TAKES(OPTION_JSON),
	  .summary = "list the subscriptions, and how each one stands" },
	{ .words = "inbox show",
	  .run = command_inbox_show,
	  .options = CONFIGURED | TAKES(OPTION_JSON),
	  SUBSCRIPTION,
	  .summary = "show a subscription: what waits, what fails and why, what it has stopped at" },
	{ .words = "inbox pause",
	  .run = command_inbox_pause,
	  .options = CONFIGURED | TAKES(OPTION_REASON),
	  SUBSCRIPTION,
	  .summary = "take nothing and hand nothing out until `inbox resume`",
	  .more = "It holds when the command returns. What a worker has in hand already, it may finish." },
	{ .words = "inbox resume",
	  .run = command_inbox_resume,
	  .options = CONFIGURED,
	  SUBSCRIPTION,
	  .summary = "go on after `inbox pause`" },
	{ .words = "inbox rewind",
	  .run = command_inbox_rewind,
	  .options = CONFIGURED | TAKES(OPTION_TO) | TAKES(OPTION_YES),
	  .says = { [OPTION_TO] = "back to this sequence, this time, or start" },
	  SUBSCRIPTION,
	  .summary = "take again what stands in the stream behind --to",
	  .more = "With dedupe = \"ids\" what is known by its id is left out; all else takes effect again. Ends the stop at a stream\n"
		  "that was truncated or made anew. Asks first." },
	{ .words = "inbox accept-gap",
	  .run = command_inbox_accept_gap,
	  .options = CONFIGURED | TAKES(OPTION_YES),
	  SUBSCRIPTION,
	  .summary = "go on behind messages that left the stream before they were taken",
	  .more = "They are lost for this database. Asks first, and says how many numbers that are." },
	{ .words = "inbox retry",
	  .run = command_inbox_retry,
	  .options = CONFIGURED,
	  .argument = VALUE_WORD,
	  .least = 2,
	  .most = 2,
	  .names = "SUBSCRIPTION ID",
	  .summary = "hand a row that failed out again, now, with all its attempts before it" },
	{ .words = "inbox skip",
	  .run = command_inbox_skip,
	  .options = CONFIGURED | TAKES(OPTION_REASON),
	  .argument = VALUE_WORD,
	  .least = 2,
	  .most = 2,
	  .names = "SUBSCRIPTION ID",
	  .summary = "make a row that waits a dead letter; the later rows of its key go on" },
	{ .words = "inbox drop",
	  .run = command_inbox_drop,
	  .options = CONFIGURED | TAKES(OPTION_YES),
	  SUBSCRIPTION,
	  .summary = "forget a subscription that no daemon takes, and all it holds",
	  .more = "For one that was renamed or given up: its rows wait for ever, and keep the inbox from being emptied. Asks first, and\n"
		  "says how much that is." },
	{ .words = "inbox dead-letters",
	  .run = command_inbox_letters,
	  .options = CONFIGURED | LETTERS | TAKES(OPTION_PAYLOAD) | TAKES(OPTION_JSON),
	  OF_LETTERS,
	  .argument = VALUE_WORD,
	  .most = 2,
	  .names = "[SUBSCRIPTION [ID]]",
	  .summary = "list the messages of the inbox that were given up, oldest first; or show one" },
	{ .words = "inbox redrive",
	  .run = command_inbox_redrive,
	  .options = CONFIGURED | LETTERS | TAKES(OPTION_ALL),
	  OF_LETTERS,
	  .argument = VALUE_WORD,
	  .least = 1,
	  .most = 101,
	  .names = "SUBSCRIPTION [ID ...]",
	  .summary = "hand dead letters of the inbox out again",
	  .more = "By id, by --key, --reason and --older together, or --all. They come behind all that is in the inbox by then." },
	{ .words = "inbox discard",
	  .run = command_inbox_discard,
	  .options = CONFIGURED | LETTERS | TAKES(OPTION_ALL) | TAKES(OPTION_YES),
	  OF_LETTERS,
	  .argument = VALUE_WORD,
	  .least = 1,
	  .most = 101,
	  .names = "SUBSCRIPTION [ID ...]",
	  .summary = "give dead letters of the inbox up for good",
	  .more = "By id, by --key, --reason and --older together, or --all. Asks first." },
	{ .words = "sagas list",
	  .run = command_sagas_list,
	  .options = CONFIGURED | TAKES(OPTION_OPEN) | TAKES(OPTION_STUCK) | TAKES(OPTION_OLDER) | TAKES(OPTION_NAME) |
		     TAKES(OPTION_ALL) | TAKES(OPTION_JSON),
	  .summary = "list the sagas that were started in this database, newest first",
	  .more = "Those that all options together choose: --open, --stuck, --name, and --older: started longer ago than this.\n"
		  "Without --all the newest thousand of them." },
	{ .words = "sagas show",
	  .run = command_sagas_show,
	  .options = CONFIGURED | TAKES(OPTION_JSON),
	  SAGA,
	  .summary = "show a saga: what it waits for and since when, and all that has happened",
	  .more = "The timeline: --> a command that was sent, and where it is now; <-- an answer; what else happened, by its name. Behind\n"
		  "each stands what came of it." },
	{ .words = "sagas retry",
	  .run = command_sagas_retry,
	  .options = CONFIGURED,
	  SAGA,
	  .summary = "send the command of the step at which a saga stands again, now" },
	{ .words = "sagas undo",
	  .run = command_sagas_undo,
	  .options = CONFIGURED | TAKES(OPTION_REASON) | TAKES(OPTION_YES),
	  SAGA,
	  .summary = "undo what a saga has done",
	  .more = "Not behind its pivot. While that is under way, its answer decides. Asks first." },
	{ .words = "sagas resolve",
	  .run = command_sagas_resolve,
	  .options = CONFIGURED | TAKES(OPTION_STEP) | TAKES(OPTION_REASON) | TAKES(OPTION_YES),
	  SAGA,
	  .summary = "say, in place of a participant, what became of the step at which a saga stands",
	  .more = "With --step and --reason, which stands in the timeline. Look at the participant first: nothing is asked of it. Of an\n"
		  "orphan it says that the answer without a command has been looked at, and the saga goes on. Asks first." },
	{ .words = "sagas definitions",
	  .run = command_sagas_definitions,
	  .options = CONFIGURED | TAKES(OPTION_NAME) | TAKES(OPTION_JSON),
	  .summary = "list the kinds of sagas, with their versions, their steps, and how many are open" },
	{ .words = "capture plan",
	  .run = command_capture_plan,
	  .options = CONFIGURED | TAKES(OPTION_SQL) | TAKES(OPTION_JSON),
	  CAPTURE,
	  .summary = "say what a capture of the configuration would do, table by table, and what is missing",
	  .more = "Changes nothing. FAIL has to be mended first, by who administers the server; todo is what `capture start` does. Before\n"
		  "each line of SQL stands why. The status is 1 while something has to be mended." },
	{ .words = "capture start",
	  .run = command_capture_start,
	  .options = CONFIGURED,
	  CAPTURE,
	  .summary = "put the publications in place, as who owns the tables, and let the daemon begin",
	  .more = "Refuses while `capture plan` says FAIL. As the login of postgres.migrate_conninfo, with locks that wait for two\n"
		  "seconds at most and stop no INSERT, UPDATE or DELETE." },
	{ .words = "capture status",
	  .run = command_capture_status,
	  .options = CONFIGURED | TAKES(OPTION_JSON),
	  .argument = VALUE_WORD,
	  .most = 1,
	  .names = "[CAPTURE]",
	  .summary = "show how captures stand: lag, log that is kept, snapshot by table, who is waited for" },
	{ .words = "capture pause",
	  .run = command_capture_pause,
	  .options = CONFIGURED | TAKES(OPTION_REASON),
	  CAPTURE,
	  .summary = "read nothing until `capture resume`; the server keeps its log meanwhile" },
	{ .words = "capture resume",
	  .run = command_capture_resume,
	  .options = CONFIGURED,
	  CAPTURE,
	  .summary = "go on after `capture pause`" },
	{ .words = "capture add",
	  .run = command_capture_add,
	  .options = CONFIGURED,
	  .argument = VALUE_WORD,
	  .least = 2,
	  .most = 2,
	  .names = "CAPTURE TABLE",
	  .summary = "capture a table more, which the configuration has by now",
	  .more = "Adds it to the publication; its rows are read behind all transactions that are open on it. Reload the daemon then: nothing else of it is disturbed." },
	{ .words = "capture resync",
	  .run = command_capture_resync,
	  .options = CONFIGURED,
	  .argument = VALUE_WORD,
	  .least = 1,
	  .most = 2,
	  .names = "CAPTURE [TABLE]",
	  .summary = "read every table again, behind a new replication slot; or one table",
	  .more = "Ends a gap. Between snapshot-begin and snapshot-end consumers get each row that there is; what they have besides was\n"
		  "deleted meanwhile." },
	{ .words = "capture drop",
	  .run = command_capture_drop,
	  .options = CONFIGURED | TAKES(OPTION_YES),
	  CAPTURE,
	  .summary = "forget a capture: its books, its replication slot and its publications",
	  .more = "Asks first. The stream and the dead letters stay." },
	{ .words = "capture explain",
	  .run = command_capture_explain,
	  .options = CONFIGURED | TAKES(OPTION_JSON),
	  .argument = VALUE_WORD,
	  .least = 2,
	  .most = 34,
	  .names = "CAPTURE LSN | TABLE KEY ...",
	  .summary = "say where a change is, by its position in the log, or by the key of its row",
	  .more = "LSN as PostgreSQL writes it, or the header Boxhaul-Position. KEY has a word for each column of the key." },
	{ .words = "verify",
	  .run = command_verify,
	  .options = CONFIGURED | TAKES(OPTION_TO) | TAKES(OPTION_TABLE) | TAKES(OPTION_REPAIR) |
		     TAKES(OPTION_TIMEOUT) | TAKES(OPTION_JSON),
	  OTHER_DATABASE,
	  .summary = "compare the tables of a sink with those that they are made of, row by row, while both are in use",
	  .more = "The capture reads its tables again and puts a hash of each row into its stream, where the row belongs; the sink compares\n"
		  "at that place, so a difference is one, whatever is written meanwhile. Rows that differ are named; with --repair they are read\n"
		  "once more, set right, and compared again. The status is 1 if something differs at the end, or could not be compared." },
	{ .words = "capture dead-letters",
	  .run = command_capture_letters,
	  .options = CONFIGURED | TAKES(OPTION_REASON) | TAKES(OPTION_JSON),
	  OF_LETTERS,
	  .argument = VALUE_WORD,
	  .most = 1,
	  .names = "[CAPTURE]",
	  .summary = "list the changes that could not be sent, oldest first" },
	{ .words = "capture redrive",
	  .run = command_capture_redrive,
	  .options = CONFIGURED,
	  .argument = VALUE_ID,
	  .least = 1,
	  .most = 100,
	  .summary = "send dead letters of captures again that hold their key, each in its old place",
	  .more = "Those of captures with poison = \"hold\". What waits behind one follows when it is stored." },
	{ .words = "capture discard",
	  .run = command_capture_discard,
	  .options = CONFIGURED,
	  .argument = VALUE_ID,
	  .least = 1,
	  .most = 100,
	  .summary = "give dead letters of captures up for good",
	  .more = "Behind one that holds its key what waits goes on." },
	{ .words = "capture give-up",
	  .run = command_capture_give_up,
	  .options = CONFIGURED,
	  .argument = VALUE_WORD,
	  .least = 2,
	  .most = 100,
	  .names = "CAPTURE CHANGE ...",
	  .summary = "make dead letters of changes that wait for their key: what waits behind them goes on",
	  .more = "`boxhaul capture status` shows the oldest of them, each with its number." },
	{ .words = "cutover",
	  .run = command_cutover,
	  .options = CONFIGURED | TAKES(OPTION_TO) | TAKES(OPTION_BACK) | TAKES(OPTION_DRY_RUN) |
		     TAKES(OPTION_TIMEOUT) | TAKES(OPTION_ANY_STANDBY) | TAKES(OPTION_GIVE_UP) |
		     TAKES(OPTION_UNVERIFIED),
	  OTHER_DATABASE,
	  .argument = VALUE_WORD,
	  .most = 1,
	  .names = "[CAPTURE]",
	  .summary = "switch the tables of a capture to the database of --to: fence, wait until all is there, open",
	  .more = "Both databases as who owns the tables (postgres.migrate_conninfo). Until the target is open everything is taken back after\n"
		  "--timeout (30 s), when it is interrupted, or by itself where something stands against it. Killed in the middle, say\n"
		  "the same again." },
	{ .words = "config-sample",
	  .run = sample,
	  .summary = "print a configuration with every setting, its default and its meaning" },
	{ .words = "version", .run = version, .summary = "print the version" },
#ifdef BOXHAUL_FAILPOINTS
	{ .words = "failpoints",
	  .run = failpoints,
	  .summary = "print where BOXHAUL_FAILPOINT=NAME=kill|stall|error[@N] can strike" },
#endif
	{ .words = "help",
	  .run = help_run,
	  .argument = VALUE_WORD,
	  .most = 2,
	  .summary = "print this, or what a command takes" },
	{ .words = NULL },
};

static enum exit_code with_config(struct call *call)
{
	const char *name = call->text[OPTION_CONFIG];
	enum exit_code code = EXIT_CONFIG;
	struct config *config;
	char *path;

	if (strcmp(name, "boxhaul") == 0)
		return line_wrong("boxhaul is no instance: /etc/boxhaul/boxhaul.conf is what all of them share");
	path = config_path(name);
	config = path != NULL ? config_load(path, stderr) : NULL;
	call->config = config;
	if (config != NULL)
		code = call->command->run(call);
	config_free(config);
	free(path);
	return code;
}

static bool is_directory(const char *path)
{
	struct stat st;

	return strchr(path, '/') != NULL && stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* A standard descriptor that is closed would be the first socket's, and the log would be written into that. */
static bool open_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
	return fd >= 0;
}

int main(int argc, char **argv)
{
	struct call call;
	enum exit_code code;

	if (!open_standard_descriptors())
		return EXIT_FAILED;
	if (argc < 2) {
		help_print(stderr, commands);
		return EXIT_USAGE;
	}
	code = line_parse(commands, argc, argv, &call);
	if (code != EXIT_OK)
		return code;
	if (call.help) {
		help_print_one(stdout, call.command);
		return EXIT_OK;
	}
	if (call.command->run == run) {
		process_hold_hangup();
		process_keep_little();
	}
	if (call.text[OPTION_CONFIG] == NULL || (call.command->of_all && is_directory(call.text[OPTION_CONFIG])))
		return call.command->run(&call);
	return with_config(&call);
}
