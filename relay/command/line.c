/* NAME or -c FILE says which configuration; what else a command takes, its row says. */
#include "command/line.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/nearest.h"
#include "config/settings.h"
#include "format/stored.h"

const struct command_option command_options[OPTIONS] = {
	[OPTION_CONFIG] = { "config", VALUE_FILE,
			    "the configuration; NAME alone means /etc/boxhaul/NAME.conf, and - stdin" },
	[OPTION_JSON] = { "json", VALUE_NONE, "print JSON" },
	[OPTION_WATCH] = { "watch", VALUE_NONE, "go on, once a second, until interrupted" },
	[OPTION_MAX_LAG] = { "max-lag", VALUE_DURATION, "end with status 6 if the oldest message waits longer" },
	[OPTION_EXIT_CODE] = { "exit-code", VALUE_NONE, "end with status 1 unless it is ready, as /readyz says" },
	[OPTION_YES] = { "yes", VALUE_NONE, "do not ask" },
	[OPTION_KEY] = { "key", VALUE_WORD, "of this key" },
	[OPTION_REASON] = { "reason", VALUE_WORD, "why, for others to read" },
	[OPTION_OLDER] = { "older", VALUE_DURATION, "for longer than this" },
	[OPTION_ALL] = { "all", VALUE_NONE, "every one" },
	[OPTION_PAYLOAD] = { "payload", VALUE_NONE, "with headers and payload (not for boxhaul_monitor)" },
	[OPTION_SINCE] = { "since", VALUE_WORD,
			   "inserted since this time, as PostgreSQL reads times; or so long ago: 10m" },
	[OPTION_FROM] = { "from", VALUE_ID, "from this id on" },
	[OPTION_TO] = { "to", VALUE_WORD, "up to this id" },
	[OPTION_SUBJECT] = { "subject", VALUE_WORD, "whose subject matches; NATS wildcards" },
	[OPTION_MISSING] = { "missing", VALUE_NONE, "what `reconcile` finds missing" },
	[OPTION_DRY_RUN] = { "dry-run", VALUE_NONE, "only say what would be done" },
	[OPTION_PRINT] = { "print", VALUE_NONE, "connect to nothing; print the SQL that does it" },
	[OPTION_NO_WAIT] = { "no-wait", VALUE_NONE, "do not wait until it is done" },
	[OPTION_WAIT] = { "wait", VALUE_NONE, "wait until it is done, and say what came of it" },
	[OPTION_TIMEOUT] = { "timeout", VALUE_DURATION, "give up waiting after this" },
	[OPTION_OPEN] = { "open", VALUE_NONE, "that have not ended" },
	[OPTION_STUCK] = { "stuck", VALUE_NONE, "that do not end without somebody" },
	[OPTION_NAME] = { "name", VALUE_WORD, "of this definition" },
	[OPTION_STEP] = { "step", VALUE_WORD,
			  "what became of the step at which it stands: done, undone or refused; STEP=done: only if it stands there" },
	[OPTION_SQL] = { "sql", VALUE_NONE, "print the SQL of it, for who administers the server" },
	[OPTION_TABLE] = { "table", VALUE_WORD, "this one alone, as the capture names it" },
	[OPTION_REPAIR] = { "repair", VALUE_NONE, "set right what differs, and prove it" },
	[OPTION_BACK] = { "back", VALUE_NONE, "the other way: from the database of --to to this one" },
	[OPTION_ANY_STANDBY] = { "any-standby", VALUE_NONE,
				 "do not wait for standbys: none of those that have not the fence will be promoted" },
	[OPTION_GIVE_UP] = { "give-up", VALUE_NONE, "take back what has begun, if the target is not open yet" },
	[OPTION_UNVERIFIED] = { "unverified", VALUE_NONE,
				"ask for no verify pass: all rows are compared behind the fence, which takes longer" },
	[OPTION_INBOX] = { "inbox", VALUE_NONE, "ID is the Nats-Msg-Id of a message that was taken from a stream" },
};

const char *value_name(enum value value)
{
	static const char *const names[] = {
		[VALUE_NONE] = "",     [VALUE_FILE] = "FILE",  [VALUE_ID] = "ID", [VALUE_DURATION] = "DURATION",
		[VALUE_WORD] = "WORD", [VALUE_MESSAGE] = "ID",
	};

	return names[value];
}

enum exit_code line_wrong(const char *format, ...)
{
	va_list args;

	fputs("boxhaul: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputs("\nboxhaul: `boxhaul help` lists commands and options\n", stderr);
	return EXIT_USAGE;
}

/* How many words name this command; 0: these do not. */
static int named_by(const struct command *c, int count, char *const *words)
{
	const char *rest = c->words;

	for (int i = 0; i < count; i++) {
		size_t n = strlen(words[i]);

		if (n == 0 || strncmp(rest, words[i], n) != 0 || (rest[n] != ' ' && rest[n] != '\0'))
			return 0;
		if (rest[n] == '\0')
			return i + 1;
		rest += n + 1;
	}
	return 0;
}

const struct command *line_find(const struct command *commands, int count, char *const *words, int *used)
{
	for (const struct command *c = commands; c->words != NULL; c++) {
		*used = named_by(c, count, words);
		if (*used > 0)
			return c;
	}
	return NULL;
}

bool line_is_below(const struct command *c, const char *word)
{
	size_t n = strlen(word);

	return strncmp(c->words, word, n) == 0 && c->words[n] == ' ';
}

/* The command that somebody probably meant: its words, or the first of them. */
static const char *nearest_command(const struct command *commands, int count, char *const *words, char to[static 64])
{
	unsigned best = nearest_limit(words[0]);
	char said[2 * NEAREST_MAX_BYTES], known[NEAREST_MAX_BYTES];
	bool found = false;

	snprintf(said, sizeof said, "%s %s", words[0], count > 1 ? words[1] : "");
	for (const struct command *c = commands; c->words != NULL; c++) {
		bool two = strchr(c->words, ' ') != NULL;
		unsigned d;

		snprintf(known, sizeof known, "%.*s", (int)strcspn(c->words, " "), c->words);
		d = nearest_distance(words[0], known);
		if (two && count > 1 && nearest_distance(said, c->words) < nearest_limit(said)) {
			d = nearest_distance(said, c->words);
			snprintf(known, sizeof known, "%s", c->words);
		}
		if (d < best) {
			best = d;
			found = true;
			snprintf(to, 64, "%s", known);
		}
	}
	return found ? to : NULL;
}

static enum exit_code unknown_option(const struct command *c, const char *said)
{
	const char *name = said + strspn(said, "-"), *near = NULL;
	size_t n = strcspn(name, "=");
	char word[NEAREST_MAX_BYTES];
	unsigned best;

	snprintf(word, sizeof word, "%.*s", (int)(n < sizeof word ? n : sizeof word - 1), name);
	best = nearest_limit(word);
	for (int o = 0; o < OPTIONS; o++) {
		unsigned d = (c->options & TAKES(o)) != 0 ? nearest_distance(word, command_options[o].name) : best;

		if (d < best) {
			best = d;
			near = command_options[o].name;
		}
	}
	return line_wrong("%s: unknown option: %s%s%s%s", c->words, said, near != NULL ? ": did you mean --" : "",
			  near != NULL ? near : "", near != NULL ? "?" : "");
}

static enum exit_code unknown(const struct command *commands, int count, char *const *words)
{
	char near[64];

	const char *separator = "";
	char choice[256] = "";
	size_t n = 0;

	for (const struct command *c = commands; c->words != NULL && n < sizeof choice; c++)
		if (line_is_below(c, words[0])) {
			n += (size_t)snprintf(choice + n, sizeof choice - n, "%s%s", separator,
					      c->words + strlen(words[0]) + 1);
			separator = ", ";
		}
	if (n == 0 && nearest_command(commands, count, words, near) != NULL)
		return line_wrong("unknown command: %s: did you mean %s?", words[0], near);
	if (n == 0)
		return line_wrong("unknown command: %s", words[0]);
	return line_wrong("unknown command: %s %s: say one of %s", words[0], count > 1 ? words[1] : "", choice);
}

bool line_is_id(const char *text)
{
	static const char largest[] = "9223372036854775807";
	size_t n = strlen(text), most = sizeof largest - 1;

	return n > 0 && strspn(text, "0123456789") == n && (n < most || (n == most && strcmp(text, largest) <= 0));
}

static enum exit_code take(struct call *call, enum option_number o, const char *text)
{
	static const struct setting duration = { .type = SETTING_DURATION,
						 .width = sizeof(uint64_t),
						 .max = UINT64_C(365) * 24 * 3600 * 1000 };
	char why[256];

	call->given[o] = true;
	call->text[o] = text;
	if (command_options[o].value == VALUE_ID && !line_is_id(text))
		return line_wrong("--%s %s: an id is a number", command_options[o].name, text);
	if (command_options[o].value == VALUE_DURATION &&
	    setting_set_text(&duration, &call->number[o], text, why, sizeof why) != SETTING_OK)
		return line_wrong("--%s %s", command_options[o].name, why);
	return EXIT_OK;
}

/* getopt's table of the options this command takes. */
static void describe(const struct command *c, struct option longs[OPTIONS + 2])
{
	int n = 0;

	for (int o = 0; o < OPTIONS; o++)
		if ((c->options & TAKES(o)) != 0)
			longs[n++] = (struct option){
				command_options[o].name,
				command_options[o].value == VALUE_NONE ? no_argument : required_argument,
				NULL,
				o,
			};
	longs[n++] = (struct option){ "help", no_argument, NULL, 'h' };
	longs[n] = (struct option){ NULL, 0, NULL, 0 };
}

static enum exit_code take_options(struct call *call, int argc, char **argv)
{
	bool configured = (call->command->options & TAKES(OPTION_CONFIG)) != 0;
	struct option longs[OPTIONS + 2];
	enum exit_code code = EXIT_OK;
	int k;

	describe(call->command, longs);
	opterr = 0;
	while (code == EXIT_OK && (k = getopt_long(argc, argv, configured ? ":c:h" : ":h", longs, NULL)) != -1) {
		if (k == ':')
			code = line_wrong("%s needs a value", argv[optind - 1]);
		else if (k == '?')
			code = unknown_option(call->command, argv[optind - 1]);
		else if (k == 'h')
			call->help = true;
		else
			code = take(call, k == 'c' ? OPTION_CONFIG : (enum option_number)k, optarg);
	}
	call->arguments = argv + optind;
	call->count = argc - optind;
	return code;
}

static bool is_message(const char *text)
{
	struct stored_id uuid;

	return line_is_id(text) || stored_id_read(text, strlen(text), &uuid);
}

static enum exit_code check_arguments(const struct call *call)
{
	const struct command *c = call->command;

	if (call->count > c->most)
		return line_wrong("unexpected: %s", call->arguments[c->most]);
	for (int i = 0; i < call->count; i++)
		if (c->argument == VALUE_ID && !line_is_id(call->arguments[i]))
			return line_wrong("%s: an id is a number", call->arguments[i]);
		else if (c->argument == VALUE_MESSAGE && !call->given[OPTION_INBOX] && !is_message(call->arguments[i]))
			return line_wrong("%s: a message's id is a number, or the uuid in its Nats-Msg-Id",
					  call->arguments[i]);
	if (c->argument == VALUE_MESSAGE && call->count == 0 && !call->given[OPTION_KEY])
		return line_wrong("%s needs ID, or --key KEY", c->words);
	if (call->count < c->least)
		return line_wrong("%s needs %s", c->words, c->names != NULL ? c->names : value_name(c->argument));
	return EXIT_OK;
}

/* `status` without a name, `migrate --all`. */
static bool is_of_all(const struct call *call)
{
	bool says_all = (call->command->options & TAKES(OPTION_ALL)) != 0;

	return call->command->of_all && (says_all ? call->given[OPTION_ALL] : call->count == 0);
}

static enum exit_code take_line(struct call *call, int argc, char **argv)
{
	bool configured = (call->command->options & TAKES(OPTION_CONFIG)) != 0;
	enum exit_code code = take_options(call, argc, argv);

	if (code != EXIT_OK || call->help)
		return code;
	if (configured && !call->given[OPTION_CONFIG] && !is_of_all(call)) {
		if (call->count == 0)
			return line_wrong("which configuration? Say -c FILE, or an instance's NAME: %s",
					  call->command->words);
		call->text[OPTION_CONFIG] = *call->arguments++;
		call->count--;
	}
	return check_arguments(call);
}

enum exit_code line_parse(const struct command *commands, int argc, char **argv, struct call *call)
{
	static char help[] = "help", version[] = "version";
	int used;

	*call = (struct call){ .commands = commands };
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		argv[1] = help;
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
		argv[1] = version;
	call->command = line_find(commands, argc - 1, argv + 1, &used);
	if (call->command == NULL)
		return unknown(commands, argc - 1, argv + 1);
	return take_line(call, argc - used, argv + used);
}
