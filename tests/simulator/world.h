/* The simulated world: one clock, one queue of things to come, and everything that is true in it. */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core.h"
#include "js.h"
#include "pg.h"
#include "plan.h"
#include "prng.h"
#include "agenda.h"

enum { MAX_HOSTS = 2, MAX_STEPS = 1000000, MS = 1000, SECOND = 1000 * MS }; /* the clock counts microseconds */

struct sim;
struct host;

/* Something to come. What it is about may be gone by then: a and b name it by number, never by pointer. */
struct happening {
	int64_t at; /* this and the next: a struct due */
	uint64_t order;
	void (*run)(struct sim *s, const struct happening *h);
	uint64_t a, b, c, d;
};

enum phase { PHASE_LOAD, PHASE_HEAL, PHASE_DECIDE, PHASE_REST, PHASE_DRAIN };

/* Deliberate flaws of the world, where the rule that something rests on is not the core's but the SQL's or the shell's:
 * some seed must find out. Names and what they mean. */
#define FLAWS_OF_THE_WORLD(X)                                                                                    \
	X(xmax, "a mark's fence is the snapshot's xmax, not an xid")                                             \
	X(id_before_xid, "a transaction draws an id before it owns an xid")                                      \
	X(prepared_unseen, "the evidence about the owners of ids leaves out prepared transactions")              \
	X(id_is_message_id, "the stream is told ids, which a failover hands out again, in place of message ids") \
	X(seq_0, "a duplicate with sequence 0 is taken for an ack")                                              \
	X(deposed_keeps_socket, "what stands before the socket of a deposed relay is written after all")         \
	X(kept_reads_now, "what is asked for as of a kept snapshot is read as of now")                           \
	X(cut_is_complete, "an answer that is cut off by its bytes is taken for all there is")                   \
	X(witness_of_another_history, "what was sent before a failover is believed behind it")                   \
	X(lease_unseen, "a new leader does not hear of the lease of the one before")                             \
	X(preparing_unseen, "the evidence leaves out who is just being prepared")                                \
	X(truncate_parked, "a slot is emptied though a row of it is parked")                                     \
	X(truncate_unlocked, "a slot is emptied without its lock in hand")                                       \
	X(truncate_unchecked, "a slot is emptied for what it held before it was locked")

enum flaw {
	NO_FLAW,
#define AS_NAME(name, ...) FLAW_##name,
	FLAWS_OF_THE_WORLD(AS_NAME)
#undef AS_NAME
		FLAWS,
};
extern const char *const flaw_name[FLAWS], *const flaw_meaning[FLAWS];

struct sim {
	uint64_t seed;
	struct prng dice;
	struct plan plan;
	const struct core *core;
	enum phase phase;
	int64_t now;
	uint64_t orders;
	struct agenda agenda; /* of happenings */

	struct pg pg, *standby; /* NULL = it has all that is committed */
	struct js js;
	struct host *host[MAX_HOSTS];

	uint64_t steps, faults;   /* events given to a core; faults done to it, */
	uint64_t of_kind[FAULTS]; /* by kind */
	int64_t called;           /* when an operator was called last to a stream that is stopped */
	uint64_t proved;          /* so often a message was taken for stored by a later one */
	const struct overrides *overrides;
	bool tracing, loud;
	enum flaw flaw;
	jmp_buf violated;
	char violation[512];
};

static inline int64_t now_ms(const struct sim *s)
{
	return s->now / MS;
}
static inline bool healed(const struct sim *s)
{
	return s->phase != PHASE_LOAD;
}

void sim_open(struct sim *s, uint64_t seed, const struct overrides *o);
void sim_close(struct sim *s);

/* Plans something. */
void later(struct sim *s, int64_t delay_us, void (*run)(struct sim *, const struct happening *), uint64_t a, uint64_t b,
	   uint64_t c, uint64_t d);

/* Lets happen what comes next. */
void sim_turn(struct sim *s);

/* A fault with this chance, counted. Never once the world has healed. A chance is named by its place in the
 * plan: mishap(s, s->plan.chance.crash). */
#define mishap(s, chance_of_plan) mishap_of((s), &(chance_of_plan))
bool mishap_of(struct sim *s, const uint32_t *chance);

/* A fault that is due; false: it is one of those that are left out of this run. */
bool fault_strikes(struct sim *s, enum fault f);

/* The promise that was broken. Does not return. */
_Noreturn void violated(struct sim *s, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define demand(s, condition, ...) ((condition) ? (void)0 : violated((s), __VA_ARGS__))

/* One line of the story, kept only when it will be told. */
void trace_line(struct sim *s, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define trace(s, ...) ((s)->tracing ? trace_line((s), __VA_ARGS__) : (void)0)

#endif
