#include "flow/capture_whole.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is under way, and what comes after it. */
enum step { NOTHING, BEGIN, LOCK, ROWS, SIZES, SNAPSHOT, FETCH_SIZES, FETCH };

struct capture_whole {
	struct pg *pg;
	capture_whole_answer *answer;
	void *arg;
	bool open, locked;
	enum step step;
	unsigned stale; /* so many answers are still to come that nobody wants any more: they come first */
	char *lock;     /* the statements of these steps */
	char *rows, *sizes, *snapshot;  /* sizes NULL: no column of it is long */
	uint32_t most_rows, most_bytes; /* of the fetch */
	uint32_t *size;                 /* of rows that were not fetched yet: from `first` on */
	size_t first, count, capacity;
};

static void on_step(void *arg, const struct pg_result *r);

static bool send(struct capture_whole *c, enum step step, const char *sql)
{
	c->step = step;
	return sql != NULL && pg_send_once(c->pg, sql, NULL, 0, on_step, c);
}

static void forget_statements(struct capture_whole *c)
{
	free(c->rows);
	free(c->sizes);
	free(c->snapshot);
	c->rows = c->sizes = c->snapshot = NULL;
	c->first = c->count = 0;
}

/* --- fetching --- */

/* How many of the next rows fit: one at least. 0: their sizes are not known yet. */
static size_t count_fitting(const struct capture_whole *c)
{
	uint64_t bytes = 0;
	size_t n = 0;

	if (c->sizes == NULL)
		return c->most_rows;
	while (c->first + n < c->count && n < c->most_rows && (n == 0 || bytes < c->most_bytes))
		bytes += c->size[c->first + n++];
	return n;
}

static bool send_fetch(struct capture_whole *c)
{
	char sql[64];
	size_t n = count_fitting(c);

	snprintf(sql, sizeof sql, "FETCH FORWARD %zu FROM \"boxhaul %s\"", n > 0 ? n : c->most_rows,
		 n > 0 ? "rows" : "sizes");
	c->first += c->sizes != NULL ? n : 0;
	return send(c, n > 0 ? FETCH : FETCH_SIZES, sql);
}

/* No more sizes: the rows are asked all the same, for it is they that say that they are all. */
static bool take_sizes(struct capture_whole *c, const struct pg_result *r)
{
	size_t n = (size_t)pg_rows(r);

	if (n == 0)
		return send(c, FETCH, "FETCH FORWARD 1 FROM \"boxhaul rows\"");
	if (n > c->capacity) {
		uint32_t *size = realloc(c->size, n * sizeof *size);

		if (size == NULL)
			return false;
		c->size = size;
		c->capacity = n;
	}
	for (size_t i = 0; i < n; i++)
		c->size[i] = (uint32_t)strtoul(pg_text(r, (int)i, 0), NULL, 10);
	c->first = 0;
	c->count = n;
	return send_fetch(c);
}

bool capture_whole_fetch(struct capture_whole *c, uint32_t rows, uint32_t bytes)
{
	c->most_rows = rows;
	c->most_bytes = bytes;
	return send_fetch(c);
}

/* --- opening --- */

bool capture_whole_open(struct capture_whole *c, const char *tab)
{
	capture_whole_end(c);
	free(c->lock);
	c->lock = NULL;
	if (asprintf(&c->lock, "LOCK TABLE %s IN ACCESS SHARE MODE", tab) < 0)
		return false;
	c->open = true;
	return send(c, BEGIN, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
}

bool capture_whole_declare(struct capture_whole *c, const struct capture_query *q)
{
	forget_statements(c);
	c->rows = capture_query_whole(q);
	c->snapshot = capture_query_snapshot(q);
	if (capture_query_is_long(q) && (c->sizes = capture_query_sizes(q)) == NULL)
		return false;
	return c->snapshot != NULL && send(c, ROWS, c->rows);
}

/* False: it could not be sent. */
static bool go_on(struct capture_whole *c, enum step done, const struct pg_result *r)
{
	switch (done) {
	case BEGIN: return send(c, LOCK, c->lock);
	case ROWS: return c->sizes != NULL ? send(c, SIZES, c->sizes) : send(c, SNAPSHOT, c->snapshot);
	case SIZES: return send(c, SNAPSHOT, c->snapshot);
	case FETCH_SIZES: return take_sizes(c, r);
	case LOCK: c->locked = true; break;
	default: break;
	}
	c->answer(c->arg, r);
	return true;
}

static void on_step(void *arg, const struct pg_result *r)
{
	struct capture_whole *c = arg;
	enum step done = c->step;

	if (c->stale > 0) {
		c->stale--;
		return;
	}
	c->step = NOTHING;
	if (pg_error(r) != NULL)
		c->answer(c->arg, r);
	else if (!go_on(c, done, r))
		pg_break(c->pg, "a statement could not be sent"); /* and the question fails with it */
}

/* --- its end --- */

static void on_end(void *arg, const struct pg_result *r)
{
	(void)arg;
	(void)r;
}

void capture_whole_end(struct capture_whole *c)
{
	if (!c->open)
		return;
	c->stale += c->step != NOTHING;
	c->step = NOTHING;
	c->open = c->locked = false;
	forget_statements(c);
	/* It has written nothing. */
	if (!pg_send_once(c->pg, "ROLLBACK", NULL, 0, on_end, c))
		pg_break(c->pg, "a statement could not be sent");
}

void capture_whole_lost(struct capture_whole *c)
{
	c->open = c->locked = false;
	c->step = NOTHING;
	c->stale = 0;
	forget_statements(c);
}

bool capture_whole_is_open(const struct capture_whole *c)
{
	return c->open;
}

bool capture_whole_is_locked(const struct capture_whole *c)
{
	return c->locked;
}

bool capture_whole_is_busy(const struct capture_whole *c)
{
	return c->step != NOTHING;
}

struct capture_whole *capture_whole_create(struct pg *pg, capture_whole_answer *answer, void *arg)
{
	struct capture_whole *c = calloc(1, sizeof *c);

	if (c != NULL)
		*c = (struct capture_whole){ .pg = pg, .answer = answer, .arg = arg };
	return c;
}

void capture_whole_free(struct capture_whole *c)
{
	if (c == NULL)
		return;
	forget_statements(c);
	free(c->lock);
	free(c->size);
	free(c);
}
