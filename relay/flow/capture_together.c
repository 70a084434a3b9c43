#include "flow/capture_together.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Is this change of that table the one behind the last? */
static bool follows(const struct capture_together *t, const struct capture_relation *x, uint32_t change)
{
	return t->count > 0 && t->count < CAPTURE_MAKER_TOGETHER_MOST && t->oid == x->oid && t->version == x->version &&
	       t->change + 1 == change;
}

bool capture_together_part(const struct capture_together *t, struct capture_maker *m, const struct capture_relation *x,
			   uint32_t change, const struct pgoutput_message *message, struct capture_parcel **part)
{
	struct capture_parcel *p;

	*part = NULL;
	if (!follows(t, x, change))
		return true;
	p = capture_maker_part(m, x, message);
	if (p == NULL)
		return false;
	if (capture_maker_goes_together(m, x, message, p) &&
	    t->bytes + capture_maker_bytes_of_change(p) <= CAPTURE_MAKER_TOGETHER_BYTES)
		*part = p;
	else
		free(p);
	return true;
}

void capture_together_begin(struct capture_together *t, const struct capture_relation *x, uint32_t change,
			    struct capture_parcel *parcel)
{
	*t = (struct capture_together){ .oid = x->oid, .version = x->version };
	snprintf(t->name.schema, sizeof t->name.schema, "%s", x->shape.schema);
	snprintf(t->name.table, sizeof t->name.table, "%s", x->shape.table);
	capture_together_add(t, change, parcel);
}

void capture_together_add(struct capture_together *t, uint32_t change, struct capture_parcel *parcel)
{
	t->changes[t->count++] = parcel;
	t->bytes += capture_maker_bytes_of_change(parcel);
	t->change = change;
}

struct capture_parcel *capture_together_make(const struct capture_together *t, struct capture_maker *m,
					     const struct capture_place *place)
{
	struct capture_shape nameless = { .schema = t->name.schema, .table = t->name.table };

	return capture_maker_changes(m, place, &nameless, (const struct capture_parcel *const *)t->changes, t->count);
}

void capture_together_end(struct capture_together *t)
{
	for (size_t i = 1; i < t->count; i++)
		free(t->changes[i]);
	t->count = 0;
}
