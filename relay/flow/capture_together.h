/* Changes of one transaction to rows of one table, one behind the other, that may go as one message.
 *
 * What was stored of a transaction when a leader died is known by the ids of messages, so every leader must make the same messages of it. So where one ends
 * is a function of the log alone: of what the server sends of the transaction, numbers and sizes, and never of what is being read, of memory, or of the clock. */
#ifndef BOXHAUL_FLOW_CAPTURE_TOGETHER_H
#define BOXHAUL_FLOW_CAPTURE_TOGETHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "flow/capture_maker.h"
#include "flow/capture_relations.h"
#include "format/sql_name.h"

/* The changes that wait to become one message. { .count = 0 } at first. */
struct capture_together {
	struct capture_parcel
		*changes[CAPTURE_MAKER_TOGETHER_MOST]; /* the first one is borrowed, the others are ours */
	size_t count, bytes;
	uint32_t oid, version; /* of their table */
	struct sql_name name;
	uint32_t change; /* the number of the last one in the transaction, as the server counts */
};

/* *part: what stands of this change in the message with those that wait, if it is the one behind the last, may go together (capture_maker_goes_together()), and there is room for it; else
 * NULL. False: out of memory, and nobody can say: it must not go by itself for that. */
bool capture_together_part(const struct capture_together *t, struct capture_maker *m, const struct capture_relation *x,
			   uint32_t change, const struct pgoutput_message *message, struct capture_parcel **part);

/* The first one, which is a message; another one, of which that is the part. */
void capture_together_begin(struct capture_together *t, const struct capture_relation *x, uint32_t change,
			    struct capture_parcel *parcel);
void capture_together_add(struct capture_together *t, uint32_t change, struct capture_parcel *parcel);

/* The message of all of them, which are more than one; its place is that of the last one. NULL: out of memory. */
struct capture_parcel *capture_together_make(const struct capture_together *t, struct capture_maker *m,
					     const struct capture_place *place);

/* Forgets them. */
void capture_together_end(struct capture_together *t);

#endif
