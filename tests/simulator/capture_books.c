/* The books in the source's database: marks, cursors, repairs, letters; and who leads. */
#include <string.h>

#include "capture_world.h"
#include "check_capture.h"

enum { MARKS = 64 };

/* A statement on its way. */
struct statement {
	uint64_t epoch;
	struct capture_mark mark;
	struct capture_cursor cursor[LIMIT_CAPTURE_STEPS];
	int key[LIMIT_CAPTURE_STEPS], top[LIMIT_CAPTURE_STEPS]; /* -1: stays */
	struct capture_repair repair[MAX_SLOTS];
	uint8_t repair_key[MAX_SLOTS];
	struct message letter[LIMIT_CAPTURE_LETTERS];
	int64_t asked_ms;
};

static struct statement statement[MARKS];
static uint32_t next_statement;

static struct host *still(struct capture_sim *s, const struct capture_happening *h)
{
	struct host *host = &s->host[h->a];

	return host->life == h->b && host->session == h->c && host->session != 0 ? host : NULL;
}

static struct capture_happening *plan(struct capture_sim *s, struct host *h, int64_t wait,
				      void (*run)(struct capture_sim *, const struct capture_happening *))
{
	struct capture_happening *a;

	if (s->now + wait <= h->answer_at) /* one session: in order */
		wait = h->answer_at - s->now + 1;
	h->answer_at = s->now + wait;
	a = capture_later(s, s->now + wait, run);
	a->a = h->index;
	a->b = h->life;
	a->c = h->session;
	return a;
}

/* --- marks --- */

static void add_repair(struct capture_sim *s, const struct capture_repair *r, uint8_t key)
{
	struct books *b = &s->pg.books;

	for (uint32_t i = 0; i < b->repairs; i++)
		if (b->repair[i].table == r->table && b->repair[i].key == key && b->repair[i].reading == r->reading)
			return;
	demand(s, b->repairs < MAX_REPAIRS, "the simulator is too small");
	b->repair[b->repairs].table = (uint8_t)r->table;
	b->repair[b->repairs].key = key;
	b->repair[b->repairs++].reading = r->reading;
	s->repairs++;
}

static void move_cursor(struct capture_sim *s, const struct capture_cursor *c, int key, int top)
{
	struct books *b = &s->pg.books;
	uint32_t kept = 0;

	b->table[c->table] = c->now;
	if (c->restart)
		b->cursor[c->table] = b->top[c->table] = -1;
	if (key >= 0)
		b->cursor[c->table] = key;
	if (top >= 0)
		b->top[c->table] = top;
	for (uint32_t i = 0; i < b->repairs; i++)
		if (b->repair[i].table != c->table || b->repair[i].reading >= c->now.repair_first)
			b->repair[kept++] = b->repair[i];
	b->repairs = kept;
}

static void apply(struct capture_sim *s, const struct statement *st)
{
	struct books *b = &s->pg.books;

	for (size_t i = 0; i < st->mark.repair_count; i++)
		add_repair(s, &st->repair[i], st->repair_key[i]);
	for (size_t i = 0; i < st->mark.cursor_count; i++)
		move_cursor(s, &st->cursor[i], st->key[i], st->top[i]);
	for (size_t i = 0; i < st->mark.letter_count; i++)
		check_capture_lettered(s, &st->letter[i]);
	b->letters += (uint32_t)st->mark.letter_count;
	b->end_lsn = st->mark.end_lsn;
	b->time = st->mark.commit_time;
	b->ordinal = st->mark.ordinal;
	b->low_water = st->mark.low_water;
	s->marks++;
	check_capture_marked(s, &st->mark);
}

static void on_marked(struct capture_sim *s, const struct capture_happening *h)
{
	struct host *host = still(s, h);
	struct capture_event ev = { .kind = CAPTURE_EVENT_MARKED };

	if (host == NULL || capture_host_defers(s, host, h))
		return;
	ev.marked.asked_ms = statement[h->d].asked_ms;
	capture_host_step(s, host, &ev);
	capture_host_turn(s, host);
}

static void on_mark(struct capture_sim *s, const struct capture_happening *h)
{
	struct host *host = still(s, h);
	const struct statement *st = &statement[h->d];

	if (host == NULL || host->session_dead)
		return;
	if (st->epoch != s->pg.books.epoch || st->mark.from_ordinal != s->pg.books.ordinal) {
		capture_host_lose_session(s, host);
		return;
	}
	trace(s, "host %u  mark: %llu, ordinal %lld, %zu cursors, %zu repairs, %zu letters", host->index,
	      (unsigned long long)st->mark.end_lsn, (long long)st->mark.ordinal, st->mark.cursor_count,
	      st->mark.repair_count, st->mark.letter_count);
	apply(s, st);
	plan(s, host, prng_between(&s->dice, 1, s->plan.pg_us), on_marked)->d = h->d;
}

static int key_in(struct capture_sim *s, const struct host *h, uint32_t slot)
{
	demand(s, slot == CAPTURE_NO_SLOT || h->payload[slot].used, "a cursor points to what was let go");
	return slot == CAPTURE_NO_SLOT ? -1 : (int)h->payload[slot].m.key;
}

static void copy_mark(struct capture_sim *s, const struct host *h, struct statement *st, const struct capture_mark *m)
{
	st->epoch = h->epoch;
	st->mark = *m;
	st->asked_ms = s->now / MS;
	demand(s, m->cursor_count > 0 || m->repair_count > 0 || m->letter_count > 0 || m->ordinal > m->from_ordinal,
	       "an idle capture marks");
	demand(s, m->repair_count <= MAX_SLOTS, "the simulator is too small");
	for (size_t i = 0; i < m->cursor_count; i++) {
		st->cursor[i] = m->cursors[i];
		st->key[i] = key_in(s, h, m->cursors[i].slot);
		st->top[i] = key_in(s, h, m->cursors[i].top);
	}
	for (size_t i = 0; i < m->repair_count; i++) {
		char text[KEY_BYTES] = "";

		memcpy(text, m->repairs[i].key, m->repairs[i].key_bytes);
		st->repair[i] = m->repairs[i];
		st->repair_key[i] = (uint8_t)capture_key_of(text);
	}
	for (size_t i = 0; i < m->letter_count; i++) {
		demand(s, h->payload[m->letters[i].slot].used, "a letter points to what was let go");
		st->letter[i] = h->payload[m->letters[i].slot].m;
	}
}

void capture_books_mark(struct capture_sim *s, struct host *h, const struct capture_mark *mark)
{
	uint32_t place = next_statement++ % MARKS;
	int64_t wait = prng_between(&s->dice, 1, s->plan.pg_us);

	copy_mark(s, h, &statement[place], mark);
	if (mishap(s, query_slow))
		wait += prng_spread(&s->dice, MS, 300 * MS);
	plan(s, h, wait, on_mark)->d = place;
}

/* --- the lead --- */

static void count_repairs(const struct books *b, uint32_t table, struct capture_table *t)
{
	uint32_t last = 0;

	t->repair_count = 0;
	for (uint32_t i = 0; i < b->repairs; i++) {
		uint32_t reading = b->repair[i].reading;

		if (b->repair[i].table != table)
			continue;
		if (last == 0 || reading < t->repair_first)
			t->repair_first = reading;
		if (reading > last)
			last = reading;
	}
	if (last > 0)
		t->repair_count = last - t->repair_first + 1;
}

static void on_books(struct capture_sim *s, const struct capture_happening *h)
{
	struct host *host = still(s, h);
	struct capture_event ev = { .kind = CAPTURE_EVENT_LEADING };
	struct capture_table tables[CAPTURE_TABLES];
	struct books *b = &s->pg.books;

	if (host == NULL || host->session_dead || capture_host_defers(s, host, h))
		return;
	for (uint32_t t = 0; t < s->plan.tables; t++) {
		tables[t] = b->table[t];
		count_repairs(b, t, &tables[t]);
		host->cursor[t] = b->cursor[t];
		host->top[t] = b->top[t];
	}
	host->epoch = b->epoch;
	ev.leading.end_lsn = b->end_lsn;
	ev.leading.commit_time = b->time;
	ev.leading.ordinal = b->ordinal;
	ev.leading.wal_end = s->pg.lsn;
	ev.leading.low_water = b->low_water;
	ev.leading.asked_ms = (int64_t)h->d;
	ev.leading.predecessor_until_ms = s->now / MS + (h->e != 0 ? (int64_t)s->plan.settings.send.lease_ms : 0);
	ev.leading.operator_pause = b->operator_pause;
	ev.leading.reading_paused = b->reading_paused;
	ev.leading.tables = tables;
	trace(s, "host %u  leads: epoch %llu, from %llu, ordinal %lld", host->index, (unsigned long long)b->epoch,
	      (unsigned long long)b->end_lsn, (long long)b->ordinal);
	capture_host_step(s, host, &ev);
	capture_host_turn(s, host);
}

void capture_books_lead(struct capture_sim *s, struct host *h)
{
	struct books *b = &s->pg.books;
	struct capture_happening *a;
	bool led = b->led;

	b->epoch++;
	b->led = true;
	a = plan(s, h, prng_between(&s->dice, 1, 2 * s->plan.pg_us), on_books);
	a->d = (uint64_t)(s->now / MS);
	a->e = led;
}
