/* The command line: from words to a call, checked against the table. */
#ifndef BOXHAUL_COMMAND_LINE_H
#define BOXHAUL_COMMAND_LINE_H

#include <stddef.h>

#include "command/command.h"

struct command_option {
	const char *name; /* without its dashes */
	enum value value;
	const char *help;
};

extern const struct command_option command_options[OPTIONS];

/* "ID", "DURATION": how help names a value. */
const char *value_name(enum value value);

/* Digits, and no more than fit into a bigint: SQL takes it as it is. */
bool line_is_id(const char *text);

/* Commands end with a row without words. EXIT_OK and a call, or it has said on stderr what is wrong. */
enum exit_code line_parse(const struct command *commands, int argc, char **argv, struct call *call);

/* The row that the words name, and how many of them; NULL if there is none. */
const struct command *line_find(const struct command *commands, int count, char *const *words, int *used);

/* Do the commands of this row begin with the word, as "dead-letters list" does with "dead-letters"? */
bool line_is_below(const struct command *c, const char *word);

/* "boxhaul: ", what is wrong, and where to look. Returns EXIT_USAGE. */
__attribute__((format(printf, 1, 2))) enum exit_code line_wrong(const char *format, ...);

#endif
