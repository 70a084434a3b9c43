/* Dead letters of the outbox and of the inbox: how they are chosen, and what is shown of one. */
#ifndef BOXHAUL_COMMAND_LETTER_H
#define BOXHAUL_COMMAND_LETTER_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "command/command.h"
#include "command/out.h"
#include "edge/pg_session.h"

#define LETTER_NEWEST "9223372036854775807" /* up to no id in particular */

/* Which are meant: `ids` of them by number, or those of a filter, or all; one of the three. EXIT_OK, or it has said what is wrong. */
enum exit_code letter_check_choice(const struct call *call, int ids);

/* --older, as an interval of SQL; NULL where it is not given. */
enum { LETTER_OLDER_BYTES = 40 };
const char *letter_older(const struct call *call, char out[LETTER_OLDER_BYTES]);

/* By ascending id: so they keep their order. */
void letter_sort(int64_t *ids, size_t count);

/* Those that match, page by page, by ascending id. */
enum { LETTER_PARAMETERS = 7 };
struct letter_pages {
	const char *what;  /* "cannot list the dead letters" */
	const char *query; /* of (id, its object); one parameter is `above`, and one `most` */
	int count;
	const char *p[LETTER_PARAMETERS];
	char above[24], older[LETTER_OLDER_BYTES], most[24];
};

/* The texts that p may point to: above is below all ids, older is --older. It must not be moved then. */
void letter_pages_begin(struct letter_pages *pages, const struct call *call, const char *what, const char *query);

/* The next page: at least one row. NULL: there is none any more, or it has said why not, and `code` is how the command ends. */
const struct pg_result *letter_pages_next(struct letter_pages *pages, struct pg_session *s, const struct call *call,
					  enum exit_code *code);

/* All of them: as JSON where the call wants that, else in lines. `member`: what the third column shows, in so many characters. */
enum exit_code letter_list(struct letter_pages *pages, struct pg_session *s, const struct call *call,
			   const char *member, int width);

/* "name         value", one line whatever the value holds. */
void letter_field(const struct out *out, const char *name, const char *value);
__attribute__((format(printf, 3, 4))) void letter_line(const struct out *out, const char *name, const char *format,
						       ...);

/* A member of the letter; "-" where it has none. */
void letter_text(const struct out *out, const char *name, const json_t *o, const char *member);

/* What a content query asks of a letter d. */
#define LETTER_CONTENT                                                                            \
	"SELECT coalesce(d.headers::pg_catalog.text, '{}'), pg_catalog.encode(d.payload, 'hex')," \
	" pg_catalog.translate(pg_catalog.encode(d.payload, 'base64'), E'\\n', '')"

/* One letter, an object in the only row of r: as JSON where the call wants that, else as `print` does. With --payload its headers and
 * payload besides, by a query that begins with LETTER_CONTENT. */
enum exit_code letter_show(struct pg_session *s, const struct call *call, const struct pg_result *r,
			   void (*print)(const struct out *out, const json_t *o), const char *content_query, int count,
			   const char *const *parameters);

#endif
