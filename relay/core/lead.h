/* The lead: may we act now?
 *
 *     standing by --taken--> leading --lost--> standing by
 *
 * While we lead, two things hold us back: a lease that is not renewed (G3: without a sign of life of the session that carries
 * the lead, somebody else may lead), and an operator who pauses us. A drain holds us back for good.
 *
 * This part knows nothing of messages. It is asked by delivery.c, which asks the sender and the reader to act only if the
 * answer is yes. Its fields are lead.c's; others read them through the functions below. */
#ifndef BOXHAUL_CORE_LEAD_H
#define BOXHAUL_CORE_LEAD_H

#include <stdbool.h>
#include <stdint.h>

struct lead {
	enum { LEAD_NONE, LEAD_RUNS, LEAD_PAUSED, LEAD_QUIET } state;
	enum { DRAIN_NONE, DRAIN_BEGUN, DRAIN_DONE } drain; /* outlives a lead: a new one begins to drain again */
	uint64_t operator_pause;                            /* by number; 0 = none */
	bool renewing;                                      /* a sign of life was asked for */
	uint32_t lease_ms;
	int64_t lease_until;
	int64_t predecessor_until; /* an earlier leader may publish until then */
};

void lead_create(struct lead *l, uint32_t lease_ms);

/* What changes it. asked_ms: when the question was sent that the database has answered; the lease counts from there, for
 * whoever leads next took the lead after it. pause: an operator's, or 0. */
void lead_taken(struct lead *l, int64_t asked_ms, uint64_t pause, int64_t predecessor_until);
void lead_lost(struct lead *l);
void lead_alive(struct lead *l, int64_t asked_ms);
void lead_drain(struct lead *l);

/* A sign of life was asked for, and nothing else was under way that would be one; it was answered. */
void lead_renewing(struct lead *l);
void lead_renewed(struct lead *l, int64_t asked_ms);

/* An operator's pause began, or ended (0). Returns whether it just ended. */
bool lead_pause(struct lead *l, uint64_t pause);

/* It was said that all is quiet, or drained: from now on nothing may leave the process. */
void lead_said_quiet(struct lead *l);
void lead_said_drained(struct lead *l);

static inline bool lead_is_held(const struct lead *l)
{
	return l->state != LEAD_NONE;
}

static inline bool lead_is_draining(const struct lead *l)
{
	return l->drain != DRAIN_NONE;
}

/* May the outbox be read? */
bool lead_may_read(const struct lead *l);

/* May a stream be asked what it holds? Also while an operator has paused us. */
static inline bool lead_may_look(const struct lead *l, int64_t now_ms)
{
	return l->state != LEAD_NONE && l->drain == DRAIN_NONE && now_ms < l->lease_until;
}

/* May something be said of what is in flight, of which nothing is stored? Also while an operator has paused us, and while we drain. */
static inline bool lead_may_say(const struct lead *l, int64_t now_ms)
{
	return (l->state == LEAD_RUNS || l->state == LEAD_PAUSED) && l->drain != DRAIN_DONE && now_ms < l->lease_until;
}

/* May a message be published? */
bool lead_may_publish(const struct lead *l, int64_t now_ms);

/* When a sign of life is to be asked for; INT64_MAX while one is, or without the lead. */
static inline int64_t lead_renew_at(const struct lead *l)
{
	return l->state == LEAD_NONE || l->renewing ? INT64_MAX : l->lease_until - l->lease_ms / 2;
}

/* Paused, not said to be quiet, and no earlier leader can be sending: quiet as soon as nothing is under way. */
bool lead_may_be_quiet(const struct lead *l, int64_t now_ms);

/* Paused, and only the end of an earlier leader's lease is waited for: until then; else INT64_MAX. */
int64_t lead_quiet_at(const struct lead *l, int64_t now_ms);

/* Draining, and not said to be drained. */
bool lead_may_be_drained(const struct lead *l);

/* What was taken for sending must not leave the process later than this. */
int64_t lead_send_deadline(const struct lead *l, int64_t now_ms);

#endif
