/* A host: the shell around one core, and its session with the fake PostgreSQL. Decides nothing. */
#ifndef SIM_HOST_H
#define SIM_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "core.h"
#include "js.h"
#include "pg.h"

enum { MAX_QUEUE = 64, MAX_OUTSTANDING = 16384, MAX_HANDED = 4096 };
enum notification { NOTIFY_ROWS, NOTIFY_DECIDED, NOTIFY_PAUSED };

/* A publish of a message that is still in the core's memory. */
struct attempt {
	int64_t message;
	bool answered;
	uint64_t token;
	int64_t sent_ms;   /* by the core's clock */
	int64_t handed_ms; /* the host may have stood still since that step */
	uint64_t notices;  /* so often had it been told that its stream is not what it was */
	uint32_t bytes;
	uint64_t batch; /* 0 = it goes by itself */
	uint32_t number;
};

/* A publish on its way to the socket. */
struct hand {
	int64_t message; /* 0 = a question about what a stream holds, or something about a batch: */
	uint64_t batch;  /* in this batch; 0 = none */
	uint32_t number;
	enum batch_op op;
	uint16_t flow;
	uint64_t token;
	uint64_t serial;
	uint16_t stream;
	int64_t by_ms; /* not to be written from then on */
	struct testimony testimony;
};

/* A look at what a stream holds, from the question to the answer. */
struct lookback {
	uint64_t serial; /* of the question, 0 = none is under way */
	int64_t asked_ms;
	uint64_t above, top;
	struct sequences acked; /* not to be looked at */
	/* the answer, as it comes in */
	bool heard, read, another;
	uint64_t from, last, created;
	uint64_t present, foreign;
	uint32_t losses;
	struct found {
		int32_t message;
		uint32_t said;
		uint64_t sequence;
	} * found;
	size_t found_count, found_size;
};

struct host {
	uint32_t index;
	uint64_t life; /* counts starts: what belongs to an earlier life is void */
	bool up;
	bool reloaded;        /* its settings are not the plan's */
	int64_t paused_until; /* the process stands still (suspended, swapped out) */
	struct delivery *core;
	uint64_t conn;    /* its bus connection, 0 = none */
	uint64_t session; /* its database session, 0 = none */

	/* what the core has been told */
	bool leading, bus_up, draining, drained;
	uint64_t pause;               /* 0 = none */
	int64_t sign_ms;              /* asked_ms of the last answer of the database */
	int64_t predecessor_until_ms; /* until then another one may still publish */

	/* what it has asked for */
	bool fetching, marking, announcing;
	struct delivery_stats now;   /* a look at the core */
	enum event_kind event;       /* the one that is being handled */
	int64_t slot[MAX_QUEUE];     /* messages, 0 = free; */
	uint64_t horizon[MAX_QUEUE]; /* every xid below had ended before the snapshot that each was read in */
	uint32_t timeline;           /* of the server, when it took the lead */
	struct attempt attempt[MAX_OUTSTANDING];
	size_t attempts;
	int64_t fetch_ms;  /* when the last fetch was sent */
	bool fetch_failed; /* the last one */
	bool notified;     /* since the last fetch was sent */
	bool shut;         /* since then every stream was: a poll that was due may be made up for */
	uint64_t published;
	uint32_t ack_timeout_ms; /* by its settings now */

	/* what it knows of the streams */
	struct lookback lookback[MAX_STREAMS];
	uint64_t lookback_serials;
	struct {
		uint64_t batch;
		uint32_t sent;
	} batch[MAX_STREAMS]; /* the last that was begun */
	struct known {
		uint64_t created, last; /* of the last look of this process; 0 = none */
		bool denied;            /* it may not look, says the server; */
		int64_t denied_ms;      /* that is what it went by then */
	} known[MAX_STREAMS];
	uint64_t found[MAX_IDS]; /* where a message was found, 0 = nowhere; */
	uint32_t said[MAX_IDS];  /* and what it says of its snapshot */
	size_t found_count;
	/* What it could know of each stream in this lead, for the checks: */
	struct told {
		uint64_t end;     /* its end, at least */
		uint32_t losses;  /* of its losses, so many are noticed */
		uint64_t notices; /* it was told so often that it is not what it was */
		uint32_t slow;    /* looks in a row that took as long as half a window */
		bool must_say;    /* an acknowledgement has told so, and no look has said it yet */
	} told[MAX_STREAMS];
	bool forward, caught_up; /* the fetch under way asks for new rows; all that was there has been read, */
	int64_t caught_up_to;    /* up to this id */

	/* the turn that is under way, and what it has handed over for the socket (host_wire.c) */
	int64_t step_ms; /* the core's clock */
	bool frozen;     /* stands still between two effects */
	struct hand hand[MAX_HANDED];
	size_t handed, written;
	int64_t send_deadline_ms;
	int64_t socket_full_until; /* it takes nothing */

	int64_t tick_at; /* when the next tick is planned, INT64_MAX = never */
	uint64_t tick_number;
	uint32_t idle_ticks; /* in a row, at the same time, without an effect */
};

void hosts_open(struct sim *s);
void hosts_close(struct sim *s);

/* The one that leads, as the database sees it; NULL = none. */
struct host *hosts_leader(struct sim *s);
void hosts_notify(struct sim *s, enum notification what);
void hosts_ask_operator(struct sim *s, int64_t message);

/* Of one life of one host: never another's. */
uint64_t host_identity(const struct sim *s, uint32_t host);
void host_kill(struct sim *s, struct host *h);
void host_step(struct sim *s, struct host *h, struct event *e);
/* The rows of a fetch, which messages they are, and the xmin of the snapshot that they count as read in. */
void host_rows(struct sim *s, struct host *h, struct event *e, const int32_t *message, uint64_t horizon);
/* What operators have decided, soon, and then now and then. */
void host_asks_for_decisions(struct sim *s, struct host *h);
/* Another host leads. */
void host_stands_by(struct sim *s, struct host *h);
/* The process stands still for so long; what comes for it meanwhile waits. */
void host_pause(struct sim *s, struct host *h, int64_t us);
/* It stands still, or has not yet finished what it did when it began to. */
bool host_is_away(const struct sim *s, const struct host *h);
/* The same, in the middle of what it does; its session may be gone when it goes on. */
void host_freeze(struct sim *s, struct host *h);
void host_reply(struct sim *s, uint32_t host, uint64_t conn, const struct reply *r);
void host_batch_answer(struct sim *s, uint32_t host, uint64_t conn, size_t index, const struct js_answer *a);
void host_bus_lost(struct sim *s, struct host *h, bool at_once);
void host_drain(struct sim *s, struct host *h);

/* It is told other settings, if it listens; those of the plan, with NULL. */
void host_reload(struct sim *s, struct host *h, const struct delivery_settings *settings);

/* --- the story (host_tell.c) --- */

void host_tells_event(struct sim *s, const struct host *h, const struct event *e);
void host_tells_effect(struct sim *s, const struct host *h, const struct effect *e);

/* --- its core (host_core.c) --- */

/* The answer of a stream, before the core hears of it. */
void host_acked(struct sim *s, struct host *h, const struct reply *r);
void host_batch_answered(struct sim *s, struct host *h, const struct js_answer *a);
/* The stream ends there, at least: it was told so, and takes it for what is true now. */
void host_told_end(struct sim *s, struct host *h, uint16_t stream, uint64_t end);

/* --- looking back (host_lookback.c) --- */

enum { LOOKBACK_NOT_PERMITTED = 1 }; /* no reason of the core: the server's complaint about our login */

void host_looks_back(struct sim *s, struct host *h, const struct effect *e);
void host_forgets_found(struct host *h);
/* Nobody waits for the answers any more. */
void host_lookbacks_end(struct host *h);
/* The server says where the stream ends; reads what stands there; and the host hears of it: 0, or why not. */
void host_lookback_begins(struct sim *s, uint32_t host, uint16_t stream, uint64_t serial);
void host_lookback_reads(struct sim *s, uint32_t host, uint16_t stream, uint64_t serial);
void host_lookback_told(struct sim *s, uint32_t host, uint64_t conn, uint16_t stream, uint64_t serial, uint32_t reason);

/* --- the socket (host_wire.c) --- */

void wire_hand_over(struct sim *s, struct host *h, const struct hand *x);
void wire_write(struct sim *s, struct host *h);
/* What is not written yet goes. */
void wire_drop(struct host *h);

/* --- the session (session.c) --- */

enum query_kind {
	QUERY_LEAD,
	QUERY_FETCH,
	QUERY_MARK,
	QUERY_ANNOUNCE,
	QUERY_RENEW,
	QUERY_DECISIONS,
	QUERY_PAUSE,
	QUERY_QUIET,
	QUERY_RESIGN
};

uint64_t session_open(struct sim *s, struct host *h);
void session_lead(struct sim *s, struct host *h);
void session_fetch(struct sim *s, struct host *h, const struct effect *e);
void session_mark(struct sim *s, struct host *h, const struct mark *m);
void session_announce(struct sim *s, struct host *h, bool asleep);
void session_renew(struct sim *s, struct host *h);
void session_decisions(struct sim *s, struct host *h);
void session_pause(struct sim *s, struct host *h);
void session_quiet(struct sim *s, struct host *h, uint64_t pause);
void session_resign(struct sim *s, struct host *h);

/* The client end is gone: what was sent may still be done. */
void session_drop(struct sim *s, uint64_t session);
/* The server end is gone: the lock is free; the client hears of it later. */
void session_end(struct sim *s, uint64_t session);
void sessions_end_all(struct sim *s);
void sessions_close(struct sim *s);
bool session_leads(const struct sim *s, uint64_t session);
/* The next one that is opened gets a higher number. */
uint64_t session_newest(void);

/* The client hears that its session is gone. */
void host_session_lost(struct sim *s, struct host *h);

#endif
