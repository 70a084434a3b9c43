/* The book of ids: a treap over a fixed pool, threaded in order of ids.
 *
 *     first <-> [3..3 missing] <-> [7..9 parked] <-> [12..12 active] <-> last
 *
 * Priorities are a hash of lo: the shape is the same in every run, whatever came before. */
#include "core/outbox/book.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/mutant.h"

bool book_create(struct book *b, size_t capacity)
{
	*b = (struct book){ .capacity = capacity };
	b->pool = calloc(capacity, sizeof *b->pool);
	b->gone = calloc(capacity, sizeof *b->gone);
	if (b->pool == NULL || b->gone == NULL) {
		book_destroy(b);
		return false;
	}
	book_clear(b);
	return true;
}

void book_destroy(struct book *b)
{
	free(b->pool);
	free(b->gone);
	*b = (struct book){ .capacity = 0 };
}

void book_clear(struct book *b)
{
	b->free_list = b->root = b->first = b->last = NULL;
	b->count = b->gone_count = b->touched = 0;
	memset(b->kinds, 0, sizeof b->kinds);
}

static uint64_t priority(const struct exception *e)
{
	uint64_t x = (uint64_t)e->lo * UINT64_C(0x9e3779b97f4a7c15);

	return (x ^ (x >> 29)) * UINT64_C(0xbf58476d1ce4e5b9);
}

/* The first exception with hi >= id, or NULL. */
static struct exception *first_from(const struct book *b, int64_t id)
{
	struct exception *e = b->root, *best = NULL;

	while (e != NULL) {
		if (e->hi >= id) {
			best = e;
			e = e->left;
		} else {
			e = e->right;
		}
	}
	return best;
}

struct exception *book_above(const struct book *b, int64_t id)
{
	return id < INT64_MAX ? first_from(b, id + 1) : NULL;
}

struct exception *book_find(const struct book *b, int64_t id)
{
	struct exception *e = first_from(b, id);

	return e != NULL && e->lo <= id ? e : NULL;
}

/* Splits the tree below t into ids under lo and ids from lo on. */
static void split(struct exception *t, int64_t lo, struct exception **under, struct exception **from)
{
	while (t != NULL) {
		if (t->lo < lo) {
			*under = t;
			under = &t->right;
			t = t->right;
		} else {
			*from = t;
			from = &t->left;
			t = t->left;
		}
	}
	*under = *from = NULL;
}

static struct exception *join(struct exception *under, struct exception *from)
{
	struct exception *root = NULL, **at = &root;

	while (under != NULL && from != NULL) {
		if (priority(under) > priority(from)) {
			*at = under;
			at = &under->right;
			under = under->right;
		} else {
			*at = from;
			at = &from->left;
			from = from->left;
		}
	}
	*at = under != NULL ? under : from;
	return root;
}

static void tree_insert(struct book *b, struct exception *e)
{
	struct exception **at = &b->root;

	while (*at != NULL && priority(*at) > priority(e))
		at = (*at)->lo < e->lo ? &(*at)->right : &(*at)->left;
	split(*at, e->lo, &e->left, &e->right);
	*at = e;
}

static void tree_remove(struct book *b, const struct exception *e)
{
	struct exception **at = &b->root;

	while (*at != e)
		at = (*at)->lo < e->lo ? &(*at)->right : &(*at)->left;
	*at = join(e->left, e->right);
}

struct exception *book_insert(struct book *b, int64_t lo, int64_t hi, enum exception_kind kind, scope_id scope)
{
	struct exception *e = b->free_list, *after = first_from(b, lo);

	assert(b->count < b->capacity && lo <= hi);
	assert(after == NULL || after->lo > hi);
	if (e != NULL)
		b->free_list = e->next;
	else
		e = &b->pool[b->touched++];
	*e = (struct exception){ .lo = lo, .hi = hi, .kind = kind, .scope = scope, .next = after, .doubt = NO_DOUBT };
	e->prev = after != NULL ? after->prev : b->last;
	*(e->prev != NULL ? &e->prev->next : &b->first) = e;
	*(after != NULL ? &after->prev : &b->last) = e;
	tree_insert(b, e);
	b->count++;
	b->kinds[kind]++;
	return e;
}

void book_stale(struct book *b, struct exception *e)
{
	if (!e->stored)
		return;
	/* One entry per exception the database holds: never more than the pool has. */
	assert(b->gone_count < b->capacity);
	b->gone[b->gone_count++] = e->lo;
	e->stored = false;
}

void book_asked(struct exception *e, uint32_t round)
{
	assert(round != 0);
	e->asked = round;
}

void book_stored(struct exception *e)
{
	e->stored = true;
}

size_t book_hand_over_gone(struct book *b, int64_t **list)
{
	int64_t *fresh = *list;
	size_t count = b->gone_count;

	assert(fresh != NULL && fresh != b->gone);
	*list = b->gone;
	b->gone = fresh;
	b->gone_count = 0;
	return count;
}

void book_remove(struct book *b, struct exception *e)
{
	if (!MUTANT(gone_kept))
		book_stale(b, e);
	assert(b->count > 0 && b->kinds[e->kind] > 0);
	tree_remove(b, e);
	*(e->prev != NULL ? &e->prev->next : &b->first) = e->next;
	*(e->next != NULL ? &e->next->prev : &b->last) = e->prev;
	b->count--;
	b->kinds[e->kind]--;
	e->next = b->free_list;
	b->free_list = e;
}

/* Cuts e so that it ends at hi; needs room for one more. The rest keeps everything else. */
static void cut_after(struct book *b, struct exception *e, int64_t hi)
{
	struct exception *rest;
	int64_t end = e->hi;

	assert(e->lo <= hi && hi <= end);
	if (hi == end)
		return;
	book_stale(b, e);
	e->hi = hi;
	rest = book_insert(b, hi + 1, end, e->kind, e->scope);
	rest->attempts = e->attempts;
	rest->reason = e->reason;
	rest->asked = e->asked;
	rest->fence = e->fence;
	rest->born_ms = e->born_ms;
	rest->doubt = e->doubt;
	rest->heritage = e->heritage;
	assert(e->next == rest && rest->lo == e->hi + 1 && rest->hi == end);
}

struct exception *book_single(struct book *b, struct exception *e, int64_t id)
{
	assert(e->lo <= id && id <= e->hi);
	if (e->lo < id) {
		cut_after(b, e, id - 1);
		e = e->next;
	}
	cut_after(b, e, id);
	assert(e->lo == id && e->hi == id);
	return e;
}

void book_change(struct book *b, struct exception *e, enum exception_kind kind, scope_id scope)
{
	/* Going active is not worth a write: the row leaves, or changes again, soon enough. */
	if (kind != EXCEPTION_ACTIVE)
		book_stale(b, e);
	assert(b->kinds[e->kind] > 0 && (kind != EXCEPTION_ACTIVE || e->lo == e->hi));
	b->kinds[e->kind]--;
	b->kinds[kind]++;
	e->kind = kind;
	e->scope = scope;
}

void book_change_back(struct book *b, struct exception *e, enum exception_kind kind, scope_id scope)
{
	book_change(b, e, kind, scope);
	e->asked = 0;
}

/* The same may be said of both. What was sent and is in doubt stands alone: the stream has to be asked about it. */
static bool same_doubt(const struct doubt *a, const struct doubt *b)
{
	return a->sent_ms == NEVER && b->sent_ms == NEVER && a->low_water == b->low_water && a->stream == b->stream;
}

struct exception *book_park(struct book *b, int64_t id, enum exception_kind kind, scope_id scope, struct doubt doubt,
			    int64_t position, int64_t now_ms)
{
	struct exception *after = first_from(b, id), *before = after != NULL ? after->prev : b->last, *e;

	assert((after == NULL || after->lo > id) && (kind == EXCEPTION_PARKED || kind == EXCEPTION_HELD));
	if (kind == EXCEPTION_PARKED && before != NULL && before->hi == id - 1 && before->kind == EXCEPTION_PARKED &&
	    before->scope == scope && !before->stored && before->asked == 0 && same_doubt(&before->doubt, &doubt) &&
	    ((before->lo > position) == (id > position) || MUTANT(straddle))) {
		before->hi = id;
		return before;
	}
	e = book_insert(b, id, id, kind, scope);
	e->born_ms = now_ms;
	e->doubt = doubt;
	return e;
}

struct exception *book_join(struct book *b, struct exception *e, int64_t position)
{
	struct exception *before = e->prev;
	int64_t hi = e->hi;

	if (before == NULL || before->hi != e->lo - 1 || before->kind != EXCEPTION_PARKED ||
	    e->kind != EXCEPTION_PARKED || before->scope != e->scope || before->asked != 0 ||
	    !same_doubt(&before->doubt, &e->doubt) || (before->lo > position) != (e->lo > position))
		return e;
	book_stale(b, before);
	book_remove(b, e);
	assert(before->next == NULL || before->next->lo > hi);
	before->hi = hi;
	return before;
}

static size_t tree_size(const struct exception *t, int64_t lo, int64_t hi)
{
	if (t == NULL)
		return 0;
	assert(lo <= t->lo && t->hi <= hi && t->lo <= t->hi);
	assert(t->left == NULL || priority(t->left) <= priority(t));
	assert(t->right == NULL || priority(t->right) <= priority(t));
	return 1 + tree_size(t->left, lo, t->lo - 1) +
	       tree_size(t->right, t->hi < INT64_MAX ? t->hi + 1 : INT64_MAX, hi);
}

void book_audit(const struct book *b)
{
	size_t n = 0, kinds[4] = { 0 };

	for (const struct exception *e = b->first; e != NULL; e = e->next) {
		assert(e->next == NULL ? b->last == e : e->next->prev == e && e->next->lo > e->hi);
		assert(e->kind != EXCEPTION_ACTIVE || e->lo == e->hi);
		assert((e->kind == EXCEPTION_PARKED || e->kind == EXCEPTION_HELD) == (e->scope != SCOPE_NONE) ||
		       e->kind == EXCEPTION_ACTIVE);
		kinds[e->kind]++;
		n++;
	}
	assert(n == b->count && tree_size(b->root, INT64_MIN + 1, INT64_MAX) == n);
	for (int k = 0; k < 4; k++)
		assert(kinds[k] == b->kinds[k]);
}
