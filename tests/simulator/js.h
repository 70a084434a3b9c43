/* The fake JetStream: streams that store, deduplicate, refuse, stay silent, and the connections to them. */
#ifndef SIM_JS_H
#define SIM_JS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/vocabulary.h"

enum { MAX_STREAMS = 3 };

struct sim;
struct fact;

/* What a message says of the snapshot from which it was sent. */
struct testimony {
	uint64_t horizon;  /* every xid below it had ended before; */
	uint32_t timeline; /* of this history */
	bool evident;      /* else it says nothing */
	uint64_t expected; /* and no part of that: the sequence behind which it must stand, or EXPECTED_ANY */
};

/* What stands at one sequence of a stream. */
struct entry {
	int32_t message; /* NOTHING, STRANGER, or which */
	uint32_t said;   /* its testimony: which of js.testimony */
	uint32_t losses; /* the stream's, when it was stored */
	bool again;      /* the sequence had been given before */
};

enum { NOTHING = 0, STRANGER = -1 };

/* A batch, as the leader of its stream knows it. */
struct js_batch {
	uint64_t id;
	uint16_t stream;
	bool open;       /* it takes more */
	bool revives;    /* its end is known to this leader alone */
	bool shaken;     /* another one leads since it began */
	bool ends, told; /* the end is to be told when nothing is pending; it was */
	uint32_t flow, every;
	uint32_t accepted, pending, stored, acked; /* numbers, but for pending: so many */
	uint64_t sequence;                         /* of the last that it stored */
	uint64_t conn;                             /* where the last of it came from */
	int64_t touched;
};

/* What is said of a batch: EVENT_BATCH. */
struct js_answer {
	uint16_t stream;
	uint64_t batch;
	enum batch_answer what;
	uint32_t number, reason, status;
	uint64_t sequence;
};

struct stream {
	uint64_t first;    /* nothing stands below */
	uint64_t sequence; /* the last one given */
	uint64_t high;     /* it never ended above that */
	uint64_t created;  /* its name was given to so many streams before */
	uint32_t losses;   /* so often it lost its end, or became another */
	struct entry *log; /* of the sequences above base */
	size_t log_size;
	uint64_t base;
	uint64_t term; /* counts leaders */
	/* Owned: proposals that are not stored yet, where the last of them will stand, and when. */
	uint32_t proposals;
	uint64_t proposed;
	int64_t stored_at;
	uint64_t foreign;        /* messages of others in it */
	int64_t passed_at;       /* when it ended otherwise than by a message of ours: by a foreign one, by a
			    * second copy, or as another stream */
	uint64_t proposals_made; /* in the order of the log */
	int64_t single_until, crowded_until; /* it takes no batch, as configured then; none that is not open */
	int64_t down_until, full_until, silent_until, busy_until;
	uint32_t down_reason, down_status, full_reason, full_status;
	int32_t refused_key; /* the messages of one key are refused */
	uint32_t refused_reason, refused_status;
	int64_t refused_until;
	/* A look at what it holds is refused, or meets silence, or is not permitted, or takes long every time. */
	int64_t lookback_until;
	enum { LOOKBACK_REFUSED, LOOKBACK_SILENT, LOOKBACK_DENIED, LOOKBACK_SLOW } lookback;
	uint32_t lookback_reason;
};

/* One connection of one host. It dies twice: the wire first, then the host hears of it. */
struct conn {
	uint64_t serial; /* 0 = none */
	uint32_t host;
	bool wire;                   /* bytes still get through */
	uint64_t sent, arrived, cut; /* publishes; once the wire is dead, those up to `cut` still arrive */
	int64_t last_arrival;
};

enum { MAX_CONNS = 1024 }; /* more than any seed opens */

struct js {
	struct stream stream[MAX_STREAMS];
	struct conn conn[MAX_CONNS];
	uint64_t serials;
	struct testimony *testimony; /* one for each publish; 0 is none */
	size_t testimonies, testimonies_size;
	struct js_batch *batch; /* 0 is none */
	size_t batches, batches_size;
	struct js_answer *answer;
	size_t answers, answers_size;
	struct hand *hand; /* what came of batches */
	size_t hands, hands_size;
	int64_t clock; /* how far the servers' clock is off: the window of deduplication runs on it */
};

/* What a host hears back. */
struct reply {
	uint64_t token;
	uint64_t sequence; /* > 0: acked */
	bool duplicate;
	uint32_t reason, status; /* else refused */
};

uint64_t js_connect(struct sim *s, uint32_t host);
/* The wire dies now; the host hears of it later, or at once. */
void js_cut(struct sim *s, uint64_t conn);
/* (What is called id here and in js.c is a message's number: see pg.h.) */
void js_publish(struct sim *s, uint64_t conn, int64_t id, uint64_t token, const struct testimony *t);

/* Part of a batch: a message, or something that is said of the batch. */
struct hand;
void js_publish_in_batch(struct sim *s, uint64_t conn, const struct hand *x);
/* Its configuration and its version allow it. */
bool js_takes_batches(const struct sim *s, uint16_t stream);

/* --- for the other files of the fake JetStream --- */

/* js_batch.c: it arrives; a proposal of it is stored (or, with sequence 0, lost); another one leads. */
void js_batch_arrives(struct sim *s, uint64_t conn, const struct hand *x);
void js_batch_stored(struct sim *s, size_t batch, uint32_t number, uint64_t sequence);
void js_batches_elect(struct sim *s, uint16_t stream, bool forgotten);
void js_batches_close(struct sim *s);
/* The window has an entry for it. */
bool js_knows(struct sim *s, struct fact *f);
/* It is to stand behind a sequence that is not the last one. */
bool js_wrong_place(const struct sim *s, const struct hand *x);
/* Stored now, or proposed. */
void js_stores_of_batch(struct sim *s, const struct hand *x, size_t batch);
/* A proposal that is lost takes along all that were made behind it. */
void js_loses_behind(struct sim *s, uint16_t stream, uint64_t proposal);

/* The connection of this number, or NULL. */
struct conn *js_conn(struct sim *s, uint64_t serial);
int64_t js_travel(struct sim *s);
/* Nobody answers for it. */
bool js_is_silent(const struct sim *s, const struct stream *st);
/* Frees what the streams hold. */
void js_close(struct sim *s);

/* --- js_lookback.c: what a stream tells of what it holds --- */

/* Asks a stream: host_lookback_begins() and host_lookback_reads() are called when the server answers, host_lookback_told() with
 * the end of it, or never. */
void js_lookback(struct sim *s, uint64_t conn, uint16_t stream, uint64_t serial);
/* Looks are refused until then, in one of several ways. */
void js_refuses_lookback(struct sim *s, struct stream *st, int64_t until);

/* --- js_log.c: what a stream holds, and how it loses that --- */

/* Stores it; the sequence that it got. */
uint64_t log_append(struct sim *s, struct stream *st, int32_t message, uint32_t said);
/* What stands there; NULL where nothing can. */
struct entry *log_at(const struct stream *st, uint64_t sequence);
/* The servers lost what was written last. */
void js_truncates(struct sim *s, struct stream *st);
/* Deleted, and created again under the same name. */
void js_recreates(struct sim *s, struct stream *st);
/* What stands at its front goes: purged, or expired. */
void js_purges(struct sim *s, struct stream *st);
/* A work queue: what stands at its front was taken by a consumer. */
void js_is_consumed(struct sim *s, struct stream *st);
/* It keeps the last message of each key: those before it go. */
void js_replaces(struct sim *s, struct stream *st);
/* Some of what it holds is deleted, one by one. */
void js_deletes(struct sim *s, struct stream *st);

/* --- js_election.c --- */

/* Its answer is "not now", in one of many ways, or none at all. */
void js_goes_away(struct sim *s, struct stream *st, int64_t until);
/* It answers that it cannot store. */
void js_fills_up(struct sim *s, struct stream *st, int64_t until);
/* Its leader dies, and takes any part of what is under way along. */
void js_elects(struct sim *s, struct stream *st, int64_t until);
void js_sets_clock(struct sim *s, int64_t by);
/* All servers, at once; only what is stored is remembered. */
void js_restarts(struct sim *s);

/* The world is well: every stream takes everything, and forgets the ghosts of lost proposals. */
void js_heal(struct sim *s);

#endif
