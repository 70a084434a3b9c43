/* Marks: what the core wants on record, as a statement; and its answer. */
#include "books/capture_mark.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run/capture_room_state.h"

void capture_marks_told(struct capture_one *c, const struct capture_parcel *p, int64_t ordinal)
{
	if (p->columns != NULL && p->table < c->table_count)
		c->tables[p->table].told_ordinal = ordinal;
}

static void forget_told(struct capture_one *c, int64_t ordinal)
{
	for (size_t i = 0; i < c->table_count; i++) {
		struct capture_room_table *t = &c->tables[i];

		if (t->columns == NULL || t->told_ordinal == 0 || t->told_ordinal > ordinal)
			continue;
		free(t->columns);
		t->columns = NULL;
	}
}

static void is_marked(struct capture_one *c, uint64_t behind)
{
	c->mark_why[0] = '\0';
	forget_told(c, c->mark_ordinal);
	capture_room_step(c, &(struct capture_event){ .kind = CAPTURE_EVENT_MARKED,
						      .marked = { .asked_ms = c->mark_asked_ms, .behind = behind } });
}

/* Asked for behind the mark, whose transaction has ended by then. */
static void on_here(void *arg, const struct pg_result *result)
{
	struct capture_one *c = arg;
	uint64_t here = capture_ledger_read_here(result);

	if (here != 0)
		is_marked(c, here);
	else
		pg_break(c->pg, "the server does not say where its log stands");
}

static void on_marked(void *arg, const struct pg_result *result)
{
	struct capture_one *c = arg;
	char why[600];

	if (pg_error(result) != NULL) {
		/* Not ours to repair: begin again from what the database holds. */
		log_error(c->room->log, "marking failed", KS("capture", capture_room_config(c)->name),
			  KS("why", pg_error(result)), KS("sqlstate", pg_sqlstate(result)));
		snprintf(c->mark_why, sizeof c->mark_why, "%s", pg_error(result));
		snprintf(why, sizeof why, "marking failed: %s", pg_error(result));
		pg_break(c->pg, why);
		return;
	}
	if (!c->mark_is_copied)
		is_marked(c, 0);
}

static size_t pairs_bytes(const struct parcel *p)
{
	const char *at = p->pairs;

	for (size_t i = 0; i < 2 * p->pair_count; i++)
		at += strlen(at) + 1;
	return at != NULL ? (size_t)(at - p->pairs) : 0;
}

static void message_of(void *arg, uint32_t slot, struct capture_mark_message *m)
{
	struct capture_one *c = arg;
	const struct capture_parcel *p = c->parcels[slot];

	*m = (struct capture_mark_message){ .message_id = p->parcel.message_id,
					    .subject = p->parcel.subject[0] != '\0' ? p->parcel.subject : NULL,
					    .payload = p->parcel.payload,
					    .payload_bytes = p->parcel.payload_bytes,
					    .pairs = p->parcel.pairs,
					    .pair_count = p->parcel.pair_count,
					    .position = p->position,
					    .tab = p->tab,
					    .why = p->why,
					    .defect = p->defect,
					    .pairs_bytes = pairs_bytes(&p->parcel),
					    .bytes = p->bytes,
					    .wire_bytes = p->parcel.wire_bytes,
					    .key = p->key,
					    .key_bytes = p->key_bytes };
}

bool capture_marks_make(struct capture_one *c, const struct capture_mark *m)
{
	struct capture_mark_told *told = calloc(c->table_count + 1, sizeof *told);
	struct capture_mark_books marking = { .capture = capture_room_config(c),
					      .epoch = capture_leader_look(c->leader).epoch,
					      .incarnation = c->incarnation,
					      .mark = m,
					      .message = message_of,
					      .arg = c,
					      .told = told,
					      .reasons = c->reasons };
	bool ok = told != NULL;

	for (size_t i = 0; ok && i < c->table_count; i++)
		if (c->tables[i].columns != NULL && c->tables[i].told_ordinal != 0 &&
		    c->tables[i].told_ordinal <= m->ordinal)
			told[marking.told_count++] =
				(struct capture_mark_told){ .table = (uint32_t)i, .columns = c->tables[i].columns };
	/* What is carried was not sent; but with it on record what it tells will be, and nothing else does. */
	for (size_t i = 0; i < m->carry_count; i++)
		capture_marks_told(c, c->parcels[m->carries[i].slot], m->carries[i].ordinal);
	c->mark_asked_ms = loop_now_ms();
	c->mark_ordinal = m->ordinal;
	c->mark_is_copied = capture_leader_look(c->leader).of_slot.look->copied;
	ok = ok && capture_ledger_mark(c->pg, &marking, on_marked, c) &&
	     (!c->mark_is_copied || capture_ledger_here(c->pg, on_here, c));
	free(told);
	return ok;
}
