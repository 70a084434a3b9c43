/* What is carried (order = key alone): changes that their key keeps waiting, kept in the books instead of in memory.
 *
 * The log cannot be asked for one old change, and a mark goes over whole commits. So a key that takes nothing would keep the position, and with it
 * the whole log, for as long as it takes nothing. What has waited for a while is therefore put on record whole, with the mark that goes over it:
 *
 *     PARKED in memory --carry--> WRITING --mark--> OUT --fetch--> ASKED --> HERE --offer--> SENT --stored--> DONE --mark--> gone
 *                                                    ^                        |               `-- a letter --'
 *                                                    `-- not wanted any more -'<- parked again-'
 *
 * The order of a key. (1) What is carried of a key is older than all of it that is in memory: only the oldest of a key that is there is carried
 * (capture_carried_take()). (2) Nothing of a key is offered while something older of it is carried and not with the sender
 * (capture_carried_keeps()). From there on the sender keeps it in order, as everything that it has. So what was carried goes out
 * before anything newer of its key, whatever happens between.
 *
 * Nothing is lost: what is WRITING is on record with the mark that passes it, as a dead letter is; and it goes from there only with a mark after it
 * was stored, or with one that has it as a letter. Nothing is doubled: what a carried change may have been stored above is on record with it, so
 * the look-back of the next leader begins there.
 *
 * A commit that is not marked comes again under a new leader, with all that was carried of it: whoever takes the lead lets go of what stands above the
 * books' ordinal.
 *
 * Held (POISON_HOLD): what was refused for good is a dead letter that holds its key until an operator decides. It is carried as soon as it is the
 * oldest of its key, or is it already, and is on record as held with the mark that has it, or the next one (`untold`).
 *
 * Nothing passes it: here its lane is held back by the sender, and by (2), for it is never wanted (capture_carried_is_wanted()); and so it is for
 * whoever leads next, who holds its lane as the books say. What was held and is not on record as that is tried once more by the next leader,
 * before all that waits behind it, and refused again. An operator's decision ends our lead (boxhaul.capture_decide()), so no leader holds what is
 * decided, or sends what is not: the next one finds a row less, or one that waits as any other and is the oldest of its key.
 *
 * What stands behind it is not sent, so of what is carried there and was never sent nobody need look for a copy (`level`); else each new leader
 * would read the stream from where the key was held on, however long ago. The decision says from where on it may be sent. */
#ifndef BOXHAUL_CORE_CAPTURE_CAPTURE_CARRIED_H
#define BOXHAUL_CORE_CAPTURE_CAPTURE_CARRIED_H

#include "core/capture/capture_rows.h"
#include "core/send/send.h"

struct carried {
	int64_t ordinal;
	uint64_t lane;
	scope_id scope; /* what it waits for; SCOPE_NONE: for nothing but its turn */
	struct doubt doubt;
	uint32_t attempts, reason;
	uint32_t bytes;
	uint32_t slot; /* WRITING, HERE, SENT: where its payload is */
	enum { CARRIED_WRITING, CARRIED_OUT, CARRIED_ASKED, CARRIED_HERE, CARRIED_SENT, CARRIED_DONE } state;
	bool inherited; /* from the books of an earlier leader */
	bool unwritten; /* WRITING: no mark has it yet */
	bool held;      /* it holds its key, until an operator decides */
	bool untold;    /* held, and no mark says so yet */
	uint64_t
		level; /* WRITING: it was never sent, so whatever will be of it is stored above this; LOW_WATER_NONE: its key is held */
};

enum { CARRIED_KEYS = 4096 };

struct capture_carried {
	const struct capture_settings *set; /* borrowed, as is the next */
	struct capture_rows *rows;
	struct carried *list; /* by ordinal, ascending */
	size_t count, most;
	/* Of these: that keep others back (all before SENT); that are HERE; DONE; inherited, not DONE, and may be stored; that no mark has yet; held; untold. */
	size_t waiting, here, done, inherited, unwritten, held, untold;
	uint32_t keeps[CARRIED_KEYS]; /* by lane, hashed: how many keep others back */
	bool asked;                   /* a fetch is under way */
	bool look;                    /* there may be something to fetch */
	bool was_voided;              /* low waters on record do not hold any more */
	int64_t fetch[LIMIT_CAPTURE_FETCH];
	struct capture_carry carry[LIMIT_CAPTURE_CARRIES]; /* of the mark under way */
	int64_t *gone;                                     /* the same: these go */
	struct capture_held *hold;                         /* and these hold their key */
};

bool capture_carried_create(struct capture_carried *k, const struct capture_settings *set, struct capture_rows *rows);
void capture_carried_destroy(struct capture_carried *k);
void capture_carried_forget(struct capture_carried *k);

/* We lead: the books, ascending. Each lane is held back until its oldest was tried. */
void capture_carried_begin(struct capture_carried *k, struct sender *send, const struct capture_inherited *list,
			   size_t listed);

/* Where the copies of what may be stored of them begin, or LOW_WATER_NONE. */
uint64_t capture_carried_lowest(const struct capture_carried *k);

struct carried *capture_carried_find(const struct capture_carried *k, int64_t ordinal);

/* Is something of this lane that is older than the ordinal carried, and not with the sender? */
bool capture_carried_keeps(const struct capture_carried *k, uint64_t lane, int64_t ordinal);

/* May this ticket, which was parked for `scope`, be offered in spite of what is carried of its lane? Where nothing keeps it; or where its lane is shut and it
 * probes its stream: then the sender turns it away, to its lane, and another one probes. (Else the stream would wait for it, and what is
 * carried before it for the stream.) */
bool capture_carried_lets(const struct capture_carried *k, struct sender *send, scope_id scope, uint64_t lane,
			  int64_t ordinal);

/* Does what it was parked for take it now? (It is OUT, or HERE.) */
bool capture_carried_is_wanted(struct sender *send, const struct carried *x);

/* --- into the books --- */

/* Has the oldest of all been in the way for long, and is there room? */
bool capture_carried_is_due(const struct capture_carried *k, int64_t now_ms);

/* When it is; INT64_MAX: by itself never. */
int64_t capture_carried_due_at(const struct capture_carried *k);

/* Takes what is due out of the rows: it counts as settled from now on, because the next mark has it. low_water: what is sent from now on is stored
 * above it. To be followed by capture_carried_mark(). */
void capture_carried_take(struct capture_carried *k, int64_t now_ms, uint64_t low_water);

/* Is anything carried with an ordinal above the one, and not above the other? */
bool capture_carried_between(const struct capture_carried *k, int64_t above, int64_t upto);
bool capture_carried_want_mark(const struct capture_carried *k);
void capture_carried_mark(struct capture_carried *k, struct capture_mark *m);
void capture_carried_marked(struct capture_carried *k, const struct capture_mark *m);

/* --- out of them --- */

/* Those that are wanted, ascending; 0: none, or some are asked for. They are in k->fetch. */
size_t capture_carried_fetch(struct capture_carried *k, struct sender *send);

/* The answer. What was asked for and is not in it was given up by an operator: the change is on record elsewhere. */
void capture_carried_fetched(struct capture_carried *k, struct sender *send, struct capture_event *ev);

/* It is HERE, and not wanted any more. */
void capture_carried_let_go(struct capture_carried *k, struct carried *x);
void capture_carried_sent(struct capture_carried *k, struct carried *x);

/* It is SENT; these are what became of it. */
void capture_carried_parked(struct capture_carried *k, struct carried *x, const struct outcome *o);
void capture_carried_held(struct capture_carried *k, struct carried *x, const struct outcome *o);
void capture_carried_done(struct capture_carried *k, struct carried *x, bool keep_slot);

/* The stream has lost its end: copies may stand anywhere. */
void capture_carried_void(struct capture_carried *k);

void capture_carried_audit(const struct capture_carried *k);

#endif
