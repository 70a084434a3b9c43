/* The book of ids: which ids below the highest one read are not settled although they are not in the queue:
 * disjoint ranges ("exceptions") in a search tree, each missing, parked, held or active.
 *
 * What the book says of an id up to the highest read:
 *     in an exception           not settled, and why
 *     in no exception           in the queue as an ordinary message, or settled
 */
#ifndef BOXHAUL_CORE_OUTBOX_BOOK_H
#define BOXHAUL_CORE_OUTBOX_BOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/send/outcome.h"

/* Fences: 0 = none drawn since the gap was seen; FENCE_PENDING = the mark under way will draw one. */
#define FENCE_NONE UINT64_C(0)
#define FENCE_PENDING UINT64_MAX

/* Did an earlier leader leave it? */
enum heritage {
	HERITAGE_NONE,    /* no; or it was read since, or cannot have been sent */
	HERITAGE_UNREAD,  /* yes, and it may have been sent after what the books say */
	HERITAGE_DOUBTED, /* the same; and the books have to say so (exception_row.doubted) */
};

/* Each part names the file that writes it. */
struct exception {
	/* book.c */
	int64_t lo, hi;
	enum exception_kind kind;
	bool stored;                    /* the database holds exactly this lo..hi */
	scope_id scope;                 /* parked, held: what for */
	struct exception *next, *prev;  /* in order of ids */
	struct exception *left, *right; /* the tree */

	/* exceptions.c */
	uint32_t attempts;
	uint32_t reason;
	int64_t born_ms;
	struct doubt doubt;
	enum heritage heritage;

	uint32_t asked; /* book.c: the last round of reading that asked for it; 0 = none since it was parked */
	uint64_t fence; /* marking.c; missing: void once everything below it has ended and it is still not there */
};

struct book {
	struct exception *pool, *free_list, *root, *first, *last;
	size_t capacity, count;
	size_t touched; /* the pool from here on was never used: its memory is not even there yet */
	int64_t *gone;  /* lo of rows the database holds and should not */
	size_t gone_count;
	size_t kinds[4]; /* how many of each kind */
};

/* False: no memory. */
bool book_create(struct book *b, size_t capacity);
void book_destroy(struct book *b);
void book_clear(struct book *b);

static inline size_t book_room(const struct book *b)
{
	return b->capacity - b->count;
}

/* The exception that holds id, or NULL. */
struct exception *book_find(const struct book *b, int64_t id);

/* The first exception with hi > id, or NULL. */
struct exception *book_above(const struct book *b, int64_t id);

/* A new exception; the range must be free and there must be room. It was never sent; all else is zero. */
struct exception *book_insert(struct book *b, int64_t lo, int64_t hi, enum exception_kind kind, scope_id scope);

/* Takes it out; the database's row, if any, will be deleted by the next mark. */
void book_remove(struct book *b, struct exception *e);

/* Cuts id out of e, so that it stands alone; needs room for two more. Returns the exception lo = hi = id. */
struct exception *book_single(struct book *b, struct exception *e, int64_t id);

/* This round of reading asks for it. */
void book_asked(struct exception *e, uint32_t round);

/* The database holds it from now on: it was read there, or a mark stores it. */
void book_stored(struct exception *e);

/* It was read, and is parked again: no round has asked for it since. */
void book_change_back(struct book *b, struct exception *e, enum exception_kind kind, scope_id scope);

/* Its kind or scope changes; what the database says of it is then stale. */
void book_change(struct book *b, struct exception *e, enum exception_kind kind, scope_id scope);

/* What the database says of it is stale, and to be written again. */
void book_stale(struct book *b, struct exception *e);

/* The list of what the database holds and should not goes to a mark; *list, of the same capacity, is used from now on, and is
 * given the old one. Returns how many there are. */
size_t book_hand_over_gone(struct book *b, int64_t **list);

/* Parks one id that is in no exception (PARKED: joining it to its left neighbour where that is the same thing; or HELD). No
 * exception ever straddles the position: the database would hold a promise about ids above it. */
struct exception *book_park(struct book *b, int64_t id, enum exception_kind kind, scope_id scope, struct doubt doubt,
			    int64_t position, int64_t now_ms);

/* Parked again: joins it to its left neighbour where that is the same thing, or many would stay single for ever. */
struct exception *book_join(struct book *b, struct exception *e, int64_t position);

/* Asserts what is said above. Slow: for tests. */
void book_audit(const struct book *b);

#endif
