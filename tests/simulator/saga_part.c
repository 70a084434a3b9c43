/* Participants: what boxhaul.saga_accept() and boxhaul.saga_answer() do, and services that refuse, are silent, slow, fail, or ask somebody
 * who decides later. A command is handled in one transaction: its row, its effect and its answer. */
#include "check_saga.h"
#include "saga_world.h"

static void on_decision(struct saga_sim *s, const struct saga_happening *h);

static uint32_t service_of(const struct saga_sim *s, uint32_t saga, uint32_t step)
{
	return saga_step_of(s, saga, step)->service;
}

bool saga_part_stands(const struct saga_sim *s, uint32_t saga, uint32_t step)
{
	const struct part *p = &s->db[service_of(s, saga, step)].part[saga][step];

	return p->effects[DIR_DO] > p->effects[DIR_UNDO];
}

static void tell(struct saga_sim *s, uint32_t service, const struct message *of, enum dir dir, uint16_t attempt,
		 enum saga_event outcome)
{
	struct message m = *of;
	struct part *p = &s->db[service].part[of->saga][of->step];

	m.is_answer = m.committed = true;
	m.dir = (uint8_t)dir;
	m.attempt = attempt;
	m.outcome = (uint8_t)outcome;
	m.service = (uint8_t)service;
	if (dir == DIR_UNDO && outcome == EVENT_done)
		p->undo_told = true;
	trace(s, "service %u: saga %u, %s of step %u, attempt %u: answers %s", service, of->saga,
	      dir == DIR_DO ? "do" : "undo", of->step, attempt, saga_event_name(outcome));
	saga_send(s, service, saga_new_message(s, &m));
}

static void set(const struct saga_sim *s, struct part *p, enum did did, enum dir dir)
{
	p->did = (uint8_t)did;
	p->dir = (uint8_t)dir;
	p->at = s->now;
}

/* --- saga_accept() --- */

static enum accepted accept_fresh(struct saga_sim *s, uint32_t service, struct part *p, const struct message *m)
{
	/* It may have been done, and nobody knows. */
	if (m->since < s->db[service].parts_before && !flawed(s, cleaned_unknown)) {
		struct message unknown = *m;

		unknown.cleaned = true;
		tell(s, service, &unknown, (enum dir)m->dir, m->attempt, EVENT_error);
		return ACCEPT_SKIP;
	}
	p->attempt = m->attempt;
	if (m->dir == DIR_DO) {
		set(s, p, DID_PENDING, DIR_DO);
		return ACCEPT_DO;
	}
	if (!flawed(s, no_tombstone))
		set(s, p, DID_VOID, DIR_UNDO);
	tell(s, service, m, DIR_UNDO, m->attempt, EVENT_done);
	return ACCEPT_SKIP;
}

static enum accepted accept_do(struct saga_sim *s, uint32_t service, struct part *p, const struct message *m)
{
	bool done = p->did == DID_DONE && p->dir == DIR_DO;

	if (p->did == DID_PENDING || p->did == DID_ERROR) {
		enum accepted a = p->did == DID_ERROR || flawed(s, pending_lost) ? ACCEPT_DO : ACCEPT_SKIP;

		set(s, p, DID_PENDING, DIR_DO);
		p->attempt = m->attempt > p->attempt ? m->attempt : p->attempt;
		return a;
	}
	if (!flawed(s, repeat_unanswered))
		tell(s, service, m, DIR_DO, m->attempt, done ? EVENT_done : EVENT_refused);
	return ACCEPT_SKIP;
}

static enum accepted accept_undo(struct saga_sim *s, uint32_t service, struct part *p, const struct message *m)
{
	if (p->did == DID_DONE) {
		enum accepted a = p->dir == DIR_DO ? ACCEPT_UNDO : ACCEPT_SKIP;

		p->attempt = p->dir == DIR_DO || m->attempt > p->attempt ? m->attempt : p->attempt;
		set(s, p, DID_DONE, DIR_UNDO);
		return a;
	}
	if (p->did == DID_PENDING || p->did == DID_ERROR || p->did == DID_REFUSED) {
		set(s, p, DID_VOID, DIR_UNDO);
		p->attempt = m->attempt;
	}
	if (!flawed(s, repeat_unanswered) || p->did == DID_VOID)
		tell(s, service, m, DIR_UNDO, m->attempt, EVENT_done);
	return ACCEPT_SKIP;
}

enum accepted saga_part_accept(struct saga_sim *s, const struct message *m)
{
	uint32_t service = m->service;
	struct part *p = &s->db[service].part[m->saga][m->step];

	if (flawed(s, no_part_row) || (flawed(s, undone_forgotten) && p->did == DID_UNDONE) ||
	    (flawed(s, refusal_forgotten) && p->did == DID_REFUSED)) {
		p->attempt = m->attempt;
		if (m->dir == DIR_DO)
			set(s, p, DID_PENDING, DIR_DO);
		if (m->dir == DIR_DO || (flawed(s, no_part_row) && p->effects[DIR_DO] > 0))
			return m->dir == DIR_DO ? ACCEPT_DO : ACCEPT_UNDO;
	}
	if (p->did == DID_NOTHING)
		return accept_fresh(s, service, p, m);
	return m->dir == DIR_DO ? accept_do(s, service, p, m) : accept_undo(s, service, p, m);
}

/* --- the service, and saga_answer() --- */

static void take_effect(struct saga_sim *s, uint32_t service, const struct message *m, enum dir dir)
{
	struct database *db = &s->db[service];
	int32_t moves = saga_step_of(s, m->saga, m->step)->moves;

	check_saga_effect(s, service, m->saga, m->step, dir);
	db->part[m->saga][m->step].effects[dir]++;
	db->balance += dir == DIR_DO ? moves : -moves;
	s->effects++;
}

static bool waits(const struct part *p)
{
	return p->did == DID_PENDING || (p->did == DID_DONE && p->dir == DIR_UNDO);
}

/* What was undone meanwhile, or answered already: the answer raises, and takes its effect with it. */
static bool may_answer(const struct saga_sim *s, const struct part *p)
{
	if (flawed(s, void_answered) && p->did == DID_VOID)
		return true;
	return waits(p) || (flawed(s, pending_lost) && p->did == DID_DONE);
}

static enum did after_do(enum saga_event outcome)
{
	return outcome == EVENT_done ? DID_DONE : outcome == EVENT_refused ? DID_REFUSED : DID_ERROR;
}

bool saga_part_answer(struct saga_sim *s, uint32_t service, uint32_t saga, uint32_t step, enum saga_event outcome)
{
	struct part *p = &s->db[service].part[saga][step];
	struct message m = { .saga = (uint8_t)saga, .step = (uint8_t)step };
	enum dir dir = p->did == DID_DONE && p->dir == DIR_UNDO ? DIR_UNDO : DIR_DO;

	if (!may_answer(s, p))
		return false;
	if (outcome == EVENT_done)
		take_effect(s, service, &m, dir);
	if (dir == DIR_DO)
		set(s, p, after_do(outcome), DIR_DO);
	else if (outcome == EVENT_done)
		set(s, p, DID_UNDONE, DIR_UNDO);
	else
		set(s, p, DID_DONE, DIR_DO); /* asked for again, it is one that was not accepted yet */
	tell(s, service, &m, dir, p->attempt, outcome);
	return true;
}

static bool refuses(struct saga_sim *s, const struct message *m)
{
	return saga_step_of(s, m->saga, m->step)->kind == KIND_retriable ? mishap(s, refuses_retriable)
									 : mishap(s, refuses);
}

/* Somebody decides: tomorrow, or never (until all is healed). */
static bool waits_for_decision(struct saga_sim *s, uint32_t service, const struct message *m)
{
	if (mishap(s, silent))
		return true;
	if (!mishap(s, later))
		return false;
	saga_later(s, prng_between(&s->dice, 1, s->plan.decide_us), on_decision, service, m->saga, m->step);
	return true;
}

static void decide(struct saga_sim *s, uint32_t service, uint32_t saga, uint32_t step)
{
	const struct message m = { .saga = (uint8_t)saga, .step = (uint8_t)step };
	const struct part *p = &s->db[service].part[saga][step];
	bool undo = p->did == DID_DONE && p->dir == DIR_UNDO;

	if (mishap(s, error))
		saga_part_answer(s, service, saga, step, EVENT_error);
	else if (undo ? mishap(s, refuses_undo) : refuses(s, &m))
		saga_part_answer(s, service, saga, step, EVENT_refused);
	else
		saga_part_answer(s, service, saga, step, EVENT_done);
}

static void on_decision(struct saga_sim *s, const struct saga_happening *h)
{
	decide(s, (uint32_t)h->a, (uint32_t)h->b, (uint32_t)h->c);
}

void saga_parts_clean(struct saga_sim *s)
{
	int64_t before = s->now - s->plan.retention_us;

	for (uint32_t v = 1; v < SAGA_SERVICES; v++)
		for (uint32_t i = 0; i < MAX_SAGAS; i++)
			for (uint32_t k = 0; k < SAGA_STEPS; k++) {
				struct part *p = &s->db[v].part[i][k];

				if (p->did == DID_NOTHING || p->at >= before || waits(p))
					continue;
				p->did = DID_NOTHING;
				s->db[v].parts_before = before;
			}
}

void saga_parts_decide(struct saga_sim *s)
{
	for (uint32_t v = 1; v < SAGA_SERVICES; v++)
		for (uint32_t i = 0; i < MAX_SAGAS; i++)
			for (uint32_t k = 0; k < SAGA_STEPS; k++)
				if (waits(&s->db[v].part[i][k]))
					decide(s, v, i, k);
}

/* What somebody did by hand is done again, should a failover take it back. */
static void by_hand_again(struct saga_sim *s, uint32_t service, uint32_t saga, uint32_t step)
{
	struct part *now = &s->db[service].part[saga][step], *then = &s->standby[service].part[saga][step];
	int32_t stands = now->effects[DIR_DO] - now->effects[DIR_UNDO],
		stood = then->effects[DIR_DO] - then->effects[DIR_UNDO];

	s->standby[service].balance += (stands - stood) * saga_step_of(s, saga, step)->moves;
	*then = *now;
}

void saga_part_by_hand(struct saga_sim *s, uint32_t saga, uint32_t step, bool done)
{
	uint32_t service = service_of(s, saga, step);
	struct part *p = &s->db[service].part[saga][step];
	struct message m = { .saga = (uint8_t)saga, .step = (uint8_t)step };

	trace(s, "service %u: saga %u, step %u is %s by hand", service, saga, step, done ? "done" : "undone");
	if (saga_part_stands(s, saga, step) != done)
		take_effect(s, service, &m, done ? DIR_DO : DIR_UNDO);
	if (done)
		set(s, p, DID_DONE, DIR_DO);
	else
		set(s, p, p->did == DID_DONE ? DID_UNDONE : DID_VOID, DIR_UNDO);
	if (s->behind[service])
		by_hand_again(s, service, saga, step);
}

/* --- a command --- */

/* An answer without its transaction. */
static void answers_apart(struct saga_sim *s, uint32_t service, const struct message *m)
{
	const struct part *p = &s->db[service].part[m->saga][m->step];

	if (m->dir == DIR_DO && p->did == DID_NOTHING)
		tell(s, service, m, DIR_DO, m->attempt, EVENT_done);
}

bool saga_part_takes(struct saga_sim *s, uint16_t copy)
{
	const struct message m = s->message[s->copy[copy].message];
	const struct part *p = &s->db[m.service].part[m.saga][m.step];

	if (mishap(s, slow)) {
		s->copy[copy].visible = s->now + prng_spread(&s->dice, MS, 3 * SECOND);
		return false;
	}
	if (mishap(s, part_rolled_back)) {
		if (flawed(s, answer_apart))
			answers_apart(s, m.service, &m);
		return false;
	}
	s->db[m.service].handled[copy] = true;
	trace(s, "service %u: saga %u, %s of step %u, attempt %u (row: %u)", m.service, m.saga,
	      m.dir == DIR_DO ? "do" : "undo", m.step, m.attempt, p->did);
	if (saga_part_accept(s, &m) != ACCEPT_SKIP && !waits_for_decision(s, m.service, &m))
		decide(s, m.service, m.saga, m.step);
	return true;
}
