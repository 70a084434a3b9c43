#include "flow/inbox_books.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/failpoint.h"
#include "base/utf8.h"
#include "books/inbox_ledger.h"
#include "format/envelope.h"

enum { TROUBLE_BYTES = 512 };

/* A move that is not answered. */
struct pending {
	enum inbox_move_kind kind;
	int64_t time_ns;
	uint64_t lost, bytes;
};

struct inbox_books_flow {
	struct pg *pg;
	struct log *log;
	bool sink;
	struct inbox_parcel *const *parcels;
	uint32_t slots;
	struct inbox_books_handlers handlers;
	struct array column[INBOX_COLUMNS];
	struct pending pending[LIMIT_INBOX_MOVES];
	unsigned count;
	bool asleep, waking; /* workers sleep and were not woken; it is asked for */
	struct inbox_books_figures figures;
	char trouble[TROUBLE_BYTES];
	bool no_such_text; /* the trouble: the database's encoding has not all the characters of a text */
};

struct inbox_books_flow *inbox_books_create(struct pg *pg, struct log *log, bool sink,
					    struct inbox_parcel *const *parcels, uint32_t slots,
					    const struct inbox_books_handlers *handlers)
{
	struct inbox_books_flow *b = calloc(1, sizeof *b);

	if (b == NULL)
		return NULL;
	b->pg = pg;
	b->log = log;
	b->sink = sink;
	b->parcels = parcels;
	b->slots = slots;
	b->handlers = *handlers;
	return b;
}

void inbox_books_free(struct inbox_books_flow *b)
{
	for (int i = 0; b != NULL && i < INBOX_COLUMNS; i++)
		array_free(&b->column[i]);
	free(b);
}

/* --- rows --- */

static void begin_rows(struct inbox_books_flow *b)
{
	static const enum array_type types[INBOX_COLUMNS] = {
		[INBOX_COLUMN_SEQUENCE] = ARRAY_INT8, [INBOX_COLUMN_ID] = ARRAY_TEXT,
		[INBOX_COLUMN_SUBJECT] = ARRAY_TEXT,  [INBOX_COLUMN_KEY] = ARRAY_TEXT,
		[INBOX_COLUMN_PAYLOAD] = ARRAY_BYTEA, [INBOX_COLUMN_HEADERS] = ARRAY_JSONB,
		[INBOX_COLUMN_STORED] = ARRAY_INT8,   [INBOX_COLUMN_REASON] = ARRAY_TEXT,
	};

	for (int i = 0; i < INBOX_COLUMNS; i++)
		array_begin(&b->column[i], types[i]);
}

/* No text is. */
static bool is_ascii(const char *text)
{
	for (; text != NULL && *text != '\0'; text++)
		if ((*text & 0x80) != 0)
			return false;
	return true;
}

/* A text that the database refused for its encoding stays out of a dead letter, for it would refuse that, too. All others stand in it as
 * they are: what was refused was not a text. */
static const char *kept(const struct inbox_books_flow *b, const char *text)
{
	return !b->no_such_text || is_ascii(text) ? text : NULL;
}

/* The same, but what a letter is found by is written as in a Boxhaul-Key header, in characters that every encoding has: letters of one
 * key stay letters of one key when they are put back, and a message that comes again is known. */
static void add_name(struct inbox_books_flow *b, struct array *column, const char *text)
{
	char *encoded;

	if (kept(b, text) == text) {
		array_add_text(column, text);
		return;
	}
	encoded = malloc(envelope_encode(text, NULL) + 1);
	if (encoded != NULL)
		envelope_encode(text, encoded);
	array_add_text(column, encoded);
	free(encoded);
}

/* What the database refused (move.dead): a dead letter, with the database's words. */
static void add_refused(struct inbox_books_flow *b, const struct inbox_parcel *p)
{
	struct array *c = b->column;

	add_name(b, &c[INBOX_COLUMN_ID], p->id);
	array_add_text(&c[INBOX_COLUMN_SUBJECT], kept(b, p->subject));
	add_name(b, &c[INBOX_COLUMN_KEY], p->key);
	array_add_jsonb(&c[INBOX_COLUMN_HEADERS], kept(b, p->headers));
	array_add_text(&c[INBOX_COLUMN_REASON], b->trouble);
}

static void add_message(struct inbox_books_flow *b, const struct inbox_parcel *p)
{
	struct array *c = b->column;

	array_add_text(&c[INBOX_COLUMN_ID], p->id);
	array_add_text(&c[INBOX_COLUMN_SUBJECT], p->subject);
	array_add_text(&c[INBOX_COLUMN_KEY], p->key);
	array_add_jsonb(&c[INBOX_COLUMN_HEADERS], p->headers);
	array_add_text(&c[INBOX_COLUMN_REASON], p->reason[0] != '\0' ? p->reason : NULL);
}

static void add_row(struct inbox_books_flow *b, const struct inbox_parcel *p, bool refused)
{
	struct array *c = b->column;

	array_add_int8(&c[INBOX_COLUMN_SEQUENCE], (int64_t)p->sequence);
	array_add_bytes(&c[INBOX_COLUMN_PAYLOAD], p->payload, p->payload_bytes);
	array_add_int8(&c[INBOX_COLUMN_STORED], p->time_ns);
	if (refused)
		add_refused(b, p);
	else
		add_message(b, p);
}

/* The bytes of the payloads. */
static uint64_t fill(struct inbox_books_flow *b, const struct inbox_move *m)
{
	uint64_t bytes = 0;

	begin_rows(b);
	for (uint32_t i = 0; i < m->count; i++) {
		const struct inbox_parcel *p = b->parcels[(m->slot + i) % b->slots];

		if (p->foreign)
			continue;
		add_row(b, p, m->dead);
		bytes += p->payload_bytes;
	}
	return bytes;
}

/* --- moves --- */

static void count(struct inbox_books_flow *b, const struct pending *p, const struct inbox_ledger_taken *t)
{
	b->figures.moves++;
	b->figures.taken += t->taken;
	b->figures.left_out += t->left_out;
	b->figures.dead += t->dead;
	b->figures.lost += p->lost;
	b->figures.bytes += p->bytes;
	b->asleep |= t->asleep;
	if (p->kind == INBOX_MOVE_TAKE && p->time_ns != 0)
		b->figures.lag_us = t->now_us - p->time_ns / 1000;
	b->trouble[0] = '\0';
}

static void on_moved(void *arg, const struct pg_result *result)
{
	struct inbox_books_flow *b = arg;
	struct pending p = b->pending[0];
	struct inbox_ledger_taken taken;
	enum inbox_moved moved = inbox_ledger_moved(result, b->sink, p.kind, &taken);

	if (FAILPOINT(inbox_moved)) {
		pg_break(b->pg, "failpoint");
		return;
	}
	b->pending[0] = b->pending[1];
	b->count--;
	if (moved == INBOX_MOVED_OK) {
		count(b, &p, &taken);
	} else if (taken.trouble != NULL) {
		utf8_line(taken.trouble, b->trouble, sizeof b->trouble);
		log_warn(b->log, "a transaction could not be applied", KS("why", b->trouble));
	} else if (pg_error(result) != NULL) {
		snprintf(b->trouble, sizeof b->trouble, "%s", pg_error(result));
		b->no_such_text = inbox_ledger_blames_encoding(pg_sqlstate(result));
		log_warn(b->log, "messages could not be taken", KS("why", b->trouble),
			 KS("sqlstate", pg_sqlstate(result)));
		if (pg_wants_session(result)) {
			pg_break(b->pg, b->trouble);
			return;
		}
	}
	/* A sink has no dead letters: nothing is passed over that is not applied. */
	b->handlers.moved(b->handlers.arg, b->sink && moved == INBOX_MOVED_DATA ? INBOX_MOVED_FAILED : moved);
}

bool inbox_books_move(struct inbox_books_flow *b, const char *subscription, int64_t epoch, const struct inbox_move *m)
{
	struct pending *p = &b->pending[b->count];

	if (b->count == LIMIT_INBOX_MOVES || FAILPOINT(inbox_moving))
		return false;
	*p = (struct pending){ .kind = m->kind,
			       .time_ns = m->time,
			       .lost = m->gap_from != 0 ? m->gap_to - m->gap_from + 1 : 0,
			       .bytes = fill(b, m) };
	if (!inbox_ledger_move(b->pg, subscription, b->sink, epoch, m, b->column, on_moved, b))
		return false;
	b->count++;
	return !FAILPOINT(inbox_move_sent);
}

void inbox_books_forget(struct inbox_books_flow *b)
{
	b->count = 0;
	b->asleep = b->waking = false;
}

/* --- workers --- */

static void on_woken(void *arg, const struct pg_result *result)
{
	struct inbox_books_flow *b = arg;

	b->waking = false;
	/* They look for themselves within a second. */
	if (pg_error(result) != NULL)
		log_debug(b->log, "workers could not be woken", KS("why", pg_error(result)));
}

/* The next take notifies by itself. */
bool inbox_books_wants_wake(const struct inbox_books_flow *b)
{
	return b->asleep && !b->waking && b->count == 0;
}

bool inbox_books_wake(struct inbox_books_flow *b, const char *subscription)
{
	b->asleep = false;
	b->waking = inbox_ledger_wake(b->pg, subscription, on_woken, b);
	return b->waking;
}

/* --- looking --- */

const struct inbox_books_figures *inbox_books_figures(const struct inbox_books_flow *b)
{
	return &b->figures;
}

const char *inbox_books_trouble(const struct inbox_books_flow *b)
{
	return b->trouble;
}
