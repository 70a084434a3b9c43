/* Dead letters of the outbox and of the inbox: how they are chosen, and what is shown of one. */
#ifndef BOXHAUL_COMMAND_LETTER_H
#define BOXHAUL_COMMAND_LETTER_H

#include <stddef.h>
#include <stdint.h>

#include "command/command.h"
#include "command/out.h"
#include "edge/pg_result.h"

#define LETTER_NEWEST "9223372036854775807" /* up to no id in particular */

/* Which are meant: `ids` of them by number, or those of a filter, or all; one of the three. EXIT_OK, or it has said what is wrong. */
enum exit_code letter_check_choice(const struct call *call, int ids);

/* --older, in milliseconds; NULL where it is not given. */
enum { LETTER_OLDER_BYTES = 24 };
const char *letter_older(const struct call *call, char out[LETTER_OLDER_BYTES]);

/* By ascending id: so they keep their order. */
void letter_sort(int64_t *ids, size_t count);

/* A row of a list. Columns: id, died, attempts, any text (of `width` characters), key, subject, reason. */
void letter_row(const struct out *out, const struct pg_result *r, int row, int width);

/* "name         value", one line whatever the value holds. */
void letter_field(const struct out *out, const char *name, const char *value);
__attribute__((format(printf, 3, 4))) void letter_line(const struct out *out, const char *name, const char *format,
						       ...);

/* A payload that is given in hexadecimal digits: as text where it is text that may go to a terminal, else in those digits. */
void letter_payload(const char *hex);

#endif
