/* What is asked of the outbox, and what the core is told of the answer. PostgreSQL is played here: what is sent to it is written
 * down, and it answers with the rows of a table. */
#include "flow/outbox_reader.h"

#include "books/codec.h"
#include "books/ledger.h"
#include "edge/loop.h"
#include "flow/row_check.h"
#include "tap.h"

enum { ROWS = 8, ROOM = 2, NO_ROOM = 0, NOT_IN_KEPT = -1 };

/* --- a PostgreSQL --- */

struct question {
	unsigned number;
	pg_answer *answer;
	void *arg;
};

static struct question asked[8]; /* since the last answer */
static size_t asked_count;
static char kept[64];  /* the snapshot that the last rows were asked for in; "none" */
static char since[64]; /* the one that what has come is looked for since */
static char read_to[24];

/* The answer that is played: ids from 1 on, and what the statement says of their room; before them, what it says of the books. Or an
 * error. Or one snapshot. */
static int fits[ROWS], row_count, twice;
static const char *error, *snapshot, *differs, *late, *taken_in;

bool pg_send(struct pg *pg, const struct pg_statement *statement, const char *const *parameters, int count,
	     pg_answer *answer, void *arg)
{
	(void)pg;
	asked[asked_count++] = (struct question){ statement->number, answer, arg };
	if (count > 4) {
		snprintf(kept, sizeof kept, "%s", parameters[4] != NULL ? parameters[4] : "none");
		snprintf(read_to, sizeof read_to, "%s", parameters[12]);
		snprintf(since, sizeof since, "%s", parameters[13]);
	}
	return true;
}

const char *pg_error(const struct pg_result *r)
{
	(void)r;
	return error;
}

const char *pg_sqlstate(const struct pg_result *r)
{
	(void)r;
	return "57014";
}

int pg_rows(const struct pg_result *r)
{
	(void)r;
	return snapshot != NULL ? 1 : row_count + 1;
}

bool pg_is_null(const struct pg_result *r, int row, int column)
{
	(void)r;
	if (row == 0)
		return column == COL_SUBJECT && differs == NULL;
	return column == COL_FITS && fits[row - 1] == NOT_IN_KEPT;
}

int64_t pg_int8(const struct pg_result *r, int row, int column)
{
	(void)r;
	if (snapshot != NULL)
		return 1;
	return row == 0 ? INT64_MIN : column == COL_FITS ? fits[row - 1] : row - (twice > 0 && row >= twice);
}

const char *pg_bytes(const struct pg_result *r, int row, int column, size_t *bytes)
{
	const char *text = snapshot != NULL ? snapshot : "orders.x";

	(void)r;
	if (snapshot == NULL && row == 0)
		text = column == COL_SUBJECT ? differs : column == COL_HEADERS ? late : taken_in;
	else if (snapshot == NULL && column == COL_MESSAGE_ID)
		text = row % 2 == 0 ? "a message" : "another one";
	*bytes = strlen(text);
	return text;
}

int64_t loop_now_ms(void)
{
	return 1000;
}

int64_t loop_now_us(void)
{
	return 1000000;
}

int64_t codec_since_us(const struct pg_result *r, int row, int column, int now, int64_t asked_us)
{
	(void)r, (void)row, (void)column, (void)now;
	return asked_us;
}

/* --- the stage --- */

static struct outbox_reader *reader;
static struct event told; /* EVENT_ROWS, or EVENT_FETCH_FAILED */
static char differ[128];  /* or why the books are not those that were read */
static int64_t missing;   /* is known to be */
static uint64_t xmin;     /* of the first parcel */

static void on_rows(void *arg, struct event event)
{
	struct parcel *first = event.rows.count > 0 ? outbox_reader_parcel(reader, 0) : NULL;

	(void)arg;
	told = event;
	xmin = first != NULL ? first->xmin : 0;
	free(first);
}

static void on_failure(void *arg, const char *why, const char *sqlstate)
{
	(void)arg, (void)why, (void)sqlstate;
	told = (struct event){ .kind = EVENT_FETCH_FAILED };
}

static void on_books_differ(void *arg, const char *why)
{
	(void)arg;
	snprintf(differ, sizeof differ, "%s", why);
}

static bool is_missing(void *arg, int64_t id)
{
	(void)arg;
	return id == missing;
}

static void begin(const char *title)
{
	static char subject[] = "orders.>", *subjects[] = { subject };
	static struct config_stream stream = { .subjects = subjects, .subject_count = 1 };
	static struct config config = {
		.streams = &stream, .stream_count = 1, .delivery = { .queue_messages = ROWS }, .max_message_bytes = 1000
	};

	diag("%s", title);
	outbox_reader_free(reader);
	reader = outbox_reader_create(NULL, &config,
				      &(struct outbox_reader_handlers){ .rows = on_rows,
									.failed = on_failure,
									.books_differ = on_books_differ,
									.is_missing = is_missing });
	if (reader == NULL)
		exit(1);
}

static void fetch(bool horizon, bool in_kept)
{
	static const struct codec_books books = { .epoch = 1 };

	asked_count = 0;
	kept[0] = '\0';
	outbox_reader_fetch(reader,
			    &(struct effect){ .kind = EFFECT_FETCH,
					      .fetch = { .forward = true,
							 .rows = ROWS,
							 .bytes = 1 << 20,
							 .horizon = horizon,
							 .after = 100,
							 .kept = in_kept } },
			    &books, "90:90:");
}

/* To the next question asked. */
static void answer(void)
{
	struct question q = asked[0];

	memmove(asked, asked + 1, --asked_count * sizeof asked[0]);
	told.kind = EVENT_TICK;
	differ[0] = '\0';
	q.answer(q.arg, NULL);
	error = snapshot = differs = NULL;
	late = "";
	taken_in = "100:100:";
	twice = 0;
}

static void answer_rows(const int *room, int count)
{
	memcpy(fits, room, (size_t)count * sizeof fits[0]);
	row_count = count;
	answer();
}

#define ANSWER_ROWS(...) answer_rows((const int[]){ __VA_ARGS__ }, sizeof(int[]){ __VA_ARGS__ } / sizeof(int))

/* --- the tests --- */

/* Of what is behind the cut nothing is known: were the answer taken for all there is, ids in it that have a row would be void. */
static void cut_answers(void)
{
	begin("an answer that is cut off is not all there is");
	fetch(false, false);
	ANSWER_ROWS(ROOM, ROOM);
	ok(told.rows.complete && told.rows.count == 2, "all there is");
	fetch(false, false);
	ANSWER_ROWS(ROOM, NO_ROOM);
	ok(!told.rows.complete && !told.rows.beyond, "the byte credit was used up");
	is_number(told.rows.count, 1, "what is behind does not come through");
	fetch(false, true);
	ANSWER_ROWS(ROOM, ROOM, NOT_IN_KEPT);
	ok(!told.rows.complete && told.rows.beyond, "the next row is not in the kept snapshot");
	is_number(told.rows.count, 2, "what is before it comes through");
	fetch(false, false);
	ANSWER_ROWS(ROOM, ROOM, ROOM, ROOM, ROOM, ROOM, ROOM, ROOM);
	ok(!told.rows.complete, "as many rows as were asked for: there may be more");
}

/* Rows that are read on in a kept snapshot overtake nothing, for it was complete when it was looked at. Where none was kept, none is
 * in it: a snapshot that holds nothing. With none at all every row would pass. */
static void kept_snapshots(void)
{
	static const char nothing[] = "1:1:";

	begin("reading on in the snapshot that was kept last");
	fetch(false, false);
	is_text(kept, "none", "not in any");
	fetch(false, true);
	is_text(kept, nothing, "none was ever kept");
	fetch(true, false);
	is_number(asked[0].number, STATEMENT_HORIZON, "the horizon is asked for before the rows");
	is_text(kept, "none", "these rows are not for a kept one");
	snapshot = "700:705:701";
	answer();
	fetch(false, true);
	is_text(kept, "700:705:701", "it is kept");
	fetch(true, false);
	error = "canceling statement due to statement timeout";
	answer();
	ANSWER_ROWS(ROOM);
	is_number(told.kind, EVENT_ROWS, "the rows came, and no snapshot");
	is_number((long long)told.rows.horizon, 0, "nor a horizon");
	fetch(false, true);
	is_text(kept, nothing, "the one before is not kept in its place");
}

static void sessions(void)
{
	begin("a snapshot is its session's");
	fetch(true, false);
	snapshot = "700:705:701";
	answer();
	outbox_reader_reset(reader);
	fetch(false, true);
	is_text(kept, "1:1:", "the next session has none");
}

/* It was asked before the rows, so whoever is below it had ended before the rows were looked for. */
static void horizons(void)
{
	begin("a horizon counts for the rows that were asked for behind it");
	fetch(true, false);
	snapshot = "700:705:701";
	answer();
	ANSWER_ROWS(ROOM);
	is_number((long long)told.rows.horizon, 1, "it is told with them");
	fetch(false, false);
	ANSWER_ROWS(ROOM);
	is_number((long long)told.rows.horizon, 0, "and not with the next");
	fetch(false, false);
	error = "canceling statement due to statement timeout";
	answer();
	is_number(told.kind, EVENT_FETCH_FAILED, "no rows came");
}

/* What a message says of the snapshot that it was read in must be true of that: a row which came since is not proved by it. */
static void snapshots_of_messages(void)
{
	begin("a message says in which snapshot it was read");
	fetch(false, false);
	taken_in = "95:99:96";
	ANSWER_ROWS(ROOM);
	is_number((long long)xmin, 95, "in that of its rows");
	fetch(true, false);
	snapshot = "97:99:";
	answer();
	ANSWER_ROWS(ROOM);
	is_number((long long)xmin, 100, "also where an older one is kept");
	fetch(false, true);
	ANSWER_ROWS(ROOM);
	is_number((long long)xmin, 97, "read on in that, what is missing was not asked for: as of then");
	is_number((long long)told.rows.rows[0].xid, 1, "and the transaction that wrote it");
}

/* What every answer says of the books comes before its rows, and of books that differ no row is taken. */
static void books(void)
{
	begin("the books are those that were read, or nothing is taken");
	fetch(false, false);
	is_text(since, "90:90:", "at first it is looked for what has come since the lead");
	is_text(read_to, "100", "below what was read");
	differs = "the position is gone";
	ANSWER_ROWS(ROOM);
	is_text(differ, "the position is gone", "they differ");
	is_number(told.kind, EVENT_TICK, "no row is taken");
	fetch(false, false);
	is_text(since, "90:90:", "nor is its snapshot");
	late = "98";
	ANSWER_ROWS(ROOM);
	is_text(differ, "a row has come with the id 98, where all had been read", "one that nobody misses");
	fetch(false, false);
	missing = 98;
	late = "98 99";
	ANSWER_ROWS(ROOM);
	is_text(differ, "a row has come with the id 99, where all had been read", "behind one that is missing");
	fetch(false, false);
	late = "98";
	taken_in = "95:95:";
	ANSWER_ROWS(ROOM);
	ok(differ[0] == '\0' && told.kind == EVENT_ROWS, "one that is missing has come");
	fetch(false, false);
	is_text(since, "95:95:", "then it is looked for what has come since that answer");
	error = "canceling statement due to statement timeout";
	answer();
	fetch(false, false);
	is_text(since, "95:95:", "since the last one that came");
	twice = 2;
	ANSWER_ROWS(ROOM, ROOM);
	is_text(differ, "two rows have the id 1", "of two rows one would be lost");
	outbox_reader_reset(reader);
	fetch(false, false);
	is_text(since, "90:90:", "a session begins with its lead");
}

int main(void)
{
	late = "";
	taken_in = "100:100:";
	books();
	cut_answers();
	kept_snapshots();
	sessions();
	horizons();
	snapshots_of_messages();
	outbox_reader_free(reader);
	return done_testing();
}
