#include "flow/careful.h"

#include <string.h>

#include "books/ledger.h"
#include "flow/books_look.h"

enum { ANSWERS = 16, TIMES = 5 };

/* Nothing of a row is touched but through what `u` says of it. The parameters are those of the reader's statements. */
#define LOOKED_AT                                                                                                                \
	"(SELECT id, key, message_id, subject, headers, boxhaul_headers, payload, created_at, xid,"                              \
	" coalesce(pg_catalog.pg_visible_in_snapshot(xid, $5), true) AS in_kept"                                                 \
	" FROM boxhaul.outbox WHERE id > $1 ORDER BY id LIMIT $2)"                                                               \
	" UNION ALL "                                                                                                            \
	"(SELECT o.* FROM ROWS FROM (pg_catalog.unnest($15::pg_catalog.int8[]), pg_catalog.unnest($16::pg_catalog.int8[]))"      \
	" AS w (lo, hi), LATERAL (SELECT id, key, message_id, subject, headers, boxhaul_headers, payload, created_at, xid, true" \
	"  FROM boxhaul.outbox x WHERE x.id BETWEEN w.lo AND w.hi ORDER BY x.id LIMIT $2) o ORDER BY o.id LIMIT $2)"
#define READABLE                                                                                                       \
	"SELECT r.id, CASE WHEN u.keyed THEN r.key END AS key, r.message_id,"                                          \
	" CASE WHEN u.why IS NULL THEN r.subject END AS subject,"                                                      \
	" CASE WHEN u.why IS NULL THEN (CASE WHEN r.boxhaul_headers IS NULL THEN r.headers ELSE"                       \
	" pg_catalog.jsonb_concat(coalesce(r.headers, '{}'), r.boxhaul_headers) END)::pg_catalog.text END AS headers," \
	" CASE WHEN u.why IS NULL THEN r.payload END AS payload, r.created_at, r.xid, r.in_kept, u.why, u.key_is_text" \
	" FROM (" LOOKED_AT                                                                                            \
	") r, LATERAL boxhaul.unreadable(r.id, $4::pg_catalog.int8, $6::pg_catalog.bool) u ORDER BY r.id"              \
	" OFFSET 0"

const struct pg_statement careful_fetch = {
	STATEMENT_FETCH_CAREFUL,
	BOOKS_LOOK(
		"SELECT id, pg_catalog.hashtextextended(key, 0), message_id, CASE WHEN fits > 1 THEN subject END,"
		" CASE WHEN fits = 2 THEN headers END, CASE WHEN fits = 2 THEN payload END, fits,"
		" created_at, pg_catalog.statement_timestamp(), CASE WHEN fits = 2 AND key_is_text"
		" AND pg_catalog.octet_length(key) <= 65000 THEN key END, xid, why"
		" FROM (SELECT *, CASE WHEN NOT in_kept THEN NULL WHEN why IS NOT NULL THEN 6"
		"  WHEN pg_catalog.row_number() OVER w > 1 AND pg_catalog.sum(coalesce(pg_catalog.octet_length(payload), 0)"
		"   + coalesce(pg_catalog.octet_length(headers), 0)) OVER w + 256 * pg_catalog.row_number() OVER w"
		"   > $3::pg_catalog.int8 THEN 0"
		"  WHEN pg_catalog.octet_length(subject) > 4096 THEN 1 WHEN pg_catalog.octet_length(headers) > 49152 THEN 3"
		"  WHEN pg_catalog.octet_length(payload) > $4 THEN 4"
		"  WHEN $6 AND pg_catalog.octet_length(key) > 49152 THEN 5 ELSE 2 END AS fits"
		"  FROM (" READABLE ") r WINDOW w AS (ORDER BY id ROWS UNBOUNDED PRECEDING)) r"
		" ORDER BY id LIMIT $2",
		", NULL::pg_catalog.text AS why")
};

/* Its first two characters: data exceptions, limits of the program, broken data, want of memory. */
static bool is_class(const char *sqlstate, const char *const *classes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strncmp(sqlstate, classes[i], 2) == 0)
			return true;
	return false;
}

void careful_failed(struct careful *c, const char *sqlstate)
{
	static const char *const of_a_row[] = { "22", "54", "XX", "53" };

	if (is_class(sqlstate, of_a_row, sizeof of_a_row / sizeof of_a_row[0]))
		c->left = ANSWERS;
}

bool careful_gives_up(struct careful *c, int64_t id, const char *sqlstate)
{
	if (strncmp(sqlstate, "53", 2) != 0)
		return true;
	if (c->id != id)
		c->times = 0;
	c->id = id;
	return ++c->times >= TIMES;
}

void careful_answered(struct careful *c, bool bad, bool complete)
{
	if (bad)
		c->left = ANSWERS;
	else if (complete)
		c->left = 0;
	else if (c->left > 0)
		c->left--;
}
