/* The rows in memory: what came out of the log, or with a chunk, until it is settled.
 *
 *     taken, into a slot --append--> an ordinal: NEW --offer--> OFFERED --stored, or a letter--> DONE
 *                                                 ^                `-- turned away, parked --> PARKED --'
 *                                                 `-------------------------- offered again
 *
 * Two things are kept apart. A *slot* is the place of a payload, which is the owner's; it is held by the row's entry, by a cursor,
 * a repair or a dead letter, and is released when nobody holds it. An *entry* is the place in the order: entries stand by ordinal,
 * one after the other, and the log's own order is the order in which they are appended. The rows of an open chunk have slots
 * and no ordinals yet.
 *
 * The settled prefix are the ordinals below `oldest`. It alone says how far a mark may go: not the last one that was answered. */
#ifndef BOXHAUL_CORE_CAPTURE_CAPTURE_ROWS_H
#define BOXHAUL_CORE_CAPTURE_CAPTURE_ROWS_H

#include "core/capture/capture_types.h"
#include "core/send/outcome.h"

struct capture_entry {
	enum { ENTRY_NEW, ENTRY_OFFERED, ENTRY_PARKED, ENTRY_DONE } state;
	uint32_t slot;
	uint32_t attempts;  /* PARKED: refusals before */
	uint32_t reason;    /* PARKED: why what it waits for takes nothing; 0: it waits behind what is carried */
	scope_id scope;     /* PARKED: what it waits for; SCOPE_NONE: for what is carried of its key */
	struct doubt doubt; /* PARKED */
	int64_t parked_ms;  /* when it was first PARKED; 0: it was not */
	bool held;          /* PARKED: it was refused for good, and holds its key until an operator decides */
};

struct capture_slot {
	uint32_t holders; /* 0: free, or to be released */
	uint32_t bytes;
	uint32_t next; /* of the free ones, or of those to be released */
	bool of_chunk;
	bool of_book; /* carried, and read from the books */
	uint16_t defect;
	uint64_t lane;
};

struct capture_rows {
	struct capture_slot *slot;
	uint32_t slots, most_changes, most_of_chunks, most_of_books;
	uint32_t free;                          /* the first free one, or CAPTURE_NO_SLOT */
	uint32_t released_first, released_last; /* to be released, oldest first */
	uint32_t changes, of_chunks, of_books;  /* slots that are not free */
	uint64_t bytes;
	struct capture_entry *entry; /* of an ordinal: ordinal % capacity */
	int64_t capacity;
	int64_t oldest;    /* the lowest ordinal that is not DONE; or `next` */
	int64_t unoffered; /* the lowest that is NEW; or `next` */
	int64_t next;      /* to be given next */
	size_t parked;
};

/* Room for so many changes, rows of chunks, and changes that come back from the books. False: there is no memory. */
bool capture_rows_create(struct capture_rows *r, uint32_t most_changes, uint32_t most_of_chunks,
			 uint32_t most_of_books);
void capture_rows_destroy(struct capture_rows *r);

/* Nothing is in memory; the next ordinal is the one behind this. Slots that were held are to be released. */
void capture_rows_begin(struct capture_rows *r, int64_t ordinal);

/* Is there room for one more change, beside `reserved` rows of a chunk that may have to be appended before it? */
bool capture_rows_have_room(const struct capture_rows *r, uint64_t most_bytes, size_t reserved);

/* So many rows of a chunk could be taken and appended now. */
size_t capture_rows_chunk_room(const struct capture_rows *r);

/* Takes a row: its slot, held once. There must be room. */
uint32_t capture_rows_take(struct capture_rows *r, const struct capture_row *row, bool of_chunk);

/* The same for one that was carried: it has its ordinal, and no entry. The lane is the one that it had. */
uint32_t capture_rows_take_book(struct capture_rows *r, const struct capture_row *row, uint64_t lane);
size_t capture_rows_book_room(const struct capture_rows *r);

/* Gives the row in this slot the next ordinal, which is returned. Who held the slot holds it no more: its entry does. */
int64_t capture_rows_append(struct capture_rows *r, uint32_t slot);

void capture_rows_hold(struct capture_rows *r, uint32_t slot);
void capture_rows_drop(struct capture_rows *r, uint32_t slot);

static inline struct capture_entry *capture_rows_entry(const struct capture_rows *r, int64_t ordinal)
{
	return &r->entry[ordinal % r->capacity];
}

/* What became of an ordinal that was offered. DONE: it gives back the entry's hold on its slot, but for a dead letter's. */
void capture_rows_offered(struct capture_rows *r, int64_t ordinal);
void capture_rows_parked(struct capture_rows *r, const struct outcome *o, int64_t now_ms);

/* The same for one that holds its key: parked since then, whenever that is. */
void capture_rows_held(struct capture_rows *r, const struct outcome *o, int64_t since_ms);
void capture_rows_done(struct capture_rows *r, int64_t ordinal, bool keep_slot);

/* One that is NEW waits for what is carried of its key, since then. */
void capture_rows_behind(struct capture_rows *r, int64_t ordinal, struct doubt doubt, int64_t since_ms);

/* One that is PARKED is carried from now on: its entry counts as DONE, its hold on the slot is the caller's. */
void capture_rows_carried(struct capture_rows *r, int64_t ordinal);

/* The last ordinal up to which all are DONE. */
static inline int64_t capture_rows_settled(const struct capture_rows *r)
{
	return r->oldest - 1;
}

/* A slot that nobody holds any more, and which is free from now on; or false. */
bool capture_rows_next_release(struct capture_rows *r, uint32_t *slot);

/* Asserts what the picture says. For tests. */
void capture_rows_audit(const struct capture_rows *r);

#endif
