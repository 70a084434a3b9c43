/* The inside of the machine, for its own rooms only: delivery.c (the door), reading.c, sending.c, tail.c,
 * holding.c, marking.c. What each of them offers to the others stands here; everything else is theirs. */
#ifndef BOXHAUL_CORE_MACHINE_H
#define BOXHAUL_CORE_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/block.h"
#include "core/delivery.h"
#include "core/lane.h"
#include "core/pace.h"
#include "core/position.h"

struct delivery {
	struct delivery_settings s;
	struct lanes lanes;
	struct book book;
	struct blocks blocks;
	struct pace pace;
	int64_t now;
	uint64_t random;

	bool leading, bus_up, draining, drained;
	bool left_behind; /* draining: what was not sent stands in the book */
	bool quiet;       /* paused: what was in flight is settled, and that was said */
	bool renewing;
	uint64_t pause;  /* an operator's, 0 = none: reads nothing, sends nothing, and settles what is in flight */
	int64_t settled; /* the highest id settled in its turn */
	int64_t lease_until;
	int64_t position, read;

	bool fetching, fetch_forward;
	bool urgent, more; /* the next fetch waits for no pause; because the last one was cut off */
	uint32_t fetch_seq;
	int64_t evidence_ms; /* when the lock table was last asked for */
	struct {
		bool asked;       /* the fetch under way asks for everything missing, and for a snapshot to be kept */
		int64_t until_ms; /* one was answered beyond everything missing: its snapshot may be used until then */
		bool used;        /* the fetch under way uses it */
	} snapshot;
	struct id_range *wanted;

	bool marking, dirty;
	int64_t considered_ms, mark_at; /* when a mark was last thought about; when to do so again */
	struct mark mark;
	int64_t *mark_gone, *mark_undead, *undead, *late_id;
	struct exception_row *mark_added;
	struct dead *mark_dead, *dead;
	struct sent *mark_sent;
	uint16_t *late_stream;
	size_t dead_count, dead_limit, undead_count, late_count;

	uint32_t window, window_credit;
	uint32_t flight_limit; /* the window; or what was in flight already when it was made smaller */
	struct tail {
		bool known;                 /* what the stream held is known: it may be published to */
		bool wanted, asking;        /* to be asked for; the answer is awaited */
		bool looked;                /* at least once since we lead */
		bool ours;                  /* so late that nobody else can have stored anything since */
		uint32_t rounds;            /* looks in a row that took too long to count */
		uint32_t failures;          /* looks in a row that could not be had */
		int64_t blind_id;           /* may be sent without one */
		bool sent_blindly;          /* one was, before the first look */
		bool blind;                 /* looks are given up, until the next connection */
		bool taken;                 /* one that was has been stored */
		uint64_t upto;              /* there was looked up to here, or it is ours: nothing is read twice */
		struct sequences acked;     /* above: ours, and settled */
		bool anew;                  /* what was found in it before is void */
		uint64_t asked_top;         /* where it ended at least when it was asked for */
		uint64_t inherited;         /* the floor that earlier leaders left */
		int64_t asked_ms, heard_ms; /* of the last answer */
		int64_t window_ms;
		int64_t again_ms; /* a look that nobody waits for failed: not before this */
	} tail[LIMIT_STREAMS];
	int64_t others_until; /* an earlier leader may publish until then; we did, at the most, until we took the lead */
	int64_t others_to;    /* and no id above this: the highest that was there when we had caught up */

	bool letter_in_doubt; /* one was made of a message of which a copy may be stored */

	uint64_t flight_bytes, resident_bytes;
	uint32_t silent[LIMIT_STREAMS];
	bool caught_up;  /* all that was there when we took the lead has been read */
	bool settled_in; /* and so have the exceptions that an earlier leader left, where he may have sent them */
	struct floor {
		int64_t read;
		uint64_t sequence[LIMIT_STREAMS];
	} floor, next_floor;
	bool touched[LIMIT_STREAMS]; /* acked something since the last ledger row */
	int64_t block_ms;            /* the earliest block that is due */

	struct note note[LIMIT_NOTES];
	size_t note_first, note_count;
	struct delivery_stats stats;
};

enum { EVIDENCE_PAUSE_MS = 100, UNDEAD_LIMIT = 2 * LIMIT_BLOCKED_LANES };

/* --- machine.c: small things --- */

static inline int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static inline size_t resident(const struct delivery *d)
{
	return d->s.queue_messages - d->lanes.place[PLACE_FREE].count;
}

static inline bool is_probe_of(const struct block *b, int64_t id)
{
	return b != NULL && b->probe_id == id;
}

static inline bool has_work(const struct delivery *d)
{
	return d->lanes.place[PLACE_READY].count > 0 || d->lanes.place[PLACE_ASKING].count > 0 ||
	       d->lanes.place[PLACE_IN_FLIGHT].count > 0;
}

uint64_t draw(struct delivery *d);
int64_t backoff(struct delivery *d, uint32_t failures);
void take_note(struct delivery *d, struct note note);
void touch(struct delivery *d);
void renew_lease(struct delivery *d, int64_t asked_ms);
struct block *stream_block(struct delivery *d, const struct message *m);
struct block *lane_block(struct delivery *d, const struct message *m);

/* --- holding.c: messages leave memory; streams and lanes are held back and come back --- */

void leave_memory(struct delivery *d, struct message *m);
void settle(struct delivery *d, struct message *m);
void probe_fails(struct delivery *d, struct block *b, int64_t id);
void probe_says_nothing(struct delivery *d, struct block *b, int64_t id);
void block_opens(struct delivery *d, struct block *b);
void block_stream(struct delivery *d, struct message *m, uint32_t reason);
void block_lane(struct delivery *d, struct message *m, uint32_t reason, bool held);
void park(struct delivery *d, struct message *m, struct block *b);
bool is_probe(struct delivery *d, const struct message *m);
void unparked(struct delivery *d, struct block *b, size_t ids);
void blocks_due(struct delivery *d);
void decided(struct delivery *d, const struct event *ev);
struct message *find_in_memory(const struct delivery *d, int64_t id);
int64_t marked_position(const struct delivery *d);

/* --- sending.c: what may be sent, and what the answers mean --- */

void acked(struct delivery *d, const struct event *ev);
void refused(struct delivery *d, const struct event *ev);
void timed_out(struct delivery *d, struct message *m);
bool next_publish(struct delivery *d, struct effect *f);

/* --- tail.c: what the streams already hold --- */

void tails_unknown(struct delivery *d, const uint64_t *inherited);
void tails_interrupted(struct delivery *d);
bool must_ask(struct delivery *d, struct message *m);
void tail_told(struct delivery *d, const struct event *ev);
void tail_taken(struct delivery *d, uint16_t stream);
void tail_grows(struct delivery *d, const struct message *m, uint64_t sequence, bool duplicate);
bool next_tail(struct delivery *d, struct effect *f);
int64_t tails_deadline(const struct delivery *d);
uint64_t stream_top(const struct delivery *d, uint16_t stream);
void doubt_begins(struct delivery *d, struct message *m);
int64_t write_by(const struct delivery *d, const struct message *m);
void doubt_ends(struct message *m);
struct doubt doubt_of(const struct message *m);
void doubt_returns(struct message *m, struct doubt doubt);
struct doubt doubt_of_row(const struct delivery *d, const struct row *row, const struct exception *e);
bool found_is_sought(const struct delivery *d);

/* --- reading.c: what to read, and what the rows are --- */

void rows_arrived(struct delivery *d, const struct event *ev);
bool has_appetite(const struct delivery *d);
bool next_fetch(struct delivery *d, struct effect *f);

/* --- marking.c: how far the position can go --- */

void marked(struct delivery *d, const struct event *ev);
void take_floor(struct delivery *d, struct floor *f);
void leave_behind(struct delivery *d);
bool next_mark(struct delivery *d, struct effect *f);

#endif
