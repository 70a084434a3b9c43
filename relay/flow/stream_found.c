/* A tree of <search.h> for each stream, by the id. */
#include "flow/stream_found.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

enum { FOUND_MESSAGES = 1 << 17 }; /* kept at most, of all streams; about 10 MB */

struct found {
	struct stored_id id;
	uint64_t sequence;
	bool has_witness;
	struct witness witness;
	bool has_position;
	uint64_t lsn;
};

static int compare(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	return memcmp(x->id.byte, y->id.byte, sizeof x->id.byte);
}

void stream_found_forget(struct stream_found *t, size_t stream)
{
	tdestroy(t->tree[stream], free);
	t->tree[stream] = NULL;
	t->count -= t->count_in[stream];
	t->count_in[stream] = 0;
	t->overflowed = false;
}

bool stream_found_keep(struct stream_found *t, uint16_t stream, const struct stored_message *m)
{
	struct found *f = t->count < FOUND_MESSAGES ? malloc(sizeof *f) : NULL;
	void *node = NULL;

	if (f != NULL) {
		*f = (struct found){ .id = m->id,
				     .sequence = m->sequence,
				     .has_witness = m->has_witness,
				     .witness = m->witness,
				     .has_position = m->has_position,
				     .lsn = m->lsn };
		node = tsearch(f, &t->tree[stream], compare);
	}
	if (node == NULL) {
		t->overflowed = true;
		free(f);
		return false;
	}
	if (*(struct found **)node != f) {
		free(f);
		return true;
	}
	t->count_in[stream]++;
	t->count++;
	return true;
}

static struct found *find(const struct stream_found *t, uint16_t stream, const char *message_id)
{
	struct found key = { .sequence = 0 };
	void *node = NULL;

	if (t->count_in[stream] > 0 && message_id != NULL && stored_id_read(message_id, strlen(message_id), &key.id))
		node = tfind(&key, &t->tree[stream], compare);
	return node != NULL ? *(struct found **)node : NULL;
}

uint64_t stream_found_take(struct stream_found *t, uint16_t stream, const char *message_id)
{
	struct found *f = find(t, stream, message_id);
	uint64_t sequence;

	if (f == NULL)
		return 0;
	sequence = f->sequence;
	tdelete(f, &t->tree[stream], compare);
	t->count_in[stream]--;
	t->count--;
	free(f);
	return sequence;
}

uint64_t stream_found_witness(const struct stream_found *t, uint16_t stream, const char *message_id,
			      struct witness *witness)
{
	const struct found *f = find(t, stream, message_id);

	if (f == NULL || !f->has_witness)
		return 0;
	*witness = f->witness;
	return f->sequence;
}

struct search {
	uint64_t from_lsn;
	uint64_t *sequence, *lsn;
};

static void search_node(const void *node, VISIT visit, void *arg)
{
	const struct found *f = *(struct found *const *)node;
	struct search *s = arg;

	if ((visit != postorder && visit != leaf) || !f->has_position || f->lsn < s->from_lsn ||
	    (*s->sequence != 0 && f->sequence >= *s->sequence))
		return;
	*s->sequence = f->sequence;
	*s->lsn = f->lsn;
}

bool stream_found_beyond(const struct stream_found *t, uint16_t stream, uint64_t from_lsn, uint64_t *sequence,
			 uint64_t *lsn)
{
	struct search s = { .from_lsn = from_lsn, .sequence = sequence, .lsn = lsn };

	*sequence = *lsn = 0;
	twalk_r(t->tree[stream], search_node, &s);
	return *sequence != 0;
}
