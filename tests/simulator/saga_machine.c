/* What an event does to a saga: boxhaul.saga_event() and what it calls, by the table. All of it is one transaction of the initiator. */
#include <string.h>

#include "saga_world.h"

enum { BACK_OFF_US = 20 * MS, DOUBLINGS = 6 };

/* What came of a step that was to be sent. */
enum came { CAME_SENT, CAME_DONE, CAME_REFUSED, CAME_FAILED };

static const struct saga_definition *definition_of(const struct saga_sim *s, const struct saga *row)
{
	return &s->plan.definition[flawed(s, newest_definition) ? s->newest : row->definition];
}

static const struct saga_step *step_of(const struct saga_definition *d, const struct saga *row)
{
	return &d->step[row->step < d->steps ? row->step : d->steps - 1];
}

/* The step to undo, from `step` downwards; -1: none. */
static int undo_at(const struct saga_sim *s, const struct saga_definition *d, int step)
{
	if (flawed(s, undo_forwards)) {
		for (int i = 0; i <= step && i < d->steps; i++)
			if (d->step[i].has_undo)
				return i;
		return -1;
	}
	for (; step >= 0; step--)
		if (step < d->steps && d->step[step].has_undo)
			return step;
	return -1;
}

static enum dir dir_of(const struct saga *row)
{
	return row->state == SAGA_running ? DIR_DO : DIR_UNDO;
}

static bool is_resolve(enum saga_event e)
{
	return e >= EVENT_resolve_done;
}

static int64_t doubled(int64_t us, uint32_t times)
{
	return us << (times < DOUBLINGS ? times : DOUBLINGS);
}

static struct line *add_line(struct saga_sim *s, struct change *c)
{
	demand(s, c->lines < MAX_LINES, "an event of saga %u never comes to an end", c->saga);
	return &c->line[c->lines++];
}

/* --- the flaws of the table --- */

static enum saga_action giving_up(const struct saga_question *q)
{
	return q->first ? ACTION_undone : ACTION_back;
}

static enum saga_action flawed_action(const struct saga_sim *s, const struct saga_question *q, enum saga_action a)
{
	bool running = q->state == SAGA_running;

	if (flawed(s, timeout_undoes_before) && a == ACTION_undo_this && q->event == EVENT_timeout)
		return giving_up(q);
	if (flawed(s, pivot_given_up) && a == ACTION_again_stuck && running && q->kind == KIND_pivot)
		return giving_up(q);
	if (flawed(s, undo_given_up) && a == ACTION_again_stuck && !running)
		return ACTION_undone;
	if (flawed(s, undo_refused) && a == ACTION_wait_stuck && !running && q->event == EVENT_refused)
		return giving_up(q);
	if (flawed(s, retriable_refused) && a == ACTION_wait_stuck && running && q->event == EVENT_refused)
		return giving_up(q);
	if (flawed(s, error_at_once) && (a == ACTION_wait || a == ACTION_wait_stuck) && q->event == EVENT_error)
		return ACTION_again;
	if (flawed(s, cancel_forgets_pivot) && a == ACTION_mark)
		return giving_up(q);
	if (flawed(s, cancel_late) && a == ACTION_refuse && running && !is_resolve(q->event) && q->event != EVENT_retry)
		return giving_up(q);
	return a;
}

/* --- what a step does --- */

static bool function_raises(struct saga_sim *s, const struct change *c)
{
	return s->mood == MOOD_RAISES || (c->saga == s->poison && c->after.step != 0) || mishap(s, function_raises);
}

static enum came do_local(struct saga_sim *s, struct change *c, enum saga_kind kind)
{
	enum dir dir = dir_of(&c->after);

	if (s->mood == MOOD_REFUSES)
		return CAME_REFUSED;
	if (dir == DIR_UNDO ? mishap(s, refuses_undo)
			    : (kind == KIND_retriable ? mishap(s, refuses_retriable) : mishap(s, refuses)))
		return CAME_REFUSED;
	*add_line(s, c) = (struct line){ .what = LINE_LOCAL, .step = c->after.step, .dir = (uint8_t)dir };
	return CAME_DONE;
}

static void write_command(struct saga_sim *s, struct change *c, const struct saga_step *step, bool strict)
{
	struct saga *row = &c->after;
	struct message m = { .saga = c->saga,
			     .step = row->step,
			     .dir = (uint8_t)dir_of(row),
			     .service = step->service,
			     .attempt = row->attempt,
			     .since = row->state == SAGA_running ? row->asked_at : row->started_at };
	uint16_t message = saga_new_message(s, &m);
	bool apart = strict ? flawed(s, start_apart) : flawed(s, command_apart);

	*add_line(s, c) = (struct line){
		.what = LINE_COMMAND, .step = m.step, .dir = m.dir, .attempt = m.attempt, .message = message
	};
	if (apart)
		saga_send(s, 0, message);
	row->sent = true;
	if (row->step > row->reached)
		row->reached = (int8_t)row->step;
}

static enum came send(struct saga_sim *s, struct change *c, const struct saga_step *step, bool strict)
{
	bool local = step->service == 0;

	if ((local || step->payload) && function_raises(s, c))
		return flawed(s, failed_is_done) && !strict ? CAME_DONE : CAME_FAILED;
	if (local)
		return do_local(s, c, step->kind);
	write_command(s, c, step, strict);
	return CAME_SENT;
}

/* --- states --- */

static void end(struct saga_sim *s, struct saga *row, enum saga_state state)
{
	row->state = (uint8_t)state;
	row->due_at = flawed(s, due_left) ? row->due_at : 0;
	row->stuck = NOT_STUCK;
	row->cancelled = false;
}

static void go(const struct saga_sim *s, struct saga *row, enum saga_state state, int step)
{
	row->asked_at = s->now;
	row->state = (uint8_t)state;
	row->step = (uint8_t)step;
	row->attempt = 1;
	row->sent = row->cancelled = false;
	row->failures = 0;
	row->stuck = NOT_STUCK;
}

static void await(struct saga_sim *s, struct saga *row, const struct saga_step *step)
{
	row->due = DUE_TIMEOUT;
	row->due_at = saga_wall(s) + doubled(step->deadline_us, row->attempt - 1u);
	row->failures = 0;
	if (row->stuck == STUCK_FAILED)
		row->stuck = NOT_STUCK;
	/* S10, whoever has asked so often. */
	if (row->stuck == NOT_STUCK && row->attempt > step->retries + 1 && !flawed(s, exhausted_unseen))
		row->stuck = STUCK_EXHAUSTED;
}

static void be_stuck(struct saga_sim *s, struct saga *row, enum stuck why)
{
	if (why != STUCK_EXHAUSTED || !flawed(s, exhausted_unseen))
		row->stuck = (uint8_t)why;
}

/* By the clock: never in the transaction of the answer. */
static void wait(struct saga_sim *s, struct saga *row, enum saga_event e, enum saga_action a)
{
	if (e == EVENT_failed)
		row->failures++;
	row->due = e == EVENT_failed ? DUE_RESEND : DUE_REPEAT;
	row->due_at = saga_wall(s) + doubled(BACK_OFF_US, (e == EVENT_failed ? row->failures : row->attempt) - 1u);
	if (a == ACTION_wait_stuck)
		be_stuck(s, row, e == EVENT_error ? STUCK_EXHAUSTED : e == EVENT_failed ? STUCK_FAILED : STUCK_REFUSED);
}

static bool has_undo_now(const struct saga_step *step, enum saga_event e)
{
	/* A local step at which a saga stands was not done: what it did was rolled back with its error. */
	return step->has_undo && (step->service != 0 || e == EVENT_done || e == EVENT_resolve_done);
}

/* What the action does to the row. True: a command is to be sent. */
static bool act(struct saga_sim *s, struct saga *row, const struct saga_step *step, enum saga_action a,
		enum saga_event e, int back)
{
	switch (a) {
	case ACTION_orphan:
		row->stuck = STUCK_ORPHAN;
		row->was_orphan = true;
		row->due_at = saga_ended(row) ? 0 : INT64_MAX;
		return false;
	case ACTION_clear: row->stuck = NOT_STUCK; return false;
	case ACTION_mark: row->cancelled = true; return false;
	case ACTION_wait:
	case ACTION_wait_stuck: wait(s, row, e, a); return false;
	case ACTION_complete: end(s, row, SAGA_completed); return false;
	case ACTION_undone: end(s, row, SAGA_undone); return false;
	case ACTION_next: go(s, row, SAGA_running, row->step + 1); return true;
	case ACTION_undo_this:
		if (has_undo_now(step, e))
			back = row->step;
		/* fall through */
	case ACTION_back:
		if (back < 0) {
			end(s, row, SAGA_undone);
			return false;
		}
		go(s, row, SAGA_undoing, back);
		return true;
	case ACTION_again:
	case ACTION_again_stuck:
		row->attempt = e == EVENT_retry && flawed(s, attempt_back) ? 1 : row->attempt + 1;
		if (a == ACTION_again_stuck)
			be_stuck(s, row, STUCK_EXHAUSTED);
		return true;
	case ACTION_send: return true;
	default: return false;
	}
}

/* --- an event --- */

static enum saga_action decide(struct saga_sim *s, struct change *c, enum saga_event e, bool fits,
			       const struct message *answer, int *back)
{
	const struct saga *row = &c->after;
	const struct saga_definition *d = definition_of(s, row);
	const struct saga_step *step = step_of(d, row);
	struct saga_question q = { .state = (enum saga_state)row->state, .kind = step->kind, .event = e, .fits = fits };
	enum saga_action a;

	*back = undo_at(s, d, row->step - 1);
	q.attempts_left = row->attempt <= step->retries;
	q.first = *back < 0;
	q.last = row->step + 1 >= d->steps;
	q.cancelling = row->cancelled;
	q.orphan = row->stuck == STUCK_ORPHAN && (!flawed(s, orphan_goes_on) || is_resolve(e));
	a = flawed_action(s, &q, saga_transition(&q));
	trace(s, "saga %u: %s of step %u (%s, attempt %u%s): %s", c->saga, saga_event_name(e), row->step,
	      saga_state_name((enum saga_state)row->state), row->attempt, fits ? "" : ", does not fit",
	      saga_action_name(a));
	s->of_action[a]++;
	*add_line(s, c) = (struct line){ .what = LINE_EVENT,
					 .event = (uint8_t)e,
					 .action = (uint8_t)a,
					 .state = row->state,
					 .step = row->step,
					 .dir = (uint8_t)dir_of(row),
					 .of_step = answer != NULL ? answer->step : row->step,
					 .of_dir = answer != NULL ? answer->dir : (uint8_t)dir_of(row),
					 .attempts_left = q.attempts_left,
					 .attempt = row->attempt };
	return a;
}

static void note_in_log(struct saga *row, enum saga_event e, enum saga_action a, const struct message *answer)
{
	bool nothing = e == EVENT_refused || e == EVENT_resolve_refused || e == EVENT_resolve_undone;

	if (e == EVENT_done && a != ACTION_ignore)
		row->done_by[row->step][dir_of(row)] =
			answer != NULL && answer->attempt > 0 ? answer->attempt : row->attempt;
	if (row->state == SAGA_running && nothing && (a == ACTION_back || a == ACTION_undone))
		row->refused[row->step] = true;
}

bool saga_take_event(struct saga_sim *s, struct change *c, enum saga_event e, bool fits, const struct message *answer,
		     bool strict)
{
	static const enum saga_event came_as[] = {
		[CAME_DONE] = EVENT_done, [CAME_REFUSED] = EVENT_refused, [CAME_FAILED] = EVENT_failed
	};
	struct saga *row = &c->after;

	for (;;) {
		int back;
		enum saga_action a;
		enum came came;

		/* An answer to a later attempt than we know of is one to this step all the same. */
		if (answer != NULL && fits && answer->attempt > row->attempt)
			row->attempt = answer->attempt;
		a = decide(s, c, e, fits, answer, &back);

		note_in_log(row, e, a, answer);
		if (!act(s, row, step_of(definition_of(s, row), row), a, e, back))
			return true;
		came = send(s, c, step_of(definition_of(s, row), row), strict);
		if (came == CAME_SENT) {
			await(s, row, step_of(definition_of(s, row), row));
			return true;
		}
		if (came == CAME_FAILED && strict)
			return false;
		e = came_as[came];
		fits = true;
		answer = NULL;
	}
}

void saga_fail(struct saga_sim *s, struct change *c)
{
	struct saga *row = &c->after;

	trace(s, "saga %u: raises, and its savepoint is rolled back", c->saga);
	*row = c->before;
	c->lines = 0;
	row->failures++;
	row->stuck = STUCK_FAILED;
	row->due_at = saga_wall(s) + doubled(BACK_OFF_US, row->failures - 1u);
}

/* Sent were: do, of every step up to `reached`; undo, of every step from the one at which it stands up to that. */
static bool is_unsent(const struct saga *row, const struct message *m)
{
	if (m->step > row->reached)
		return true;
	if (m->dir == DIR_UNDO)
		return row->state == SAGA_running || row->state == SAGA_completed ||
		       (row->state == SAGA_undoing && (m->step < row->step || (m->step == row->step && !row->sent)));
	return false;
}

/* What was answered done, and now is not: its participant has lost what it did. (An error of an attempt before that one is late.) Or what
 * was refused and so was passed over, and now is done: it has lost that it refused. */
static bool is_contradiction(const struct saga *row, const struct message *m)
{
	bool forward = row->state == SAGA_running || row->state == SAGA_completed;
	uint16_t done = row->done_by[m->step][m->dir];

	if (m->outcome == EVENT_done)
		return m->dir == DIR_DO && !forward && row->refused[m->step];
	return (m->dir == DIR_DO) == forward && !m->cleaned && done != 0 && done <= m->attempt;
}

static bool is_here(const struct saga_sim *s, const struct saga *row, const struct message *m)
{
	bool dir = m->dir == (row->state == SAGA_running ? DIR_DO : DIR_UNDO) || flawed(s, answers_any_direction);
	bool step = m->step == row->step || flawed(s, answers_any_step);

	return row->sent && !saga_ended(row) && step && dir;
}

void saga_take_answer(struct saga_sim *s, struct change *c, const struct message *m)
{
	const struct saga *row = &c->before;
	enum saga_event e = (enum saga_event)m->outcome;

	if ((is_unsent(row, m) && !flawed(s, orphan_ignored)) ||
	    (is_contradiction(row, m) && !flawed(s, contradiction_ignored)))
		saga_take_event(s, c, EVENT_unsent, false, m, false);
	else if (flawed(s, late_is_lost) && !saga_ended(row) && m->step != row->step)
		saga_take_event(s, c, EVENT_unsent, false, m, false);
	else if (is_here(s, row, m))
		saga_take_event(s, c, e, e != EVENT_error || (m->attempt >= row->attempt && row->due == DUE_TIMEOUT), m,
				false);
}

void saga_take_ask(struct saga_sim *s, struct change *c, enum saga_event e)
{
	saga_take_event(s, c, e, is_resolve(e) || c->before.sent, NULL, false);
}

enum saga_event saga_due_event(const struct saga *row)
{
	static const enum saga_event of[] = {
		[DUE_TIMEOUT] = EVENT_timeout, [DUE_REPEAT] = EVENT_repeat, [DUE_RESEND] = EVENT_resend
	};

	return of[row->due];
}
