/* The mark is one value, a JSON object (jsonb), and no list of parameters: a column more is a line here and one in the SQL.
 * What it costs the database, beside twenty arrays (PostgreSQL 15, best of many): 65 us for the usual mark, as before, and for 4,096
 * exceptions, the most that one may have, 28 ms, not 17. Round trips, rows and WAL are the same (tests/guard). There is one mark in a mark
 * interval, however many messages there are. */
#include "books/codec.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "core/refusal.h"

/* In the order of enum exception_kind. */
static const char *const kinds[] = {
	[EXCEPTION_MISSING] = "missing",
	[EXCEPTION_PARKED] = "parked",
	[EXCEPTION_HELD] = "held",
	[EXCEPTION_ACTIVE] = "active",
};

/* --- to the database --- */

static bool put(json_t *object, const char *name, json_t *value)
{
	return json_object_set_new(object, name, value) == 0;
}

static bool put_int(json_t *object, const char *name, int64_t value)
{
	return put(object, name, json_integer(value));
}

static bool put_text(json_t *object, const char *name, const char *text)
{
	return put(object, name, json_string(text));
}

/* In words, the server's among them. */
static bool put_reason(json_t *object, const char *name, const struct reasons *reasons, int64_t id, uint32_t reason)
{
	char text[REASONS_TEXT_BYTES];

	return reason == REASON_NONE || put_text(object, name, reasons_text_of(reasons, id, reason, text, sizeof text));
}

/* The object if all of it is there; else NULL. */
static json_t *whole(json_t *object, bool is_whole)
{
	if (is_whole)
		return object;
	json_decref(object);
	return NULL;
}

static json_t *exception(const struct exception_row *e, const char *const *streams, const struct reasons *reasons)
{
	json_t *o = json_object();
	bool was_sent = e->low_water != LOW_WATER_NONE;

	return whole(o, put_int(o, "lo", e->lo) && put_int(o, "hi", e->hi) && put_text(o, "kind", kinds[e->kind]) &&
				put_int(o, "attempts", e->attempts) &&
				put_reason(o, "last_error", reasons, e->lo, e->reason) &&
				(e->lane == 0 || put_int(o, "lane", (int64_t)e->lane)) &&
				(!was_sent || put_text(o, "stream", streams[e->stream])) &&
				(!(was_sent || e->doubted) ||
				 put_int(o, "low_water", was_sent ? (int64_t)e->low_water : 0)));
}

static json_t *dead_letter(const struct dead_letter *d, const struct reasons *reasons)
{
	json_t *o = json_object();

	return whole(o, put_int(o, "id", d->id) && put_reason(o, "reason", reasons, d->id, d->reason) &&
				put_int(o, "attempts", d->attempts) && put(o, "held", json_boolean(d->held)));
}

static json_t *sent(const struct sent *s, const char *const *streams)
{
	json_t *o = json_object();

	return whole(o, put_int(o, "first_id", s->first) && put_int(o, "last_id", s->last) &&
				put_text(o, "stream", streams[s->stream]) &&
				put_int(o, "low_water", (int64_t)s->sequence));
}

static json_t *integers(const int64_t *values, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, json_integer(values[i]));
	return list;
}

/* A list that lacks elements, for want of memory, is none. */
static bool put_list(json_t *batch, const char *name, json_t *list, size_t count)
{
	list = whole(list, json_array_size(list) == count);
	return list != NULL && put(batch, name, list);
}

static bool put_exceptions(json_t *batch, const struct mark *m, const char *const *streams,
			   const struct reasons *reasons)
{
	json_t *list = json_array();

	for (size_t i = 0; i < m->added_count; i++)
		json_array_append_new(list, exception(&m->added[i], streams, reasons));
	return put_list(batch, "exceptions", list, m->added_count);
}

static bool put_dead_letters(json_t *batch, const struct mark *m, const struct reasons *reasons)
{
	json_t *list = json_array();

	for (size_t i = 0; i < m->dead_count; i++)
		json_array_append_new(list, dead_letter(&m->dead[i], reasons));
	return put_list(batch, "dead", list, m->dead_count);
}

static bool put_sent(json_t *batch, const struct mark *m, const char *const *streams)
{
	json_t *list = json_array();

	for (size_t i = 0; i < m->sent_count; i++)
		json_array_append_new(list, sent(&m->sent[i], streams));
	return put_list(batch, "sent", list, m->sent_count);
}

static char *text_of(json_t *value)
{
	char *text = value != NULL ? json_dumps(value, JSON_COMPACT) : NULL;

	json_decref(value);
	return text;
}

char *codec_mark(const struct mark *m, const char *const *streams, const struct reasons *reasons)
{
	json_t *b = json_object();

	return text_of(whole(
		b, put_int(b, "from", m->from) && put_int(b, "position", m->position) &&
			   (m->gone_count == 0 ||
			    put_list(b, "settled", integers(m->gone, m->gone_count), m->gone_count)) &&
			   (m->added_count == 0 || put_exceptions(b, m, streams, reasons)) &&
			   (m->dead_count == 0 || put_dead_letters(b, m, reasons)) &&
			   (m->resolved_count == 0 ||
			    put_list(b, "forgotten", integers(m->resolved, m->resolved_count), m->resolved_count)) &&
			   (m->sent_count == 0 || put_sent(b, m, streams))));
}

char *codec_streams(const char *const *streams, size_t count)
{
	json_t *names = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(names, json_string(streams[i]));
	return text_of(whole(names, json_array_size(names) == count));
}

/* --- from the database --- */

/* The first letter says which. */
static enum exception_kind kind_of(const struct pg_result *r, int row, int column)
{
	size_t n;
	char letter = pg_bytes(r, row, column, &n)[0];

	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
		if (kinds[i][0] == letter)
			return (enum exception_kind)i;
	return EXCEPTION_MISSING;
}

static uint64_t number_or_0(const struct pg_result *r, int row, int column)
{
	return pg_is_null(r, row, column) ? 0 : (uint64_t)pg_int8(r, row, column);
}

static struct exception_row exception_of(const struct pg_result *r, int row)
{
	enum { LO, HI, KIND, LANE, ATTEMPTS, STREAM, LOW_WATER, DECIDED };
	/* Else it was never sent, or to a stream that is not configured any more. */
	bool was_sent = !pg_is_null(r, row, STREAM);

	return (struct exception_row){
		.lo = pg_int8(r, row, LO),
		.hi = pg_int8(r, row, HI),
		.kind = kind_of(r, row, KIND),
		.lane = number_or_0(r, row, LANE),
		.attempts = (uint32_t)pg_int8(r, row, ATTEMPTS),
		.stream = was_sent ? (uint16_t)pg_int8(r, row, STREAM) : 0,
		.low_water = was_sent ? (uint64_t)pg_int8(r, row, LOW_WATER) : LOW_WATER_NONE,
		.doubted = !was_sent && !pg_is_null(r, row, LOW_WATER) && pg_int8(r, row, LOW_WATER) == 0,
		.decided = pg_int8(r, row, DECIDED) != 0,
	};
}

struct exception_row *codec_exceptions(const struct pg_result *r, size_t *count)
{
	int n = pg_rows(r);
	struct exception_row *rows = calloc((size_t)n + 1, sizeof *rows);

	for (int i = 0; rows != NULL && i < n; i++)
		rows[i] = exception_of(r, i);
	*count = (size_t)n;
	return rows;
}

void codec_low_waters(const struct pg_result *r, uint64_t low_water[static LIMIT_STREAMS])
{
	for (int i = 0; i < pg_rows(r); i++) {
		int64_t stream = pg_int8(r, i, 0);

		if (stream >= 0 && stream < LIMIT_STREAMS)
			low_water[stream] = (uint64_t)pg_int8(r, i, 1);
	}
}

/* It is added to a clock. A lease is a minute at most (config/settings.c), so what is cut off here was nobody's. */
static int64_t rest_of_lease_ms(const struct pg_result *r, int row, int column)
{
	int64_t ms = pg_int8(r, row, column);

	return ms < 0 ? 0 : ms < INT32_MAX ? ms : INT32_MAX;
}

struct codec_lead codec_lead(const struct pg_result *r)
{
	enum { EPOCH, POSITION, FENCE, OTHERS, FIRST, PAUSE, OUTBOX, SEQUENCE, NODE, DRAWN, SINCE };
	size_t n;

	return (struct codec_lead){
		.epoch = pg_int8(r, 0, EPOCH),
		.position = pg_int8(r, 0, POSITION),
		.fence = (uint64_t)pg_int8(r, 0, FENCE),
		.others_ms = rest_of_lease_ms(r, 0, OTHERS),
		.first = pg_int8(r, 0, FIRST) != 0,
		.pause = (uint64_t)pg_int8(r, 0, PAUSE),
		.books = { .epoch = pg_int8(r, 0, EPOCH),
			   .position = pg_int8(r, 0, POSITION),
			   .outbox = pg_int8(r, 0, OUTBOX),
			   .sequence = pg_int8(r, 0, SEQUENCE),
			   .node = pg_int8(r, 0, NODE),
			   .highest = pg_int8(r, 0, DRAWN) },
		.since = pg_bytes(r, 0, SINCE, &n),
	};
}

int64_t codec_since_us(const struct pg_result *r, int row, int column, int now, int64_t asked_us)
{
	int64_t age, since, latest = loop_now_us();

	/* Whoever inserted the row may have written anything there, infinity included. */
	if (pg_is_null(r, row, column) || __builtin_sub_overflow(pg_int8(r, row, now), pg_int8(r, row, column), &age) ||
	    __builtin_sub_overflow(asked_us, age, &since))
		return latest;
	return since < latest ? since : latest;
}

struct codec_backlog codec_backlog(const struct pg_result *r, int64_t asked_us)
{
	enum {
		POSITION,
		NEWEST,
		OLDEST,
		OLDEST_HELD,
		NOW,
		DEAD_LETTERS,
		HELD_LETTERS,
		HOLDER,
		LEADER,
		APPEARED,
		SINCE,
		HOT,
		UNCLOCKED
	};
	bool none = pg_is_null(r, 0, OLDEST), none_held = pg_is_null(r, 0, OLDEST_HELD);
	struct codec_backlog b = {
		.position = (int64_t)number_or_0(r, 0, POSITION),
		.newest = (int64_t)number_or_0(r, 0, NEWEST),
		.oldest_us = none ? INT64_MAX : codec_since_us(r, 0, OLDEST, NOW, asked_us),
		.held_us = none_held ? INT64_MAX : codec_since_us(r, 0, OLDEST_HELD, NOW, asked_us),
		.dead_letters = (int64_t)number_or_0(r, 0, DEAD_LETTERS),
		.held_letters = (int64_t)number_or_0(r, 0, HELD_LETTERS),
		.holder = (int64_t)number_or_0(r, 0, HOLDER),
		.appeared = (int64_t)number_or_0(r, 0, APPEARED),
		.unclocked = number_or_0(r, 0, UNCLOCKED),
		.appeared_us = pg_is_null(r, 0, SINCE) ? INT64_MAX : codec_since_us(r, 0, SINCE, NOW, asked_us),
	};
	size_t n;

	utf8_line(pg_is_null(r, 0, HOT) ? "" : pg_bytes(r, 0, HOT, &n), b.hot, sizeof b.hot);
	snprintf(b.leader, sizeof b.leader, "%s", pg_is_null(r, 0, LEADER) ? "?" : pg_bytes(r, 0, LEADER, &n));
	return b;
}
