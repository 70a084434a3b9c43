#include "flow/capture_stream.h"

#include <stdlib.h>
#include <string.h>

#include "flow/capture_together.h"
#include "flow/capture_waiting.h"
#include "format/emitted.h"
#include "format/pgoutput.h"
#include "format/signal_row.h"

/* A change of the server's has so many numbers: what we put before it must not shift those behind it. */
enum number { NUMBER_COLUMNS, NUMBER_HALF, NUMBER_CHANGE, NUMBERS };

struct capture_stream {
	struct capture_relations *relations;
	struct capture_maker *maker;
	struct capture_stream_handlers handlers;
	bool broken, in_transaction, giving;
	bool skipping;                       /* a sink has written this transaction, and it is not to go back */
	struct capture_place place;          /* of the change that is read */
	uint32_t changes, change;            /* so many has the server sent of the transaction; the one that is read */
	struct capture_waiting *held;        /* the last message of the transaction, so far: */
	struct capture_together run;         /* the changes that it is to be of, where they may go together */
	bool together;                       /* those of this transaction may */
	struct capture_waiting_list waiting; /* to be given */
	uint64_t left_out;
};

struct capture_stream *capture_stream_create(struct capture_relations *relations, struct capture_maker *maker,
					     const struct capture_stream_handlers *handlers)
{
	struct capture_stream *s = calloc(1, sizeof *s);

	if (s == NULL)
		return NULL;
	*s = (struct capture_stream){ .relations = relations, .maker = maker, .handlers = *handlers };
	capture_waiting_begin(&s->waiting);
	return s;
}

static void drop_all(struct capture_stream *s)
{
	capture_waiting_drop_all(&s->waiting);
	capture_together_end(&s->run);
	capture_waiting_free(s->held);
	s->held = NULL;
	s->in_transaction = false;
}

void capture_stream_free(struct capture_stream *s)
{
	if (s == NULL)
		return;
	drop_all(s);
	free(s);
}

void capture_stream_begin(struct capture_stream *s, uint64_t system)
{
	drop_all(s);
	capture_relations_forget(s->relations);
	s->broken = false;
	s->place = (struct capture_place){ .system = system };
}

void capture_stream_end(struct capture_stream *s)
{
	drop_all(s);
}

uint64_t capture_stream_left_out(const struct capture_stream *s)
{
	return s->left_out;
}

/* What is not understood must not be passed by: a change would be lost, and nobody would know. */
static void breaks(struct capture_stream *s, const char *why)
{
	if (s->broken)
		return;
	s->broken = true;
	s->handlers.broken(s->handlers.arg, why);
}

/* --- what waits --- */

static struct capture_waiting *wait_with(struct capture_stream *s, const struct capture_event *event,
					 struct capture_parcel *parcel)
{
	struct capture_waiting *w = capture_waiting_create(event, parcel);

	if (w == NULL)
		breaks(s, "out of memory");
	return w;
}

static void put_event(struct capture_stream *s, const struct capture_event *event)
{
	capture_waiting_put(&s->waiting, wait_with(s, event, NULL));
}

/* The changes that wait to be one message are one. */
static void end_run(struct capture_stream *s)
{
	struct capture_place place = s->place;
	struct capture_parcel *parcel;

	if (s->held != NULL && s->run.count > 1) {
		place.index = (uint64_t)s->run.change * NUMBERS + NUMBER_CHANGE;
		parcel = capture_together_make(&s->run, s->maker, &place);
		free(s->held->parcel);
		s->held->parcel = parcel;
		if (parcel == NULL) {
			free(s->held);
			s->held = NULL;
			breaks(s, "out of memory");
		} else {
			s->held->event = capture_maker_event_of(parcel, CAPTURE_CHANGE_ROW, (uint32_t)place.index);
		}
	}
	capture_together_end(&s->run);
}

/* What was the last change is so no more, or is so for good. */
static void let_held_go(struct capture_stream *s)
{
	end_run(s);
	if (s->held != NULL && s->held->for_the_end && !s->held->parcel->parcel.last)
		capture_waiting_free(s->held);
	else
		capture_waiting_put(&s->waiting, s->held);
	s->held = NULL;
}

/* What goes together is asked when the transaction begins, and not before it may: until then none of its changes is read. */
static bool may_give_first(struct capture_stream *s)
{
	if (s->waiting.first == NULL || !s->handlers.takes(s->handlers.arg))
		return false;
	if (s->waiting.first->event.kind != CAPTURE_EVENT_BEGIN)
		return true;
	s->together = s->handlers.together(s->handlers.arg);
	return s->handlers.knows(s->handlers.arg);
}

/* What it gives may end the stream, and begin another one: then what waited is gone. */
bool capture_stream_go_on(struct capture_stream *s)
{
	if (s->giving)
		return false;
	s->giving = true;
	while (may_give_first(s)) {
		struct capture_event event;
		struct capture_parcel *parcel = capture_waiting_take(&s->waiting, &event);

		s->handlers.give(s->handlers.arg, &event, parcel);
	}
	s->giving = false;
	return s->waiting.first == NULL && s->handlers.takes(s->handlers.arg);
}

/* --- changes --- */

/* What is made now is this one of the change. */
static const struct capture_place *at(struct capture_stream *s, enum number number)
{
	s->place.index = (uint64_t)s->change * NUMBERS + number;
	return &s->place;
}

/* parcel: NULL, there was no memory for it. */
static void offer(struct capture_stream *s, enum capture_change_kind kind, struct capture_parcel *parcel)
{
	struct capture_event event;

	if (parcel == NULL) {
		breaks(s, "out of memory");
		return;
	}
	event = capture_maker_event_of(parcel, kind, (uint32_t)s->place.index);
	let_held_go(s);
	s->held = wait_with(s, &event, parcel);
}

/* Consumers know the columns of a table before its first row that has them. */
static void tell_columns(struct capture_stream *s, struct capture_relation *x)
{
	if (x->told || x->table == CAPTURE_NO_TABLE || !capture_maker_tells(s->maker, CAPTURE_OP_SHAPE))
		return;
	x->told = true;
	offer(s, CAPTURE_CHANGE_OTHER, capture_maker_columns(s->maker, at(s, NUMBER_COLUMNS), x));
}

/* The change stands in one message with those before it, of which it is the last one now. Whether its columns have to be told depends on what the books say, and where a message
 * ends must not: so they are told before the message, whose first changes have the same columns. (In the order of the numbers: the message has that of this change, at least.) */
static void add_to_run(struct capture_stream *s, struct capture_relation *x, struct capture_parcel *parcel)
{
	struct capture_waiting *held = s->held;
	struct capture_together run = s->run;

	s->held = NULL;
	s->run.count = 0;
	tell_columns(s, x);
	let_held_go(s);
	s->held = held;
	s->run = run;
	capture_together_add(&s->run, s->change, parcel);
}

static void offer_change(struct capture_stream *s, struct capture_relation *x, const struct pgoutput_message *m)
{
	struct capture_parcel *parcel = NULL;
	bool may;

	if (s->together && !capture_together_part(&s->run, s->maker, x, s->change, m, &parcel)) {
		breaks(s, "out of memory");
		return;
	}
	if (parcel != NULL) {
		add_to_run(s, x, parcel);
		return;
	}
	parcel = capture_maker_change(s->maker, at(s, NUMBER_CHANGE), x, m);
	may = s->together && parcel != NULL && capture_maker_goes_together(s->maker, x, m, parcel);
	tell_columns(s, x);
	at(s, NUMBER_CHANGE);
	offer(s, CAPTURE_CHANGE_ROW, parcel);
	if (may && !s->broken)
		capture_together_begin(&s->run, x, s->change, parcel);
}

/* A change that is not sent is the last one of its transaction nevertheless, if it is: else another message would say so, which another leader, who sent this one, has sent without that word.
 * In its place, and under its id, stands what changes nothing: the columns of its table. */
static void take_unsent(struct capture_stream *s, struct capture_relation *x, const struct pgoutput_message *m)
{
	struct capture_parcel *unsent = capture_maker_change(s->maker, at(s, NUMBER_CHANGE), x, m);

	if (unsent == NULL) {
		breaks(s, "out of memory");
		return;
	}
	offer(s, CAPTURE_CHANGE_OTHER, capture_maker_columns(s->maker, at(s, NUMBER_CHANGE), x));
	if (s->held != NULL) {
		s->held->for_the_end = true;
		s->held->refusable = capture_maker_may_be_refused(unsent);
	}
	free(unsent);
}

static struct capture_relation *relation_of(struct capture_stream *s, uint32_t oid)
{
	struct capture_relation *x = capture_relations_find(s->relations, oid);

	if (x == NULL)
		breaks(s, "a change of a table that was not described");
	return x;
}

static bool is_own(const struct pgoutput_message *m)
{
	return strncmp(m->message.prefix, OWN_PREFIX, strlen(OWN_PREFIX)) == 0;
}

/* A logical message of a transaction, which has its number by now. */
static void take_message(struct capture_stream *s, const struct pgoutput_message *m)
{
	/* A sink writes its mark before all else: only there it says of the whole transaction whose it is. */
	if (s->change == 0 && capture_maker_skips(s->maker, m))
		s->skipping = true;
	if (s->skipping)
		return;
	if (capture_maker_is_token(s->maker, m))
		offer(s, CAPTURE_CHANGE_OTHER, capture_maker_token(s->maker, at(s, NUMBER_CHANGE), m));
	else if (!is_own(m) && capture_maker_wants(s->maker, m))
		offer(s, CAPTURE_CHANGE_OTHER, capture_maker_message(s->maker, at(s, NUMBER_CHANGE), m));
}

/* Where the server sends no messages: a row that says what one would say, and is never sent as a row. */
static void take_signal(struct capture_stream *s, const struct capture_relation *x, const struct pgoutput_message *m)
{
	char prefix[SIGNAL_PREFIX_BYTES];
	struct pgoutput_message signal;

	if (m->kind == PGOUTPUT_INSERT && signal_row_read(&x->shape, &m->change.row, prefix, &signal))
		take_message(s, &signal);
}

static void take_change(struct capture_stream *s, const struct pgoutput_message *m)
{
	struct capture_relation *x = relation_of(s, m->change.oid);

	s->change = s->changes++;
	if (x == NULL)
		return;
	if ((m->kind != PGOUTPUT_DELETE && m->change.row.count != x->shape.count) ||
	    (m->change.has_old != PGOUTPUT_OLD_NONE && m->change.old.count != x->shape.count)) {
		breaks(s, "a row with other columns than its table");
		return;
	}
	if (x->signals) {
		take_signal(s, x, m);
		return;
	}
	if (x->outbox != NULL) {
		/* Only what is new there is a message: who marks or deletes rows of it tidies up. */
		if (m->kind == PGOUTPUT_INSERT)
			offer(s, CAPTURE_CHANGE_OTHER, capture_maker_outbox(s->maker, at(s, NUMBER_CHANGE), x, m));
		return;
	}
	if (x->table == CAPTURE_NO_TABLE)
		return;
	if (s->handlers.lets_go(s->handlers.arg, x->table)) {
		tell_columns(s, x);
		take_unsent(s, x, m);
		return;
	}
	if (capture_maker_moves(s->maker, x, m)) {
		tell_columns(s, x);
		offer(s, CAPTURE_CHANGE_ROW, capture_maker_half(s->maker, at(s, NUMBER_HALF), x, m));
	}
	offer_change(s, x, m);
}

static void take_truncate(struct capture_stream *s, const struct pgoutput_message *m)
{
	struct pgoutput_list relations = m->truncate.relations;
	uint32_t oid;

	while (!s->broken && pgoutput_next_relation(&relations, &oid)) {
		struct capture_relation *x = relation_of(s, oid);

		s->change = s->changes++;
		if (x == NULL || x->table == CAPTURE_NO_TABLE)
			continue;
		tell_columns(s, x);
		offer(s, CAPTURE_CHANGE_TRUNCATE, capture_maker_truncate(s->maker, at(s, NUMBER_CHANGE), x));
	}
}

static void take_logical(struct capture_stream *s, const struct pgoutput_message *m)
{
	if (!m->message.transactional) {
		if (is_own(m))
			put_event(s, &(struct capture_event){ .kind = CAPTURE_EVENT_POSITION,
							      .position = { .lsn = m->message.lsn } });
		else if (capture_maker_wants(s->maker, m))
			s->left_out++;
		return;
	}
	s->change = s->changes++;
	take_message(s, m);
}

/* --- transactions --- */

static void take_begin(struct capture_stream *s, const struct pgoutput_message *m)
{
	if (s->in_transaction) {
		breaks(s, "a transaction inside another one");
		return;
	}
	s->in_transaction = true;
	s->skipping = false;
	s->changes = 0;
	s->place = (struct capture_place){ .system = s->place.system,
					   .commit_lsn = m->begin.final_lsn,
					   .commit_us = m->begin.time_us,
					   .xid = m->begin.xid };
	put_event(s, &(struct capture_event){ .kind = CAPTURE_EVENT_BEGIN,
					      .begin = { .xid = m->begin.xid,
							 .final_lsn = m->begin.final_lsn,
							 .commit_time = m->begin.time_us } });
}

/* Consumers wait for the message that says it is the last one. Were that one refused, they would wait for ever: so behind one that may be comes a small
 * one that is never. */
static void end_for_sure(struct capture_stream *s)
{
	if (s->held == NULL || !(s->held->refusable || capture_maker_may_be_refused(s->held->parcel)) ||
	    !capture_maker_tells(s->maker, CAPTURE_OP_END))
		return;
	s->change = s->changes++;
	offer(s, CAPTURE_CHANGE_OTHER, capture_maker_end(s->maker, at(s, NUMBER_CHANGE)));
}

static void take_commit(struct capture_stream *s, const struct pgoutput_message *m)
{
	if (!s->in_transaction || m->commit.lsn != s->place.commit_lsn) {
		breaks(s, "a commit of another transaction than the one that began");
		return;
	}
	s->in_transaction = false;
	end_run(s);
	end_for_sure(s);
	if (s->held != NULL)
		s->held->parcel->parcel.last = true;
	let_held_go(s);
	put_event(s,
		  &(struct capture_event){ .kind = CAPTURE_EVENT_COMMIT, .commit = { .end_lsn = m->commit.end_lsn } });
}

static bool stands_inside(const struct pgoutput_message *m)
{
	switch (m->kind) {
	case PGOUTPUT_INSERT:
	case PGOUTPUT_UPDATE:
	case PGOUTPUT_DELETE:
	case PGOUTPUT_TRUNCATE: return true;
	case PGOUTPUT_MESSAGE: return m->message.transactional;
	default: return false;
	}
}

static void take(struct capture_stream *s, const struct pgoutput_message *m)
{
	if (stands_inside(m) && !s->in_transaction) {
		breaks(s, "a change outside of every transaction");
		return;
	}
	switch (m->kind) {
	case PGOUTPUT_BEGIN: take_begin(s, m); break;
	case PGOUTPUT_COMMIT: take_commit(s, m); break;
	case PGOUTPUT_ORIGIN: break; /* where it was written first: the same to us */
	case PGOUTPUT_RELATION:
	case PGOUTPUT_TYPE:
		if (!capture_relations_take(s->relations, m))
			breaks(s, "out of memory");
		break;
	case PGOUTPUT_INSERT:
	case PGOUTPUT_UPDATE:
	case PGOUTPUT_DELETE:
		if (!s->skipping)
			take_change(s, m);
		break;
	case PGOUTPUT_TRUNCATE:
		if (!s->skipping)
			take_truncate(s, m);
		break;
	case PGOUTPUT_MESSAGE: take_logical(s, m); break;
	}
}

void capture_stream_message(struct capture_stream *s, const char *data, size_t bytes)
{
	struct pgoutput_message m;
	const char *why;

	if (s->broken)
		return;
	why = pgoutput_read(data, bytes, &m);
	if (why != NULL)
		breaks(s, why);
	else
		take(s, &m);
	capture_stream_go_on(s);
}

/* Inside a transaction it only says that the server lives. */
void capture_stream_keepalive(struct capture_stream *s, uint64_t end_lsn)
{
	if (s->broken || s->in_transaction)
		return;
	put_event(s, &(struct capture_event){ .kind = CAPTURE_EVENT_POSITION,
					      .position = { .lsn = end_lsn, .idle = true } });
	capture_stream_go_on(s);
}
