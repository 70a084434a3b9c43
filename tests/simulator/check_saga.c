#include "check_saga.h"

#include <string.h>

void check_saga_published(struct saga_sim *s, uint16_t message)
{
	const struct message *m = &s->message[message];

	demand(s, m->committed || s->committed[m->saga],
	       "S12: a command of saga %u is published, which was never committed", m->saga);
	demand(s, m->committed, "S1: %s of step %u of saga %u is published, and its transaction was rolled back",
	       m->dir == DIR_DO ? "do" : "undo", m->step, m->saga);
}

/* --- one transaction --- */

static const struct saga_definition *definition_of(const struct saga_sim *s, uint32_t saga)
{
	return &s->plan.definition[s->definition[saga]];
}

static bool is_harmless(const struct saga_step *step)
{
	return step->kind == KIND_undoable && !step->has_undo;
}

static bool is_nothing(uint8_t known)
{
	return known == NOT_ASKED || known == KNOWN_REFUSED || known == KNOWN_UNDONE;
}

static void check_timeout(struct saga_sim *s, struct change *c, const struct line *line)
{
	uint16_t *last = &c->after.timed_out[line->step][line->dir];

	demand(s, c->before.due_at <= saga_wall(s) || s->plan.every.clock_jump > 0,
	       "S6: a deadline of saga %u counts before its time", c->saga);
	demand(s, line->attempt > *last, "S6: the deadline of attempt %u of step %u of saga %u counts again",
	       line->attempt, line->step, c->saga);
	*last = line->attempt;
	s->timeouts++;
}

/* What the initiator knows of the step that an answer is about. */
static void note_answer(struct change *c, const struct line *line)
{
	uint8_t *known = &c->after.known[line->of_step];

	switch (line->event) {
	case EVENT_done: *known = line->of_dir == DIR_DO ? KNOWN_DONE : KNOWN_UNDONE; break;
	case EVENT_refused:
		if (line->of_dir == DIR_DO)
			*known = KNOWN_REFUSED;
		break;
	case EVENT_resolve_done: *known = KNOWN_DONE; break;
	case EVENT_resolve_undone: *known = KNOWN_UNDONE; break;
	case EVENT_resolve_refused: *known = line->state == SAGA_running ? KNOWN_REFUSED : KNOWN_UNDONE; break;
	default: break;
	}
}

static bool is_answer(uint8_t event)
{
	return event == EVENT_done || event == EVENT_refused || event >= EVENT_resolve_done;
}

static bool is_asked(uint8_t event)
{
	return event == EVENT_cancel || event == EVENT_undo;
}

static void check_event(struct saga_sim *s, struct change *c, const struct line *line, bool first)
{
	const struct saga_step *step = &definition_of(s, c->saga)->step[line->step];
	bool was_orphan = first && c->before.stuck == STUCK_ORPHAN && c->before.exists && !saga_ended(&c->before);
	bool ends = line->action == ACTION_complete || line->action == ACTION_undone;

	demand(s, !was_orphan || line->event >= EVENT_resolve_done || line->action >= ACTION_orphan,
	       "saga %u has lost history, and goes on by itself", c->saga);
	if (line->action < ACTION_orphan)
		note_answer(c, line);
	if (line->event == EVENT_timeout && first)
		check_timeout(s, c, line);
	/* undo_this ends one whose only step was declared harmless: that is no end by a deadline alone. */
	demand(s, !ends || is_answer(line->event) || is_asked(line->event), "S2: saga %u ends by %s", c->saga,
	       saga_event_name((enum saga_event)line->event));
	demand(s,
	       !is_asked(line->event) || line->state != SAGA_running || step->kind != KIND_retriable ||
		       line->action == ACTION_refuse,
	       "S5: saga %u is cancelled behind its pivot", c->saga);
}

/* S8: all before it is done. */
static void check_do(struct saga_sim *s, const struct change *c, uint32_t step)
{
	for (uint32_t i = 0; i < step; i++)
		demand(s, c->after.known[i] == KNOWN_DONE, "S8: saga %u asks for step %u before step %u is done",
		       c->saga, step, i);
}

/* S3, S4, S5: nothing behind it is done, or may be. */
static void check_undo(struct saga_sim *s, const struct change *c, uint32_t step)
{
	const struct saga_definition *d = definition_of(s, c->saga);

	demand(s, d->step[step].has_undo, "S11: saga %u undoes step %u, which has no undo", c->saga, step);
	demand(s, c->after.known[step] != KNOWN_UNDONE, "S3: saga %u undoes step %u again", c->saga, step);
	for (uint32_t i = step + 1; i < d->steps; i++)
		demand(s, is_harmless(&d->step[i]) || is_nothing(c->after.known[i]),
		       "%s: saga %u undoes step %u while step %u is done, or may be", d->step[i].has_undo ? "S4" : "S5",
		       c->saga, step, i);
}

static void check_command(struct saga_sim *s, struct change *c, const struct line *line)
{
	const struct message *m = &s->message[line->message];
	const struct saga_definition *d = definition_of(s, c->saga);

	demand(s, line->step < d->steps && m->service == d->step[line->step].service,
	       "S11: saga %u is of definition %u, and its step %u goes to service %u", c->saga, s->definition[c->saga],
	       line->step, m->service);
	if (line->dir == DIR_DO)
		check_do(s, c, line->step);
	else
		check_undo(s, c, line->step);
	if (c->after.known[line->step] == NOT_ASKED)
		c->after.known[line->step] = ASKED;
}

static void check_attempts(struct saga_sim *s, const struct change *c)
{
	const struct saga *a = &c->before, *b = &c->after;

	demand(s, !a->exists || a->state != b->state || a->step != b->step || b->attempt >= a->attempt,
	       "the attempt of step %u of saga %u goes back from %u to %u", b->step, c->saga, a->attempt, b->attempt);
}

void check_saga_commit(struct saga_sim *s, struct change *c)
{
	const struct saga *row = &s->db[0].saga[c->saga];
	uint32_t commands = 0;

	demand(s, row->events == c->before.events, "S1: saga %u was changed by another transaction meanwhile", c->saga);
	for (uint32_t i = 0; i < c->lines; i++) {
		const struct line *line = &c->line[i];

		if (line->what == LINE_EVENT)
			check_event(s, c, line, i == 0);
		else if (line->what == LINE_COMMAND)
			check_command(s, c, line), commands++;
	}
	demand(s, commands <= 1, "S1: one event of saga %u writes %u commands", c->saga, commands);
	demand(s, commands == 0 || c->before.state != c->after.state || c->line[0].event != EVENT_error,
	       "saga %u asks again in the transaction of an error", c->saga);
	check_attempts(s, c);
}

/* --- one row --- */

static void check_end(struct saga_sim *s, uint32_t saga, const struct saga *row)
{
	const struct saga_definition *d = definition_of(s, saga);

	for (uint32_t i = 0; i < d->steps; i++) {
		if (row->state == SAGA_completed)
			demand(s, row->known[i] == KNOWN_DONE,
			       "S8: saga %u is completed, and step %u is not known to be done", saga, i);
		else
			demand(s, is_harmless(&d->step[i]) || is_nothing(row->known[i]),
			       "%s: saga %u is undone, and step %u may be done", d->step[i].has_undo ? "S8" : "S5",
			       saga, i);
	}
	for (uint32_t r = 0; r < SAGA_LOCKS; r++)
		demand(s, s->db[0].lock[r] != saga + 1, "saga %u has ended, and has its lock %u", saga, r);
}

void check_saga_row(struct saga_sim *s, uint32_t saga)
{
	const struct saga *row = &s->db[0].saga[saga];
	const struct saga_step *step = &definition_of(s, saga)->step[row->step];

	demand(s, saga_ended(row) == (row->due_at == 0), "S9: saga %u is %s, and its deadline is %sset", saga,
	       saga_state_name((enum saga_state)row->state), row->due_at == 0 ? "not " : "");
	if (saga_ended(row)) {
		check_end(s, saga, row);
		return;
	}
	demand(s, row->due != DUE_TIMEOUT || row->attempt <= step->retries + 1 || row->stuck != NOT_STUCK,
	       "S10: all attempts of step %u of saga %u are used up, and it is not shown as stuck", row->step, saga);
	for (uint32_t i = 0; i < s->started; i++) {
		const struct saga *other = &s->db[0].saga[i];

		demand(s, i == saga || !other->exists || saga_ended(other) || (other->locks & row->locks) == 0,
		       "sagas %u and %u have the same lock", saga, i);
	}
}

/* --- one effect --- */

static bool must_be_undone_before(const struct saga_definition *d, uint32_t step, uint32_t later)
{
	return later > step && !is_harmless(&d->step[later]);
}

/* Where nothing was lost, the services themselves show the order. (A harmless step may be done when nobody waits for it any more.) */
static void check_order(struct saga_sim *s, uint32_t saga, uint32_t step, enum dir dir)
{
	const struct saga_definition *d = definition_of(s, saga);

	for (uint32_t i = 0; i < d->steps; i++) {
		if (dir == DIR_UNDO && must_be_undone_before(d, step, i))
			demand(s, !saga_part_stands(s, saga, i), "S4: saga %u: step %u is undone while step %u stands",
			       saga, step, i);
		if (dir == DIR_DO && i < step && !is_harmless(&d->step[step]))
			demand(s, saga_part_stands(s, saga, i), "S8: saga %u: step %u is done while step %u is not",
			       saga, step, i);
	}
}

void check_saga_effect(struct saga_sim *s, uint32_t service, uint32_t saga, uint32_t step, enum dir dir)
{
	const struct part *p = &s->db[service].part[saga][step];
	bool local = service == 0;

	if (dir == DIR_DO) {
		demand(s, p->effects[DIR_DO] == 0, "S7: step %u of saga %u is done twice", step, saga);
		demand(s, local || (p->effects[DIR_UNDO] == 0 && !p->undo_told),
		       "S7: step %u of saga %u is done behind its undo", step, saga);
	} else {
		demand(s, p->effects[DIR_UNDO] < p->effects[DIR_DO],
		       "S7: step %u of saga %u is undone, and is not done", step, saga);
	}
	if (!s->lost[saga])
		check_order(s, saga, step, dir);
}

/* --- at rest --- */

static bool may_be_stuck(const struct saga_sim *s, uint32_t saga, const struct saga *row)
{
	return row->stuck == STUCK_FAILED && (int32_t)saga == s->poison;
}

const char *check_saga_settled(const struct saga_sim *s, uint32_t *saga)
{
	for (uint32_t i = 0; i < s->started; i++) {
		const struct saga *row = &s->db[0].saga[i];

		*saga = i;
		if (row->exists && saga_ended(row) && row->stuck == STUCK_ORPHAN)
			return "is stuck, and nobody has resolved it";
		if (row->exists && !saga_ended(row) && !may_be_stuck(s, i, row))
			return row->stuck != NOT_STUCK ? "does not end, and is stuck"
						       : "neither ends nor is shown as stuck";
	}
	if (!saga_wire_is_quiet(s))
		return "is not alone: messages are under way";
	return saga_desk_is_quiet(s) ? NULL : "has a transaction";
}

/* What stands of a saga that has ended so, or is not on record. */
static bool stands_as_told(const struct saga_sim *s, uint32_t saga, const struct saga *row)
{
	const struct saga_definition *d = definition_of(s, saga);

	for (uint32_t i = 0; i < d->steps; i++) {
		bool stands = saga_part_stands(s, saga, i), completed = row->exists && row->state == SAGA_completed;

		if (completed ? !stands : stands && (!row->exists || !is_harmless(&d->step[i])))
			return false;
	}
	return true;
}

/* A failover may tear a saga; but whoever operates is told. Where a stream lost its end too, nothing is left that could tell. */
static bool was_told(const struct saga_sim *s, uint32_t saga, const struct saga *row)
{
	if (s->cut[saga] && s->lost[saga])
		return true;
	return row->exists ? row->was_orphan && s->lost[saga] : s->db[0].unknown[saga];
}

static int64_t moved(const struct saga_sim *s, uint32_t saga)
{
	int64_t sum = 0;

	for (uint32_t i = 0; i < SAGA_STEPS; i++)
		if (saga_part_stands(s, saga, i))
			sum += saga_step_of(s, saga, i)->moves;
	return sum;
}

void check_saga_rest(struct saga_sim *s)
{
	/* An error that is stored twice, of a command that was stored twice, may look like a denial: ids leave out both. */
	bool came_twice = s->of_kind[SAGA_FAULT_replayed] + s->of_kind[SAGA_FAULT_published_twice] > 0;
	int64_t sum = 0, torn = 0;

	for (uint32_t i = 0; i < s->started; i++) {
		const struct saga *row = &s->db[0].saga[i];

		if (row->exists && !saga_ended(row)) {
			torn += moved(s, i); /* shown as stuck: see check_saga_settled */
		} else if (!stands_as_told(s, i, row)) {
			demand(s, was_told(s, i, row), "%s: saga %u is %s, its steps are not, and nobody was told",
			       row->exists ? "S8" : "S12", i,
			       row->exists ? saga_state_name((enum saga_state)row->state) : "not on record");
			torn += moved(s, i);
			s->excused++;
		}
		demand(s, !row->was_orphan || s->lost[i] || came_twice,
		       "saga %u is said to have lost history, and has not", i);
		s->completed += row->exists && row->state == SAGA_completed;
		s->undone += row->exists && row->state == SAGA_undone;
		s->orphans += row->was_orphan;
	}
	for (uint32_t v = 0; v < SAGA_SERVICES; v++)
		sum += s->db[v].balance;
	demand(s, sum == torn, "money: %lld is there that nobody had, less what is shown as torn",
	       (long long)(sum - torn));
	for (uint32_t r = 0; r < SAGA_LOCKS; r++)
		demand(s, s->db[0].lock[r] == 0 || !saga_ended(&s->db[0].saga[s->db[0].lock[r] - 1]),
		       "lock %u is nobody's, and is locked", r);
}
