/* What is stored: only what was committed (G2), per key in the order of commits (G3), once (G4).
 *
 * Producers of one key lock the key before they draw an id and keep the lock until they commit. So the ids of
 * one key rise in the order of commits, and check_committed() sees them in that order. (Where the plan has no locks (overlaps),
 * no order is promised, and none is looked at.) */
#include "check.h"

#include "host.h"
#include "world.h"

/* The committed messages of each key in each stream, ascending; all before `done` are stored, dead or given up. */
static struct queue {
	int32_t id[MAX_IDS];
	size_t count, done;
} queue[MAX_KEYS][MAX_STREAMS];

/* The same of each owned stream, whatever the key. */
static struct queue sequence[MAX_STREAMS];

void check_open(struct sim *s)
{
	(void)s;
	for (int i = 0; i < MAX_STREAMS; i++)
		sequence[i].count = sequence[i].done = 0;
	for (int k = 0; k < MAX_KEYS; k++)
		for (int i = 0; i < MAX_STREAMS; i++)
			queue[k][i].count = queue[k][i].done = 0;
}

void check_committed(struct sim *s, int64_t id)
{
	const struct fact *f = &s->pg.fact[id];
	struct queue *q = &sequence[f->stream];

	if (settings_owns(&s->plan.settings, f->stream))
		q->id[q->count++] = (int32_t)id;
	if (f->key == NO_KEY || s->plan.overlaps)
		return;
	q = &queue[f->key][f->stream];
	demand(s, q->count == 0 || q->id[q->count - 1] < id, "the simulator commits key %d out of order", f->key);
	q->id[q->count++] = (int32_t)id;
}

/* Nothing behind it has to wait for it any more. */
static bool out_of_the_way(const struct sim *s, const struct fact *f)
{
	if (f->standing > 0 || f->told_by[0] != 0 || f->told_by[1] != 0 || f->was_given_up || f->was_deleted)
		return true;
	return s->plan.settings.poison == POISON_SKIP && (f->poison || f->defect != 0);
}

/* A failover took commits back. What was sent of them by then are phantoms: nothing is promised about their order. */
static void forget_lost(const struct sim *s, struct queue *q)
{
	size_t n = 0;

	for (size_t j = 0; j < q->count; j++)
		if (s->pg.fact[q->id[j]].fate == FATE_COMMITTED)
			q->id[n++] = q->id[j];
	q->count = n;
	q->done = 0;
}

void check_failed_over(struct sim *s)
{
	for (int i = 0; i < MAX_STREAMS; i++)
		forget_lost(s, &sequence[i]);
	for (int k = 0; k < MAX_KEYS; k++)
		for (int i = 0; i < MAX_STREAMS; i++)
			forget_lost(s, &queue[k][i]);
}

int64_t check_first_in_line(struct sim *s, int64_t id)
{
	const struct fact *f = &s->pg.fact[id];
	struct queue *q;

	if (f->key == NO_KEY || s->plan.settings.ordering != ORDERING_STRICT || f->fate != FATE_COMMITTED)
		return id;
	q = &queue[f->key][f->stream];
	while (q->done < q->count && out_of_the_way(s, &s->pg.fact[q->id[q->done]]))
		q->done++;
	return q->done == q->count || q->id[q->done] >= id ? id : q->id[q->done];
}

static bool is_in_batch(const struct host *h, int64_t id, uint64_t batch)
{
	for (size_t i = 0; i < h->attempts; i++)
		if (h->attempt[i].message == id && h->attempt[i].batch == batch)
			return true;
	return false;
}

bool check_batched(struct sim *s, const struct host *h, int64_t id, uint64_t batch)
{
	const struct fact *f = &s->pg.fact[id];
	const struct queue *q = &queue[f->key][f->stream];

	for (size_t i = q->done; batch != 0 && i < q->count && q->id[i] < id; i++)
		if (!out_of_the_way(s, &s->pg.fact[q->id[i]]) && !is_in_batch(h, q->id[i], batch))
			return false;
	return batch != 0;
}

void check_arrived(struct sim *s, int64_t id)
{
	const struct fact *f = &s->pg.fact[id];

	demand(s, f->fate == FATE_COMMITTED || f->undone, "G2: %lld reached the stream but is not committed",
	       (long long)id);
	demand(s, f->defect == 0 || f->copies > 0, "%lld has a defect (%u) and was sent", (long long)id, f->defect);
}

/* Somebody else's message took the place of one that was on its way, or the stream is another one, which ends elsewhere: what stood behind
 * that one may have been stored before it. */
static bool was_passed(const struct sim *s, const struct fact *f)
{
	return f->sent_ms * MS <= s->js.stream[f->stream].passed_at;
}

/* In an owned stream whatever could be read when this one was, and has a lower id, stands before it; whoever reads them. */
static void check_sequence(struct sim *s, int64_t id)
{
	const struct fact *f = &s->pg.fact[id];
	struct queue *q = &sequence[f->stream];

	if (!settings_owns(&s->plan.settings, f->stream) || f->copies > 0 || f->fate != FATE_COMMITTED || f->undone)
		return;
	while (q->done < q->count && out_of_the_way(s, &s->pg.fact[q->id[q->done]]))
		q->done++;
	for (size_t i = q->done; i < q->count; i++) {
		const struct fact *x = &s->pg.fact[q->id[i]];
		uint64_t ended = s->pg.tx[x->tx].ended;

		demand(s,
		       x->id >= f->id || ended == 0 || ended > f->first_read || x->copies > 0 || out_of_the_way(s, x) ||
			       was_passed(s, x),
		       "G3: %s is stored in its stream, which is owned, before %s", told(s, id), told(s, q->id[i]));
	}
}

void check_storing(struct sim *s, int64_t id)
{
	const struct fact *f = &s->pg.fact[id];
	int64_t first = check_first_in_line(s, id);

	check_sequence(s, id);
	/* In an owned stream the one before may be gone already, though nobody was told that it was stored. */
	if (settings_owns(&s->plan.settings, f->stream) &&
	    (was_passed(s, &s->pg.fact[first]) || s->pg.fact[first].copies > 0))
		return;
	/* The same of a batch. */
	if ((s->plan.batches >> f->stream & 1) != 0 && s->pg.fact[first].copies > 0 && s->pg.fact[first].standing == 0)
		return;
	demand(s, f->copies > 0 || first == id, "G3: %lld of key %d is stored before %lld", (long long)id, f->key,
	       (long long)first);
}

/* What is gone from the stream, a look cannot find: stored once more it stands there once. But not by who was told that it is
 * stored (check_publish). */
void check_stored(struct sim *s, int64_t id)
{
	const struct fact *f = &s->pg.fact[id];

	demand(s, f->standing == 1 || f->repeatable, "G4: %lld is stored twice", (long long)id);
}

/* Nobody has been told of it, and it is to be sent again, in its turn. */
void check_gone(struct sim *s, int64_t id)
{
	const struct fact *f = &s->pg.fact[id];

	sequence[f->stream].done = 0;
	if (f->key != NO_KEY)
		queue[f->key][f->stream].done = 0;
}

static bool is_in_flight(const struct host *h, int64_t message)
{
	for (size_t i = 0; i < h->attempts; i++)
		if (h->attempt[i].message == message && !h->attempt[i].answered &&
		    h->step_ms - h->attempt[i].handed_ms < h->ack_timeout_ms)
			return true;
	return false;
}

/* The one before failed alone; the one behind it was sent already by then. */
static bool failed_alone(const struct host *h, const struct fact *before, const struct fact *f)
{
	return before->alone_by == h->session && f->sent_by == h->session;
}

void check_pipeline(struct sim *s, const struct host *h, int64_t id)
{
	const struct fact *f = &s->pg.fact[id];
	const struct queue *q;

	/* A letter that is redriven failed alone: it may have lost its place. */
	if (f->key == NO_KEY || s->plan.settings.ordering != ORDERING_PIPELINED || f->fate != FATE_COMMITTED ||
	    f->was_dead)
		return;
	q = &queue[f->key][f->stream];
	for (size_t i = q->done; i < q->count && q->id[i] < id; i++)
		demand(s,
		       out_of_the_way(s, &s->pg.fact[q->id[i]]) || is_in_flight(h, q->id[i]) ||
			       failed_alone(h, &s->pg.fact[q->id[i]], f),
		       "G3: %s of key %d is sent before %s, which is neither stored nor in flight", told(s, id), f->key,
		       told(s, q->id[i]));
}
