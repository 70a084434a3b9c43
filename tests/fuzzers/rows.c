/* Any values as rows of the outbox, cut as the query cuts them, behind a first row that says anything of the books. Of books that differ
 * no row comes through, nor where a row has come that nobody misses. Every row comes through once, in order; one without a
 * defect can be sent as it is, all of it, or is held because no stream takes its subject; one with a defect is not sent. */
#include "edge/pg.c"
#include "flow/careful.c"
#include "flow/outbox_reader.c"
#include "flow/row_check.c"

#include "answer.h"

enum { ROWS = 4, LARGEST = 900 };

struct given {
	int64_t id;
	bool fits, is_beyond, has_id, is_cut;
	char *subject, *headers, *payload, *key;
	size_t subject_bytes, headers_bytes, payload_bytes, key_bytes;
};

static struct given given[ROWS];
static int rows_given;
static struct {
	char *differ, *late; /* NULL and "": these are the books that were read */
	bool are_told;       /* that they are not */
	bool twice;          /* two rows have the same id, and are not the same */
} books;
static const int64_t missing = 7;
static struct outbox_reader *reader;

enum {
	NO_SUBJECT = 1,
	NO_HEADERS = 2,
	NO_PAYLOAD = 4,
	NO_KEY = 8,
	NO_ID = 16,
	NO_ROOM = 32,
	SAME_ID = 64,
	BEYOND = 128
};

/* As the server sends an int8. */
static void set_number(PGresult *r, int row, int column, int64_t value)
{
	unsigned char bytes[8];

	for (int i = 0; i < 8; i++)
		bytes[i] = (unsigned char)((uint64_t)value >> (56 - 8 * i));
	set(r, row, column, bytes, sizeof bytes);
}

/* What the query says of a row of which it is known whether it is in the kept snapshot and whether there is room. */
static int fits_of(const struct given *g, size_t most)
{
	if (!g->fits)
		return FITS_NOT;
	if (g->subject_bytes > 4096)
		return SUBJECT_TOO_LONG;
	if (g->headers_bytes > 49152)
		return HEADERS_TOO_LONG;
	return g->payload_bytes > most ? PAYLOAD_TOO_LONG : FITS;
}

static char *take(struct input *in, bool null, size_t *bytes)
{
	char *text = take_text(in, '\0', bytes);

	if (null) {
		free(text);
		*bytes = 0;
		return NULL;
	}
	return text;
}

static void set_row(PGresult *r, struct input *in, int row, int64_t most)
{
	struct given *g = &given[row];
	unsigned bits = take_byte(in);
	int fits;

	g->is_beyond = (bits & BEYOND) != 0; /* not in the kept snapshot */
	g->fits = !g->is_beyond && (bits & NO_ROOM) == 0;
	g->has_id = (bits & NO_ID) == 0;
	g->subject = take(in, bits & NO_SUBJECT, &g->subject_bytes);
	g->headers = take(in, bits & NO_HEADERS, &g->headers_bytes);
	g->payload = take(in, bits & NO_PAYLOAD, &g->payload_bytes);
	g->key = take(in, bits & NO_KEY, &g->key_bytes);
	g->id = 100 + row - ((bits & SAME_ID) != 0 && row > 0);
	for (int i = 0; i < row; i++)
		books.twice |= given[i].id == g->id && given[i].has_id != g->has_id;
	set_number(r, row + 1, COL_ID, g->id);
	if ((bits & NO_KEY) != 0)
		set(r, row + 1, COL_LANE, NULL, 0);
	else
		set_number(r, row + 1, COL_LANE, -row);
	fits = fits_of(g, (size_t)most);
	g->is_cut = fits != FITS;
	set(r, row + 1, COL_MESSAGE_ID, g->has_id ? "0123456789abcdef" : NULL, 16);
	set(r, row + 1, COL_SUBJECT, fits > SUBJECT_TOO_LONG ? g->subject : NULL, g->subject_bytes);
	set(r, row + 1, COL_HEADERS, fits == FITS ? g->headers : NULL, g->headers_bytes);
	set(r, row + 1, COL_PAYLOAD, fits == FITS ? g->payload : NULL, g->payload_bytes);
	set(r, row + 1, COL_KEY, fits == FITS && g->key_bytes <= 65000 ? g->key : NULL, g->key_bytes);
	set(r, row + 1, COL_FITS, g->is_beyond ? NULL : (unsigned char[]){ 0, 0, 0, (unsigned char)fits }, 4);
}

/* The first row of the answer: texts that end in a zero byte. */
static void set_books(PGresult *r, struct input *in)
{
	unsigned bits = take_byte(in);
	size_t n, m;

	books.differ = take(in, (bits & 3) != 3, &n);
	books.late = (bits & 4) != 0 ? take_text(in, '\0', &m) : strdup("7");
	m = strlen(books.late);
	books.are_told = books.twice = false;
	set_number(r, 0, COL_ID, INT64_MIN);
	set(r, 0, COL_SUBJECT, books.differ, n);
	set(r, 0, COL_HEADERS, books.late, m);
	set(r, 0, COL_FITS, NULL, 0);
	set(r, 0, COL_KEY, "1:1:", 4);
}

/* Is an id among them that nobody misses, or something that is no id at all? */
static bool has_late(const char *ids)
{
	while (*ids != '\0') {
		char *end;

		if (strtoll(ids, &end, 10) != missing || end == ids)
			return true;
		ids = *end != '\0' ? end + 1 : end;
	}
	return false;
}

static void on_books_differ(void *arg, const char *why)
{
	(void)arg;
	promise(books.differ != NULL || has_late(books.late) || books.twice, "they do not differ: %s", why);
	books.are_told = true;
}

static bool is_missing(void *arg, int64_t id)
{
	(void)arg;
	return id == missing;
}

/* Is it a subject at all, but none that a stream takes? It waits for another configuration, whatever else is wrong with it. */
static bool is_unrouted(const struct given *g)
{
	return message_check_subject(g->subject, g->subject_bytes) == REASON_NONE &&
	       !message_subject_matches("orders.>", g->subject) && !message_subject_matches("rest.*", g->subject);
}

/* Can it be sent, where it is not held? Nothing else is a reason for a dead letter. */
static bool is_good(const struct given *g)
{
	return g->has_id && g->payload != NULL && !g->is_cut &&
	       message_check_subject(g->subject, g->subject_bytes) == REASON_NONE &&
	       message_each_header(g->headers, g->headers_bytes, NULL, NULL) == REASON_NONE &&
	       (int64_t)(g->payload_bytes + g->headers_bytes) <= row_largest(&reader->limits);
}

/* It goes along, as a header may hold it, if that still fits; and goes without only then, and says so. */
static void check_key_header(const struct row *row, const struct given *g, const struct parcel *p)
{
	size_t bytes = g->key != NULL ? envelope_encode(g->key, NULL) : 0;
	bool fits = (int64_t)(g->payload_bytes + g->headers_bytes + bytes) <= row_largest(&reader->limits);

	promise((p->key_header != NULL) == (g->key != NULL && fits), "a key of %zu bytes", bytes);
	promise(p->keyless == (g->key != NULL && !fits), "keyless %d", p->keyless);
	if (p->key_header == NULL)
		return;
	promise(strlen(p->key_header) == bytes && strpbrk(p->key_header, "\r\n") == NULL, "the key %s", p->key_header);
	promise(row->bytes >= ROW_OVERHEAD_BYTES + p->payload_bytes + bytes, "%u bytes of memory", row->bytes);
}

static void check_sendable(const struct row *row, const struct given *g, const struct parcel *p)
{
	const char *pattern = reader->config->streams[row->stream].subjects[0];

	promise(message_check_subject(p->subject, strlen(p->subject)) == REASON_NONE, "the subject %s", p->subject);
	promise(message_subject_matches(pattern, p->subject), "%s is sent to %s", p->subject, pattern);
	promise(strlen(p->subject) == g->subject_bytes && strcmp(p->subject, g->subject) == 0, "another subject");
	promise((p->headers == NULL) == (g->headers == NULL) && p->headers_bytes == g->headers_bytes, "headers");
	promise(message_each_header(p->headers, p->headers_bytes, NULL, NULL) == REASON_NONE, "the headers %s",
		p->headers);
	promise(g->payload != NULL && p->payload_bytes == g->payload_bytes &&
			memcmp(p->payload, g->payload, g->payload_bytes) == 0,
		"a payload of %zu bytes, sent with %zu", g->payload_bytes, p->payload_bytes);
	promise(p->payload_bytes + p->headers_bytes <= LARGEST, "too large");
	check_key_header(row, g, p);
	promise(strcmp(p->message_id, "30313233-3435-3637-3839-616263646566") == 0, "the id %s", p->message_id);
}

static void on_rows_read(void *arg, struct event ev)
{
	const struct row *rows = ev.rows.rows;
	int64_t last = 0;
	int first = 0; /* that does not come through */

	(void)arg;
	promise(books.differ == NULL && !has_late(books.late) && !books.are_told, "rows of books that differ");
	while (first < rows_given && given[first].fits)
		first++;
	promise(first == rows_given || !ev.rows.complete, "what had no room is forgotten");
	promise(ev.rows.beyond == (first < rows_given && given[first].is_beyond), "beyond %d", ev.rows.beyond);
	for (size_t i = 0; i < ev.rows.count; i++) {
		const struct given *g = &given[reader->row_of[i] - 1];
		struct parcel *p = outbox_reader_parcel(reader, i);

		promise(rows[i].id > last, "%lld behind %lld", (long long)rows[i].id, (long long)last);
		last = rows[i].id;
		promise(g->fits, "a row that had no room");
		promise((rows[i].stream == STREAM_UNROUTED) == is_unrouted(g), "stream %u of %s", rows[i].stream,
			g->subject);
		promise(rows[i].defect <= DEFECT_LAST &&
				(rows[i].defect == REASON_NONE) == (is_unrouted(g) || is_good(g)),
			"defect %u of %s, %s", rows[i].defect, g->subject, g->headers);
		promise(rows[i].bytes >= ROW_OVERHEAD_BYTES, "%u bytes", rows[i].bytes);
		if (rows[i].defect == REASON_NONE && rows[i].stream != STREAM_UNROUTED)
			check_sendable(&rows[i], g, p);
		free(p);
	}
}

static void on_failure(void *arg, const char *why, const char *sqlstate)
{
	(void)arg;
	promise(false, "no error was given: %s %s", why, sqlstate);
}

static struct outbox_reader *create(struct pg *pg)
{
	static char orders[] = "orders.>", rest[] = "rest.*", *subjects[] = { orders, rest };
	static struct config_stream streams[] = { { .subjects = &subjects[0], .subject_count = 1 },
						  { .subjects = &subjects[1], .subject_count = 1 } };
	static struct config config = { .streams = streams,
					.stream_count = 2,
					.delivery = { .queue_messages = ROWS },
					.max_message_bytes = LARGEST + OVERSIZE_MARGIN_BYTES };

	return outbox_reader_create(pg, &config,
				    &(struct outbox_reader_handlers){ .rows = on_rows_read,
								      .failed = on_failure,
								      .books_differ = on_books_differ,
								      .is_missing = is_missing });
}

/* What the server takes may change while a fetch is under way: asked with the one, answered under the other. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int64_t limits[] = { 0, OVERSIZE_MARGIN_BYTES + 8, OVERSIZE_MARGIN_BYTES + 100, 1 << 20 };
	static struct pg down; /* not connected: the question is put together and stays here */
	struct input in = { data, size };
	struct effect fetch = { .kind = EFFECT_FETCH };
	static const struct codec_books known;
	struct pg_result result = { .r = new_result(COL_KEY + 1) };
	unsigned when = take_byte(&in);

	if (reader == NULL)
		reader = create(&down);
	outbox_reader_set_max_payload(reader, limits[when & 3]);
	fetch.fetch.forward = true;
	fetch.fetch.rows = ROWS;
	outbox_reader_fetch(reader, &fetch, &known, "1:1:");
	set_books(result.r, &in);
	for (rows_given = 0; rows_given < ROWS && in.left > 0; rows_given++)
		set_row(result.r, &in, rows_given, row_largest(&reader->limits));
	outbox_reader_set_max_payload(reader, limits[when >> 2 & 3]);
	on_rows(reader, &result);
	promise(books.are_told || (books.differ == NULL && !has_late(books.late)),
		"books that differ, and nothing is told");
	PQclear(result.r);
	free(books.differ);
	free(books.late);
	while (rows_given-- > 0) {
		free(given[rows_given].subject);
		free(given[rows_given].headers);
		free(given[rows_given].payload);
		free(given[rows_given].key);
	}
	return 0;
}
