/* What is put on record, and what of it is confirmed to the server.
 *
 *     settled prefix of whole commits --mark--> marked --status update--> confirmed
 *
 * Each is durable before the next is told: what is confirmed the server need not keep, so it must stand in the books; and what stands
 * in the books we never ask for again, so it must be stored, or be a dead letter in the same mark.
 *
 * A slot that is copied to standbys may come there before the mark whose position it has: the mark is written behind that. If such a standby were promoted,
 * the log would not bring again what only that mark has (a dead letter, what is carried, a key to be read once more). The server sends nothing of
 * its log before the standbys have it (synchronized_standby_slots). So a position is confirmed when the log has come past the mark, too. */
#ifndef BOXHAUL_CORE_CAPTURE_CAPTURE_MARKING_H
#define BOXHAUL_CORE_CAPTURE_CAPTURE_MARKING_H

#include "core/capture/capture_carried.h"
#include "core/capture/capture_end.h"
#include "core/capture/capture_reading_state.h"
#include "core/capture/commits.h"
#include "core/low_water.h"

/* May be confirmed when the log has come to `behind`. lsn 0: there is none. */
struct capture_uncopied {
	uint64_t lsn, behind;
};

struct capture_marking {
	const struct capture_settings *set; /* borrowed, as are the next three */
	struct capture_rows *rows;
	struct capture_reading *reading;
	struct capture_carried *carried;
	struct commits commits;
	struct commit marked;
	uint64_t confirmed, told; /* may be confirmed; was */
	struct capture_uncopied uncopied,
		uncopied_last; /* of the first mark that the log has not come past, and of the last one behind it */
	uint64_t behind;       /* of the last mark of all; 0: it need not be waited for */
	struct low_water low_water;
	struct capture_end end;

	struct capture_letter letter[LIMIT_CAPTURE_LETTERS]; /* not on record; each holds its slot */
	size_t letter_count;

	bool under_way;
	struct commit to; /* where the mark under way goes, or will when it is known where the stream ends; */
	size_t steps;     /* and so many steps of the readings were settled then */
	int64_t next_ms;  /* not before */
	struct capture_mark mark;
	struct capture_cursor cursor[LIMIT_CAPTURE_STEPS];
	struct capture_repair *repair;
	struct capture_letter sent_letter[LIMIT_CAPTURE_LETTERS];
};

bool capture_marking_create(struct capture_marking *m, const struct capture_settings *set, struct capture_rows *rows,
			    struct capture_reading *reading, struct capture_carried *carried);
void capture_marking_destroy(struct capture_marking *m);

void capture_marking_forget(struct capture_marking *m);

/* We lead: the books, with the end of the stream; and the level of low water that holds for all that is not settled. behind: the books were written below it,
 * and are confirmed when the log has come so far; 0: at once. */
void capture_marking_begin(struct capture_marking *m, struct commit books, uint64_t behind,
			   const struct stream_end *end, const struct level *first);

/* This ordinal is a dead letter: it counts as settled, because no mark passes it without the letter. Its slot is held. */
void capture_marking_letter(struct capture_marking *m, const struct outcome *o, uint32_t slot);

/* So many more there is room for. */
size_t capture_marking_letter_room(const struct capture_marking *m);

/* Takes in what was settled. To be called when outcomes were taken. */
void capture_marking_settle(struct capture_marking *m);

/* No transaction is open. Where something is held, rows of chunks are carried behind the last commit, and none is to come, a mark takes their ordinals without it: whoever
 * leads next keeps them, their steps can be on record, and an operator may decide about one that is held. (All up to there is settled, so all
 * that is committed at or below the position is; and what the log brings from there on has higher ordinals.) */
void capture_marking_reach(struct capture_marking *m);

/* Is there anything to put on record? (Also where it must wait for its time.) */
bool capture_marking_wanted(const struct capture_marking *m);

/* Is one possible now, if there is something to be put on record? */
bool capture_marking_may(const struct capture_marking *m, int64_t now_ms);

/* Commit order: before the next mark, the end of the stream that it names, which is known to be `last` at least. ask_until_ms: as of capture_end_asks().
 * Or false. */
bool capture_marking_next_end(struct capture_marking *m, int64_t now_ms, uint64_t last, int64_t ask_until_ms,
			      struct capture_effect *f);

/* The next mark, or false. fresh: the level of low water as it is now. */
bool capture_marking_next(struct capture_marking *m, int64_t now_ms, const struct level *fresh,
			  struct capture_effect *f);

/* It is on record, and was written below `behind`, as of capture_marking_begin(); so many letters with it. Or SIZE_MAX: nothing was under way. */
size_t capture_marking_marked(struct capture_marking *m, uint64_t behind);

/* The log has come so far. */
void capture_marking_came(struct capture_marking *m, uint64_t lsn);

/* Everything below this was sent to us, and nothing at all is in flight, in memory, open or unmarked. */
void capture_marking_idle(struct capture_marking *m, uint64_t lsn);

/* A position to be confirmed, or false. */
bool capture_marking_next_confirm(struct capture_marking *m, struct capture_effect *f);

/* When the next mark is due; INT64_MAX: there is nothing to mark. */
int64_t capture_marking_deadline(const struct capture_marking *m);

#endif
