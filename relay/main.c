/* One table of commands; everything `boxhaul help` says comes from it. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "config.h"
#include "exits.h"
#include "failpoint.h"
#include "log.h"
#include "relay.h"

struct options {
	const char *config;
	bool json, watch;
};

static enum exit_code run(const struct config *config, const struct options *o);
static enum exit_code migrate(const struct config *config, const struct options *o);
static enum exit_code check(const struct config *config, const struct options *o);
static enum exit_code status(const struct config *config, const struct options *o);
static enum exit_code version(const struct config *config, const struct options *o);
static enum exit_code help(const struct config *config, const struct options *o);
static enum exit_code sample(const struct config *config, const struct options *o);
#ifdef BOXHAUL_FAILPOINTS
static enum exit_code failpoints(const struct config *config, const struct options *o);
#endif

static const struct command {
	const char *name;
	bool needs_config;
	const char *options;
	enum exit_code (*fn)(const struct config *config, const struct options *o);
	const char *help;
} commands[] = {
	{ "run", true, "", run, "relay messages until SIGTERM" },
	{ "migrate", true, "", migrate, "create or upgrade the schema boxhaul in the database" },
	{ "check", true, "", check, "look at everything `run` needs and say what to mend" },
	{ "status", true, "jw", status, "show the delivery's state (--json, --watch)" },
	{ "config-sample", false, "", sample, "print a configuration with every setting, its default and its meaning" },
	{ "version", false, "", version, "print the version" },
#ifdef BOXHAUL_FAILPOINTS
	{ "failpoints", false, "", failpoints, "print where BOXHAUL_FAILPOINT=NAME=kill|stall|error[@N] can strike" },
#endif
	{ "help", false, "", help, "print this" },
};

enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void print_help(FILE *out)
{
	fputs("usage: boxhaul COMMAND [-c FILE | NAME] [options]\n\n"
	      "Relays committed rows of boxhaul.outbox in PostgreSQL to NATS JetStream.\n"
	      "NAME means /etc/boxhaul/NAME.conf.\n\ncommands:\n",
	      out);
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(out, "  %-14s %s\n", commands[i].name, commands[i].help);
	fprintf(out,
		"\nexit status:\n"
		"  %d  done\n"
		"  %d  failed, or `check` found something to mend\n"
		"  %d  unknown command or option\n"
		"  %d  the configuration is wrong\n"
		"  %d  the database or NATS cannot be reached\n"
		"  %d  run: stopped before everything in flight was answered (it will be sent again)\n",
		EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_CONFIG, EXIT_UNREACHABLE, EXIT_UNDRAINED);
}

static enum exit_code help(const struct config *config, const struct options *o)
{
	(void)config;
	(void)o;
	print_help(stdout);
	return EXIT_OK;
}

static enum exit_code version(const struct config *config, const struct options *o)
{
	(void)config;
	(void)o;
	printf("boxhaul %s\n", PACKAGE_VERSION);
	return EXIT_OK;
}

#ifdef BOXHAUL_FAILPOINTS
static enum exit_code failpoints(const struct config *config, const struct options *o)
{
	(void)config;
	(void)o;
	failpoint_list(stdout);
	return EXIT_OK;
}
#endif

static enum exit_code sample(const struct config *config, const struct options *o)
{
	(void)config;
	(void)o;
	config_sample(stdout);
	return EXIT_OK;
}

static enum exit_code run(const struct config *config, const struct options *o)
{
	struct log *log = log_create(STDERR_FILENO, config->log.level, config->log.format);
	enum exit_code code;

	(void)o;
	if (log == NULL)
		return EXIT_FAILED;
	code = relay_run(config, log);
	log_free(log);
	return code;
}

static enum exit_code migrate(const struct config *config, const struct options *o)
{
	(void)o;
	return command_migrate(config);
}

static enum exit_code check(const struct config *config, const struct options *o)
{
	(void)o;
	return command_check(config);
}

static enum exit_code status(const struct config *config, const struct options *o)
{
	return command_status(config, o->json, o->watch);
}

static enum exit_code usage(const char *problem, const char *what)
{
	fprintf(stderr, "boxhaul: %s%s\nboxhaul: `boxhaul help` lists commands and options\n", problem, what);
	return EXIT_USAGE;
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

/* -c FILE or one bare word. Returns EXIT_OK and fills o, or says what is wrong. */
static enum exit_code parse(const struct command *c, int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "json", no_argument, NULL, 'j' },
		{ "watch", no_argument, NULL, 'w' },
		{ NULL, 0, NULL, 0 },
	};
	int k;

	opterr = 0;
	while ((k = getopt_long(argc, argv, "c:", longs, NULL)) != -1) {
		if (k == 'c' && c->needs_config)
			o->config = optarg;
		else if (k == 'j' && strchr(c->options, 'j') != NULL)
			o->json = true;
		else if (k == 'w' && strchr(c->options, 'w') != NULL)
			o->watch = true;
		else
			return usage("unknown option, or one without its value: ", argv[optind - 1]);
	}
	if (optind < argc && o->config == NULL && c->needs_config)
		o->config = argv[optind++];
	if (optind < argc)
		return usage("unexpected: ", argv[optind]);
	if (c->needs_config && o->config == NULL)
		return usage("which configuration? Say -c FILE, or an instance's NAME: ", c->name);
	return EXIT_OK;
}

static enum exit_code with_config(const struct command *c, const struct options *o)
{
	char *path = config_path(o->config);
	struct config *config = path != NULL ? config_load(path, stderr) : NULL;
	enum exit_code code = EXIT_CONFIG;

	if (config != NULL)
		code = c->fn(config, o);
	config_free(config);
	free(path);
	return code;
}

int main(int argc, char **argv)
{
	struct options o = { .config = NULL };
	const struct command *c;
	enum exit_code code;

	if (argc < 2) {
		print_help(stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		return help(NULL, &o);
	if (strcmp(argv[1], "--version") == 0)
		return version(NULL, &o);
	c = find_command(argv[1]);
	if (c == NULL)
		return usage("unknown command: ", argv[1]);
	code = parse(c, argc - 1, argv + 1, &o);
	if (code != EXIT_OK)
		return code;
	return c->needs_config ? with_config(c, &o) : c->fn(NULL, &o);
}
