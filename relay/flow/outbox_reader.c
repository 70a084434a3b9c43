/* Reading the outbox: one statement, one snapshot.
 *
 *     horizon, evidence        (asked before, so that they are older than the snapshot of the rows:)
 *     the books (books_look.h)  +  rows above `after`  +  rows in the wanted ranges      one statement = one snapshot
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
#include "flow/outbox_reader.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/failpoint.h"
#include "base/hex.h"
#include "books/arrays.h"
#include "books/codec.h"
#include "books/ledger.h"
#include "flow/books_look.h"
#include "flow/careful.h"
#include "flow/row_check.h"
#include "format/envelope.h"
#include "format/message.h"

/* It is by shares behind so many answers in a row that were not all there was, with no row larger than its share. */
enum { EVEN_ANSWERS = 4 };

/* $1 after, $2 rows, $3 bytes (of each row, or of all), $4 largest message, $5 the kept snapshot to read on in, or NULL;
 * $6 whether they are sent as events, of which the key is a part; from $7 on what the books are held against; $15, $16 wanted ranges.
 * Headers of ours come with those of the row. */
enum { OF_ROWS = BOOKS_LOOK_FIRST - 1, OF_WANTED = 2, OF_ALL = OF_ROWS + BOOKS_LOOK_PARAMETERS + OF_WANTED };

#define COLUMNS                                                                                                \
	"id, key, message_id, subject, (CASE WHEN boxhaul_headers IS NULL THEN headers ELSE"                   \
	" pg_catalog.jsonb_concat(coalesce(headers, '{}'), boxhaul_headers) END)::pg_catalog.text AS headers," \
	" payload, created_at, xid"
#define FORWARD                                                                                      \
	"(SELECT " COLUMNS ", coalesce(pg_catalog.pg_visible_in_snapshot(xid, $5), true) AS in_kept" \
	" FROM boxhaul.outbox WHERE id > $1 ORDER BY id LIMIT $2)"
#define WANTED                                                                                                              \
	"(SELECT o.* FROM ROWS FROM (pg_catalog.unnest($15::pg_catalog.int8[]), pg_catalog.unnest($16::pg_catalog.int8[]))" \
	" AS w (lo, hi), LATERAL (SELECT " COLUMNS ", true FROM boxhaul.outbox x WHERE x.id BETWEEN w.lo AND w.hi"          \
	" ORDER BY x.id LIMIT $2) o ORDER BY o.id LIMIT $2)"

/* Each is less than a GiB, so this is an integer of four bytes; and a sum of those is one of eight, not a numeric. */
#define BYTES "coalesce(pg_catalog.octet_length(payload), 0) + coalesce(pg_catalog.octet_length(headers), 0)"

/* The rows `from`, as far as they are `within` the credit. */
#define FITTING(from, within, order)                                                                                                    \
	"SELECT id, pg_catalog.hashtextextended(key, 0), message_id, CASE WHEN fits > 1 THEN subject END,"                              \
	" CASE WHEN fits = 2 THEN headers END, CASE WHEN fits = 2 THEN payload END, fits,"                                              \
	" created_at, pg_catalog.statement_timestamp(), CASE WHEN fits = 2 AND pg_catalog.octet_length(key) <= 65000 THEN key END, xid" \
	" FROM (SELECT *, CASE WHEN NOT in_kept THEN NULL WHEN NOT (" within ") THEN 0"                                                 \
	"  WHEN pg_catalog.octet_length(subject) > 4096 THEN 1 WHEN pg_catalog.octet_length(headers) > 49152 THEN 3"                    \
	"  WHEN pg_catalog.octet_length(payload) > $4 THEN 4"                                                                           \
	"  WHEN $6::pg_catalog.bool AND pg_catalog.octet_length(key) > 49152 THEN 5 ELSE 2 END AS fits"                                 \
	"  FROM (" from ") r " order ") r"                                                                                              \
	" ORDER BY id LIMIT $2"

#define FETCH(from, within, order) BOOKS_LOOK(FITTING(from, within, order), "")

/* By shares. (OFFSET 0: so that `fits` is worked out once.) */
#define SHARED(from) FETCH(from, BYTES " <= $3::pg_catalog.int8", "ORDER BY id OFFSET 0")
/* By the running sum. The first row always fits, else nothing would ever move. */
#define SUMMED(from)                                                                                             \
	FETCH(from,                                                                                              \
	      "pg_catalog.row_number() OVER w = 1 OR"                                                            \
	      " pg_catalog.sum(" BYTES ") OVER w + 256 * pg_catalog.row_number() OVER w <= $3::pg_catalog.int8", \
	      "WINDOW w AS (ORDER BY id ROWS UNBOUNDED PRECEDING)")

/* What is above, and that with what is wanted. The second asked with no ranges would answer the same as the first, but getting its
 * plan ready makes a poll that finds nothing half as dear again for the backend: 70 us, not 47. */
static const struct pg_statement fetch[] = {
	{ STATEMENT_FETCH, SHARED(FORWARD) },
	{ STATEMENT_FETCH_WANTED, SHARED(FORWARD " UNION ALL " WANTED) },
	{ STATEMENT_FETCH_SUMMED, SUMMED(FORWARD) },
	{ STATEMENT_FETCH_WANTED_SUMMED, SUMMED(FORWARD " UNION ALL " WANTED) },
};
static const struct pg_statement horizon = {
	STATEMENT_HORIZON,
	"SELECT pg_catalog.pg_snapshot_xmin(s), s::pg_catalog.text FROM pg_catalog.pg_current_snapshot() s"
};
static const struct pg_statement evidence = { STATEMENT_EVIDENCE, "SELECT boxhaul.outbox_xmin()" };

struct outbox_reader {
	struct pg *pg;
	const struct config *config;
	struct outbox_reader_handlers handlers;
	struct row_limits limits;
	bool pending;
	uint32_t limit;
	uint32_t share; /* of the byte credit of the fetch under way, for each row */
	unsigned even;  /* so many such answers in a row */
	struct careful careful;
	uint64_t horizon;
	char *kept;    /* the snapshot of the last horizon, as text; NULL = none */
	char *seen;    /* the snapshot of the last answer; NULL = none in this session */
	bool reads_on; /* the fetch under way is answered as of the one that is kept */
	int64_t asked_ms, asked_us;
	struct row *rows;
	int *row_of;      /* index of the result's row */
	uint32_t *key_of; /* bytes of the key as a header; KEY_STAYS: none goes along */
	size_t capacity;
	const struct pg_result *result; /* during the rows handler */
	uint64_t xmin;                  /* of the snapshot that its rows were read in */
};

struct outbox_reader *outbox_reader_create(struct pg *pg, const struct config *config,
					   const struct outbox_reader_handlers *handlers)
{
	struct outbox_reader *s = calloc(1, sizeof *s);

	if (s == NULL)
		return NULL;
	s->pg = pg;
	s->config = s->limits.config = config;
	s->handlers = *handlers;
	s->capacity = config->delivery.queue_messages;
	s->rows = calloc(s->capacity, sizeof *s->rows);
	s->row_of = calloc(s->capacity, sizeof *s->row_of);
	s->key_of = calloc(s->capacity, sizeof *s->key_of);
	if (s->rows == NULL || s->row_of == NULL || s->key_of == NULL) {
		outbox_reader_free(s);
		return NULL;
	}
	return s;
}

void outbox_reader_free(struct outbox_reader *s)
{
	if (s == NULL)
		return;
	free(s->rows);
	free(s->row_of);
	free(s->key_of);
	free(s->kept);
	free(s->seen);
	free(s);
}

void outbox_reader_set_max_payload(struct outbox_reader *s, int64_t max_payload)
{
	s->limits.max_payload = max_payload;
}

static void keep(char **to, const char *snapshot)
{
	free(*to);
	*to = snapshot != NULL ? strdup(snapshot) : NULL;
}

void outbox_reader_reset(struct outbox_reader *s)
{
	s->pending = false;
	s->even = 0;
	s->careful = (struct careful){ .left = 0 };
	keep(&s->kept, NULL);
	keep(&s->seen, NULL);
}

/* --- the answer --- */

static bool by_shares(const struct outbox_reader *s)
{
	return s->even >= EVEN_ANSWERS;
}

/* A row that cannot be read; false: it may be another time, so the whole is read again then, and that has been told. */
static bool give_up(struct outbox_reader *s, const struct pg_result *r, int i, int64_t id)
{
	size_t n;
	const char *why = pg_bytes(r, i, COL_WHY, &n), *words = strchr(why, ' ');
	char sqlstate[8];

	words = words != NULL ? words + 1 : why;
	snprintf(sqlstate, sizeof sqlstate, "%.5s", why);
	if (careful_gives_up(&s->careful, id, sqlstate)) {
		s->handlers.unreadable(s->handlers.arg, id, words);
		return true;
	}
	s->handlers.failed(s->handlers.arg, words, sqlstate);
	return false;
}

/* It is told, and nothing of the answer is taken. */
static void refuse(struct outbox_reader *s, const char *why, const char *sqlstate)
{
	s->handlers.failed(s->handlers.arg, why, sqlstate);
}

/* Two rows of one id, which was drawn again: the row that comes behind would never be read. (The last of a joined range can be above
 * `after` too: that is one row, twice.) */
static bool is_another(const struct pg_result *r, int i, int before)
{
	size_t n, m;
	const char *one = pg_bytes(r, i, COL_MESSAGE_ID, &n), *other = pg_bytes(r, before, COL_MESSAGE_ID, &m);

	return n != m || memcmp(one, other, n) != 0;
}

/* What came of an answer. */
struct taken {
	size_t count;
	bool complete, beyond, larger, bad;
};

/* False: nothing is to be taken of it, and that has been told. */
static bool take_row(struct outbox_reader *s, const struct pg_result *r, int i, int64_t id, struct taken *t)
{
	struct row *row = &s->rows[t->count];

	*row = (struct row){ .id = id, .keyed = !pg_is_null(r, i, COL_LANE) };
	if (row->keyed)
		row->lane = (uint64_t)pg_int8(r, i, COL_LANE);
	if (!pg_is_null(r, i, COL_XID))
		row->xid = (uint64_t)pg_int8(r, i, COL_XID);
	row->defect = (uint16_t)row_check(&s->limits, r, i, row, &s->key_of[t->count]);
	if (row->defect == REASON_NO_MEMORY) { /* no verdict: the whole is read again, a little later */
		refuse(s, refusal_text(REASON_NO_MEMORY), "");
		return false;
	}
	if (row->defect == DEFECT_UNREADABLE) {
		t->bad = true;
		if (!give_up(s, r, i, id))
			return false;
	}
	t->larger |= row->bytes > s->share;
	s->row_of[t->count++] = i;
	return true;
}

/* The rows behind the first, which says how the books are. */
static bool take_rows(struct outbox_reader *s, const struct pg_result *r, struct taken *t)
{
	int n = pg_rows(r);
	char why[96];

	t->complete = (uint32_t)n <= s->limit;
	for (int i = 1; i < n && t->count < s->capacity; i++) {
		int64_t id = pg_int8(r, i, COL_ID);

		t->beyond = pg_is_null(r, i, COL_FITS);
		if (t->beyond || pg_int8(r, i, COL_FITS) == FITS_NOT) {
			/* the next are summed: by shares nothing would ever move if it is the first */
			t->larger |= !t->beyond;
			t->complete = false;
			break;
		}
		if (t->count > 0 && s->rows[t->count - 1].id == id) {
			if (!is_another(r, i, s->row_of[t->count - 1]))
				continue;
			snprintf(why, sizeof why, "two rows have the id %" PRId64, id);
			s->handlers.books_differ(s->handlers.arg, why);
			return false;
		}
		if (!take_row(s, r, i, id, t))
			return false;
	}
	return true;
}

/* Of a snapshot as text, xmin:xmax:...; every xid below it had ended before. 0 = there is none, and nothing is known. */
static uint64_t xmin_of(const char *snapshot)
{
	return snapshot != NULL ? strtoull(snapshot, NULL, 10) : 0;
}

static void tell_rows(struct outbox_reader *s, const struct pg_result *r, const struct taken *t)
{
	careful_answered(&s->careful, t->bad, t->complete);
	s->even = t->complete || t->larger ? 0 : s->even + 1;
	s->result = r;
	s->xmin = xmin_of(s->reads_on ? s->kept : s->seen);
	s->handlers.rows(s->handlers.arg, (struct event){ .kind = EVENT_ROWS,
							  .rows = { .rows = s->rows,
								    .count = t->count,
								    .complete = t->complete,
								    .beyond = t->beyond,
								    .horizon = s->horizon,
								    .asked_ms = s->asked_ms } });
	s->result = NULL;
}

/* The snapshot is kept with the rows that are taken, and only then: the next fetch looks for what has come since those. */
static void on_rows(void *arg, const struct pg_result *r)
{
	struct outbox_reader *s = arg;
	const char *error = FAILPOINT(rows_received) ? "failpoint" : pg_error(r);
	struct taken t = { .count = 0 };
	char why[160], *seen;

	s->pending = false;
	if (error != NULL) {
		careful_failed(&s->careful, pg_sqlstate(r));
		refuse(s, error, pg_sqlstate(r));
		return;
	}
	if (pg_rows(r) == 0) {
		refuse(s, "an answer without its first row", "");
		return;
	}
	if (books_look_differs(r, s->handlers.is_missing, s->handlers.arg, why, sizeof why)) {
		s->handlers.books_differ(s->handlers.arg, why);
		return;
	}
	seen = strdup(books_look_snapshot(r));
	if (seen == NULL) {
		refuse(s, refusal_text(REASON_NO_MEMORY), "");
	} else if (take_rows(s, r, &t)) {
		free(s->seen);
		s->seen = seen;
		tell_rows(s, r, &t);
	} else {
		free(seen);
	}
}

static void on_horizon(void *arg, const struct pg_result *r)
{
	struct outbox_reader *s = arg;
	uint64_t x = pg_error(r) == NULL && pg_rows(r) == 1 ? (uint64_t)pg_int8(r, 0, 0) : 0;

	/* Both bounds are proofs: the higher one counts. */
	if (x > s->horizon)
		s->horizon = x;
}

static void on_snapshot(void *arg, const struct pg_result *r)
{
	struct outbox_reader *s = arg;
	size_t n;

	on_horizon(s, r);
	if (pg_error(r) == NULL && pg_rows(r) == 1)
		keep(&s->kept, pg_bytes(r, 0, 1, &n));
}

/* --- the question --- */

bool outbox_reader_fetch(struct outbox_reader *s, const struct effect *f, const struct codec_books *books,
			 const char *since)
{
	char after[24], rows[16], bytes[24], most[24];
	const int64_t none = 0, *first = f->fetch.wanted_count > 0 ? &f->fetch.wanted[0].lo : &none;
	size_t step = sizeof(struct id_range) / sizeof(int64_t);
	char *lo = array_of_int8(first, f->fetch.wanted_count, step);
	char *hi = array_of_int8(first + 1, f->fetch.wanted_count, step);
	/* None is kept though one was asked for: nothing was seen then. */
	const char *kept = !f->fetch.kept ? NULL : s->kept != NULL ? s->kept : "1:1:";
	const char *keys = s->config->envelope == ENVELOPE_RAW ? "f" : "t";
	const char *p[OF_ALL] = { after, rows, bytes, most, kept, keys };
	struct books_look look;
	const struct pg_statement *question = by_shares(s) ? &fetch[0] : &fetch[2];
	bool ok = lo != NULL && hi != NULL, careful = s->careful.left > 0;

	s->limit = f->fetch.rows < s->capacity ? f->fetch.rows : (uint32_t)s->capacity;
	if (careful && s->limit > CAREFUL_ROWS)
		s->limit = CAREFUL_ROWS;
	s->share = f->fetch.bytes / s->limit;
	s->horizon = 0;
	s->reads_on = f->fetch.kept;
	s->asked_ms = loop_now_ms();
	s->asked_us = loop_now_us();
	snprintf(after, sizeof after, "%" PRId64, f->fetch.forward ? f->fetch.after : INT64_MAX);
	snprintf(rows, sizeof rows, "%" PRIu32, s->limit);
	snprintf(bytes, sizeof bytes, "%" PRId64,
		 by_shares(s) ? (int64_t)s->share - ROW_OVERHEAD_BYTES : (int64_t)f->fetch.bytes);
	snprintf(most, sizeof most, "%" PRId64, row_largest(&s->limits));
	books_look_ask(&look, books, f->fetch.after, s->seen != NULL ? s->seen : since, p + OF_ROWS);
	p[OF_ALL - OF_WANTED] = lo;
	p[OF_ALL - 1] = hi;
	/* Before the rows: then whatever lies below the horizon had ended before the rows' snapshot was taken. */
	if (ok && f->fetch.horizon) {
		keep(&s->kept, NULL);
		ok = pg_send(s->pg, &horizon, NULL, 0, on_snapshot, s);
	}
	if (ok && f->fetch.evidence)
		ok = pg_send(s->pg, &evidence, NULL, 0, on_horizon, s);
	if (ok && careful)
		ok = pg_send(s->pg, &careful_fetch, p, OF_ALL, on_rows, s);
	else if (ok && f->fetch.wanted_count > 0)
		ok = pg_send(s->pg, &question[1], p, OF_ALL, on_rows, s);
	else if (ok)
		ok = pg_send(s->pg, &question[0], p, OF_ALL - OF_WANTED, on_rows, s);
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

/* What it is as an event, beside its row's own. */
static void copy_event(struct parcel *parcel, const struct config *config, const struct pg_result *r, int i, char **at)
{
	size_t key_bytes = 0;
	const char *key = pg_is_null(r, i, COL_KEY) ? NULL : pg_bytes(r, i, COL_KEY, &key_bytes);

	parcel->source = copy(at, config->event_source, strlen(config->event_source));
	parcel->key = key != NULL ? copy(at, key, key_bytes) : NULL;
	parcel->created_us = pg_int8(r, i, COL_CREATED);
}

/* So many bytes copy_event() takes. */
static size_t event_bytes(const struct outbox_reader *s, const struct pg_result *r, int i)
{
	size_t key_bytes;

	if (s->config->envelope == ENVELOPE_RAW)
		return 0;
	pg_bytes(r, i, COL_KEY, &key_bytes);
	return strlen(s->config->event_source) + key_bytes + 2;
}

/* The key as a header; NULL: it has none, or goes without. */
static const char *copy_key(const struct outbox_reader *s, size_t index, char **at)
{
	const char *header = *at;
	size_t n;

	if (s->key_of[index] == KEY_STAYS)
		return NULL;
	*at += envelope_encode(pg_bytes(s->result, s->row_of[index], COL_KEY, &n), *at) + 1;
	return header;
}

struct parcel *outbox_reader_parcel(struct outbox_reader *s, size_t index)
{
	const struct pg_result *r = s->result;
	int i = s->row_of[index];
	size_t subject_bytes, headers_bytes, payload_bytes, id_bytes;
	const char *subject = pg_bytes(r, i, COL_SUBJECT, &subject_bytes);
	const char *headers = pg_bytes(r, i, COL_HEADERS, &headers_bytes);
	const char *payload = pg_bytes(r, i, COL_PAYLOAD, &payload_bytes);
	const char *id = pg_bytes(r, i, COL_MESSAGE_ID, &id_bytes);
	size_t key_bytes = s->key_of[index] != KEY_STAYS ? s->key_of[index] + 1 : 0;
	struct parcel *parcel = malloc(sizeof *parcel + subject_bytes + headers_bytes + payload_bytes + 3 + key_bytes +
				       event_bytes(s, r, i));
	char *at;

	if (parcel == NULL)
		return NULL;
	at = (char *)(parcel + 1);
	*parcel = (struct parcel){ .id = s->rows[index].id,
				   .xid = s->rows[index].xid,
				   .xmin = s->xmin,
				   .stream = s->rows[index].stream,
				   .headers_bytes = headers_bytes,
				   .payload_bytes = payload_bytes,
				   .wire_bytes = s->rows[index].bytes - ROW_OVERHEAD_BYTES,
				   .born_us = codec_since_us(r, i, COL_CREATED, COL_NOW, s->asked_us),
				   .read_ms = loop_now_ms() };
	parcel->subject = copy(&at, subject, subject_bytes);
	parcel->headers = copy(&at, headers, headers_bytes);
	parcel->payload = copy(&at, payload, payload_bytes);
	if (pg_is_null(r, i, COL_HEADERS))
		parcel->headers = NULL;
	parcel->key_header = copy_key(s, index, &at);
	parcel->keyless = s->rows[index].keyed && parcel->key_header == NULL;
	if (s->config->envelope != ENVELOPE_RAW)
		copy_event(parcel, s->config, r, i, &at);
	if (id_bytes == UUID_BYTES)
		uuid_write(parcel->message_id, (const unsigned char *)id);
	return parcel;
}
