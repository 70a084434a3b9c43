#include "core/notes.h"

#include <assert.h>

void notes_add(struct notes *n, struct note note)
{
	assert(n->count <= LIMIT_NOTES && n->first < LIMIT_NOTES);
	if (n->count == LIMIT_NOTES) {
		n->dropped++;
		return;
	}
	n->note[(n->first + n->count++) % LIMIT_NOTES] = note;
}

struct note notes_take(struct notes *n)
{
	struct note note = n->note[n->first];

	assert(n->count > 0);
	n->first = (n->first + 1) % LIMIT_NOTES;
	n->count--;
	return note;
}
