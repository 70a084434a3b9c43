/* The fake PostgreSQL: transactions, snapshots, the outbox and the relay's books.
 *
 * Besides what a database knows, `fact` holds the whole truth about every message: who wrote it, what became
 * of it, what the stream did with it. Only the invariants may look at all of it.
 *
 * A message is not its id. A failover that misses the last commits hands their ids out again, to other messages. So
 * messages have numbers of their own (in the real world: message_id), which never repeat; `row` says which message has
 * an id now. The relay and its books speak of ids, the streams and the service of messages. */
#ifndef SIM_PG_H
#define SIM_PG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/delivery.h"

struct sim;

enum {
	MAX_IDS = 1 << 14,
	MAX_KEYS = 20,
	MAX_TX = MAX_IDS,
	MAX_RUNNING = 64,
	MAX_ROW_BYTES = 1500,
	SLOTS = 8,
	NO_KEY = -1,
};

enum fate {
	FATE_NOBODY, /* not drawn; or the sequence jumped over it */
	FATE_OPEN,   /* drawn; its transaction runs */
	FATE_VOID,   /* its transaction ended without it */
	FATE_COMMITTED,
	FATE_LOST, /* committed, and then the database went back to before that */
};

enum copy { COPY_NONE, COPY_PROPOSED, COPY_GHOST, COPY_STORED };
enum decision { UNDECIDED, DISCARD, REDRIVE };

struct fact {
	enum fate fate;
	int32_t id;
	uint32_t tx;
	int32_t next_of_tx; /* the next message of the same transaction, 0 = none */
	bool rolled_back;   /* by a savepoint */

	int32_t key;
	uint16_t stream, defect;
	uint32_t bytes;
	bool poison;     /* the stream will never take it */
	uint8_t slot;    /* of the ring */
	int64_t created; /* by the database's clock */
	bool inserted;   /* the row is there, if only for its own transaction; until then the id is all that is drawn */
	bool truncated;  /* with its slot, */
	bool deleted;    /* by somebody who should not have */

	enum copy copy;
	uint64_t sequence;      /* of its last copy: what the window says */
	uint64_t lowest;        /* of the copies that stand */
	uint32_t copies;        /* ever stored, */
	uint32_t standing;      /* and still there */
	uint32_t stored_losses; /* the stream's, when the last one was stored */
	int64_t window_ends;
	/* Nothing could know better than to store it twice: a copy of it lay in the network for about half a window, or
	 * the servers forgot it before its time. */
	bool repeatable;
	uint64_t told_by[2]; /* by host: the session of its that was told last that it is stored, 0 = none */
	uint64_t
		first_sent_by; /* the session of the one that sent it first, and what it knew of the end of the stream */
	uint64_t first_end, first_notices;
	uint64_t
		first_read; /* so many transactions had ended in the snapshot in which it was read first; 0 = it was not */
	int64_t sent_ms;    /* by whom ever, the last time */
	uint64_t sent_by,
		alone_by;  /* the last session that sent it; in which it was refused, not answered, or held back */
	uint64_t proposal; /* its place in the log of its stream, while it is proposed; */
	size_t batch;      /* and in this batch, 0 = none, */
	uint32_t number;   /* at this number */
	bool doomed, mute; /* proposed, and its leader is gone: it will be lost; nobody will be told */

	bool dead, held; /* stands in dead_letter */
	enum decision decision;
	bool given_up;                 /* by an operator */
	uint64_t read_by, vanished_by; /* the last session that got its row, that said that it is gone */

	/* what a failover does not take back */
	bool undone;       /* its commit: whatever was sent of it by then is a phantom */
	bool was_given_up; /* a decision: later ones of its key may be stored already */
	bool was_dead;     /* a letter */
	bool was_deleted;  /* its row: the same */
};

enum tx_state { TX_RUNNING, TX_PREPARING, TX_PREPARED, TX_COMMITTED, TX_ABORTED };

struct tx {
	enum tx_state state;
	uint64_t xid;   /* 0 = none yet */
	uint64_t ended; /* its place in the order of endings, 0 = runs */
	bool locks_outbox;
	bool notifies; /* it saw the relay asleep */
	bool was_prepared;
	int32_t first, last; /* its messages */
	uint32_t keys;       /* locks held, a bit each */
	uint32_t slots;      /* the same */
};

struct pg {
	struct fact fact[MAX_IDS]; /* 0 is none */
	int64_t messages;          /* written so far, in every history */
	int32_t row[MAX_IDS];      /* the message that has this id, 0 = none */
	int64_t last_id;
	struct tx tx[MAX_TX];
	uint32_t txs;
	uint64_t next_xid, completed;  /* the next to assign; the highest that has ended */
	uint64_t ended;                /* so many have: which they are is what a snapshot knows */
	uint32_t running[MAX_RUNNING]; /* transactions with an xid */
	size_t running_count;
	bool key_locked[MAX_KEYS];
	int64_t clock;          /* how far the wall clock is off */
	uint64_t first_session; /* those before it were sessions of a server that is gone */

	/* the books */
	bool asleep;
	int64_t position;
	uint64_t epoch;
	bool settled[MAX_IDS];           /* what they say of an id */
	struct exception_row *exception; /* ascending */
	size_t exceptions, exceptions_size;
	size_t dead;
	struct {
		uint64_t sequence; /* LOW_WATER_UNKNOWN: nothing on record */
		int64_t last_id;   /* of the ledger's row */
		uint32_t losses;   /* of its end that are on record with this */
	} floor[3];
	uint32_t timeline;    /* raised by every failover */
	uint32_t led_on;      /* the last leader's */
	int64_t lease_ms;     /* of the last leader; 0 = nobody led, or it resigned */
	uint64_t leader_life; /* which one that was */
	uint64_t lock_owner;  /* the session that holds the leader's lock, 0 = free */
	uint64_t pauses;      /* there have been so many */
	uint64_t pause;       /* the one that stands, 0 = none */
	bool quiet;           /* the leader said of it that nothing is on its way any more */
};

/* The message that has this id now. */
#define FACT_OF(s, id) (&(s)->pg.fact[(s)->pg.row[id]])

/* A message for the story: its id, and its number where that is another. */
const char *told(const struct sim *s, int64_t message);

void pg_open(struct sim *s);
void pg_close(struct sim *s);

/* --- transactions --- */

/* A new transaction; it owns no xid yet. */
uint32_t tx_begin(struct sim *s);
void tx_assign_xid(struct sim *s, uint32_t tx);
/* A new message with the next id. */
int64_t tx_draw(struct sim *s, uint32_t tx);
bool tx_lock_key(struct sim *s, uint32_t tx, int32_t key);
/* Its row, which locks its slot. */
void tx_insert(struct sim *s, int64_t message);
/* Everything from this message on is undone, and the locks taken since: the transaction was as `then`. */
void tx_rollback_to(struct sim *s, uint32_t tx, int64_t message, const struct tx *then);
/* PREPARE TRANSACTION: its locks move to another holder, which takes a moment. */
void tx_prepare(struct sim *s, uint32_t tx);
void tx_commit(struct sim *s, uint32_t tx);
void tx_abort(struct sim *s, uint32_t tx);
/* A transaction of the relay itself, over at once: its xid. */
uint64_t tx_own(struct sim *s);

/* --- snapshots --- */

/* One past the last COMPLETED xid: a running transaction may own it, or a higher one. */
uint64_t pg_xmax(const struct sim *s);
uint64_t pg_xmin(const struct sim *s);
/* boxhaul.outbox_xmin() */
uint64_t pg_outbox_xmin(const struct sim *s);
bool pg_visible(const struct sim *s, int64_t message);
/* Somebody deletes a row, or a few, that nobody has sent yet. */
void pg_deletes_rows(struct sim *s);
/* Was its transaction over when so many had ended? pg_visible_in_snapshot() */
bool pg_visible_then(const struct sim *s, int64_t message, uint64_t ended);

/* --- the books --- */

uint64_t books_lead(struct sim *s);
/* The leader says that it publishes nothing more; somebody before it may, for so long. */
void books_resign(struct sim *s, uint64_t epoch, int64_t others_ms);
/* False: another one leads. `losses`, by stream: what the leader knew of them when it wrote the mark. */
bool books_mark(struct sim *s, uint64_t epoch, const struct mark *m, const uint32_t *losses);
bool books_unsettled(const struct sim *s, int64_t id);
void books_decide(struct sim *s, int64_t message, enum decision what);
/* An operator; the one who pauses what is paused changes nothing. */
void books_pause(struct sim *s, bool on);
void books_quiet(struct sim *s, uint64_t epoch, uint64_t pause);

/* --- the ring of slots (pg_slots.c) --- */

int64_t pg_wall(const struct sim *s);
uint32_t slot_now(const struct sim *s);
/* boxhaul.clean() */
void slots_clean(struct sim *s);

/* The server dies and is back at once: what was not committed or prepared is gone. */
void pg_crash(struct sim *s);

/* --- the standby (pg_failover.c) --- */

/* What is committed from now on does not reach it. */
void standby_falls_behind(struct sim *s);
/* It catches up. */
void standby_catches_up(struct sim *s);
/* The server is gone for good and the standby is the database now, as it stands. */
void standby_takes_over(struct sim *s);

#endif
