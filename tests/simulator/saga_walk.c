#include "saga_walk.h"

#include <stdio.h>
#include <string.h>

enum { EVENTS = 24, AFTER_END = 4 };

static const char *const dir_name[] = { "do", "undo" };

static const struct overrides no_overrides = { .faults_until = UINT64_MAX };

/* A world in which nothing ever fails by itself. */
static void open_world(struct saga_sim *s, uint64_t seed)
{
	memset(s, 0, sizeof *s);
	saga_sim_open(s, seed, &no_overrides);
	s->phase = SAGA_PHASE_HEAL;
	s->poison = -1;
	s->lost[0] = true; /* events in any order */
}

/* --- an initiator --- */

static void tell_commands(const struct change *c)
{
	const char *comma = "";

	for (uint32_t i = 0; i < c->lines; i++)
		if (c->line[i].what == LINE_COMMAND) {
			printf("%s%s:%u:%u", comma, dir_name[c->line[i].dir], c->line[i].step, c->line[i].attempt);
			comma = ",";
		}
	printf("%s\n", *comma == '\0' ? "-" : "");
}

static void tell_row(const struct change *c)
{
	static const char *const due[] = { "timeout", "repeat", "resend" };
	static const char *const stuck[] = { "-", "exhausted", "refused", "failed", "orphan" };
	const struct saga *row = &c->after;

	printf(" => %s %u %d %u %d %s %s %d ", saga_state_name((enum saga_state)row->state), row->step, row->reached,
	       row->attempt, row->sent, due[row->due], stuck[row->stuck], row->cancelled);
	tell_commands(c);
}

static void begin(struct saga_sim *s, struct change *c)
{
	memset(c, 0, sizeof *c);
	c->before = c->after = s->db[0].saga[0];
}

static void start(struct saga_sim *s, struct change *c)
{
	static const char *const kind[] = { "undoable", "pivot", "retriable" };
	const struct saga_definition *d = &s->plan.definition[0];

	printf("saga");
	for (uint32_t i = 0; i < d->steps; i++) {
		printf(" %s,%d,%d,%d,%u", kind[d->step[i].kind], d->step[i].has_undo, d->step[i].service == 0,
		       d->step[i].payload, d->step[i].retries);
	}
	begin(s, c);
	c->after = (struct saga){ .exists = true, .reached = -1, .attempt = 1, .due = DUE_RESEND };
	saga_take_event(s, c, EVENT_resend, true, NULL, true);
}

static enum saga_event draw_outcome(struct saga_sim *s)
{
	static const enum saga_event of[] = { EVENT_done, EVENT_done, EVENT_done, EVENT_error, EVENT_refused };

	return of[prng_below(&s->dice, sizeof of / sizeof of[0])];
}

/* Mostly about where it stands. */
static void draw_answer(struct saga_sim *s, const struct saga *row, struct message *m)
{
	const struct saga_definition *d = &s->plan.definition[0];
	bool near = prng_below(&s->dice, 10) != 0;

	m->is_answer = true;
	m->step = near ? row->step : (uint8_t)prng_below(&s->dice, d->steps);
	m->dir = (row->state != SAGA_running) != (prng_below(&s->dice, near ? 20 : 2) == 0);
	m->attempt = (uint16_t)prng_between(&s->dice, row->attempt > 1 ? row->attempt - 1 : 1,
					    row->attempt + (near ? 0 : 1));
	m->outcome = (uint8_t)draw_outcome(s);
}

/* Only a local step can refuse. */
static void draw_mood(struct saga_sim *s)
{
	static const char *const name[] = { "well", "raises", "refuses" };
	uint64_t what = prng_below(&s->dice, 5);

	s->mood = what < 3 ? (enum mood_of_functions)what : MOOD_WELL;
	printf("%s ", name[s->mood]);
}

static void one_event(struct saga_sim *s, struct change *c)
{
	const struct saga *row = &s->db[0].saga[0];
	uint64_t what = prng_below(&s->dice, 10);
	struct message m = { .saga = 0 };

	begin(s, c);
	draw_mood(s);
	if (what < 6) {
		draw_answer(s, row, &m);
		printf("answer %u %s %u %s", m.step, dir_name[m.dir], m.attempt,
		       saga_event_name((enum saga_event)m.outcome));
		saga_take_answer(s, c, &m);
	} else if (what < 8 && !saga_ended(row) && row->stuck != STUCK_ORPHAN) { /* which is never due */
		printf("clock");
		saga_take_event(s, c, saga_due_event(row), true, NULL, false);
	} else {
		enum saga_event e = (enum saga_event)prng_between(&s->dice, EVENT_cancel, EVENT_resolve_refused);

		printf("ask %s", saga_event_name(e));
		saga_take_ask(s, c, e);
	}
}

static void walk_saga(struct saga_sim *s)
{
	struct change c;

	start(s, &c);
	for (int i = 0, ended = 0; i < EVENTS && ended < AFTER_END; i++) {
		tell_row(&c);
		s->db[0].saga[0] = c.after;
		ended += saga_ended(&c.after);
		one_event(s, &c);
	}
	tell_row(&c);
}

/* --- a participant --- */

static void tell_part(const struct saga_sim *s, const char *told, uint32_t messages)
{
	static const char *const did[] = { "-", "pending", "error", "refused", "done", "undone", "void" };
	const struct part *p = &s->db[1].part[0][0];
	const char *comma = "";

	printf(" => %s %s %s %u ", told, did[p->did], p->did == DID_NOTHING ? "-" : dir_name[p->dir], p->attempt);
	for (uint32_t i = messages; i < s->messages; i++) {
		const struct message *m = &s->message[i];

		printf("%s%s:%u:%s", comma, dir_name[m->dir], m->attempt, saga_event_name((enum saga_event)m->outcome));
		comma = ",";
	}
	printf("%s\n", *comma == '\0' ? "-" : "");
}

static void walk_part(struct saga_sim *s)
{
	static const char *const accepted[] = { "do", "undo", "skip" };
	struct message m = { .service = 1 };

	s->plan.definition[0].step[0] = (struct saga_step){ .service = 1, .has_undo = true };
	printf("part\n");
	for (int i = 0; i < EVENTS; i++) {
		enum saga_event outcome = draw_outcome(s);
		uint32_t messages = s->messages;

		m.dir = (uint8_t)(prng_below(&s->dice, 3) == 0);
		m.attempt = (uint16_t)prng_between(&s->dice, 1, 4);
		if (prng_below(&s->dice, 2) == 0) {
			printf("command %s %u", dir_name[m.dir], m.attempt);
			tell_part(s, accepted[saga_part_accept(s, &m)], messages);
		} else {
			printf("say %s", saga_event_name(outcome));
			tell_part(s, saga_part_answer(s, 1, 0, 0, outcome) ? "said" : "raised", messages);
		}
	}
}

void saga_walks(struct saga_sim *s, uint32_t walks)
{
	for (uint32_t i = 1; i <= walks; i++) {
		open_world(s, i);
		walk_saga(s);
		walk_part(s);
		saga_sim_close(s);
	}
}
