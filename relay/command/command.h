/* What a command is: a row of the table in main.c, and what a call of it brings. Checking the line, the help and the
 * completion know no more of a command than its row says. */
#ifndef BOXHAUL_COMMAND_COMMAND_H
#define BOXHAUL_COMMAND_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/exits.h"
#include "config/config.h"

/* What an option or an argument holds; checked before the command runs. */
enum value {
	VALUE_NONE,     /* a flag; no arguments */
	VALUE_FILE,     /* a path, or the name of an instance */
	VALUE_ID,       /* a message's id: digits, as SQL takes them */
	VALUE_DURATION, /* "30s": in `number`, as milliseconds */
	VALUE_MESSAGE,  /* such an id, or a uuid */
	VALUE_WORD,
};

/* Every option there is: its name and meaning stand in line.c. */
enum option_number {
	OPTION_CONFIG,
	OPTION_JSON,
	OPTION_WATCH,
	OPTION_MAX_LAG,
	OPTION_EXIT_CODE,
	OPTION_YES,
	OPTION_KEY,
	OPTION_REASON,
	OPTION_OLDER,
	OPTION_ALL,
	OPTION_PAYLOAD,
	OPTION_SINCE,
	OPTION_FROM,
	OPTION_TO,
	OPTION_SUBJECT,
	OPTION_MISSING,
	OPTION_DRY_RUN,
	OPTION_PRINT,
	OPTION_NO_WAIT,
	OPTION_WAIT,
	OPTION_TIMEOUT,
	OPTION_INBOX,
	OPTION_OPEN,
	OPTION_STUCK,
	OPTION_NAME,
	OPTION_STEP,
	OPTION_SQL,
	OPTION_TABLE,
	OPTION_REPAIR,
	OPTION_BACK,
	OPTION_ANY_STANDBY,
	OPTION_GIVE_UP,
	OPTION_UNVERIFIED,
	OPTIONS,
};

#define TAKES(option) ((uint64_t)1 << (option))

struct call {
	const struct command *commands; /* the whole table */
	const struct command *command;
	const struct config *config; /* of a command that takes OPTION_CONFIG, or NULL */
	bool help;                   /* it is not to be run: somebody asked what it does */
	bool given[OPTIONS];
	const char *text[OPTIONS]; /* NULL where it is not given */
	uint64_t number[OPTIONS];  /* VALUE_DURATION */
	char *const *arguments;    /* as many as the row allows; the instance's name is taken away */
	int count;
};

struct command {
	const char *words; /* "status", "dead-letters list" */
	enum exit_code (*run)(const struct call *call);
	uint64_t options;          /* TAKES(...) | TAKES(...) */
	const char *says[OPTIONS]; /* what one of them means here; NULL: what line.c says of it */
	enum value argument;       /* what its arguments are, and how many */
	int least, most;
	bool of_all; /* may be of all relays of the machine: then config is NULL, and OPTION_CONFIG their directory or NULL */
	const char *names;   /* "SUBSCRIPTION ID": how help calls them; NULL: as their kind is called */
	const char *summary; /* one line */
	const char *more;    /* what else `help COMMAND` says, in lines; or NULL */
};

#endif
