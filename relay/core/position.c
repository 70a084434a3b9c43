/* The book of ids: a treap over a fixed pool, threaded in order of ids.
 *
 *     first <-> [3..3 missing] <-> [7..9 parked] <-> [12..12 active] <-> last
 *
 * Priorities are a hash of lo: the shape is the same in every run, whatever came before. */
#include "core/position.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

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

struct exception *book_from(const struct book *b, int64_t id)
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

struct exception *book_find(const struct book *b, int64_t id)
{
	struct exception *e = book_from(b, id);

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

struct exception *book_insert(struct book *b, int64_t lo, int64_t hi, enum exception_kind kind)
{
	struct exception *e = b->free_list, *after = book_from(b, lo);

	assert(b->count < b->capacity && lo <= hi);
	assert(after == NULL || after->lo > hi);
	if (e != NULL)
		b->free_list = e->next;
	else
		e = &b->pool[b->touched++];
	*e = (struct exception){ .lo = lo, .hi = hi, .kind = kind, .next = after, .doubt = NO_DOUBT };
	e->prev = after != NULL ? after->prev : b->last;
	*(e->prev != NULL ? &e->prev->next : &b->first) = e;
	*(after != NULL ? &after->prev : &b->last) = e;
	tree_insert(b, e);
	b->count++;
	b->kinds[kind]++;
	return e;
}

/* The database's row for e is wrong from now on. */
static void forget_stored(struct book *b, struct exception *e)
{
	if (!e->stored)
		return;
	/* One entry per exception the database holds: never more than the pool has. */
	assert(b->gone_count < b->capacity);
	b->gone[b->gone_count++] = e->lo;
	e->stored = false;
}

void book_remove(struct book *b, struct exception *e)
{
	forget_stored(b, e);
	tree_remove(b, e);
	*(e->prev != NULL ? &e->prev->next : &b->first) = e->next;
	*(e->next != NULL ? &e->next->prev : &b->last) = e->prev;
	b->count--;
	b->kinds[e->kind]--;
	e->next = b->free_list;
	b->free_list = e;
}

void book_cut_after(struct book *b, struct exception *e, int64_t hi)
{
	struct exception *rest;
	int64_t end = e->hi;

	assert(e->lo <= hi && hi <= e->hi);
	if (hi == end)
		return;
	forget_stored(b, e);
	e->hi = hi;
	rest = book_insert(b, hi + 1, end, e->kind);
	rest->attempts = e->attempts;
	rest->reason = e->reason;
	rest->asked = e->asked;
	rest->scope = e->scope;
	rest->fence = e->fence;
	rest->born_ms = e->born_ms;
	rest->doubt = e->doubt;
	rest->inherited = e->inherited;
}

struct exception *book_single(struct book *b, struct exception *e, int64_t id)
{
	assert(e->lo <= id && id <= e->hi);
	if (e->lo < id) {
		book_cut_after(b, e, id - 1);
		e = e->next;
	}
	book_cut_after(b, e, id);
	return e;
}

void book_change(struct book *b, struct exception *e, enum exception_kind kind, scope_id scope)
{
	/* Going active is not worth a write: the row leaves, or changes again, soon enough. */
	if (kind != EXCEPTION_ACTIVE)
		forget_stored(b, e);
	b->kinds[e->kind]--;
	b->kinds[kind]++;
	e->kind = kind;
	e->scope = scope;
}

/* The same may be said of both. What was sent and is in doubt stands alone: the stream has to be asked about it. */
static bool same_doubt(const struct doubt *a, const struct doubt *b)
{
	return a->sent_ms == NEVER && b->sent_ms == NEVER && a->floor == b->floor && a->stream == b->stream;
}

struct exception *book_park(struct book *b, int64_t id, scope_id scope, struct doubt doubt, int64_t position,
			    int64_t now_ms)
{
	struct exception *after = book_from(b, id), *before = after != NULL ? after->prev : b->last, *e;

	if (before != NULL && before->hi + 1 == id && before->kind == EXCEPTION_PARKED && before->scope == scope &&
	    !before->stored && before->asked == 0 && same_doubt(&before->doubt, &doubt) &&
	    (before->lo > position) == (id > position)) {
		before->hi = id;
		return before;
	}
	e = book_insert(b, id, id, EXCEPTION_PARKED);
	e->scope = scope;
	e->born_ms = now_ms;
	e->doubt = doubt;
	return e;
}

struct exception *book_join(struct book *b, struct exception *e, int64_t position)
{
	struct exception *before = e->prev;
	int64_t hi = e->hi;

	if (before == NULL || before->hi + 1 != e->lo || before->kind != EXCEPTION_PARKED ||
	    e->kind != EXCEPTION_PARKED || before->scope != e->scope || before->asked != 0 ||
	    !same_doubt(&before->doubt, &e->doubt) || (before->lo > position) != (e->lo > position))
		return e;
	forget_stored(b, before);
	book_remove(b, e);
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
	return 1 + tree_size(t->left, lo, t->lo - 1) + tree_size(t->right, t->hi + 1, hi);
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
