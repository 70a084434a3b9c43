/* The state of the reading of rows, for its own files; its face is capture_reading.h. capture_walks.c holds tables, cursors and
 * steps, capture_repairs.c the keys that have to be read once more, capture_questions.c asks, and capture_reading.c takes what
 * comes: the log and the answers. */
#ifndef BOXHAUL_CORE_CAPTURE_CAPTURE_READING_STATE_H
#define BOXHAUL_CORE_CAPTURE_CAPTURE_READING_STATE_H

#include "core/capture/chunk.h"

struct capture_walk {    /* beside struct capture_table, of each */
	uint32_t cursor; /* slot of the last row that went out, held; CAPTURE_NO_SLOT: the books' cursor, or none */
	bool from_start; /* there is none */
	uint32_t
		top; /* slot of the row at whose key the walk ends, held; CAPTURE_NO_SLOT: the books' top, or none is known */
	enum capture_again again; /* it has to begin anew, as soon as there is room for the step; or 0 */
	bool unrecorded; /* how its walk begins (or that it is read whole) is not on record yet: nothing of it is read, or said */
	bool sealed;           /* nothing is added to its last reading of repairs any more */
	uint32_t filling;      /* keys in it */
	int64_t not_before_ms; /* it failed */
	int64_t ended;         /* the ordinal of the message that says its end; 0: none does yet */
};

struct capture_step {
	int64_t ordinal;              /* when all up to here is stored, */
	struct capture_cursor cursor; /* this goes into a mark */
	bool begins;                  /* with it the beginning of a walk is on record */
};

/* A table that is read whole (capture_piece.h). */
struct capture_piece {
	bool open; /* the snapshot that chunk.xids holds is its */
	uint32_t table;
	bool begun;           /* the message that says that its rows begin has its place */
	bool read;            /* all rows came; the transaction is over */
	uint64_t rows;        /* so many came */
	int64_t until_ms;     /* the transaction has to be over by then */
	uint64_t behind;      /* the end of the last commit that may have been let go; 0: not all have come yet */
	bool transaction_due; /* it was given up, and its owner does not know */
};

struct capture_reading {
	const struct capture_settings *set; /* borrowed, as are the next two */
	struct capture_rows *rows;
	struct capture_stats *stats;
	struct chunk chunk;
	struct capture_table *table;
	struct capture_walk *walk;
	int64_t now_ms;
	bool paused;

	/* The question under way: only one is, at a time. */
	enum {
		ASKED_NOTHING,
		ASKED_DRAW,
		ASKED_HORIZON,
		ASKED_CONTROL,
		ASKED_CHUNK,
		ASKED_PIECE,
		ASKED_END,
		ASKED_WINDOW
	} asked;
	enum capture_chunk_kind kind; /* of the chunk asked for, or open */
	uint32_t at;                  /* its table */
	uint32_t last_slot;           /* of its last row, held */
	bool complete;                /* there is nothing behind it */
	int64_t next_ms;              /* the next question not before */
	int64_t stopped_ms;           /* the stream stands still since; NEVER: it does not */
	uint64_t changes_then;        /* so many had the log brought when the stream was given its share last */
	bool limbo_said;
	uint32_t failures; /* in a row */

	enum { BARRIER_WANTED, BARRIER_DRAWN, BARRIER_PASSED } barrier;
	uint64_t fence; /* the xid that was drawn */
	uint32_t looks; /* at the horizon, in vain */

	enum { END_UNKNOWN, END_KNOWN } end;
	uint64_t end_lsn;
	uint64_t position; /* everything committed below it has come */
	bool window_due;   /* of a verify pass: all of that has come, and the rows that are left want their message */

	struct capture_piece piece;

	struct capture_step step[LIMIT_CAPTURE_STEPS];
	size_t step_first, step_count;

	struct capture_repair *repair; /* not on record yet; in the order in which they came */
	uint32_t *repair_slot;         /* each holds it */
	size_t repair_count, most_repairs;

	/* Repairs of what came before this ordinal, which is to be given next, are not kept, nor later ones (0: all are): a table will begin anew instead. Until that is on record no mark goes so far. */
	int64_t unrepaired;

	struct capture_note note[LIMIT_CAPTURE_NOTES];
	size_t note_first, note_count;
};

/* A chunk takes so many slots at most: one for each row, and until those are let go one for the message that stands for two of them or more. */
static inline uint32_t capture_reading_slots_of_chunk(const struct capture_settings *s)
{
	return s->chunk_rows + s->chunk_rows / 2;
}

static inline bool capture_reading_state_is_unfinished(const struct capture_table *t)
{
	return t->state == CAPTURE_TABLE_WAITING || t->state == CAPTURE_TABLE_READING || t->state == CAPTURE_TABLE_READ;
}

#endif
