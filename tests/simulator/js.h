/* The fake JetStream: streams that store, deduplicate, refuse, stay silent, and the connections to them. */
#ifndef SIM_JS_H
#define SIM_JS_H

#include <stdbool.h>
#include <stdint.h>

enum { MAX_STREAMS = 3 };

struct sim;

struct stream {
	uint64_t sequence; /* the last one stored */
	uint64_t term;     /* counts leaders */
	int64_t down_until, full_until, silent_until, busy_until;
	uint32_t down_reason, down_status, full_reason, full_status;
	int32_t refused_key; /* the messages of one key are refused */
	uint32_t refused_reason, refused_status;
	int64_t refused_until;
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
	int64_t clock; /* how far the servers' clock is off: the window of deduplication runs on it */
};

/* What a host hears back. */
struct reply {
	uint64_t token;
	uint64_t sequence; /* > 0: acked */
	bool duplicate;
	uint32_t reason, status; /* else refused */
};

/* What a stream answers to "what do you hold?": everything stored above `above`, up to `last`. */
struct tail_answer {
	bool ok;
	uint32_t reason; /* else */
	uint16_t stream;
	uint64_t above, last;
};

uint64_t js_connect(struct sim *s, uint32_t host);
/* The wire dies now; the host hears of it later, or at once. */
void js_cut(struct sim *s, uint64_t conn);
/* (What is called id here and in js.c is a message's number: see pg.h.) */
void js_publish(struct sim *s, uint64_t conn, int64_t id, uint64_t token);

/* Asks a stream; host_tail() is called with the answer, or never. */
void js_tail(struct sim *s, uint64_t conn, uint16_t stream, uint64_t above, uint64_t serial);
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
