/* The state of the reader of the outbox, for the files of core/outbox alone; its face is outbox.h. Each part names the file
 * that writes it; the others only read it, and call that file's functions. */
#ifndef BOXHAUL_CORE_OUTBOX_READER_STATE_H
#define BOXHAUL_CORE_OUTBOX_READER_STATE_H

#include "core/notes.h"
#include "core/outbox/book.h"
#include "core/low_water.h"
#include "core/outbox/pace.h"
#include "core/send/send.h"

/* What makes the next fetch wait for no pause. */
enum haste {
	HASTE_NONE,
	HASTE_WANTED /* something parked may be read again */,
	HASTE_MORE /* the last one was cut off */
};

struct reader {
	const struct delivery_settings *set; /* the owner's; may change between two steps */
	struct notes *notes;                 /* the owner's */
	struct delivery_stats *stats;        /* the owner's: what counts events is written as they happen */
	struct sender *send;
	struct outcomes *outcomes; /* the sender's, to be taken */
	struct book book;
	struct pace pace;

	/* reader.c */
	int64_t now_ms;
	bool predecessor_is_settled; /* nothing is left that an earlier leader may have sent */

	/* reading.c */
	struct reading {
		int64_t read; /* the highest id that was read */
		bool fetching, forward;
		enum haste haste;
		uint32_t round;      /* the fetch under way, or the last one */
		int64_t evidence_ms; /* when the lock table was last asked for */
		/* The fetch under way asks for everything missing and for a snapshot to be kept; or uses the one that is kept. */
		enum { SNAPSHOT_NONE, SNAPSHOT_ASKED, SNAPSHOT_USED } snapshot;
		int64_t kept_until_ms; /* a fetch was answered beyond everything missing: its snapshot may be used until then */
		struct id_range *wanted;
		bool caught_up;       /* all that was there when we took the lead has been read, */
		int64_t caught_up_to; /* which was this */
		bool full;            /* for want of room for exceptions nothing new is read */
	} reading;

	/* exceptions.c */
	struct {
		bool unconfirmed_dead_letter; /* a dead letter was made of a message of which a copy may be stored */
	} fates;

	/* marking.c */
	struct marking {
		int64_t position;
		int64_t settled;       /* the highest id that was settled in its turn */
		bool under_way;        /* the answer to `mark` is awaited */
		bool dirty;            /* there is something a mark would change */
		bool left_behind;      /* draining: what was not sent stands in the book */
		bool heritage_is_read; /* no exception may have been sent by an earlier leader that we have not read */
		int64_t considered_ms, mark_at; /* when a mark was last thought about; when to do so again */
		struct mark mark;
		struct exception_row *added;
		int64_t *gone;
		/* Two of each: one for the mark under way, one for what comes meanwhile. */
		struct dead_letter *dead, *dead_marked;
		int64_t *resolved, *resolved_marked;
		size_t dead_count, resolved_count;
		size_t unrecorded; /* lanes that wait for the mark under way: their dead letters are in it */
		struct late {
			int64_t id;
			uint16_t stream;
		} * late; /* settled, but not in their turn */
		size_t late_count;
		struct sent *sent;
		bool touched[LIMIT_STREAMS]; /* stored something since the last mark */
		struct low_water low_water;
	} marking;
};

#endif
