/* Whether the books are still those that were read: the first row of every answer to a fetch, out of the snapshot of its rows.
 *
 * Nobody reads below what has been read. So whatever puts rows there would lose them: a sequence that was set back, made anew, or
 * passed by numbers from elsewhere; books of another day; another table under the outbox's name. Every fetch says
 *
 *     why the books are not those that were read      position and epoch, the table, the sequence's file and its last value
 *     which rows have come at or below what was read  among the last ids of it, since the snapshot of the fetch before
 *     its own snapshot                                for the next fetch to be held against
 *
 * Why a few ids are enough: a sequence that is set back counts one by one, so whoever passes what was read has drawn its last ids,
 * too. A row that comes with one of them is either one that was known to be missing, whose transaction has only now ended, or it was
 * drawn again. What a transaction drew that has not ended yet is seen when it ends, as long as not many more are read
 * meanwhile; beyond that, and for rows that were written into the table by hand, there is late_rows(), sql/004_books.sql.
 *
 * "Since the snapshot before", and not "by a later transaction": one that had begun long before may draw after the sequence
 * was set back. Each row comes to light between two fetches, and once. */
#ifndef BOXHAUL_FLOW_BOOKS_LOOK_H
#define BOXHAUL_FLOW_BOOKS_LOOK_H

#include <stdbool.h>
#include <stdint.h>

#include "books/codec.h"
#include "edge/pg.h"

/* $7 epoch, $8 position, $9 the outbox, $10 the sequence of its ids, $11 its file, $12 the highest id seen, $13 what was read up to,
 * $14 the snapshot before. The numbers of the rows of another cluster, from where they were restored, say nothing about ours: above
 * our own they are left out. */
enum { BOOKS_LOOK_FIRST = 7, BOOKS_LOOK_PARAMETERS = 8 };

#define BOOKS_LOOK_LAST "16"
#define BOOKS_LOOK_DIFFER                                                                                           \
	"(SELECT CASE WHEN p.epoch IS NULL THEN 'the position is gone'"                                             \
	"  WHEN p.epoch <> $7::pg_catalog.int8 OR p.position <> $8::pg_catalog.int8 THEN pg_catalog.format("        \
	"   'the position is %s in epoch %s, and was %s in epoch %s', p.position, p.epoch, $8, $7)"                 \
	"  WHEN 'boxhaul.outbox'::pg_catalog.regclass::pg_catalog.oid <> $9::pg_catalog.oid THEN"                   \
	"   'boxhaul.outbox is another table'"                                                                      \
	"  WHEN pg_catalog.pg_relation_filenode($10::pg_catalog.oid) IS DISTINCT FROM $11::pg_catalog.oid THEN"     \
	"   'the sequence of the ids was made anew or altered'"                                                     \
	"  WHEN coalesce(pg_catalog.pg_sequence_last_value($10), 0) < $12::pg_catalog.int8 THEN pg_catalog.format(" \
	"   'ids up to %s are drawn, but %s was seen', coalesce(pg_catalog.pg_sequence_last_value($10), 0), $12)"   \
	"  END FROM (VALUES (1)) AS one (row) LEFT JOIN boxhaul.position p ON true)"
#define BOOKS_LOOK_LATE                                                                  \
	"pg_catalog.array_to_string(ARRAY(SELECT o.id FROM boxhaul.outbox o"             \
	" WHERE o.id > $13::pg_catalog.int8 - " BOOKS_LOOK_LAST " AND o.id <= $13"       \
	" AND NOT pg_catalog.pg_visible_in_snapshot(o.xid, $14::pg_catalog.pg_snapshot)" \
	" AND o.xid < pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())), ' ')"

/* The rows, `more`: the columns that they have beyond COL_XID, as NULL. The lowest id there is sorts before every row, so the answer stays
 * in order without being sorted: one row is merged with rows that are in order. */
#define BOOKS_LOOK(rows, more)                                                                                           \
	"SELECT * FROM (SELECT '-9223372036854775808'::pg_catalog.int8 AS id, NULL::pg_catalog.int8 AS lane,"            \
	" NULL::pg_catalog.uuid AS message_id, " BOOKS_LOOK_DIFFER " AS subject, " BOOKS_LOOK_LATE " AS headers,"        \
	" NULL::pg_catalog.bytea AS payload, NULL::pg_catalog.int4 AS fits, NULL::pg_catalog.timestamptz AS created_at," \
	" NULL::pg_catalog.timestamptz AS now, pg_catalog.pg_current_snapshot()::pg_catalog.text AS key,"                \
	" NULL::pg_catalog.xid8 AS xid" more " UNION ALL (" rows ")) a ORDER BY id"

/* The parameters as texts. */
struct books_look {
	char numbers[BOOKS_LOOK_PARAMETERS - 1][24];
};

/* Fills in the parameters, `to` is the first of them. `since` is borrowed for as long as `to` is used. */
void books_look_ask(struct books_look *look, const struct codec_books *books, int64_t read, const char *since,
		    const char **to);

/* For an id at or below what was read: is it known to be missing? */
typedef bool books_look_is_missing(void *arg, int64_t id);

/* Of the answer's first row, if it is one: why these are not the books that were read, written to `why`; false: they are. */
bool books_look_differs(const struct pg_result *r, books_look_is_missing *is_missing, void *arg, char *why,
			size_t size);

/* The snapshot of the answer; it belongs to the result. */
const char *books_look_snapshot(const struct pg_result *r);

#endif
