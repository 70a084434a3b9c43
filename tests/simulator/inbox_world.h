/* The inbox's world: one clock, one queue of things to come, a stream, a database, relays and workers; and everything
 * that is true of them. A world of its own beside world.h, with the same dice.
 *
 *     publisher -> stream -> consumer -> relay (core/inbox) -> database -> workers -> effects
 *                  inbox_broker.c        inbox_host.c         inbox_db.c  inbox_workers.c
 *
 * Two things have numbers of their own that never repeat. A *message* is what somebody published: id, key, class of
 * subject. A *copy* is one storing of it: history, sequence, time. A *history* is what a stream was until it lost its
 * end or was made anew; the copies of one history are consecutive, and it shares with its parent all up to the
 * sequence where it branched. */
#ifndef SIM_INBOX_WORLD_H
#define SIM_INBOX_WORLD_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "inbox_plan.h"
#include "prng.h"
#include "agenda.h"

enum {
	MAX_MESSAGES = 1200,
	MAX_COPIES = 2400,
	MAX_ROWS = 4000,
	MAX_HISTORIES = 512,
	MAX_CONSUMERS = 16,
	MAX_WORKERS = 4,
	MAX_QUEUE = 256,
	MAX_TRAIL = 100, /* that the database keeps */
	WORKER_ROWS = 5,
	MS = 1000, /* the clock counts microseconds */
	SECOND = 1000 * MS,
};

struct inbox_sim;

/* Something to come. What it is about may be gone by then: it is named by number, never by pointer. */
struct inbox_happening {
	int64_t at; /* this and the next: a struct due */
	uint64_t order;
	void (*run)(struct inbox_sim *s, const struct inbox_happening *h);
	uint64_t a, b, c, d;
	struct inbox_event event;
	struct inbox_move move;
};

/* Deliberate flaws of the world, where the rule is not the core's but the SQL's. */
#define INBOX_FLAWS_OF_THE_WORLD(X)                                                                   \
	X(looked_before, "the stream is looked at before the consumer is made")                       \
	X(no_cas, "the position is set without a comparison")                                         \
	X(no_epoch, "the comparison leaves out the epoch and the incarnation")                        \
	X(no_ids, "ids are not looked up")                                                            \
	X(ids_of_all, "an id that another subscription knows is left out")                            \
	X(ids_of_before, "ids are looked up among the rows that were there, not in the batch itself") \
	X(empty_id, "messages without an id are taken for copies of each other")                      \
	X(position_alone, "the position moves in a transaction of its own, before the rows")          \
	X(cursor_at_receive, "the cursor moves when rows are given out")                              \
	X(lane_unlocked, "two workers may have the same lane")                                        \
	X(truncated_by_age, "a slot is emptied for its age alone")                                    \
	X(parked_passed, "rows behind a parked one of their key are handled")                         \
	X(parked_any, "a parked row is tried again before the older ones of its key")                 \
	X(parked_above, "a parked row is tried again before the cursor has passed it")                \
	X(roll_back_counts, "a roll-back counts as an attempt")                                       \
	X(autocommit_allowed, "receive() takes a worker in autocommit")

enum inbox_flaw {
	INBOX_NO_FLAW,
#define AS_NAME(name, ...) INBOX_FLAW_##name,
	INBOX_FLAWS_OF_THE_WORLD(AS_NAME)
#undef AS_NAME
		INBOX_FLAWS,
};
extern const char *const inbox_flaw_name[INBOX_FLAWS], *const inbox_flaw_meaning[INBOX_FLAWS];

/* --- the truth about what was published --- */

struct message {
	bool has_id;
	uint8_t key; /* 0: none */
	uint8_t class;
	uint16_t bytes;
	bool refused; /* the database cannot store it */
	bool poison;  /* its handler always fails */
};

struct copy {
	uint16_t message;
	uint16_t history;
	uint32_t sequence;
	int64_t time;
	bool deleted; /* by hand, from the middle */
};

struct history {
	int32_t parent;  /* -1: a stream that was made (anew) */
	uint32_t branch; /* shared with the parent up to here */
	uint32_t first_copy;
	int64_t created;
	uint64_t first, last; /* when it ended */
};

/* --- the broker (inbox_broker.c) --- */

struct waiting {
	uint32_t number; /* 0: free */
	uint32_t messages, bytes;
	int64_t until, heartbeat_us, sign;
};

struct consumer {
	uint64_t number; /* 0: free */
	uint32_t subscription, host;
	uint64_t connection;
	uint16_t history;
	uint64_t next, delivered; /* sequence of the stream; its own */
	struct waiting waiting[LIMIT_INBOX_PULLS + 2];
	uint32_t turn;
	bool mute;  /* its node is dead, or it hangs: neither sends nor answers */
	bool stuck; /* sends heartbeats and nothing else */
	int64_t asked;
};

struct broker {
	uint16_t history;
	uint64_t first, last;
	struct consumer consumer[MAX_CONSUMERS];
	int64_t silent_until; /* its leader is being elected */
	uint32_t copies, messages, histories;
	struct copy copy[MAX_COPIES];
	struct message message[MAX_MESSAGES];
	struct history of[MAX_HISTORIES];
};

/* --- the database (inbox_db.c) --- */

enum row_state { ROW_OPEN, ROW_PARKED, ROW_HANDLED, ROW_DEAD };

struct inbox_row {
	uint16_t copy;
	uint8_t lane, key;
	uint8_t state;              /* enum row_state */
	bool held;                  /* parked, and an operator must decide */
	bool gone;                  /* its slot was emptied */
	uint8_t attempts, failures; /* on record; that there were in truth */
	uint16_t lane_next, key_next;
	int64_t received, next_at;
	uint32_t incarnation;
};

/* How a copy was settled. */
enum account { ACCOUNT_NONE, ACCOUNT_STORED, ACCOUNT_KNOWN, ACCOUNT_DEAD, ACCOUNT_SAID };

struct subscription {
	uint64_t position;
	uint32_t incarnation;
	int64_t created, witness_time;
	uint64_t began;
	struct inbox_mark trail[MAX_TRAIL];
	uint32_t trail_count;
	bool paused;
	enum inbox_stop stop;
	uint16_t rows; /* the last id */
	struct inbox_row row[MAX_ROWS];
	uint16_t cursor[INBOX_LANES], lane_first[INBOX_LANES], lane_last[INBOX_LANES];
	uint16_t parked[INBOX_LANES];
	uint16_t seen[MAX_MESSAGES]; /* the row of an id that is known; 0: it is not */

	/* the truth beside it; a failover takes it back with the rest */
	uint32_t anchor; /* the copy at the position; 0: none */
	uint8_t account[MAX_COPIES];
	uint16_t stored_as[MAX_COPIES];   /* the row it was stored as last */
	bool forgotten[MAX_MESSAGES];     /* its id was, by retention */
	uint8_t effects[MAX_MESSAGES];    /* of each message, */
	uint8_t copy_effects[MAX_COPIES]; /* of each copy */
	uint16_t key_first[INBOX_KEYS],
		key_last[INBOX_KEYS]; /* rows of a key: the first that is not settled; the last */
};

struct database {
	uint64_t epoch;
	struct subscription subscription[MAX_SUBSCRIPTIONS];
};

struct worker {
	uint64_t number; /* of the transaction: what comes for an older one is void */
	bool working, autocommit;
	uint32_t subscription, lane, rows;
	uint16_t row[WORKER_ROWS];
};

/* --- the relays (inbox_host.c) --- */

struct host {
	uint32_t index;
	uint64_t life;       /* raised when it dies */
	uint64_t session;    /* with the database; 0: none */
	bool session_dead;   /* and the host does not know yet */
	uint64_t epoch;      /* 0: it does not lead */
	uint64_t connection; /* with the broker; 0: none */
	int64_t frozen_until;
	int64_t query_at, answer_at, delivery_at; /* what is in order goes in order */
	uint64_t wake[MAX_SUBSCRIPTIONS];
	struct inbox *core[MAX_SUBSCRIPTIONS];
	struct inbox_mark trail[MAX_SUBSCRIPTIONS][MAX_TRAIL];
	uint32_t slot[MAX_SUBSCRIPTIONS][MAX_QUEUE]; /* the copy that is kept there; 0: free */
	uint16_t slot_history[MAX_SUBSCRIPTIONS][MAX_QUEUE];
	uint32_t kept[MAX_SUBSCRIPTIONS], kept_bytes[MAX_SUBSCRIPTIONS];
	uint64_t consumer[MAX_SUBSCRIPTIONS]; /* that was asked for last, */
	uint16_t history[MAX_SUBSCRIPTIONS];  /* and the one it stands in */
	uint32_t moving[MAX_SUBSCRIPTIONS];   /* in flight */
	struct {
		bool valid;
		uint64_t first, last;
		int64_t created;
	} looked[MAX_SUBSCRIPTIONS]; /* FLAW_looked_before: what was seen before the consumer was made */
	int64_t makes_since[MAX_SUBSCRIPTIONS];
	uint32_t makes[MAX_SUBSCRIPTIONS];
	struct begun {
		int64_t created; /* 0: it has not, as far as is known */
		uint64_t at;
	} told[MAX_SUBSCRIPTIONS],
		begun[MAX_SUBSCRIPTIONS]; /* what it knows of books that there were; its own that is committed */
};

enum inbox_phase { INBOX_PHASE_LOAD, INBOX_PHASE_HEAL };

struct inbox_sim {
	uint64_t seed;
	struct prng dice;
	struct inbox_plan plan;
	enum inbox_phase phase;
	int64_t now;
	uint64_t orders, numbers;
	struct agenda agenda; /* of happenings */

	struct broker broker;
	struct database db, *standby; /* NULL = it has all that is committed */
	struct worker worker[MAX_WORKERS];
	uint64_t lock_owner; /* a session */
	uint8_t lane_locked[MAX_SUBSCRIPTIONS][INBOX_LANES];
	int64_t full_until; /* the database takes no writes */
	bool credit_closed;
	struct host host[INBOX_HOSTS];

	uint64_t steps, faults;
	uint64_t of_kind[INBOX_FAULTS];
	uint64_t taken, effects, copies_known, gaps, rewinds, restarts, excused, dead;
	const struct overrides *overrides;
	bool tracing, loud;
	enum inbox_flaw flaw;
	jmp_buf violated;
	char violation[512];
};

static inline bool inbox_healed(const struct inbox_sim *s)
{
	return s->phase != INBOX_PHASE_LOAD;
}

/* --- the clock, faults, the story (inbox_world.c) --- */

void inbox_sim_open(struct inbox_sim *s, uint64_t seed, const struct overrides *o);
void inbox_sim_close(struct inbox_sim *s);

/* Plans something, to be filled in at once. */
struct inbox_happening *inbox_later(struct inbox_sim *s, int64_t at,
				    void (*run)(struct inbox_sim *, const struct inbox_happening *));
void inbox_turn(struct inbox_sim *s);

/* A time between now and `most` from now. */
int64_t inbox_soon(struct inbox_sim *s, int64_t most);

#define mishap(s, name) inbox_mishap((s), INBOX_FAULT_##name)
bool inbox_mishap(struct inbox_sim *s, enum inbox_fault f);
bool inbox_strikes(struct inbox_sim *s, enum inbox_fault f);

_Noreturn void inbox_violated(struct inbox_sim *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define demand(s, condition, ...) ((condition) ? (void)0 : inbox_violated((s), __VA_ARGS__))

void inbox_trace(struct inbox_sim *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define trace(s, ...) ((s)->tracing ? inbox_trace((s), __VA_ARGS__) : (void)0)

/* --- the broker --- */

void inbox_broker_open(struct inbox_sim *s);
/* The copy that stands at a sequence of a history; 0: it has none. */
uint32_t inbox_broker_copy_at(const struct inbox_sim *s, uint16_t history, uint64_t sequence);
bool inbox_broker_has(const struct inbox_sim *s, uint32_t copy); /* the stream, now */
bool inbox_broker_wants(const struct inbox_sim *s, uint32_t subscription, uint32_t copy);
uint32_t inbox_broker_new_message(struct inbox_sim *s);
void inbox_broker_store(struct inbox_sim *s, uint32_t message);
void inbox_broker_make(struct inbox_sim *s, struct host *h, uint32_t subscription, uint64_t number, uint64_t start);
void inbox_broker_delete(struct inbox_sim *s, uint64_t number);
void inbox_broker_pull(struct inbox_sim *s, struct host *h, uint32_t subscription, const struct inbox_effect *e);
void inbox_broker_info(struct inbox_sim *s, struct host *h, uint32_t subscription, uint32_t ask);
void inbox_broker_time(struct inbox_sim *s, struct host *h, uint32_t subscription, uint32_t ask, uint64_t sequence);
void inbox_broker_connection_lost(struct inbox_sim *s, uint64_t connection);
void inbox_broker_strike(struct inbox_sim *s, enum inbox_fault f);
void inbox_broker_heal(struct inbox_sim *s);

/* --- the database --- */

void inbox_db_open(struct inbox_sim *s);
enum inbox_moved inbox_db_move(struct inbox_sim *s, const struct host *h, uint32_t subscription, uint64_t epoch,
			       const struct inbox_move *m, const uint32_t *copies, uint16_t history);
void inbox_db_books(struct inbox_sim *s, struct host *h, uint32_t subscription, struct inbox_books *books);
/* An operator. False: there is nothing to decide. */
bool inbox_db_decide(struct inbox_sim *s, uint32_t subscription, enum inbox_stop stop, uint64_t to);
/* The same, of his own will. */
bool inbox_db_rewind(struct inbox_sim *s, uint32_t subscription);
void inbox_db_clean(struct inbox_sim *s);
void inbox_db_falls_behind(struct inbox_sim *s);
void inbox_db_takes_over(struct inbox_sim *s);
void inbox_db_catches_up(struct inbox_sim *s);
/* All rows of all subscriptions are handled or dead. */
bool inbox_db_is_handled(const struct inbox_sim *s);

/* --- workers --- */

void inbox_workers_open(struct inbox_sim *s);
/* The server is gone, and all their transactions with it. */
void inbox_workers_lose_sessions(struct inbox_sim *s);
/* An operator gives up what is held. */
void inbox_workers_discard(struct inbox_sim *s);

/* --- relays --- */

void inbox_hosts_begin(struct inbox_sim *s);
void inbox_hosts_end(struct inbox_sim *s);
/* Something comes in, in order or not, if the host still is who it was when it was sent. */
void inbox_host_hears(struct inbox_sim *s, struct host *h, uint32_t subscription, int64_t at,
		      const struct inbox_event *ev, uint16_t history);
struct host *inbox_leader(struct inbox_sim *s);
void inbox_host_strike(struct inbox_sim *s, enum inbox_fault f);
void inbox_hosts_lose_sessions(struct inbox_sim *s);
void inbox_hosts_lose_broker(struct inbox_sim *s);
/* An operator changed the books of a subscription, or its pause. */
void inbox_hosts_changed(struct inbox_sim *s, uint32_t subscription);
void inbox_hosts_unpaused(struct inbox_sim *s, uint32_t subscription);

/* --- faults, load --- */

void inbox_faults_open(struct inbox_sim *s);
void inbox_faults_heal(struct inbox_sim *s);

#endif
