/* The capture's world: one clock, one queue of things to come, a PostgreSQL, a stream, relays, and a reader who makes a copy of the
 * tables from the stream alone. A world of its own beside world.h, with the same dice.
 *
 *     writers -> PostgreSQL -> walsender -> relay (core/capture) -> stream -> the copy
 *     capture_writers.c  capture_pg.c  capture_walsender.c  capture_host.c  capture_broker.c  check_capture.c
 *
 * What PostgreSQL's model has, because a capture can go wrong by it: xids of 64 bits that the log cuts to 32; a commit record and
 * the end of its transaction as two events, with a limbo between that is a throw of the dice; locks held to the end; snapshots
 * whose xmax is one past the last that has ended; commits that are visible before they are flushed; a log that is sent as far as it
 * is flushed; what is decoded of a transaction that was open when a table was added; a crash, and a promotion that loses the
 * tail of the log, the books and the rows with it. */
#ifndef SIM_CAPTURE_WORLD_H
#define SIM_CAPTURE_WORLD_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agenda.h"
#include "capture_plan.h"
#include "prng.h"

enum {
	MAX_TRANSACTIONS = 3000,
	MAX_OPS = 12000,
	MAX_STORED = 30000,
	VALS = MAX_OPS + CAPTURE_TABLES * CAPTURE_KEYS + 1,
	MAX_SLOTS = 464,
	MAX_REPAIRS = 4096,
	MAX_CARRIED = 2000,
	MAX_MARKERS = 3000,
	MAX_WINDOWS = 4000,
	MAX_TX_OPS = 32,
	KEY_BYTES = 8,
	MS = 1000, /* the clock counts microseconds */
	SECOND = 1000 * MS,
};

struct capture_sim;

/* Something to come. What it is about may be gone by then: it is named by number, never by pointer. */
struct capture_happening {
	int64_t at; /* this and the next: a struct due */
	uint64_t order;
	void (*run)(struct capture_sim *s, const struct capture_happening *h);
	uint64_t a, b, c, d, e;
};

/* Deliberate flaws of the world, where the rule is the shell's. */
#define CAPTURE_FLAWS_OF_THE_WORLD(X)                                                          \
	X(id_of_position, "the id of a change is made of its position, without the time")      \
	X(id_without_reading, "the id of a row is made without the reading")                   \
	X(new_key, "a change of key is looked for under its new key")                          \
	X(end_asked_of_flush, "the end of a chunk is where the log is flushed to")             \
	X(carried_torn, "what was carried of a commit that is not marked stays on record")     \
	X(decided_torn, "an operator decides about what comes again with its commit")          \
	X(together_by_chance, "which changes are one message is not for the log alone to say") \
	X(keepalive_ahead, "a keepalive is handed over before what was sent before it")

enum capture_flaw {
	CAPTURE_NO_FLAW,
#define AS_NAME(name, ...) CAPTURE_FLAW_##name,
	CAPTURE_FLAWS_OF_THE_WORLD(AS_NAME)
#undef AS_NAME
		CAPTURE_FLAWS,
};
extern const char *const capture_flaw_name[CAPTURE_FLAWS], *const capture_flaw_meaning[CAPTURE_FLAWS];

/* --- PostgreSQL --- */

/* A row's contents are numbers that are given once: who wrote it last, who wrote its large value last, which rewrite it is of. */
struct content {
	bool exists;
	uint32_t val, toast, shape;
};

enum op_kind { OP_INSERT, OP_UPDATE, OP_DELETE, OP_TRUNCATE, OP_MESSAGE, OP_REWRITE };

struct op {
	uint8_t kind, table, key, old_key;
	bool toast_sent; /* UPDATE */
	bool published;
	bool unkeyed; /* of the table that is read whole */
	bool instead; /* it is not sent as it is: its row is read, and sent instead */
	struct content content;

	/* the truth beside it */
	bool stored, lettered;
	uint32_t sequence; /* at which it was stored first */
};

struct transaction { /* in the order of their commit records */
	uint64_t xid, commit_lsn, end_lsn;
	int64_t time;
	uint32_t first_op, ops;
	bool decoded; /* the slot brings it */
	bool marker;  /* the end of a chunk: sent, and empty */
	bool lost;    /* by a crash, or a promotion */
};

struct pg_table {
	struct content row[CAPTURE_KEYS]; /* as those see it who see all that has ended */
	bool published;
	uint64_t added_xid; /* 13: transactions below are not decoded for it */
	uint32_t filenode, shape;
};

/* VERIFY: the row as a verify pass has read it, or that there is none. WINDOW: several of them. */
/* STRANGER: of somebody else. */
enum message_kind { MESSAGE_CHANGE, MESSAGE_ROW, MESSAGE_CONTROL, MESSAGE_VERIFY, MESSAGE_WINDOW, MESSAGE_STRANGER };

struct window {
	uint32_t count;
	uint8_t key[CAPTURE_KEYS];
	struct content content[CAPTURE_KEYS];
};

struct message {
	enum message_kind kind;
	uint64_t id;
	uint32_t op;          /* CHANGE; */
	uint32_t more;        /* and so many behind it, which are one message with it */
	uint32_t transaction; /* CHANGE */
	uint8_t table, key;   /* ROW; CONTROL: table */
	bool end;             /* CONTROL */
	uint32_t reading;
	struct content content; /* ROW, VERIFY */
	uint64_t pass;          /* VERIFY, WINDOW, CONTROL: of a verify pass, or 0 */
	uint32_t window;        /* WINDOW */
};

struct books {
	uint64_t epoch, end_lsn;
	int64_t time, ordinal;
	uint64_t low_water, operator_pause;
	struct stream_end end;
	bool reading_paused, led;
	struct capture_table table[CAPTURE_TABLES];
	int cursor[CAPTURE_TABLES], top[CAPTURE_TABLES]; /* a key; -1: none */
	uint32_t asked_keys[CAPTURE_TABLES]; /* of the verify pass: a bit for each key that it is about; 0: all rows */
	struct {
		uint8_t table, key;
		uint32_t reading;
	} repair[MAX_REPAIRS];
	uint32_t repairs, letters;
	struct carried_message {
		int64_t ordinal;
		uint64_t lane, low_water;
		struct message m;
		bool held;      /* a dead letter that holds its key */
	} carried[MAX_CARRIED]; /* ascending */
	uint32_t carries;
};

/* What a standby has, too. */
struct pg {
	struct pg_table table[CAPTURE_TABLES];
	struct books books;
	uint64_t next_xid, last_ended; /* the highest that has ended */
	uint64_t lsn, flushed;
	struct {
		bool ready;
		uint64_t first_xid, start, confirmed, persisted;
	} slot;
	uint64_t marker[MAX_MARKERS]; /* LSNs of messages outside of transactions */
	uint32_t markers;
};

struct writer {
	enum { WRITER_IDLE, WRITER_OPEN, WRITER_LIMBO } state;
	uint64_t number; /* of the transaction: what comes for an older one is void */
	uint64_t xid;    /* 0: none yet */
	uint32_t left;   /* ops that it still wants to do */
	uint32_t ops;
	struct op op[MAX_TX_OPS];
	struct content pending[CAPTURE_TABLES][CAPTURE_KEYS];
};

/* --- messages, and the stream --- */

struct stored {
	struct message m;
	int64_t at;
	bool gone; /* expired */
};

/* --- relays --- */

/* What the owner keeps under a slot. The keys are memory of their own, so that nobody reads them once they were let go. */
struct payload {
	bool used;
	struct message m;
	char *keys; /* two: KEY_BYTES each, the second one for a repair; empty: none */
	uint16_t defect;
};

/* The messages that stand for the rows of a window; where rows[i] is 1 there is none. */
struct windowed {
	bool none;
	uint32_t count, rows[CAPTURE_KEYS];
	struct payload payload[CAPTURE_KEYS];
};

/* The answer to a question of the reader session, as the server gave it. */
struct answer {
	bool failed;
	uint32_t reason;
	uint64_t xid, horizon, xmax, lsn;
	struct capture_snapshot snapshot;
	uint64_t xip[CAPTURE_WRITERS];
	uint8_t key[CAPTURE_KEYS];
	struct content row[CAPTURE_KEYS];
	uint32_t count, filenode;
	bool complete;
};

/* The transaction under which a table is read whole: what its snapshot shows. */
struct piece {
	bool open;
	uint64_t number; /* no other has it: a part of the ids of its rows */
	uint32_t count, next;
	struct content row[CAPTURE_KEYS];
};

struct host {
	uint32_t index;
	uint64_t life;       /* raised when it dies */
	uint64_t session;    /* control; 0: none */
	bool session_dead;   /* and the host does not know yet */
	uint64_t epoch;      /* 0: it does not lead */
	uint64_t led;        /* the epoch of its last lead; 0: none, or a promotion may have taken later ones back */
	int64_t until_ms;    /* it, or who led before it, sends nothing since */
	uint64_t connection; /* with the broker; 0: none */
	int64_t frozen_until;
	int64_t answer_at; /* of the control session: in order */
	uint64_t wake;
	struct capture *core;
	struct payload payload[MAX_SLOTS];
	int cursor[CAPTURE_TABLES], top[CAPTURE_TABLES]; /* of the books, when it took the lead */
	uint64_t question;        /* of the reader session; what comes for an older one is void */
	struct windowed windowed; /* the messages of a window, until the core has them */
	uint64_t windowed_at;
	uint32_t asked_keys[CAPTURE_TABLES]; /* the same */
	struct capture_effect asked;
	struct piece piece;
	struct answer answer;
	bool found[MAX_STORED], has_found; /* by sequence */
	bool looked;                       /* at the stream, since that has lost its end */
	struct sequences acked;            /* of the look under way; */
	uint64_t marked;                   /* and the message whose time it is to tell */
	int64_t arrival_at;                /* of what it published last */
	/* its walsender */
	uint64_t stream; /* 0: none */
	uint32_t next;   /* transaction */
	uint32_t next_op, next_marker;
	struct capture_key_of others[MAX_TX_OPS]; /* of the change that is given now */
	bool begun;
	uint64_t start, keepalive, confirmed;
};

enum capture_phase { CAPTURE_PHASE_LOAD, CAPTURE_PHASE_HEAL };

struct capture_sim {
	uint64_t seed;
	struct prng dice, operator_dice;
	struct capture_plan plan;
	enum capture_phase phase;
	int64_t now;
	uint64_t orders, numbers;
	struct agenda agenda; /* of happenings */

	struct pg pg, standby;
	bool falls_behind; /* the standby has what it had */
	struct transaction transaction[MAX_TRANSACTIONS];
	uint32_t transactions;
	struct op op[MAX_OPS];
	uint32_t ops;
	bool poison[VALS]; /* by val */
	uint32_t vals;
	struct pg_table base[CAPTURE_TABLES];
	struct writer writer[CAPTURE_WRITERS];
	uint8_t locked[CAPTURE_TABLES][CAPTURE_KEYS]; /* writer + 1 */
	uint8_t table_locked[CAPTURE_TABLES];
	uint32_t done; /* transactions that were begun */
	int64_t standby_away_until;
	uint64_t lock_owner; /* a session */

	struct stored stored[MAX_STORED]; /* sequence - 1 */
	uint32_t sequence;
	int64_t created; /* when the stream was */
	bool end_lost;   /* what is on record is not in it any more; */
	bool gap;        /* and a relay has said so: here the seed ends */
	int64_t full_until;
	struct {
		uint8_t table, key;
		int64_t until;
	} key_full[4]; /* keys that take nothing */

	struct host host[CAPTURE_HOSTS];

	/* the copy (check_capture.c) */
	struct content copy[CAPTURE_TABLES][CAPTURE_KEYS];
	bool tainted[CAPTURE_TABLES][CAPTURE_KEYS];
	bool corrupt[CAPTURE_TABLES][CAPTURE_KEYS];    /* somebody has changed it by hand */
	bool touched[CAPTURE_TABLES][CAPTURE_KEYS];    /* written since the verify pass began */
	uint32_t marked[CAPTURE_TABLES][CAPTURE_KEYS]; /* by which reading of the pass */
	uint64_t pass[CAPTURE_TABLES];                 /* that began last; */
	bool by_key[CAPTURE_TABLES];                   /* it is about some keys alone */
	uint8_t unkeyed[VALS]; /* by val: so many rows of the table that is read whole have it */
	bool unkeyed_lettered[VALS];
	bool unkeyed_all;         /* it was said that all are there */
	uint32_t unkeyed_reading; /* that was begun last */
	struct window window[MAX_WINDOWS];
	uint32_t windows;

	uint64_t steps, faults;
	uint64_t of_kind[CAPTURE_FAULTS];
	uint64_t changes, rows, rows_early, chunks, voids, repairs, marks, phantoms, letters, again, barriers, carried,
		fetched, held, decided, passes, verified, corrupted, found, wholes, let_go;
	const struct overrides *overrides;
	bool tracing, loud;
	enum capture_flaw flaw;
	jmp_buf violated;
	char violation[512];
};

static inline bool capture_healed(const struct capture_sim *s)
{
	return s->phase != CAPTURE_PHASE_LOAD;
}

/* --- the clock, faults, the story (capture_world.c) --- */

void capture_sim_open(struct capture_sim *s, uint64_t seed, const struct overrides *o);
void capture_sim_close(struct capture_sim *s);

/* Plans something, to be filled in at once. */
struct capture_happening *capture_later(struct capture_sim *s, int64_t at,
					void (*run)(struct capture_sim *, const struct capture_happening *));
void capture_turn(struct capture_sim *s);

/* A time between now and `most` from now. */
int64_t capture_soon(struct capture_sim *s, int64_t most);

#define mishap(s, name) capture_mishap((s), CAPTURE_FAULT_##name)
bool capture_mishap(struct capture_sim *s, enum capture_fault f);
bool capture_strikes(struct capture_sim *s, enum capture_fault f);

_Noreturn void capture_violated(struct capture_sim *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define demand(s, condition, ...) ((condition) ? (void)0 : capture_violated((s), __VA_ARGS__))

void capture_trace(struct capture_sim *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define trace(s, ...) ((s)->tracing ? capture_trace((s), __VA_ARGS__) : (void)0)

uint64_t capture_mix(uint64_t a, uint64_t b);

/* --- PostgreSQL (capture_pg.c) --- */

void capture_pg_open(struct capture_sim *s);
void capture_pg_snapshot(const struct capture_sim *s, struct capture_snapshot *snapshot, uint64_t *xip);
/* An xid of its own, in a transaction that ends at once. */
uint64_t capture_pg_draw(struct capture_sim *s);
/* The xmin of a snapshot; or, as the lock table has it, the lowest xid of those who hold a write lock on a table. */
uint64_t capture_pg_horizon(const struct capture_sim *s, bool of_locks);
/* Its commit record is written. Returns its index. */
uint32_t capture_pg_commit(struct capture_sim *s, uint64_t xid, const struct op *ops, uint32_t count, bool flush);
void capture_pg_ended(struct capture_sim *s, uint64_t xid);
/* Contents of a row by what its operation says, for whoever applies it. */
void capture_pg_apply(struct pg_table *tables, const struct op *op);
void capture_pg_add_table(struct capture_sim *s, uint32_t table);
void capture_pg_rewrite(struct capture_sim *s, uint32_t table);
void capture_pg_crash(struct capture_sim *s);
void capture_pg_falls_behind(struct capture_sim *s);
void capture_pg_takes_over(struct capture_sim *s);

/* --- writers --- */

void capture_writers_open(struct capture_sim *s);
void capture_writers_abort(struct capture_sim *s); /* all that are open; those in limbo have committed */
bool capture_writers_rest(const struct capture_sim *s);

/* --- the walsender --- */

void capture_walsender_start(struct capture_sim *s, struct host *h, uint64_t lsn);
/* The text of a key; and back. */
void capture_key_text(char *text, uint32_t key);
uint32_t capture_key_of(const char *text);
/* The next thing it sends, or false. */
bool capture_walsender_next(struct capture_sim *s, struct host *h, struct capture_event *ev, struct payload *payload);
void capture_walsender_confirm(struct capture_sim *s, const struct host *h);

/* --- the stream --- */

void capture_broker_publish(struct capture_sim *s, struct host *h, const struct effect *f);
void capture_broker_look(struct capture_sim *s, struct host *h, const struct effect *f);
void capture_broker_when(struct capture_sim *s, struct host *h, uint64_t sequence);
void capture_broker_loses_end(struct capture_sim *s);
void capture_broker_expires(struct capture_sim *s);
/* The sequence of this id, if it stands in the stream; 0. */
uint32_t capture_broker_find(const struct capture_sim *s, uint64_t id);

/* --- the books --- */

void capture_books_mark(struct capture_sim *s, struct host *h, const struct capture_mark *mark);
void capture_books_fetch(struct capture_sim *s, struct host *h, const struct capture_effect *f);
void capture_books_lead(struct capture_sim *s, struct host *h);
/* Carried, and a dead letter that holds its key? */
bool capture_books_hold(const struct capture_sim *s, const struct message *m);
/* An operator's decision about one that is held and may be decided about; false: it is not. */
bool capture_books_decide(struct capture_sim *s, uint32_t carried, bool discard, bool mend);
/* A server that was promoted has lost decisions, and what was sent because of them may be stored. */
void capture_books_promoted(struct capture_sim *s);
/* An operator wants a table verified: all rows, or these keys (a bit for each). Nothing is done where its rows are not all read. */
void capture_books_verify(struct capture_sim *s, uint32_t table, uint32_t keys);

/* --- relays --- */

void capture_hosts_begin(struct capture_sim *s);
void capture_hosts_end(struct capture_sim *s);
struct host *capture_leader(struct capture_sim *s);
/* Something comes in, if the host still is who it was; when it is not frozen any more. */
void capture_host_step(struct capture_sim *s, struct host *h, struct capture_event *ev);
void capture_host_common(struct capture_sim *s, struct host *h, struct event *ev);
/* True: it is frozen, and h happens again when it is not. */
bool capture_host_defers(struct capture_sim *s, struct host *host, const struct capture_happening *h);
void capture_host_pull(struct capture_sim *s, struct host *h);
void capture_hosts_lose_sessions(struct capture_sim *s);
/* Whoever leads finds that it does not. */
void capture_hosts_lose_lead(struct capture_sim *s);
void capture_host_lose_bus(struct capture_sim *s, struct host *h);
void capture_host_lose_session(struct capture_sim *s, struct host *h);
void capture_host_strike(struct capture_sim *s, enum capture_fault f);
void capture_hosts_rest(struct capture_sim *s);
/* What was taken stays where the core wants it; else it is let go. */
void capture_host_keep(struct capture_sim *s, struct host *h, uint32_t slot, struct payload *p);
void capture_host_turn(struct capture_sim *s, struct host *h);

/* --- the reader session --- */

void capture_reader_ask(struct capture_sim *s, struct host *h, const struct capture_effect *f);
/* The transaction under which a table is read whole is not wanted any more, nor what was asked. */
void capture_reader_let_go(struct capture_sim *s, struct host *h);
/* Its session is gone. */
void capture_reader_lost(struct capture_sim *s, struct host *h);

/* --- faults --- */

void capture_faults_open(struct capture_sim *s);
void capture_faults_heal(struct capture_sim *s);

#endif
