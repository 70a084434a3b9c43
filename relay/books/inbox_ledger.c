#include "books/inbox_ledger.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "books/ledger.h"
#include "config/settings.h"
#include "format/rfc3339.h"

enum { NUMBER_BYTES = 24 };

/* Seconds from 1970 to PostgreSQL's beginning of time. */
static const int64_t EPOCH_2000_US = INT64_C(946684800000000);

/* In one snapshot: the trail belongs to the position. The newest marks, and of all there are one a minute: hundreds of them may be of one
 * second, and a stream can lose minutes. */
#define TRAIL(column)                                                                                           \
	"ARRAY(SELECT t." column " FROM ((SELECT x.seq, x.witness FROM boxhaul.trail x"                         \
	"   WHERE x.subscription = p.subscription AND x.seq <= p.position ORDER BY x.seq DESC LIMIT 500) UNION" \
	"  (SELECT m.seq, m.witness FROM (SELECT DISTINCT ON (pg_catalog.date_trunc('minute', x.at)) x.seq,"    \
	"   x.witness FROM boxhaul.trail x WHERE x.subscription = p.subscription AND x.seq <= p.position"       \
	"   ORDER BY pg_catalog.date_trunc('minute', x.at) DESC, x.seq LIMIT 500) m)) t ORDER BY t.seq)"

static const struct {
	const char *name, *sql;
} statements[INBOX_STATEMENTS] = {
	[INBOX_STATEMENT_LOCK] = { "inbox_lock", "SELECT boxhaul.inbox_try_lock($1)" },
	[INBOX_STATEMENT_UNLOCK] = { "inbox_unlock", "SELECT boxhaul.inbox_unlock($1)" },
	[INBOX_STATEMENT_DEFINE] = { "inbox_define",
				     "SELECT pg_catalog.array_to_string(boxhaul.inbox_define($1, $2,"
				     " ARRAY(SELECT pg_catalog.jsonb_array_elements_text($3::pg_catalog.jsonb)), $4, $5, $6, $7, $8, $9,"
				     " pg_catalog.make_interval(secs => $10::pg_catalog.float8 / 1000), $11,"
				     " pg_catalog.make_interval(secs => $12::pg_catalog.float8 / 1000)), '; ')" },
	[INBOX_STATEMENT_LEAD] = { "inbox_lead",
				   "SELECT epoch FROM boxhaul.inbox_lead($1, $2,"
				   " ARRAY(SELECT pg_catalog.jsonb_array_elements_text($3::pg_catalog.jsonb)))" },
	[INBOX_STATEMENT_BOOKS] = { "inbox_books",
				    "SELECT p.position, p.incarnation, p.created, p.witness, p.paused_at IS NOT NULL, p.stop ->> 'kind', p.began," TRAIL(
					    "seq") "," TRAIL("witness") " FROM boxhaul.inbox_position p WHERE p.subscription = $1 AND p.epoch = $2" },
	[INBOX_STATEMENT_OPEN] = { "inbox_open", "SELECT boxhaul.inbox_open($1, $2, $3, $4, $5) = 'opened'" },
	[INBOX_STATEMENT_TAKE] = { "inbox_take",
				   "SELECT taken, left_out, dead, asleep, pg_catalog.clock_timestamp() FROM boxhaul.inbox_take($1, $2, $3, $4, $5, $6, $7, $8,"
				   " $9, $10, $11, $12, $13, $14, $15)" },
	[INBOX_STATEMENT_FOLLOW] = { "inbox_follow", "SELECT boxhaul.inbox_follow($1, $2, $3, $4, $5, $6, $7)" },
	[INBOX_STATEMENT_PASS] = { "inbox_pass", "SELECT boxhaul.inbox_pass($1, $2, $3, $4, $5, $6)" },
	[INBOX_STATEMENT_REWIND] = { "inbox_rewind", "SELECT boxhaul.inbox_rewind_to_trail($1, $2, $3, $4, $5)" },
	[INBOX_STATEMENT_RESTART] = { "inbox_restart", "SELECT boxhaul.inbox_restart($1, $2, $3, $4, $5)" },
	[INBOX_STATEMENT_STOP] = { "inbox_stop", "SELECT boxhaul.inbox_stop($1, $2, $3, $4)" },
	[INBOX_STATEMENT_WAKE] = { "inbox_wake", "SELECT boxhaul.inbox_wake($1)" },
	[INBOX_STATEMENT_WATCH] = { "inbox_watch", "SELECT boxhaul.inbox_watch($1)" },
	[INBOX_STATEMENT_FIGURES] = { "inbox_figures",
				      "SELECT waiting, handled, oldest_us, parked, held, dead, standing, id, key, state, error,"
				      " CASE WHEN $2::pg_catalog.bool THEN boxhaul.saga_unclocked() END, k.applied, k.incomplete, k.missing,"
				      " v.different, v.different_tab, v.unproved, v.proved_us"
				      " FROM boxhaul.inbox_figures($1) LEFT JOIN boxhaul.sink_figures($1) k ON true"
				      " LEFT JOIN LATERAL boxhaul.verify_figures($1) v ON k.applied IS NOT NULL" },
	[INBOX_STATEMENT_CLEAN_SAGAS] = { "saga_clean",
					  "SELECT boxhaul.saga_clean(pg_catalog.make_interval(secs => $1::pg_catalog.float8 / 1000),"
					  " NULL, $2::pg_catalog.int4)" },
	[INBOX_STATEMENT_DEFINE_SINK] = { "inbox_define_sink",
					  "SELECT pg_catalog.array_to_string(boxhaul.inbox_define($1, $2,"
					  " ARRAY(SELECT pg_catalog.jsonb_array_elements_text($3::pg_catalog.jsonb)), $4, $5, $6, $7, $8, $9,"
					  " pg_catalog.make_interval(secs => $10::pg_catalog.float8 / 1000), $11,"
					  " pg_catalog.make_interval(secs => $12::pg_catalog.float8 / 1000))"
					  " || boxhaul.sink_define($1, $13, $14, $15), '; ')" },
	[INBOX_STATEMENT_APPLY] = { "sink_apply",
				    "SELECT taken, left_out, dead, asleep, pg_catalog.clock_timestamp(), trouble FROM boxhaul.sink_apply($1, $2, $3, $4,"
				    " $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)" },
	[INBOX_STATEMENT_CLEAN] = { "inbox_clean", "SELECT pg_catalog.array_to_string(boxhaul.inbox_clean(), '; ')" },
};

_Static_assert((int)INBOX_STATEMENTS <= (int)STATEMENT_READY && (int)INBOX_STATEMENTS <= (int)STATEMENT_LISTEN,
	       "unique numbers in one session");

const char *inbox_ledger_statement_name(unsigned number)
{
	return number < INBOX_STATEMENTS ? statements[number].name
	       : number < STATEMENTS     ? ledger_statement_name(number)
					 : "other";
}

/* --- asking --- */

static bool ask(struct pg *pg, unsigned number, const char *const *parameters, int count, pg_answer *answer, void *arg)
{
	return pg_send(pg, &(struct pg_statement){ number, statements[number].sql }, parameters, count, answer, arg);
}

struct number {
	char text[NUMBER_BYTES];
};

/* Borrows from `n`, which it writes. */
static const char *number(struct number *n, int64_t value)
{
	/* cppcheck-suppress ctuuninitvar ; it is written here, and read by nobody before */
	snprintf(n->text, sizeof n->text, "%" PRId64, value);
	return n->text;
}

/* NULL for 0. */
static const char *known(struct number *n, int64_t value)
{
	return value != 0 ? number(n, value) : NULL;
}

/* --- the lead --- */

bool inbox_ledger_try_lock(struct pg *pg, const char *subscription, pg_answer *answer, void *arg)
{
	return ask(pg, INBOX_STATEMENT_LOCK, (const char *[]){ subscription }, 1, answer, arg);
}

bool inbox_ledger_unlock(struct pg *pg, const char *subscription, pg_answer *answer, void *arg)
{
	return ask(pg, INBOX_STATEMENT_UNLOCK, (const char *[]){ subscription }, 1, answer, arg);
}

static char *list_of(char *const *texts, size_t count)
{
	json_t *list = json_array();
	char *out;

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, json_string(texts[i]));
	out = json_array_size(list) == count ? json_dumps(list, JSON_COMPACT) : NULL;
	json_decref(list);
	return out;
}

_Static_assert(SETTING_KEY_BYTES == sizeof((struct inbox_definition *)0)->key, "room for a rule");

bool inbox_ledger_definition(struct inbox_definition *d, const struct config_subscription *s)
{
	const int64_t numbers[INBOX_DEFINITION_NUMBERS] = {
		s->lanes,          s->max_attempts,          s->stuck_after_ms,
		s->crash_attempts, (int64_t)s->retention_ms, s->transaction_messages
	};
	bool sink = s->tables != NULL;
	unsigned statement = sink ? INBOX_STATEMENT_DEFINE_SINK : INBOX_STATEMENT_DEFINE;

	*d = (struct inbox_definition){ .number = statement,
					.count = INBOX_DEFINITION_PARAMETERS - (sink ? 0 : 3),
					.sql = statements[statement].sql,
					.subjects = list_of(s->subjects, s->subject_count) };
	for (size_t i = 0; i < INBOX_DEFINITION_NUMBERS; i++)
		snprintf(d->numbers[i], sizeof d->numbers[i], "%" PRId64, numbers[i]);
	memcpy(d->parameters,
	       (const char *[]){ s->name, s->stream, d->subjects, setting_key_rule(s, d->key), d->numbers[0],
				 s->dedupe == INBOX_DEDUPE_IDS ? "ids" : "position", s->handler,
				 s->poison == POISON_HOLD ? "hold" : "skip", d->numbers[1], d->numbers[2],
				 d->numbers[3], d->numbers[4], s->tables,
				 s->snapshot == CONFIG_TABLES_SNAPSHOT_NONE ? "none" : "required", d->numbers[5] },
	       sizeof d->parameters);
	return d->subjects != NULL;
}

void inbox_ledger_definition_free(struct inbox_definition *d)
{
	free(d->subjects);
	d->subjects = NULL;
}

bool inbox_ledger_define(struct pg *pg, const struct config_subscription *s, pg_answer *answer, void *arg)
{
	struct inbox_definition d;
	bool ok = inbox_ledger_definition(&d, s) && ask(pg, d.number, d.parameters, d.count, answer, arg);

	inbox_ledger_definition_free(&d);
	return ok;
}

bool inbox_ledger_lead(struct pg *pg, const struct config_subscription *s, const char *leader, pg_answer *answer,
		       void *arg)
{
	char *subjects = list_of(s->subjects, s->subject_count);
	bool ok = subjects != NULL &&
		  ask(pg, INBOX_STATEMENT_LEAD, (const char *[]){ s->name, leader, subjects }, 3, answer, arg);

	free(subjects);
	return ok;
}

/* --- the books --- */

bool inbox_ledger_books(struct pg *pg, const char *subscription, int64_t epoch, pg_answer *answer, void *arg)
{
	struct number e;

	return ask(pg, INBOX_STATEMENT_BOOKS, (const char *[]){ subscription, number(&e, epoch) }, 2, answer, arg);
}

static const char *const stop_words[] = {
	[INBOX_STOP_NONE] = "none",
	[INBOX_STOP_GAP] = "gap",
	[INBOX_STOP_TRUNCATED] = "truncated",
	[INBOX_STOP_RECREATED] = "recreated",
	[INBOX_STOP_KIND] = "kind",
	[INBOX_STOP_NO_STREAM] = "no_stream",
	[INBOX_STOP_START_AHEAD] = "start_ahead",
	[INBOX_STOP_REFUSED] = "refused",
};

const char *inbox_ledger_stop_word(enum inbox_stop stop)
{
	return stop_words[stop];
}

enum inbox_stop inbox_ledger_stop_of(const char *word)
{
	for (size_t i = 0; i < sizeof stop_words / sizeof stop_words[0]; i++)
		if (strcmp(word, stop_words[i]) == 0)
			return (enum inbox_stop)i;
	return INBOX_STOP_NONE;
}

static bool read_trail(const struct pg_result *r, int sequences, struct inbox_books *b, struct inbox_mark *trail)
{
	int64_t sequence[LIMIT_INBOX_TRAIL], time[LIMIT_INBOX_TRAIL];
	size_t bytes, count;
	const char *list = pg_bytes(r, 0, sequences, &bytes);

	count = array_read_int8(list, bytes, sequence, LIMIT_INBOX_TRAIL);
	list = pg_bytes(r, 0, sequences + 1, &bytes);
	if (count == SIZE_MAX || array_read_int8(list, bytes, time, LIMIT_INBOX_TRAIL) != count)
		return false;
	for (size_t i = 0; i < count; i++)
		trail[i] = (struct inbox_mark){ .sequence = (uint64_t)sequence[i], .time = time[i] };
	b->trail = trail;
	b->trail_count = count;
	return true;
}

bool inbox_ledger_read_books(const struct pg_result *r, struct inbox_books *b, struct inbox_mark *trail)
{
	enum { POSITION, INCARNATION, CREATED, WITNESS, PAUSED, STOP, BEGAN, TRAIL_SEQUENCES };
	size_t bytes;

	*b = (struct inbox_books){ .position = 0 };
	if (pg_rows(r) != 1)
		return false;
	b->position = (uint64_t)pg_int8(r, 0, POSITION);
	b->incarnation = (uint32_t)pg_int8(r, 0, INCARNATION);
	b->witness_time = pg_is_null(r, 0, WITNESS) ? 0 : pg_int8(r, 0, WITNESS);
	b->paused = pg_int8(r, 0, PAUSED) != 0;
	b->began = (uint64_t)pg_int8(r, 0, BEGAN);
	if (!pg_is_null(r, 0, STOP))
		b->stop = inbox_ledger_stop_of(pg_bytes(r, 0, STOP, &bytes));
	if (!pg_is_null(r, 0, CREATED) && !rfc3339_read(pg_bytes(r, 0, CREATED, &bytes), &b->created))
		return false;
	return read_trail(r, TRAIL_SEQUENCES, b, trail);
}

/* --- moves --- */

static int64_t lost(const struct inbox_move *m)
{
	return m->gap_from != 0 ? (int64_t)(m->gap_to - m->gap_from + 1) : 0;
}

/* All columns of which a batch may have none are NULL then. */
static bool is_optional(int column)
{
	return column == INBOX_COLUMN_ID || column == INBOX_COLUMN_KEY || column == INBOX_COLUMN_HEADERS ||
	       column == INBOX_COLUMN_REASON;
}

static bool send_take(struct pg *pg, unsigned statement, const char *subscription, int64_t epoch,
		      const struct inbox_move *m, struct array rows[INBOX_COLUMNS], pg_answer *answer, void *arg)
{
	enum { FIRST = 6 };
	struct number e, incarnation, from, to, time = { "" }, gap;
	int bytes[FIRST + INBOX_COLUMNS + 1] = { 0 };
	const char *p[FIRST + INBOX_COLUMNS + 1] = { subscription,
						     number(&e, epoch),
						     number(&incarnation, m->incarnation),
						     number(&from, (int64_t)m->from),
						     number(&to, (int64_t)m->to),
						     known(&time, m->time) };

	for (int i = 0; i < INBOX_COLUMNS; i++)
		if (!array_end(&rows[i], is_optional(i) && rows[i].count > 0, &p[FIRST + i], &bytes[FIRST + i]))
			return false;
	p[FIRST + INBOX_COLUMNS] = number(&gap, lost(m));
	return pg_send_binary(pg, &(struct pg_statement){ statement, statements[statement].sql }, p, bytes,
			      FIRST + INBOX_COLUMNS + 1, answer, arg);
}

static bool send_place(struct pg *pg, const char *subscription, int64_t epoch, const struct inbox_move *m,
		       pg_answer *answer, void *arg)
{
	char created[RFC3339_BYTES];
	struct number e, incarnation, from, to, time = { "" }, gap;
	const char *where[4] = { subscription, number(&e, epoch), number(&incarnation, m->incarnation),
				 number(&from, (int64_t)m->from) },
		   *p[7] = { where[0], where[1], where[2], where[3], number(&to, (int64_t)m->to) };

	switch (m->kind) {
	case INBOX_MOVE_BEGIN:
		p[2] = rfc3339_write(m->created, created);
		p[3] = p[4];
		p[4] = known(&time, m->time);
		return ask(pg, INBOX_STATEMENT_OPEN, p, 5, answer, arg);
	case INBOX_MOVE_FOLLOW:
		p[5] = known(&time, m->time);
		p[6] = number(&gap, lost(m));
		return ask(pg, INBOX_STATEMENT_FOLLOW, p, 7, answer, arg);
	case INBOX_MOVE_SKIP: p[5] = number(&gap, lost(m)); return ask(pg, INBOX_STATEMENT_PASS, p, 6, answer, arg);
	case INBOX_MOVE_REWIND: return ask(pg, INBOX_STATEMENT_REWIND, p, 5, answer, arg);
	case INBOX_MOVE_RESTART:
		p[4] = rfc3339_write(m->created, created);
		return ask(pg, INBOX_STATEMENT_RESTART, p, 5, answer, arg);
	case INBOX_MOVE_TAKE: break;
	}
	return false;
}

bool inbox_ledger_move(struct pg *pg, const char *subscription, bool sink, int64_t epoch, const struct inbox_move *m,
		       struct array rows[INBOX_COLUMNS], pg_answer *answer, void *arg)
{
	return m->kind == INBOX_MOVE_TAKE ? send_take(pg, sink ? INBOX_STATEMENT_APPLY : INBOX_STATEMENT_TAKE,
						      subscription, epoch, m, rows, answer, arg)
					  : send_place(pg, subscription, epoch, m, answer, arg);
}

/* Data exceptions, integrity constraints, limits of the program: another time it would fail as well. */
static bool blames_data(const char *sqlstate)
{
	return strncmp(sqlstate, "22", 2) == 0 || strncmp(sqlstate, "23", 2) == 0 || strncmp(sqlstate, "54", 2) == 0;
}

bool inbox_ledger_blames_encoding(const char *sqlstate)
{
	return strcmp(sqlstate, "22021") == 0 || strcmp(sqlstate, "22P05") == 0;
}

enum inbox_moved inbox_ledger_moved(const struct pg_result *r, bool sink, enum inbox_move_kind kind,
				    struct inbox_ledger_taken *taken)
{
	enum { TAKEN, LEFT_OUT, DEAD, ASLEEP, NOW, TROUBLE };
	size_t bytes;

	*taken = (struct inbox_ledger_taken){ .taken = 0 };
	if (pg_error(r) != NULL)
		return blames_data(pg_sqlstate(r)) ? INBOX_MOVED_DATA : INBOX_MOVED_FAILED;
	if (sink && kind == INBOX_MOVE_TAKE && pg_rows(r) == 1 && !pg_is_null(r, 0, TROUBLE))
		taken->trouble = pg_bytes(r, 0, TROUBLE, &bytes);
	if (pg_rows(r) != 1 || pg_is_null(r, 0, 0))
		return INBOX_MOVED_NOT;
	if (kind != INBOX_MOVE_TAKE)
		return pg_int8(r, 0, 0) != 0 ? INBOX_MOVED_OK : INBOX_MOVED_NOT;
	taken->taken = (uint32_t)pg_int8(r, 0, TAKEN);
	taken->left_out = (uint32_t)pg_int8(r, 0, LEFT_OUT);
	taken->dead = (uint32_t)pg_int8(r, 0, DEAD);
	taken->asleep = pg_int8(r, 0, ASLEEP) != 0;
	taken->now_us = pg_int8(r, 0, NOW) + EPOCH_2000_US;
	return INBOX_MOVED_OK;
}

/* --- stops --- */

static char *reason_of(const struct inbox_ledger_stop *s)
{
	char created[RFC3339_BYTES];
	json_t *o = json_pack("{s:s, s:I, s:I, s:I}", "kind", inbox_ledger_stop_word(s->stop), "from",
			      (json_int_t)s->from, "to", (json_int_t)s->to, "last_seq", (json_int_t)s->last);
	char *out;

	if (s->stop == INBOX_STOP_GAP)
		json_object_set_new(o, "first_seq", json_integer((json_int_t)s->to + 1));
	if (s->stop == INBOX_STOP_RECREATED)
		json_object_set_new(o, "created", json_string(rfc3339_write(s->created_ns, created)));
	if (s->reason != 0)
		json_object_set_new(o, "reason", json_integer(s->reason));
	if (s->words[0] != '\0')
		json_object_set_new(o, "words", json_string(s->words));
	out = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return out;
}

bool inbox_ledger_stop(struct pg *pg, const char *subscription, int64_t epoch, const struct inbox_ledger_stop *s,
		       pg_answer *answer, void *arg)
{
	char *reason = s->stop != INBOX_STOP_NONE ? reason_of(s) : NULL;
	struct number e, position;
	bool ok = (s->stop == INBOX_STOP_NONE || reason != NULL) &&
		  ask(pg, INBOX_STATEMENT_STOP,
		      (const char *[]){ subscription, number(&e, epoch), reason,
					number(&position, (int64_t)s->at_position) },
		      4, answer, arg);

	free(reason);
	return ok;
}

/* --- by the clock --- */

bool inbox_ledger_wake(struct pg *pg, const char *subscription, pg_answer *answer, void *arg)
{
	return ask(pg, INBOX_STATEMENT_WAKE, (const char *[]){ subscription }, 1, answer, arg);
}

bool inbox_ledger_watch(struct pg *pg, const char *subscription, pg_answer *answer, void *arg)
{
	return ask(pg, INBOX_STATEMENT_WATCH, (const char *[]){ subscription }, 1, answer, arg);
}

bool inbox_ledger_clean(struct pg *pg, pg_answer *answer, void *arg)
{
	return ask(pg, INBOX_STATEMENT_CLEAN, NULL, 0, answer, arg);
}

bool inbox_ledger_clean_sagas(struct pg *pg, uint64_t retention_ms, pg_answer *answer, void *arg)
{
	struct number retention, most;
	const char *p[] = { number(&retention, (int64_t)retention_ms), number(&most, INBOX_CLEAN_SAGAS) };

	return ask(pg, INBOX_STATEMENT_CLEAN_SAGAS, p, 2, answer, arg);
}

bool inbox_ledger_figures(struct pg *pg, const char *subscription, bool sagas, pg_answer *answer, void *arg)
{
	return ask(pg, INBOX_STATEMENT_FIGURES, (const char *[]){ subscription, sagas ? "1" : "0" }, 2, answer, arg);
}
