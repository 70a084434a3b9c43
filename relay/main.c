/* One table of commands: checking the line, `boxhaul help` and the completion know no other. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "command/commands.h"
#include "command/help.h"
#include "command/line.h"
#include "failpoint.h"
#include "log.h"
#include "relay.h"

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
	config_sample(stdout);
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

static const struct command commands[] = {
	{ "run", run, CONFIGURED, .summary = "relay messages until SIGTERM" },
	{ "migrate", command_migrate, CONFIGURED, .summary = "create or upgrade the schema boxhaul in the database" },
	{ "check", command_check, CONFIGURED, .summary = "look at everything `run` needs and say what to mend" },
	{ "status", command_status, CONFIGURED | TAKES(OPTION_JSON) | TAKES(OPTION_WATCH) | TAKES(OPTION_MAX_LAG),
	  .summary = "show the delivery's state" },
	{ "explain", command_explain, CONFIGURED | TAKES(OPTION_JSON), VALUE_ID, 1, 1,
	  .summary = "say where a message is and what will happen to it" },
	{ "config show", command_config_show, CONFIGURED,
	  .summary = "print every setting that holds, and where it comes from" },
	{ "dead-letters list", command_letters_list, CONFIGURED | LETTERS | TAKES(OPTION_JSON),
	  .summary = "list the messages that were given up, oldest first" },
	{ "dead-letters show", command_letters_show, CONFIGURED | TAKES(OPTION_PAYLOAD) | TAKES(OPTION_JSON),
	  .argument = VALUE_ID, .least = 1, .most = 1, .summary = "show one dead letter" },
	{ "dead-letters redrive", command_letters_redrive, CONFIGURED | LETTERS | TAKES(OPTION_ALL),
	  .argument = VALUE_ID, .most = 100, .summary = "send dead letters again",
	  .more = "By id, by --key, --reason and --older together, or --all. A letter that holds its key is sent in its old\n"
		  "place, before what waits behind it. Any other is sent behind everything that is in the outbox now, several\n"
		  "in their old order. All keep their message id: within the stream's duplicate window, what was stored after\n"
		  "all is not stored twice." },
	{ "dead-letters discard", command_letters_discard, CONFIGURED | LETTERS | TAKES(OPTION_ALL) | TAKES(OPTION_YES),
	  .argument = VALUE_ID, .most = 100, .summary = "give dead letters up for good",
	  .more = "By id, by --key, --reason and --older together, or --all. Asks first." },
	{ "pause", command_pause, CONFIGURED | TAKES(OPTION_REASON) | TAKES(OPTION_NO_WAIT) | TAKES(OPTION_TIMEOUT),
	  .summary = "send nothing until `resume`",
	  .more = "Waits until what is in flight is answered and marked: from then on nothing is sent. The relay stays leader, and\n"
		  "stays paused over restarts and take-overs. Producers notice nothing; their rows wait." },
	{ "resume", command_resume, CONFIGURED, .summary = "go on after `pause` or `drain`" },
	{ "drain", command_drain, CONFIGURED | TAKES(OPTION_REASON) | TAKES(OPTION_TIMEOUT),
	  .summary = "send everything that is committed now, then pause",
	  .more = "Waits until it is done. What stands behind a dead letter that holds its key is not waited for." },
	{ "reconcile", command_reconcile, CONFIGURED,
	  .summary = "compare the outbox with the streams: is everything stored?",
	  .more = "Looks for every message that is marked sent and whose row is still kept, and ends with one line:\n"
		  "committed=N stored=N missing=N pending=N dead=N discarded=N unchecked=N. Those that are missing are listed, and\n"
		  "the status is 1 then. It says what it could not check." },
	{ "replay", command_replay,
	  CONFIGURED | TAKES(OPTION_SINCE) | TAKES(OPTION_FROM) | TAKES(OPTION_TO) | TAKES(OPTION_SUBJECT) |
		  TAKES(OPTION_KEY) | TAKES(OPTION_DRY_RUN) | TAKES(OPTION_YES),
	  .summary = "send messages again that were sent and whose rows are still kept",
	  .more = "Say --since, or --from and --to. They become new rows at the end of the outbox, with new ids, a new message id\n"
		  "and the header Boxhaul-Replay-Of, in their old order. Interrupted, it says how to go on." },
	{ "config-sample", sample, .summary = "print a configuration with every setting, its default and its meaning" },
	{ "version", version, .summary = "print the version" },
#ifdef BOXHAUL_FAILPOINTS
	{ "failpoints", failpoints, .summary = "print where BOXHAUL_FAILPOINT=NAME=kill|stall|error[@N] can strike" },
#endif
	{ "help", help_run, .argument = VALUE_WORD, .most = 2, .summary = "print this, or what a command takes" },
	{ .words = NULL },
};

static enum exit_code with_config(struct call *call)
{
	char *path = config_path(call->text[OPTION_CONFIG]);
	struct config *config = path != NULL ? config_load(path, stderr) : NULL;
	enum exit_code code = EXIT_CONFIG;

	call->config = config;
	if (config != NULL)
		code = call->command->run(call);
	config_free(config);
	free(path);
	return code;
}

int main(int argc, char **argv)
{
	struct call call;
	enum exit_code code;

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
	return call.text[OPTION_CONFIG] != NULL ? with_config(&call) : call.command->run(&call);
}
