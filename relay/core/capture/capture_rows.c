#include "core/capture/capture_rows.h"

#include <assert.h>
#include <stdlib.h>

#include "core/capture/capture_mutant.h"

/* All slots are appended at once only in the worst case: everything in memory, and what settled out of order before the oldest. */
static int64_t capacity_for(uint32_t slots)
{
	return 2 * (int64_t)slots + 16;
}

bool capture_rows_create(struct capture_rows *r, uint32_t most_changes, uint32_t most_of_chunks, uint32_t most_of_books)
{
	uint32_t slots = most_changes + most_of_chunks + most_of_books;

	*r = (struct capture_rows){
		.slots = slots,
		.most_changes = most_changes,
		.most_of_chunks = most_of_chunks,
		.most_of_books = most_of_books,
		.free = CAPTURE_NO_SLOT,
		.released_first = CAPTURE_NO_SLOT,
		.released_last = CAPTURE_NO_SLOT,
		.capacity = capacity_for(slots),
		.oldest = 1,
		.unoffered = 1,
		.next = 1,
	};
	r->slot = calloc(slots, sizeof *r->slot);
	r->entry = calloc((size_t)r->capacity, sizeof *r->entry);
	if (r->slot == NULL || r->entry == NULL)
		return false;
	for (uint32_t i = slots; i-- > 0;) {
		r->slot[i].next = r->free;
		r->free = i;
	}
	return true;
}

void capture_rows_destroy(struct capture_rows *r)
{
	free(r->slot);
	free(r->entry);
}

/* --- slots --- */

static void release(struct capture_rows *r, uint32_t slot)
{
	struct capture_slot *s = &r->slot[slot];

	s->holders = 0;
	s->next = CAPTURE_NO_SLOT;
	if (r->released_first == CAPTURE_NO_SLOT)
		r->released_first = slot;
	else
		r->slot[r->released_last].next = slot;
	r->released_last = slot;
}

void capture_rows_begin(struct capture_rows *r, int64_t ordinal)
{
	for (uint32_t i = 0; i < r->slots; i++)
		if (r->slot[i].holders > 0)
			release(r, i);
	r->oldest = r->unoffered = r->next = ordinal + 1;
	r->parked = 0;
}

static bool have_ordinals(const struct capture_rows *r, size_t rows)
{
	return r->next - r->oldest + (int64_t)rows <= r->capacity;
}

bool capture_rows_have_room(const struct capture_rows *r, uint64_t most_bytes, size_t reserved)
{
	return r->changes < r->most_changes && r->bytes < most_bytes && have_ordinals(r, reserved + 1);
}

size_t capture_rows_chunk_room(const struct capture_rows *r)
{
	size_t slots = r->most_of_chunks - r->of_chunks;
	int64_t ordinals = r->capacity - (r->next - r->oldest);

	return (int64_t)slots < ordinals ? slots : (size_t)ordinals;
}

static uint32_t take(struct capture_rows *r, const struct capture_row *row, bool of_chunk, bool of_book)
{
	uint32_t slot = r->free;
	struct capture_slot *s = &r->slot[slot];

	assert(slot != CAPTURE_NO_SLOT && s->holders == 0);
	r->free = s->next;
	s->holders = 1;
	s->bytes = row->bytes;
	s->of_chunk = of_chunk;
	s->of_book = of_book;
	s->defect = row->defect;
	s->lane = row->lane;
	/* (What comes back from the books is bounded by itself: counted here it could keep itself from coming.) */
	r->bytes += of_book ? 0 : row->bytes;
	r->of_chunks += of_chunk;
	r->of_books += of_book;
	r->changes += !of_chunk && !of_book;
	assert(r->changes <= r->most_changes && r->of_chunks <= r->most_of_chunks && r->of_books <= r->most_of_books);
	return slot;
}

uint32_t capture_rows_take(struct capture_rows *r, const struct capture_row *row, bool of_chunk)
{
	return take(r, row, of_chunk, false);
}

size_t capture_rows_book_room(const struct capture_rows *r)
{
	return r->most_of_books - r->of_books;
}

uint32_t capture_rows_take_book(struct capture_rows *r, const struct capture_row *row, uint64_t lane)
{
	uint32_t slot = take(r, row, false, true);

	r->slot[slot].lane = lane;
	return slot;
}

void capture_rows_hold(struct capture_rows *r, uint32_t slot)
{
	assert(r->slot[slot].holders > 0);
	r->slot[slot].holders++;
}

void capture_rows_drop(struct capture_rows *r, uint32_t slot)
{
	assert(r->slot[slot].holders > 0);
	if (--r->slot[slot].holders == 0)
		release(r, slot);
}

bool capture_rows_next_release(struct capture_rows *r, uint32_t *slot)
{
	struct capture_slot *s;

	if (r->released_first == CAPTURE_NO_SLOT)
		return false;
	*slot = r->released_first;
	s = &r->slot[*slot];
	r->released_first = s->next;
	s->next = r->free;
	r->free = *slot;
	r->bytes -= s->of_book ? 0 : s->bytes;
	r->of_chunks -= s->of_chunk;
	r->of_books -= s->of_book;
	r->changes -= !s->of_chunk && !s->of_book;
	return true;
}

/* --- entries --- */

int64_t capture_rows_append(struct capture_rows *r, uint32_t slot)
{
	int64_t ordinal = r->next;

	assert(have_ordinals(r, 1) && r->slot[slot].holders > 0);
	*capture_rows_entry(r, ordinal) = (struct capture_entry){ .state = ENTRY_NEW, .slot = slot };
	r->next++;
	return ordinal;
}

void capture_rows_offered(struct capture_rows *r, int64_t ordinal)
{
	struct capture_entry *e = capture_rows_entry(r, ordinal);

	assert(ordinal >= r->oldest && ordinal < r->next && (e->state == ENTRY_NEW || e->state == ENTRY_PARKED));
	if (e->state == ENTRY_PARKED)
		r->parked--;
	else
		r->unoffered++;
	assert(r->unoffered > ordinal);
	e->state = ENTRY_OFFERED;
}

void capture_rows_parked(struct capture_rows *r, const struct outcome *o, int64_t now_ms)
{
	struct capture_entry *e = capture_rows_entry(r, o->ticket);

	assert(o->ticket >= r->oldest && o->ticket < r->next && e->state == ENTRY_OFFERED);
	e->state = ENTRY_PARKED;
	e->scope = o->scope;
	e->doubt = o->doubt;
	e->attempts = o->attempts;
	e->reason = o->scope_reason;
	e->parked_ms = e->parked_ms != 0 ? e->parked_ms : now_ms;
	e->held = false;
	r->parked++;
}

void capture_rows_held(struct capture_rows *r, const struct outcome *o, int64_t since_ms)
{
	struct capture_entry *e = capture_rows_entry(r, o->ticket);

	capture_rows_parked(r, o, since_ms);
	e->held = true;
	e->reason = o->reason;
	e->parked_ms = since_ms != 0 ? since_ms : 1;
}

void capture_rows_behind(struct capture_rows *r, int64_t ordinal, struct doubt doubt, int64_t since_ms)
{
	struct capture_entry *e = capture_rows_entry(r, ordinal);

	assert(ordinal == r->unoffered && e->state == ENTRY_NEW);
	r->unoffered++;
	e->state = ENTRY_PARKED;
	e->scope = SCOPE_NONE;
	e->doubt = doubt;
	e->attempts = 0;
	e->reason = 0;
	e->held = false;
	e->parked_ms = since_ms != 0 ? since_ms : 1;
	r->parked++;
}

/* Answers come in any order; the prefix grows with the oldest. */
static void advance(struct capture_rows *r)
{
	while (r->oldest < r->next && capture_rows_entry(r, r->oldest)->state == ENTRY_DONE)
		r->oldest++;
}

void capture_rows_done(struct capture_rows *r, int64_t ordinal, bool keep_slot)
{
	struct capture_entry *e = capture_rows_entry(r, ordinal);

	assert(ordinal >= r->oldest && ordinal < r->next && e->state == ENTRY_OFFERED);
	e->state = ENTRY_DONE;
	if (!keep_slot)
		capture_rows_drop(r, e->slot);
	advance(r);
}

void capture_rows_carried(struct capture_rows *r, int64_t ordinal)
{
	struct capture_entry *e = capture_rows_entry(r, ordinal);

	assert(ordinal >= r->oldest && ordinal < r->next && e->state == ENTRY_PARKED);
	r->parked--;
	e->state = ENTRY_DONE;
	advance(r);
}

static void count(const struct capture_slot *s, uint64_t *bytes, uint32_t *changes, uint32_t *of_chunks,
		  uint32_t *of_books)
{
	*bytes += s->of_book ? 0 : s->bytes;
	*changes += !s->of_chunk && !s->of_book;
	*of_chunks += s->of_chunk;
	*of_books += s->of_book;
}

void capture_rows_audit(const struct capture_rows *r)
{
	uint32_t changes = 0, of_chunks = 0, of_books = 0, idle = 0;
	uint64_t bytes = 0;
	size_t parked = 0;

	assert(r->oldest <= r->unoffered && r->unoffered <= r->next && r->next - r->oldest <= r->capacity);
	for (int64_t o = r->oldest; o < r->next; o++) {
		const struct capture_entry *e = capture_rows_entry(r, o);

		assert((o >= r->unoffered) == (e->state == ENTRY_NEW));
		assert(e->state == ENTRY_DONE || r->slot[e->slot].holders > 0);
		parked += e->state == ENTRY_PARKED;
	}
	for (uint32_t i = r->free; i != CAPTURE_NO_SLOT; i = r->slot[i].next) {
		assert(r->slot[i].holders == 0);
		idle++;
	}
	for (uint32_t i = r->released_first; i != CAPTURE_NO_SLOT; i = r->slot[i].next) {
		assert(r->slot[i].holders == 0);
		count(&r->slot[i], &bytes, &changes, &of_chunks, &of_books);
	}
	for (uint32_t i = 0; i < r->slots; i++)
		if (r->slot[i].holders > 0)
			count(&r->slot[i], &bytes, &changes, &of_chunks, &of_books);
	assert(parked == r->parked && bytes == r->bytes && changes == r->changes && of_chunks == r->of_chunks);
	assert(of_books == r->of_books && idle + changes + of_chunks + of_books == r->slots);
}
