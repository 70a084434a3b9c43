/* The sagas' world: one clock, an initiator with the table of saga_table.h, three participants, streams between them; and everything
 * that is true of them. A world of its own beside world.h and inbox_world.h, with the same dice.
 *
 *     service -> initiator -> outbox -> stream -> participant -> outbox -> stream -> initiator
 *                saga_desk.c  saga_wire.c         saga_part.c
 *                saga_machine.c
 *
 * Service 0 is the initiator; each service has a database, which may go back to an older state (a failover). What arrives, arrives at
 * least once, in the order of its saga, and as late as it likes: that is what outbox and inbox promise, or less. */
#ifndef SIM_SAGA_WORLD_H
#define SIM_SAGA_WORLD_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agenda.h"
#include "prng.h"
#include "saga_plan.h"
#include "saga_table.h"

enum {
	MAX_MESSAGES = 12000,
	MAX_COPIES = 14000,
	MAX_OUT = 8000,
	STREAMS = 2 *
		  SAGA_SERVICES, /* 0: answers; 1..: commands of a service; SAGA_SERVICES + 1..: its undos, if apart */
	MAX_TXS = 12,
	MAX_LINES = 4 * SAGA_STEPS + 8,
	MS = 1000, /* the clock counts microseconds */
	SECOND = 1000 * MS,
};

enum dir { DIR_DO, DIR_UNDO };

struct saga_sim;

/* Something to come. */
struct saga_happening {
	int64_t at; /* this and the next: a struct due */
	uint64_t order;
	void (*run)(struct saga_sim *s, const struct saga_happening *h);
	uint64_t a, b, c;
};

/* Deliberate flaws: rules of the SQL that are left out. Some seed must find each. */
#define SAGA_FLAWS_OF_THE_WORLD(X)                                                                        \
	X(timeout_undoes_before, "a step that did not answer is not undone itself, only those before it") \
	X(pivot_given_up, "a pivot that did not answer is given up, and the steps before it are undone")  \
	X(undo_given_up, "an undo whose attempts are used up ends the saga")                              \
	X(undo_refused, "an undo that is refused is passed over")                                         \
	X(retriable_refused, "a step behind the pivot that is refused is given up")                       \
	X(undo_forwards, "steps are undone in the order in which they were done")                         \
	X(answers_any_step, "an answer counts for the step at which the saga stands, whatever it is to")  \
	X(answers_any_direction, "an answer to a command counts for the undo of its step")                \
	X(due_left, "a saga that has ended keeps its deadline")                                           \
	X(attempt_back, "an operator's retry begins with the first attempt again")                        \
	X(error_at_once, "a step that answered error is asked again in the transaction of the answer")    \
	X(exhausted_unseen, "used up attempts are not shown as stuck")                                    \
	X(orphan_ignored, "an answer to a step that was never asked for is ignored")                      \
	X(unknown_ignored, "an answer to a saga that is not on record is ignored")                        \
	X(orphan_goes_on, "a saga whose history was lost goes on")                                        \
	X(contradiction_ignored, "an answer that denies what was answered done is ignored")               \
	X(late_is_lost, "a late answer to another step counts as lost history")                           \
	X(locks_kept, "a saga that has ended keeps its locks")                                            \
	X(locks_unlooked, "a saga starts though another one has its locks")                               \
	X(row_unlocked, "a saga is read without a lock on its row")                                       \
	X(timeout_twice, "a clock does not look at a saga again when it has its lock")                    \
	X(newest_definition, "a saga goes on by the newest version of its definition")                    \
	X(tick_together, "a saga that raises rolls back the others of its tick")                          \
	X(cancel_forgets_pivot, "a cancel does not wait for the pivot that is under way")                 \
	X(cancel_late, "a saga is cancelled behind its pivot")                                            \
	X(command_apart, "a command is written in a transaction of its own")                              \
	X(start_apart, "the first command is written in a transaction of its own")                        \
	X(failed_is_done, "a function that raises counts as done")                                        \
	X(no_tombstone, "a participant forgets an undo of what it has not done")                          \
	X(no_part_row, "a participant does not remember what it did")                                     \
	X(pending_lost, "a participant does not remember what it has accepted and not answered")          \
	X(void_answered, "what was undone before it was decided is done when it is decided")              \
	X(refusal_forgotten, "a participant does not remember what it refused")                           \
	X(undone_forgotten, "a participant forgets what it has undone")                                   \
	X(repeat_unanswered, "a participant does not answer a repeat")                                    \
	X(cleaned_unknown, "a participant does not know that it has cleaned away what it knew")           \
	X(answer_apart, "an answer is written before the transaction of its effect is committed")

enum saga_flaw {
	SAGA_NO_FLAW,
#define AS_NAME(name, ...) SAGA_FLAW_##name,
	SAGA_FLAWS_OF_THE_WORLD(AS_NAME)
#undef AS_NAME
		SAGA_FLAWS,
};
extern const char *const saga_flaw_name[SAGA_FLAWS], *const saga_flaw_meaning[SAGA_FLAWS];
#define flawed(s, name) ((s)->flaw == SAGA_FLAW_##name)

/* --- what travels --- */

struct message {
	uint8_t saga, step, dir, service; /* the participant: to it, or from it */
	uint16_t attempt;
	uint8_t outcome; /* EVENT_done, EVENT_refused, EVENT_error */
	bool is_answer;
	bool committed; /* the transaction that wrote it was */
	bool cleaned;   /* the participant does not know any more */
	int64_t since;  /* of a command: how long ago it may have been done at most */
};

/* One storing of a message. */
struct copy {
	uint16_t message;
	int64_t visible;
};

struct stream {
	uint16_t count, copy[MAX_COPIES];
	int64_t lags_until;
};

/* --- the initiator's row of a saga --- */

enum due_for { DUE_TIMEOUT, DUE_REPEAT, DUE_RESEND };
enum stuck { NOT_STUCK, STUCK_EXHAUSTED, STUCK_REFUSED, STUCK_FAILED, STUCK_ORPHAN };
/* What the initiator was told of a step. */
enum known { NOT_ASKED, ASKED, KNOWN_DONE, KNOWN_REFUSED, KNOWN_UNDONE };

struct saga {
	bool exists, sent, cancelled;
	uint8_t definition, state, step, due, stuck, locks;
	int8_t reached;
	uint16_t attempt, failures;
	int64_t asked_at, started_at;
	int64_t due_at; /* on the clock of the database; 0: none */
	/* As its log says: the attempt that was answered done; it was refused, and passed over. */
	uint16_t done_by[SAGA_STEPS][2];
	bool refused[SAGA_STEPS];

	/* What checkers note; a failover takes it back with the rest. */
	uint32_t events; /* that were committed */
	uint8_t known[SAGA_STEPS];
	uint16_t timed_out[SAGA_STEPS][2]; /* the last attempt whose deadline has counted */
	bool was_orphan;
};

/* --- the participant's row of a step --- */

enum did { DID_NOTHING, DID_PENDING, DID_ERROR, DID_REFUSED, DID_DONE, DID_UNDONE, DID_VOID };

struct part {
	uint8_t did, dir;
	uint16_t attempt;
	int64_t at;

	/* the truth beside it */
	uint8_t effects[2];
	bool undo_told; /* its undo was answered: it is never done from then on */
};

struct database {
	struct saga saga[MAX_SAGAS];             /* of the initiator */
	uint8_t lock[SAGA_LOCKS];                /* the saga that has it, + 1 */
	bool unknown[MAX_SAGAS];                 /* answers came to it, and it is not on record */
	struct part part[MAX_SAGAS][SAGA_STEPS]; /* of a participant; of the initiator: its local steps */
	int64_t parts_before;                    /* rows of participants from before may be gone */
	int64_t balance;
	uint16_t out[MAX_OUT], outs, published; /* the outbox, and how far the relay has come */
	bool handled[MAX_COPIES];               /* by the inbox */
	uint16_t low[STREAMS];                  /* all before it is handled */
};

/* --- a transaction of the initiator (saga_desk.c) --- */

/* What it did to one saga, in order: an event that was taken, a command that was written, or a local step that was done. */
struct line {
	enum { LINE_EVENT, LINE_COMMAND, LINE_LOCAL } what;
	uint8_t event, action, state, step, dir;
	uint8_t of_step, of_dir; /* what the event is about */
	bool attempts_left;
	uint16_t attempt, message;
};

struct change {
	uint8_t saga;
	struct saga before, after;
	uint32_t lines;
	struct line line[MAX_LINES];
};

struct saga_tx {
	uint64_t number; /* 0: free */
	uint64_t life;   /* of the database */
	int32_t clock;   /* that ticks in it; -1: none */
	int32_t copy;    /* the answer that it takes; -1: none */
	int32_t unknown; /* a saga that is not on record; -1: none */
	bool starts, aborts;
	uint32_t changes;
	struct change change[MAX_SAGAS];
};

/* What all functions do, in a walk (saga_walk.c). */
enum mood_of_functions { MOOD_WELL, MOOD_RAISES, MOOD_REFUSES };

enum saga_phase { SAGA_PHASE_LOAD, SAGA_PHASE_HEAL };

struct saga_sim {
	uint64_t seed;
	struct prng dice;
	struct saga_plan plan;
	enum saga_phase phase;
	int64_t now, clock; /* the initiator's database is ahead by so much */
	uint64_t orders, numbers;
	struct agenda agenda; /* of happenings */

	struct database db[SAGA_SERVICES], standby[SAGA_SERVICES];
	bool behind[SAGA_SERVICES];   /* the standby does not have all that is committed */
	uint64_t life[SAGA_SERVICES]; /* raised when sessions end */
	int64_t down_until[SAGA_SERVICES];
	bool work_planned[SAGA_SERVICES], relay_planned[SAGA_SERVICES];
	struct saga_tx tx[MAX_TXS];
	uint64_t row_lock[MAX_SAGAS]; /* the transaction that has it; 0: none */
	uint32_t started, newest;     /* sagas that were tried; the definition that starts */

	struct stream stream[STREAMS];
	struct message message[MAX_MESSAGES];
	struct copy copy[MAX_COPIES];
	uint32_t messages, copies;

	/* the truth about each saga */
	bool committed[MAX_SAGAS];     /* its start was */
	uint8_t definition[MAX_SAGAS]; /* that it was started with */
	bool lost[MAX_SAGAS];          /* a failover took back something of it */
	bool cut[MAX_SAGAS];           /* a stream lost messages of it */
	enum mood_of_functions mood;
	int32_t poison; /* the saga whose function raises for ever; -1: none */

	uint64_t steps, faults;
	uint64_t of_kind[SAGA_FAULTS];
	uint64_t completed, undone, timeouts, effects, orphans, excused, of_action[SAGA_ACTION_COUNT];
	const struct overrides *overrides;
	bool tracing, loud;
	enum saga_flaw flaw;
	jmp_buf violated;
	char violation[512];
};

static inline bool saga_healed(const struct saga_sim *s)
{
	return s->phase != SAGA_PHASE_LOAD;
}

static inline int64_t saga_wall(const struct saga_sim *s)
{
	return s->now + s->clock;
}

static inline bool saga_ended(const struct saga *row)
{
	return row->state == SAGA_completed || row->state == SAGA_undone;
}

static inline const struct saga_step *saga_step_of(const struct saga_sim *s, uint32_t saga, uint32_t step)
{
	return &s->plan.definition[s->definition[saga]].step[step];
}

/* --- the clock, faults, the story (saga_world.c) --- */

void saga_sim_open(struct saga_sim *s, uint64_t seed, const struct overrides *o);
void saga_sim_close(struct saga_sim *s);
void saga_later(struct saga_sim *s, int64_t delay, void (*run)(struct saga_sim *, const struct saga_happening *),
		uint64_t a, uint64_t b, uint64_t c);
void saga_turn(struct saga_sim *s);

#define mishap(s, name) saga_mishap((s), SAGA_FAULT_##name)
bool saga_mishap(struct saga_sim *s, enum saga_fault f);
bool saga_strikes(struct saga_sim *s, enum saga_fault f);

_Noreturn void saga_violated(struct saga_sim *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define demand(s, condition, ...) ((condition) ? (void)0 : saga_violated((s), __VA_ARGS__))

void saga_trace(struct saga_sim *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define trace(s, ...) ((s)->tracing ? saga_trace((s), __VA_ARGS__) : (void)0)

/* --- outboxes, streams, failovers (saga_wire.c) --- */

/* A row in a service's outbox. */
uint16_t saga_new_message(struct saga_sim *s, const struct message *m);
void saga_send(struct saga_sim *s, uint32_t service, uint16_t message);
/* The service looks soon whether there is something to take. */
void saga_wake(struct saga_sim *s, uint32_t service, int64_t delay);
void saga_stream_lags(struct saga_sim *s);
void saga_stream_loses_end(struct saga_sim *s);
void saga_replay(struct saga_sim *s);
void saga_falls_behind(struct saga_sim *s, uint32_t service);
void saga_sessions_end(struct saga_sim *s, uint32_t service);
/* All that was sent has been taken. */
bool saga_wire_is_quiet(const struct saga_sim *s);

/* --- the initiator (saga_machine.c: what an event does; saga_desk.c: its transactions) --- */

/* Takes an event into the change: what saga_event() does. attempt: of the answer; 0: none. False, in a start: a function raised. */
bool saga_take_event(struct saga_sim *s, struct change *c, enum saga_event e, bool fits, const struct message *answer,
		     bool strict);
/* The clock could not take it: what saga_fail() does. */
void saga_fail(struct saga_sim *s, struct change *c);
/* Takes an answer: what saga_reply() does. */
void saga_take_answer(struct saga_sim *s, struct change *c, const struct message *m);
/* What somebody asks for who operates: what saga_ask() does. */
void saga_take_ask(struct saga_sim *s, struct change *c, enum saga_event e);
enum saga_event saga_due_event(const struct saga *row);

void saga_desk_open(struct saga_sim *s);
/* Takes an answer in a transaction of its own. False: not now. */
bool saga_desk_takes(struct saga_sim *s, uint16_t copy);
/* Somebody operates a saga. */
void saga_operate(struct saga_sim *s, uint32_t saga, enum saga_event e);
/* Somebody looks at all that is stuck, and says what is true. */
void saga_operate_stuck(struct saga_sim *s);
bool saga_desk_is_quiet(const struct saga_sim *s);

/* --- participants (saga_part.c) --- */

enum accepted { ACCEPT_DO, ACCEPT_UNDO, ACCEPT_SKIP };

/* What saga_accept() says to a command. */
enum accepted saga_part_accept(struct saga_sim *s, const struct message *m);
/* What saga_answer() does, with the effect. False: it raises, and the effect is not there. */
bool saga_part_answer(struct saga_sim *s, uint32_t service, uint32_t saga, uint32_t step, enum saga_event outcome);
/* Handles a command. False: not now. */
bool saga_part_takes(struct saga_sim *s, uint16_t copy);
/* Cleans away what is older than the retention. */
void saga_parts_clean(struct saga_sim *s);
/* All that waits for somebody's decision is decided. */
void saga_parts_decide(struct saga_sim *s);
/* Somebody makes it true by hand, and the row says so: the step is done, or nothing of it is left and it never will be. */
void saga_part_by_hand(struct saga_sim *s, uint32_t saga, uint32_t step, bool done);
/* Is there an effect of it now? */
bool saga_part_stands(const struct saga_sim *s, uint32_t saga, uint32_t step);

/* --- faults (saga_faults.c) --- */

void saga_faults_open(struct saga_sim *s);
void saga_faults_heal(struct saga_sim *s);

#endif
