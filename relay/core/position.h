/* The book of ids: which ids below the highest one read are not settled although they are not in the queue:
 * disjoint ranges ("exceptions") in a search tree, each missing, parked, held or active.
 *
 * What the book says of an id up to the highest read:
 *     in an exception           not settled, and why
 *     in no exception           in the queue as an ordinary message, or settled
 */
#ifndef BOXHAUL_CORE_POSITION_H
#define BOXHAUL_CORE_POSITION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/delivery.h"

/* What an exception is held back for: 0 nothing, 1..LIMIT_STREAMS a stream, else a lane's hash (top bit set). */
typedef uint64_t scope_id;

enum { SCOPE_NONE = 0 };

static inline scope_id scope_of_stream(uint32_t stream)
{
	return stream + 1;
}
static inline bool scope_is_lane(scope_id s)
{
	return s > LIMIT_STREAMS;
}
static inline uint64_t lane_hash(uint64_t hash)
{
	return hash | (UINT64_C(1) << 63);
}

/* Fences: 0 = none drawn since the gap was seen; FENCE_PENDING = the mark under way will draw one. */
#define FENCE_NONE UINT64_C(0)
#define FENCE_PENDING UINT64_MAX

/* What is not known about messages that were sent. */
struct doubt {
	int64_t sent_ms; /* the last publish, of which nobody knows what became; NEVER: none, or the stream said so since */
	uint64_t floor;  /* a copy, if stored, stands above this sequence; FLOOR_NONE: never sent */
	uint16_t stream; /* the floor's; 0 without one */
};

#define NO_DOUBT ((struct doubt){ .sent_ms = NEVER, .floor = FLOOR_NONE })
/* doubt.sent_ms: an earlier leader sent it. */
#define SENT_BY_OTHERS INT64_MIN

struct exception {
	int64_t lo, hi;
	enum exception_kind kind;
	bool stored; /* the database holds exactly this lo..hi */
	uint32_t attempts;
	uint32_t reason;
	uint32_t asked; /* number of the last fetch that asked for it */
	scope_id scope; /* parked, held: what for */
	uint64_t fence; /* missing: void once everything below it has ended and it is still not there */
	int64_t born_ms;
	struct doubt doubt;
	enum {
		OURS,
		INHERITED,
		DOUBTED
	} inherited; /* an earlier leader left it, and it was not read since (exception_row.doubted) */
	struct exception *next, *prev;  /* in order of ids */
	struct exception *left, *right; /* the tree */
};

struct book {
	struct exception *pool, *free_list, *root, *first, *last;
	size_t capacity, count;
	size_t touched; /* the pool from here on was never used: its memory is not even there yet */
	int64_t *gone;  /* lo of rows the database holds and should not */
	size_t gone_count;
	size_t kinds[4]; /* how many of each kind */
};

bool book_create(struct book *b, size_t capacity);
void book_destroy(struct book *b);
void book_clear(struct book *b);

static inline size_t book_room(const struct book *b)
{
	return b->capacity - b->count;
}

/* The exception that holds id, or NULL. */
struct exception *book_find(const struct book *b, int64_t id);

/* The first exception with hi >= id, or NULL. */
struct exception *book_from(const struct book *b, int64_t id);

/* A new exception; the range must be free and there must be room. It was never sent; all else is zero. */
struct exception *book_insert(struct book *b, int64_t lo, int64_t hi, enum exception_kind kind);

/* Takes it out; the database's row, if any, will be deleted by the next mark. */
void book_remove(struct book *b, struct exception *e);

/* Cuts id out of e, so that it stands alone; needs room for two more. Returns the exception lo = hi = id. */
struct exception *book_single(struct book *b, struct exception *e, int64_t id);

/* Cuts e so that it ends at hi; needs room for one more. The rest keeps everything else. */
void book_cut_after(struct book *b, struct exception *e, int64_t hi);

/* Its kind or scope changes; what the database says of it is then stale. */
void book_change(struct book *b, struct exception *e, enum exception_kind kind, scope_id scope);

/* Parks one id that is in no exception, joining it to its left neighbour where that is the same thing. No
 * exception ever straddles the position: the database would hold a promise about ids above it. */
struct exception *book_park(struct book *b, int64_t id, scope_id scope, struct doubt doubt, int64_t position,
			    int64_t now_ms);

/* Parked again: joins it to its left neighbour where that is the same thing, or many would stay single for ever. */
struct exception *book_join(struct book *b, struct exception *e, int64_t position);

void book_audit(const struct book *b);

#endif
