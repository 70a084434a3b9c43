/* Reading the outbox: one statement, one snapshot.
 *
 *     horizon, evidence        (asked before, so that they are older than the snapshot of the rows:)
 *     rows above `after`  +  rows in the wanted ranges      one statement = one snapshot
 *
 * Where the core reads on in a kept snapshot, the first row above `after` that is not in it ends the answer: the column xid is the
 * (topmost) transaction that wrote the row, so of a row that we see pg_visible_in_snapshot() says whether we would have seen
 * it then. A number that is too high, of another cluster's rows, only ends it early.
 *
 * The read over the ring is a Merge Append of the slots' primary keys. Payloads are cut off on the server where they
 * would exceed the byte credit, and one that is too large to be sent never leaves it.
 *
 * The credit is kept in one of two ways. By shares: a row may take as much as every row may, and one that is larger ends what we take
 * of the answer. Or by a running sum: exact, but the window function makes a row half as dear again for the backend. Shares are for a
 * backlog of small rows; whoever waits for a single row is not to wait for a second question. */
#include "source.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "envelope.h"
#include "failpoint.h"
#include "hex.h"
#include "ledger.h"
#include "message.h"

enum { ROW_OVERHEAD_BYTES = 256, OVERSIZE_MARGIN_BYTES = 256 };

/* It is by shares behind so many answers in a row that were not all there was, with no row larger than its share. */
enum { EVEN_ANSWERS = 4 };

/* Columns of a row as they are fetched. */
enum {
	COL_ID,
	COL_LANE,
	COL_MESSAGE_ID,
	COL_SUBJECT,
	COL_HEADERS,
	COL_PAYLOAD,
	COL_FITS,
	COL_CREATED,
	COL_NOW,
	COL_KEY, /* only for events */
};

/* What COL_FITS says; NULL: the row is not in the kept snapshot. What is longer than anything that could be sent stays there. */
enum {
	FITS_NOT = 0, /* it is behind the byte credit: the answer ends before it */
	SUBJECT_TOO_LONG = 1,
	FITS = 2,
	HEADERS_TOO_LONG = 3,
	PAYLOAD_TOO_LONG = 4,
	KEY_TOO_LONG = 5,
};

/* $1 after, $2 rows, $3 bytes (of each row, or of all), $4 largest message, $5 the kept snapshot to read on in, or NULL;
 * $6, $7 wanted ranges. */
#define COLUMNS "id, key, message_id, subject, headers::pg_catalog.text AS headers, payload, created_at"
#define FORWARD                                                                                      \
	"(SELECT " COLUMNS ", coalesce(pg_catalog.pg_visible_in_snapshot(xid, $5), true) AS in_kept" \
	" FROM boxhaul.outbox WHERE id > $1 ORDER BY id LIMIT $2)"
#define WANTED                                                                                                            \
	"(SELECT o.* FROM ROWS FROM (pg_catalog.unnest($6::pg_catalog.int8[]), pg_catalog.unnest($7::pg_catalog.int8[]))" \
	" AS w (lo, hi), LATERAL (SELECT " COLUMNS ", true FROM boxhaul.outbox x WHERE x.id BETWEEN w.lo AND w.hi"        \
	" ORDER BY x.id LIMIT $2) o ORDER BY o.id LIMIT $2)"

/* Each is less than a GiB, so this is an integer of four bytes; and a sum of those is one of eight, not a numeric. */
#define BYTES "coalesce(pg_catalog.octet_length(payload), 0) + coalesce(pg_catalog.octet_length(headers), 0)"

#define SHAPE(from, within, order, key_fits, key)                                                                     \
	"SELECT id, pg_catalog.hashtextextended(key, 0), message_id, CASE WHEN fits > 1 THEN subject END,"            \
	" CASE WHEN fits = 2 THEN headers END, CASE WHEN fits = 2 THEN payload END, fits,"                            \
	" created_at, pg_catalog.statement_timestamp()" key                                                           \
	" FROM (SELECT *, CASE WHEN NOT in_kept THEN NULL WHEN NOT (" within ") THEN 0"                               \
	"  WHEN pg_catalog.octet_length(subject) > 4096 THEN 1 WHEN pg_catalog.octet_length(headers) > 49152 THEN 3"  \
	"  WHEN pg_catalog.octet_length(payload) > $4 THEN 4" key_fits " ELSE 2 END AS fits FROM (" from ") r " order \
	") r"                                                                                                         \
	" ORDER BY id LIMIT $2"

/* By shares. (OFFSET 0: so that `fits` is worked out once.) */
#define SHARED(from, ...) SHAPE(from, BYTES " <= $3::pg_catalog.int8", "ORDER BY id OFFSET 0", __VA_ARGS__)
/* By the running sum. The first row always fits, else nothing would ever move. */
#define SUMMED(from, ...)                                                                                        \
	SHAPE(from,                                                                                              \
	      "pg_catalog.row_number() OVER w = 1 OR"                                                            \
	      " pg_catalog.sum(" BYTES ") OVER w + 256 * pg_catalog.row_number() OVER w <= $3::pg_catalog.int8", \
	      "WINDOW w AS (ORDER BY id ROWS UNBOUNDED PRECEDING)", __VA_ARGS__)

/* What is above, and that with what is wanted. Only an event has its key. */
#define FETCHES(...)                                                                                          \
	{                                                                                                     \
		{ STATEMENT_FETCH, SHARED(FORWARD, __VA_ARGS__) },                                            \
			{ STATEMENT_FETCH_WANTED, SHARED(FORWARD " UNION ALL " WANTED, __VA_ARGS__) },        \
			{ STATEMENT_FETCH_SUMMED, SUMMED(FORWARD, __VA_ARGS__) },                             \
			{ STATEMENT_FETCH_WANTED_SUMMED, SUMMED(FORWARD " UNION ALL " WANTED, __VA_ARGS__) }, \
	}
static const struct pg_statement fetch[][4] = {
	[ENVELOPE_RAW] = FETCHES("", ""),
	[ENVELOPE_CLOUDEVENTS] =
		FETCHES(" WHEN pg_catalog.octet_length(key) > 49152 THEN 5", ", CASE WHEN fits = 2 THEN key END"),
};
static const struct pg_statement horizon = {
	STATEMENT_HORIZON,
	"SELECT pg_catalog.pg_snapshot_xmin(s), s::pg_catalog.text FROM pg_catalog.pg_current_snapshot() s"
};
static const struct pg_statement evidence = { STATEMENT_EVIDENCE, "SELECT boxhaul.outbox_xmin()" };

struct source {
	const struct config *config;
	struct source_handlers handlers;
	int64_t max_payload;
	bool pending;
	uint32_t limit;
	uint32_t share; /* of the byte credit of the fetch under way, for each row */
	unsigned even;  /* so many such answers in a row */
	uint64_t horizon;
	char *kept; /* the snapshot of the last horizon, as text; NULL = none */
	int64_t asked_ms, asked_us;
	struct row *rows;
	int *row_of; /* index of the result's row */
	size_t capacity;
	const struct pg_result *result; /* during the rows handler */
};

struct source *source_create(const struct config *config, const struct source_handlers *handlers)
{
	struct source *s = calloc(1, sizeof *s);

	if (s == NULL)
		return NULL;
	s->config = config;
	s->handlers = *handlers;
	s->capacity = config->delivery.queue_messages;
	s->rows = calloc(s->capacity, sizeof *s->rows);
	s->row_of = calloc(s->capacity, sizeof *s->row_of);
	if (s->rows == NULL || s->row_of == NULL) {
		source_free(s);
		return NULL;
	}
	return s;
}

void source_free(struct source *s)
{
	if (s == NULL)
		return;
	free(s->rows);
	free(s->row_of);
	free(s->kept);
	free(s);
}

void source_set_max_payload(struct source *s, int64_t max_payload)
{
	s->max_payload = max_payload;
}

static void keep(struct source *s, const char *snapshot)
{
	free(s->kept);
	s->kept = snapshot != NULL ? strdup(snapshot) : NULL;
}

void source_reset(struct source *s)
{
	s->pending = false;
	s->even = 0;
	keep(s, NULL);
}

/* Our own limit is for what the row brings; an envelope around it must still be within the server's. */
static bool server_takes(const struct source *s, int64_t wire_bytes)
{
	return s->max_payload <= 0 || wire_bytes <= s->max_payload - OVERSIZE_MARGIN_BYTES;
}

/* Payload and headers together; what we add to every message is in the margin. */
static int64_t largest(const struct source *s)
{
	int64_t most = s->config->max_message_bytes;

	if (s->max_payload > 0 && s->max_payload < most)
		most = s->max_payload;
	return most - OVERSIZE_MARGIN_BYTES;
}

/* --- the answer --- */

static uint16_t route(const struct source *s, const char *subject, enum reason *defect)
{
	for (size_t i = 0; i < s->config->stream_count; i++)
		for (size_t j = 0; j < s->config->streams[i].subject_count; j++)
			if (message_subject_matches(s->config->streams[i].subjects[j], subject))
				return (uint16_t)i;
	*defect = DEFECT_SUBJECT_UNROUTED;
	return 0;
}

static const char *text_or_null(const struct pg_result *r, int i, int column, size_t *bytes)
{
	const char *text = pg_bytes(r, i, column, bytes);

	return pg_is_null(r, i, column) ? NULL : text;
}

/* wire: how many bytes they are when they are sent, at most. (JSON is never shorter.) */
static enum reason check_headers(const struct pg_result *r, int i, size_t *bytes, size_t *wire)
{
	const char *text = text_or_null(r, i, COL_HEADERS, bytes);

	*wire = *bytes;
	return message_each_header(text, *bytes, NULL, NULL);
}

static enum reason check_event(const struct source *s, const struct pg_result *r, int i, size_t *bytes, size_t *wire)
{
	size_t n;
	struct envelope e = { .source = s->config->event_source,
			      .message_id = "00000000-0000-0000-0000-000000000000", /* any: they are all as long */
			      .subject = pg_bytes(r, i, COL_SUBJECT, &n),
			      .key = text_or_null(r, i, COL_KEY, &n),
			      .created_us = pg_int8(r, i, COL_CREATED),
			      .headers = text_or_null(r, i, COL_HEADERS, bytes) };
	enum reason defect;

	e.headers_bytes = *bytes;
	defect = envelope_measure(&e, wire);
	if (defect == REASON_NONE && *wire + OVERSIZE_MARGIN_BYTES > MESSAGE_WIRE_HEADERS_MAX_BYTES)
		defect = DEFECT_ENVELOPE_LONG;
	return defect;
}

static enum reason check_subject(const struct source *s, const struct pg_result *r, int i, uint16_t *stream)
{
	enum reason defect;
	const char *subject;
	size_t n;

	if (pg_int8(r, i, COL_FITS) == SUBJECT_TOO_LONG)
		return DEFECT_SUBJECT_LONG;
	if (pg_is_null(r, i, COL_SUBJECT))
		return DEFECT_SUBJECT_NULL;
	subject = pg_bytes(r, i, COL_SUBJECT, &n);
	defect = message_check_subject(subject, n);
	if (defect == REASON_NONE)
		*stream = route(s, subject, &defect);
	return defect;
}

static enum reason check_lengths(const struct pg_result *r, int i)
{
	switch (pg_int8(r, i, COL_FITS)) {
	case HEADERS_TOO_LONG: return DEFECT_HEADERS_LONG;
	case PAYLOAD_TOO_LONG: return DEFECT_MESSAGE_LONG;
	case KEY_TOO_LONG: return DEFECT_ENVELOPE_LONG;
	default: return REASON_NONE;
	}
}

static enum reason check_row(const struct source *s, const struct pg_result *r, int i, struct row *row)
{
	size_t payload_bytes, headers_bytes = 0, wire = 0;
	enum reason defect = check_subject(s, r, i, &row->stream);

	pg_bytes(r, i, COL_PAYLOAD, &payload_bytes);
	if (defect == REASON_NONE)
		defect = check_lengths(r, i);
	if (defect == REASON_NONE && pg_is_null(r, i, COL_MESSAGE_ID))
		defect = DEFECT_MESSAGE_ID_NULL;
	if (defect == REASON_NONE && pg_is_null(r, i, COL_PAYLOAD))
		defect = DEFECT_PAYLOAD_NULL;
	if (defect == REASON_NONE)
		defect = s->config->envelope == ENVELOPE_RAW ? check_headers(r, i, &headers_bytes, &wire)
							     : check_event(s, r, i, &headers_bytes, &wire);
	/* The server may take larger ones by now; but what was too large when it was asked for has stayed behind. */
	if (defect == REASON_NONE && ((int64_t)(payload_bytes + headers_bytes) > largest(s) ||
				      !server_takes(s, (int64_t)(payload_bytes + wire))))
		defect = DEFECT_MESSAGE_LONG;
	row->bytes = ROW_OVERHEAD_BYTES;
	if (defect == REASON_NONE)
		row->bytes += (uint32_t)(payload_bytes + wire);
	return defect;
}

static bool by_shares(const struct source *s)
{
	return s->even >= EVEN_ANSWERS;
}

static void on_rows(void *arg, const struct pg_result *r)
{
	struct source *s = arg;
	const char *error = FAILPOINT(rows_received) ? "failpoint" : pg_error(r);
	int n = error == NULL ? pg_rows(r) : 0;
	size_t count = 0;
	bool complete = (uint32_t)n < s->limit, beyond = false, larger = false;
	int64_t last = INT64_MIN;

	s->pending = false;
	if (error != NULL) {
		s->handlers.failed(s->handlers.arg, error, pg_sqlstate(r));
		return;
	}
	for (int i = 0; i < n && count < s->capacity; i++) {
		struct row *row = &s->rows[count];
		int64_t id = pg_int8(r, i, COL_ID);

		beyond = pg_is_null(r, i, COL_FITS);
		if (beyond || pg_int8(r, i, COL_FITS) == FITS_NOT) {
			larger |=
				!beyond; /* the next are summed: by shares nothing would ever move if it is the first */
			complete = false;
			break;
		}
		if (id == last) /* the last of a joined range can be above `after` too */
			continue;
		*row = (struct row){ .id = last = id, .keyed = !pg_is_null(r, i, COL_LANE) };
		if (row->keyed)
			row->lane = (uint64_t)pg_int8(r, i, COL_LANE);
		row->defect = (uint16_t)check_row(s, r, i, row);
		larger |= row->bytes > s->share;
		s->row_of[count++] = i;
	}
	s->even = complete || larger ? 0 : s->even + 1;
	s->result = r;
	s->handlers.rows(s->handlers.arg, (struct event){ .kind = EVENT_ROWS,
							  .rows = { .rows = s->rows,
								    .count = count,
								    .complete = complete,
								    .beyond = beyond,
								    .horizon = s->horizon,
								    .asked_ms = s->asked_ms } });
	s->result = NULL;
}

static void on_horizon(void *arg, const struct pg_result *r)
{
	struct source *s = arg;
	uint64_t x = pg_error(r) == NULL && pg_rows(r) == 1 ? (uint64_t)pg_int8(r, 0, 0) : 0;

	/* Both bounds are proofs: the higher one counts. */
	if (x > s->horizon)
		s->horizon = x;
}

static void on_snapshot(void *arg, const struct pg_result *r)
{
	struct source *s = arg;
	size_t n;

	on_horizon(s, r);
	if (pg_error(r) == NULL && pg_rows(r) == 1)
		keep(s, pg_bytes(r, 0, 1, &n));
}

/* --- the question --- */

static char *range_array(const struct effect *f, bool hi)
{
	char *text = NULL;
	size_t bytes = 0;
	FILE *out = open_memstream(&text, &bytes);

	if (out == NULL)
		return NULL;
	fputc('{', out);
	for (size_t i = 0; i < f->fetch.wanted_count; i++)
		fprintf(out, "%s%" PRId64, i > 0 ? "," : "", hi ? f->fetch.wanted[i].hi : f->fetch.wanted[i].lo);
	fputc('}', out);
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

bool source_fetch(struct source *s, struct pg *pg, const struct effect *f)
{
	char after[24], rows[16], bytes[24], most[24];
	char *lo = range_array(f, false), *hi = range_array(f, true);
	/* None is kept though one was asked for: nothing was seen then. */
	const char *kept = !f->fetch.kept ? NULL : s->kept != NULL ? s->kept : "1:1:";
	struct pg_parameter p[7] = { { .value = after }, { .value = rows }, { .value = bytes }, { .value = most },
				     { .value = kept },  { .value = lo },   { .value = hi } };
	const struct pg_statement *question = fetch[s->config->envelope] + (by_shares(s) ? 0 : 2);
	bool ok = lo != NULL && hi != NULL;

	s->limit = f->fetch.rows < s->capacity ? f->fetch.rows : (uint32_t)s->capacity;
	s->share = f->fetch.bytes / s->limit;
	s->horizon = 0;
	s->asked_ms = loop_now_ms();
	s->asked_us = loop_now_us();
	snprintf(after, sizeof after, "%" PRId64, f->fetch.forward ? f->fetch.after : INT64_MAX);
	snprintf(rows, sizeof rows, "%" PRIu32, s->limit);
	snprintf(bytes, sizeof bytes, "%" PRId64,
		 by_shares(s) ? (int64_t)s->share - ROW_OVERHEAD_BYTES : (int64_t)f->fetch.bytes);
	snprintf(most, sizeof most, "%" PRId64, largest(s));
	/* Before the rows: then whatever lies below the horizon had ended before the rows' snapshot was taken. */
	if (ok && f->fetch.horizon) {
		keep(s, NULL);
		ok = pg_send(pg, &horizon, NULL, 0, on_snapshot, s);
	}
	if (ok && f->fetch.evidence)
		ok = pg_send(pg, &evidence, NULL, 0, on_horizon, s);
	if (ok && f->fetch.wanted_count > 0)
		ok = pg_send(pg, &question[1], p, 7, on_rows, s);
	else if (ok)
		ok = pg_send(pg, &question[0], p, 5, on_rows, s);
	s->pending = ok;
	free(lo);
	free(hi);
	return ok;
}

/* --- parcels --- */

static const char *copy(char **to, const char *from, size_t n)
{
	const char *at = *to;

	memcpy(*to, from, n);
	(*to)[n] = '\0';
	*to += n + 1;
	return at;
}

/* What stands around it as an event. */
static void address(struct parcel *parcel, const struct config *config, const struct pg_result *r, int i, char **at)
{
	size_t key_bytes;
	const char *key = text_or_null(r, i, COL_KEY, &key_bytes);

	parcel->source = copy(at, config->event_source, strlen(config->event_source));
	parcel->key = key != NULL ? copy(at, key, key_bytes) : NULL;
	parcel->created_us = pg_int8(r, i, COL_CREATED);
}

static size_t address_bytes(const struct source *s, const struct pg_result *r, int i)
{
	size_t key_bytes;

	if (s->config->envelope == ENVELOPE_RAW)
		return 0;
	pg_bytes(r, i, COL_KEY, &key_bytes);
	return strlen(s->config->event_source) + key_bytes + 2;
}

struct parcel *source_parcel(struct source *s, size_t index)
{
	const struct pg_result *r = s->result;
	int i = s->row_of[index];
	size_t subject_bytes, headers_bytes, payload_bytes, id_bytes;
	const char *subject = pg_bytes(r, i, COL_SUBJECT, &subject_bytes);
	const char *headers = pg_bytes(r, i, COL_HEADERS, &headers_bytes);
	const char *payload = pg_bytes(r, i, COL_PAYLOAD, &payload_bytes);
	const char *id = pg_bytes(r, i, COL_MESSAGE_ID, &id_bytes);
	struct parcel *parcel =
		malloc(sizeof *parcel + subject_bytes + headers_bytes + payload_bytes + 3 + address_bytes(s, r, i));
	char *at;

	if (parcel == NULL)
		return NULL;
	at = (char *)(parcel + 1);
	*parcel = (struct parcel){ .id = s->rows[index].id,
				   .stream = s->rows[index].stream,
				   .headers_bytes = headers_bytes,
				   .payload_bytes = payload_bytes,
				   .wire_bytes = s->rows[index].bytes - ROW_OVERHEAD_BYTES,
				   .born_us = ledger_since_us(r, i, COL_CREATED, COL_NOW, s->asked_us),
				   .read_ms = loop_now_ms() };
	parcel->subject = copy(&at, subject, subject_bytes);
	parcel->headers = copy(&at, headers, headers_bytes);
	parcel->payload = copy(&at, payload, payload_bytes);
	if (pg_is_null(r, i, COL_HEADERS))
		parcel->headers = NULL;
	if (s->config->envelope != ENVELOPE_RAW)
		address(parcel, s->config, r, i, &at);
	if (id_bytes == UUID_BYTES)
		uuid_write(parcel->message_id, (const unsigned char *)id);
	return parcel;
}
