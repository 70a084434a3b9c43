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
