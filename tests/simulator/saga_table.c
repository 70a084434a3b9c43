/* Written from the design, in the order of states, where the SQL goes by events: an error would have to be made twice. */
#include "saga_table.h"

#include <stdio.h>

#define AS_TEXT(name) #name,
static const char *const state_name[] = { SAGA_STATES(AS_TEXT) }, *const kind_name[] = { SAGA_KINDS(AS_TEXT) },
			 *const event_name[] = { SAGA_EVENTS(AS_TEXT) },
			 *const action_name[] = { SAGA_ACTIONS(AS_TEXT) };
#undef AS_TEXT

/* A saga that has ended: only that history was lost can still be learnt of it. */
static enum saga_action of_ended(const struct saga_question *q)
{
	switch (q->event) {
	case EVENT_cancel:
	case EVENT_undo: return q->state == SAGA_undone && !q->orphan ? ACTION_already : ACTION_refuse;
	case EVENT_retry: return ACTION_refuse;
	case EVENT_resolve_done:
	case EVENT_resolve_undone:
	case EVENT_resolve_refused: return q->orphan ? ACTION_clear : ACTION_refuse;
	default: return ACTION_ignore;
	}
}

static enum saga_action step_before(const struct saga_question *q)
{
	return q->first ? ACTION_undone : ACTION_back;
}

/* An undo is asked for until it is done: there is no other end. */
static enum saga_action of_undoing(const struct saga_question *q)
{
	switch (q->event) {
	case EVENT_done:
	case EVENT_resolve_undone:
	case EVENT_resolve_refused: return step_before(q);
	case EVENT_resolve_done: return ACTION_refuse;
	case EVENT_refused: return ACTION_wait_stuck;
	case EVENT_error: return q->attempts_left ? ACTION_wait : ACTION_wait_stuck;
	default: return q->attempts_left ? ACTION_again : ACTION_again_stuck; /* timeout */
	}
}

/* No answer, or no good one, and no attempt left: it may have been done. So an undoable step is undone itself; a pivot is neither
 * given up nor undone. */
static enum saga_action of_running(const struct saga_question *q)
{
	switch (q->event) {
	case EVENT_done:
	case EVENT_resolve_done:
		if (q->cancelling && q->kind == KIND_undoable)
			return ACTION_undo_this;
		return q->last ? ACTION_complete : ACTION_next;
	case EVENT_refused: return q->kind == KIND_retriable ? ACTION_wait_stuck : step_before(q);
	case EVENT_resolve_refused:
	case EVENT_resolve_undone: return q->kind == KIND_retriable ? ACTION_refuse : step_before(q);
	case EVENT_error:
		if (q->attempts_left)
			return ACTION_wait;
		return q->kind == KIND_undoable ? ACTION_undo_this : ACTION_wait_stuck;
	default: /* timeout */
		if (q->attempts_left)
			return ACTION_again;
		return q->kind == KIND_undoable ? ACTION_undo_this : ACTION_again_stuck;
	}
}

static bool is_resolve(enum saga_event e)
{
	return e >= EVENT_resolve_done;
}

static enum saga_action of_cancel(const struct saga_question *q)
{
	if (q->state == SAGA_undoing)
		return ACTION_already;
	switch (q->kind) {
	case KIND_undoable: return ACTION_undo_this;
	case KIND_retriable: return ACTION_refuse;
	default: return q->fits ? ACTION_mark : step_before(q); /* a pivot that is under way decides it by its answer */
	}
}

enum saga_action saga_transition(const struct saga_question *q)
{
	if (q->event == EVENT_unsent)
		return ACTION_orphan;
	if (q->state == SAGA_completed || q->state == SAGA_undone)
		return of_ended(q);
	if (q->orphan && !is_resolve(q->event))
		return q->event >= EVENT_cancel ? ACTION_refuse : ACTION_ignore;
	if (q->event == EVENT_cancel || q->event == EVENT_undo)
		return of_cancel(q);
	if (q->event == EVENT_retry)
		return ACTION_again;
	if (!q->fits)
		return is_resolve(q->event) ? ACTION_refuse : ACTION_ignore;
	switch (q->event) {
	case EVENT_failed: return ACTION_wait_stuck;
	case EVENT_resend: return ACTION_send;
	case EVENT_repeat: return ACTION_again;
	default: return q->state == SAGA_undoing ? of_undoing(q) : of_running(q);
	}
}

const char *saga_state_name(enum saga_state s)
{
	return state_name[s];
}

const char *saga_event_name(enum saga_event e)
{
	return event_name[e];
}

const char *saga_action_name(enum saga_action a)
{
	return action_name[a];
}

static void print_of(struct saga_question *q)
{
	for (unsigned int bits = 0; bits < 64; bits++) {
		q->fits = (bits & 1) != 0;
		q->attempts_left = (bits & 2) != 0;
		q->first = (bits & 4) != 0;
		q->last = (bits & 8) != 0;
		q->cancelling = (bits & 16) != 0;
		q->orphan = (bits & 32) != 0;
		printf("%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", state_name[q->state], kind_name[q->kind],
		       event_name[q->event], q->fits, q->attempts_left, q->first, q->last, q->cancelling, q->orphan,
		       action_name[saga_transition(q)]);
	}
}

void saga_table_print(void)
{
	struct saga_question q = { .state = SAGA_running };

	for (unsigned int i = 0; i < SAGA_STATE_COUNT * SAGA_KIND_COUNT * SAGA_EVENT_COUNT; i++) {
		q.state = (enum saga_state)(i / (SAGA_KIND_COUNT * SAGA_EVENT_COUNT));
		q.kind = (enum saga_kind)(i / SAGA_EVENT_COUNT % SAGA_KIND_COUNT);
		q.event = (enum saga_event)(i % SAGA_EVENT_COUNT);
		print_of(&q);
	}
}
