/* What the books' answers say. (What is asked stands in capture_ledger.c.) */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "books/capture_ledger.h"
#include "books/capture_tables.h"

static const char *const state_words[] = {
	[CAPTURE_LEDGER_NONE] = "none",
	[CAPTURE_LEDGER_CREATING] = "creating",
	[CAPTURE_LEDGER_LIVE] = "live",
	[CAPTURE_LEDGER_GAP] = "gap",
};

const char *capture_ledger_state_word(enum capture_ledger_state state)
{
	return state_words[state];
}

/* "" for NULL; cut where it is too long. */
static void read_text(const struct pg_result *r, int row, int column, char *out, size_t size)
{
	size_t bytes;

	out[0] = '\0';
	if (!pg_is_null(r, row, column))
		snprintf(out, size, "%s", pg_bytes(r, row, column, &bytes));
}

/* 0 for NULL. */
static int64_t read_number(const struct pg_result *r, int row, int column)
{
	return pg_is_null(r, row, column) ? 0 : pg_int8(r, row, column);
}

/* False: a word that this program does not know. */
static bool read_state(const struct pg_result *r, int row, int column, enum capture_ledger_state *state)
{
	char word[CAPTURE_LEDGER_REASON_BYTES];

	read_text(r, row, column, word, sizeof word);
	for (size_t i = 0; i < sizeof state_words / sizeof state_words[0]; i++)
		if (strcmp(word, state_words[i]) == 0) {
			*state = (enum capture_ledger_state)i;
			return true;
		}
	return false;
}

bool capture_ledger_read_books(const struct pg_result *r, struct capture_ledger_books *b)
{
	enum {
		STATE,
		REASON,
		DETAIL,
		SLOT,
		INCARNATION,
		SYSTEM,
		END_LSN,
		COMMIT_TIME,
		ORDINAL,
		LOW_WATER,
		WAL_END,
		PAUSE,
		STREAM_SEQUENCE,
		STREAM_TIME,
		STREAM_CREATED,
		FORMER_TIMELINE
	};

	*b = (struct capture_ledger_books){ .state = CAPTURE_LEDGER_NONE };
	if (pg_rows(r) != 1 || !read_state(r, 0, STATE, &b->state))
		return false;
	read_text(r, 0, REASON, b->reason, sizeof b->reason);
	read_text(r, 0, DETAIL, b->detail, sizeof b->detail);
	read_text(r, 0, SLOT, b->slot, sizeof b->slot);
	b->incarnation = (uint32_t)read_number(r, 0, INCARNATION);
	b->system = (uint64_t)read_number(r, 0, SYSTEM);
	b->end_lsn = (uint64_t)read_number(r, 0, END_LSN);
	b->commit_time = read_number(r, 0, COMMIT_TIME);
	b->ordinal = read_number(r, 0, ORDINAL);
	/* Without a mark nobody knows whether somebody has sent something, and ended before it. */
	b->low_water = pg_is_null(r, 0, LOW_WATER) ? LOW_WATER_UNKNOWN : (uint64_t)pg_int8(r, 0, LOW_WATER);
	b->wal_end = (uint64_t)read_number(r, 0, WAL_END);
	b->pause = (uint64_t)read_number(r, 0, PAUSE);
	b->end.sequence = (uint64_t)read_number(r, 0, STREAM_SEQUENCE);
	b->end.time_ns = read_number(r, 0, STREAM_TIME);
	b->end.created_ns = read_number(r, 0, STREAM_CREATED);
	b->former_timeline = (uint32_t)read_number(r, 0, FORMER_TIMELINE);
	return true;
}

static char *copy_of(const struct pg_result *r, int row, int column, size_t *bytes)
{
	const char *from = pg_bytes(r, row, column, bytes);
	char *out = malloc(*bytes + 1);

	if (out != NULL)
		memcpy(out, from, *bytes + 1);
	return out;
}

/* False: out of memory. */
static bool read_pass(const struct pg_result *r, int row, int first, struct capture_ledger_table *t)
{
	enum { NUMBER, ID, WHOLE, KEYS, REPAIR, COLUMNS };
	struct capture_ledger_pass *p = &t->pass;

	p->number = t->now.pass = (uint64_t)read_number(r, row, first + NUMBER);
	if (p->number == 0)
		return true;
	read_text(r, row, first + ID, p->id, sizeof p->id);
	p->whole = read_number(r, row, first + WHOLE) != 0;
	p->keys = read_number(r, row, first + KEYS) != 0;
	p->repair = read_number(r, row, first + REPAIR) != 0;
	return pg_is_null(r, row, first + COLUMNS) ||
	       (p->columns = copy_of(r, row, first + COLUMNS, &p->columns_bytes)) != NULL;
}

static bool read_table(const struct pg_result *r, int row, struct capture_ledger_table *t)
{
	enum {
		TAB,
		STATE,
		READING,
		READINGS,
		REPAIR_FIRST,
		REPAIR_COUNT,
		FILENODE,
		ROWS,
		SNAPSHOT_ID,
		HISTORY,
		COLUMNS,
		CURSOR_KEY,
		TOP_KEY,
		ESTIMATE,
		KEY_NAMES,
		UNPROVED,
		READ_WHOLE,
		PASS
	};
	char word[CAPTURE_LEDGER_REASON_BYTES];
	size_t bytes;

	read_text(r, row, STATE, word, sizeof word);
	t->unproved = read_number(r, row, UNPROVED) != 0;
	t->now.whole = read_number(r, row, READ_WHOLE) != 0 && pg_is_null(r, row, PASS);
	if (!capture_tables_state_of(word, &t->now.state))
		return false;
	t->now.reading = (uint32_t)pg_int8(r, row, READING);
	t->now.readings = (uint32_t)pg_int8(r, row, READINGS);
	/* Those whose keys are on record: whatever else was noted comes again in the log. */
	t->now.repair_first = (uint32_t)pg_int8(r, row, REPAIR_FIRST);
	t->now.repair_count = (uint32_t)pg_int8(r, row, REPAIR_COUNT);
	t->now.filenode = (uint64_t)pg_int8(r, row, FILENODE);
	t->now.rows = (uint64_t)pg_int8(r, row, ROWS);
	t->estimate = read_number(r, row, ESTIMATE);
	read_text(r, row, SNAPSHOT_ID, t->snapshot_id, sizeof t->snapshot_id);
	read_text(r, row, HISTORY, t->history, sizeof t->history);
	if (!pg_is_null(r, row, COLUMNS) && (t->columns = copy_of(r, row, COLUMNS, &bytes)) == NULL)
		return false;
	if (!pg_is_null(r, row, CURSOR_KEY) && (t->cursor = copy_of(r, row, CURSOR_KEY, &t->cursor_bytes)) == NULL)
		return false;
	if (!pg_is_null(r, row, TOP_KEY) && (t->top = copy_of(r, row, TOP_KEY, &t->top_bytes)) == NULL)
		return false;
	if (!pg_is_null(r, row, KEY_NAMES) && (t->key = copy_of(r, row, KEY_NAMES, &t->key_bytes)) == NULL)
		return false;
	return read_pass(r, row, PASS, t);
}

bool capture_ledger_read_tables(const struct pg_result *r, const struct config_capture *c,
				struct capture_ledger_books *b)
{
	size_t count = capture_tables_count(c), bytes;

	b->tables = calloc(count > 0 ? count : 1, sizeof b->tables[0]);
	if (b->tables == NULL)
		return false;
	b->table_count = count;
	for (int row = 0; row < pg_rows(r); row++)
		for (size_t i = 0; i < count; i++)
			if (strcmp(pg_bytes(r, row, 0, &bytes), capture_tables_name(c, i)) == 0 &&
			    !read_table(r, row, &b->tables[i]))
				return false;
	return true;
}

bool capture_ledger_read_carried(const struct pg_result *r, struct capture_ledger_books *b)
{
	enum { ORDINAL, LANE, LOW_WATER, BYTES, HELD };
	size_t count = (size_t)pg_rows(r);

	free(b->carried);
	b->carried = calloc(count + 1, sizeof *b->carried);
	b->carried_count = b->carried != NULL ? count : 0;
	for (int i = 0; b->carried != NULL && i < pg_rows(r); i++)
		b->carried[i] = (struct capture_inherited){
			.ordinal = pg_int8(r, i, ORDINAL),
			.lane = (uint64_t)pg_int8(r, i, LANE),
			.low_water =
				pg_is_null(r, i, LOW_WATER) ? LOW_WATER_UNKNOWN : (uint64_t)pg_int8(r, i, LOW_WATER),
			.bytes = (uint32_t)pg_int8(r, i, BYTES),
			.held = pg_int8(r, i, HELD) != 0,
		};
	return b->carried != NULL && count <= LIMIT_CAPTURE_CARRIED;
}

static const char *text_of(const struct pg_result *r, int row, int column)
{
	size_t bytes;

	return pg_is_null(r, row, column) ? "" : pg_bytes(r, row, column, &bytes);
}

void capture_ledger_read_change(const struct pg_result *r, int row, struct capture_ledger_change *c)
{
	enum { ORDINAL, MESSAGE_ID, SUBJECT, POSITION, TAB, WHY, PAYLOAD, HEADERS, KEY_BYTES, WIRE_BYTES, DEFECT };

	*c = (struct capture_ledger_change){
		.ordinal = pg_int8(r, row, ORDINAL),
		.message_id = text_of(r, row, MESSAGE_ID),
		.subject = text_of(r, row, SUBJECT),
		.position = text_of(r, row, POSITION),
		.tab = text_of(r, row, TAB),
		.why = text_of(r, row, WHY),
		.wire_bytes = (size_t)pg_int8(r, row, WIRE_BYTES),
		.defect = (uint16_t)pg_int8(r, row, DEFECT),
	};
	c->payload = pg_bytes(r, row, PAYLOAD, &c->payload_bytes);
	c->headers = pg_bytes(r, row, HEADERS, &c->headers_bytes);
	if (!pg_is_null(r, row, KEY_BYTES))
		c->key = pg_bytes(r, row, KEY_BYTES, &c->key_bytes);
}

void capture_ledger_books_free(struct capture_ledger_books *b)
{
	free(b->carried);
	b->carried = NULL;
	b->carried_count = 0;
	for (size_t i = 0; i < b->table_count; i++) {
		free(b->tables[i].columns);
		free(b->tables[i].cursor);
		free(b->tables[i].top);
		free(b->tables[i].key);
		free(b->tables[i].pass.columns);
	}
	free(b->tables);
	b->tables = NULL;
	b->table_count = 0;
}

void capture_ledger_read_look(const struct pg_result *r, struct capture_ledger_look *l)
{
	enum {
		STATE,
		REASON,
		DETAIL,
		EXIST,
		ACTIVE_PID,
		CONFIRMED,
		RETAINED,
		LAG,
		SPARE,
		PAUSE,
		SUPERSEDED,
		SLOT,
		INCARNATION,
		PAUSED,
		LETTERS,
		PASS,
		DIVERGED,
		COPIED
	};

	*l = (struct capture_ledger_look){ .state = CAPTURE_LEDGER_NONE };
	read_state(r, 0, STATE, &l->state);
	read_text(r, 0, REASON, l->reason, sizeof l->reason);
	read_text(r, 0, DETAIL, l->detail, sizeof l->detail);
	l->exists = read_number(r, 0, EXIST) != 0;
	l->active_pid = read_number(r, 0, ACTIVE_PID);
	l->confirmed = (uint64_t)read_number(r, 0, CONFIRMED);
	l->retained = read_number(r, 0, RETAINED);
	l->lag = read_number(r, 0, LAG);
	l->spare = pg_is_null(r, 0, SPARE) ? -1 : pg_int8(r, 0, SPARE);
	l->pause = (uint64_t)read_number(r, 0, PAUSE);
	l->superseded = read_number(r, 0, SUPERSEDED) != 0;
	read_text(r, 0, SLOT, l->slot, sizeof l->slot);
	l->incarnation = (uint32_t)read_number(r, 0, INCARNATION);
	read_text(r, 0, PAUSED, l->paused, sizeof l->paused);
	l->letters = (uint64_t)read_number(r, 0, LETTERS);
	l->pass = (uint64_t)read_number(r, 0, PASS);
	read_text(r, 0, DIVERGED, l->diverged, sizeof l->diverged);
	l->copied = read_number(r, 0, COPIED) != 0;
}

uint64_t capture_ledger_read_here(const struct pg_result *r)
{
	return pg_error(r) == NULL ? (uint64_t)read_number(r, 0, 0) : 0;
}

void capture_ledger_read_differences(const struct pg_result *r, char *out, size_t size)
{
	size_t n = 0, bytes;

	out[0] = '\0';
	for (int row = 0; row < pg_rows(r) && n < size; row++)
		n += (size_t)snprintf(out + n, size - n, "%s%s%s%s", n > 0 ? "; " : "",
				      pg_is_null(r, row, 0) ? "" : pg_bytes(r, row, 0, &bytes),
				      pg_is_null(r, row, 0) ? "" : ": ", pg_bytes(r, row, 1, &bytes));
}

const char *capture_ledger_read_words(const struct pg_result *r)
{
	size_t bytes;

	return pg_error(r) != NULL || pg_rows(r) == 0 || pg_is_null(r, 0, 0) ? "" : pg_bytes(r, 0, 0, &bytes);
}
