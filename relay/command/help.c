#include "command/help.h"

#include <string.h>

#include "command/line.h"

static const char *const exit_texts[] = {
	[EXIT_OK] = "done",
	[EXIT_FAILED] = "failed, or `check` found something to mend",
	[EXIT_USAGE] = "unknown command or option",
	[EXIT_CONFIG] = "the configuration is wrong",
	[EXIT_UNREACHABLE] = "the database or NATS cannot be reached",
	[EXIT_UNDRAINED] = "run: stopped before everything in flight was answered (it will be sent again)",
	[EXIT_LAGGING] = "status: the lag is larger than --max-lag",
};

static void print_summaries(FILE *out, const struct command *commands, const char *below)
{
	int width = 0;

	for (const struct command *c = commands; c->words != NULL; c++)
		if ((int)strlen(c->words) > width)
			width = (int)strlen(c->words);
	for (const struct command *c = commands; c->words != NULL; c++)
		if (below == NULL || line_is_below(c, below))
			fprintf(out, "  %-*s  %s\n", width, c->words, c->summary);
}

void help_print(FILE *out, const struct command *commands)
{
	fputs("usage: boxhaul COMMAND [-c FILE | NAME] [options]\n\n"
	      "Relays committed rows of boxhaul.outbox in PostgreSQL to NATS JetStream.\n"
	      "NAME means /etc/boxhaul/NAME.conf.\n\ncommands:\n",
	      out);
	print_summaries(out, commands, NULL);
	fputs("\n`boxhaul help COMMAND` says what a command takes.\n\nexit status:\n", out);
	for (size_t i = 0; i < sizeof exit_texts / sizeof exit_texts[0]; i++)
		fprintf(out, "  %zu  %s\n", i, exit_texts[i]);
}

static void print_usage(FILE *out, const struct command *c)
{
	fprintf(out, "usage: boxhaul %s", c->words);
	if ((c->options & TAKES(OPTION_CONFIG)) != 0)
		fputs(" [-c FILE | NAME]", out);
	if ((c->options & ~TAKES(OPTION_CONFIG)) != 0)
		fputs(" [options]", out);
	if (c->names != NULL)
		fprintf(out, " %s", c->names);
	else if (c->most > 0)
		fprintf(out, " %s%s%s%s", c->least == 0 ? "[" : "", value_name(c->argument), c->most > 1 ? "..." : "",
			c->least == 0 ? "]" : "");
	fputc('\n', out);
}

void help_print_one(FILE *out, const struct command *c)
{
	print_usage(out, c);
	fprintf(out, "\n%s\n", c->summary);
	if (c->more != NULL)
		fprintf(out, "\n%s\n", c->more);
	fputs("\noptions:\n", out);
	for (int o = 0; o < OPTIONS; o++) {
		const struct command_option *option = &command_options[o];
		char name[64];

		if ((c->options & TAKES(o)) == 0)
			continue;
		snprintf(name, sizeof name, "--%s%s%s%s", option->name, o == OPTION_CONFIG ? ", -c" : "",
			 option->value != VALUE_NONE ? " " : "", value_name(option->value));
		fprintf(out, "  %-20s  %s\n", name, c->says[o] != NULL ? c->says[o] : option->help);
	}
	fputs("  --help, -h            print this\n", out);
}

enum exit_code help_run(const struct call *call)
{
	const struct command *one;
	int used = 0;

	if (call->count == 0) {
		help_print(stdout, call->commands);
		return EXIT_OK;
	}
	one = line_find(call->commands, call->count, call->arguments, &used);
	if (one != NULL && used == call->count) {
		help_print_one(stdout, one);
		return EXIT_OK;
	}
	for (const struct command *c = call->commands; c->words != NULL && call->count == 1; c++)
		if (line_is_below(c, call->arguments[0])) {
			print_summaries(stdout, call->commands, call->arguments[0]);
			return EXIT_OK;
		}
	return line_wrong("unknown command: %s", call->arguments[0]);
}
