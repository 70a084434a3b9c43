/* What is stored: only what was committed (G2), per key in the order of commits (G3), once (G4).
 *
 * Producers of one key lock the key before they draw an id and keep the lock until they commit. So the ids of
 * one key rise in the order of commits, and check_committed() sees them in that order. */
#include "check.h"

#include "host.h"
#include "world.h"

/* The committed messages of each key in each stream, ascending; all before `done` are stored, dead or given up. */
static struct queue {
	int32_t id[MAX_IDS];
	size_t count, done;
} queue[MAX_KEYS][MAX_STREAMS];

void check_open(struct sim *s)
{
	(void)s;
	for (int k = 0; k < MAX_KEYS; k++)
		for (int i = 0; i < MAX_STREAMS; i++)
			queue[k][i].count = queue[k][i].done = 0;
}

void check_committed(struct sim *s, int64_t id)
{
	const struct fact *f = &s->pg.fact[id];
	struct queue *q;

	if (f->key == NO_KEY)
		return;
	q = &queue[f->key][f->stream];
	demand(s, q->count == 0 || q->id[q->count - 1] < id, "the simulator commits key %d out of order", f->key);
	q->id[q->count++] = (int32_t)id;
}

/* Nothing behind it has to wait for it any more. */
static bool out_of_the_way(const struct sim *s, const struct fact *f)
{
	if (f->copies > 0 || f->was_given_up)
		return true;
	return s->plan.settings.poison == POISON_SKIP && (f->poison || f->defect != 0);
}

/* A failover took commits back. What was sent of them by then are phantoms: nothing is promised about their order. */
void check_failed_over(struct sim *s)
{
	for (int k = 0; k < MAX_KEYS; k++)
		for (int i = 0; i < MAX_STREAMS; i++) {
			struct queue *q = &queue[k][i];
			size_t n = 0;

			for (size_t j = 0; j < q->count; j++)
				if (s->pg.fact[q->id[j]].fate == FATE_COMMITTED)
					q->id[n++] = q->id[j];
			q->count = n;
			q->done = 0;
		}
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

void check_arrived(struct sim *s, int64_t id)
{
	const struct fact *f = &s->pg.fact[id];

	demand(s, f->fate == FATE_COMMITTED || f->undone, "G2: %lld reached the stream but is not committed",
	       (long long)id);
	demand(s, f->defect == 0 || f->copies > 0, "%lld has a defect (%u) and was sent", (long long)id, f->defect);
}

void check_storing(struct sim *s, int64_t id)
{
	const struct fact *f = &s->pg.fact[id];
	int64_t first = check_first_in_line(s, id);

	demand(s, f->copies > 0 || first == id, "G3: %lld of key %d is stored before %lld", (long long)id, f->key,
	       (long long)first);
}

void check_stored(struct sim *s, int64_t id)
{
	const struct fact *f = &s->pg.fact[id];

	demand(s, f->copies == 1 || f->repeatable, "G4: %lld is stored twice", (long long)id);
}
