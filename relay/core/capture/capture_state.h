/* The state of a capture, for its own files; its face is capture.h. */
#ifndef BOXHAUL_CORE_CAPTURE_CAPTURE_STATE_H
#define BOXHAUL_CORE_CAPTURE_CAPTURE_STATE_H

#include "core/capture/capture_marking.h"
#include "core/lead.h"
#include "core/notes.h"
#include "core/send/send.h"

/* The log, as it comes. */
struct capture_log {
	enum { STREAM_NONE, STREAM_ASKED, STREAM_UP } stream;
	bool wanted;      /* we lead, and have not lost the stream that we fill */
	uint64_t end_lsn; /* of the last commit that came whole: from here on the log is asked for */
	int64_t time;
	uint64_t idle_lsn; /* everything below it was sent; by commits and keepalives */

	uint64_t commits; /* that came whole, since we lead */

	/* The transaction under way. */
	bool open;
	bool torn; /* the stream broke off in it, and it has not come again yet */
	uint32_t xid;
	uint64_t final_lsn;
	int64_t commit_time;
	uint32_t taken; /* changes up to this index were taken; + 1 */
};

struct capture {
	struct capture_settings set;
	struct lead lead;
	struct sender *send;
	struct outcomes *outcomes; /* the sender's */
	struct notes notes;
	struct delivery_stats send_stats;
	struct capture_rows rows;
	struct capture_reading reading;
	struct capture_carried carried;
	struct capture_marking marking;
	struct capture_log log;
	struct capture_stats stats;
	uint32_t *slot_of; /* by slot of the sender: the capture's, or CAPTURE_NO_SLOT */
	bool offer_parked; /* what is parked is wanted again */
	bool lost_end, lost_end_told;
	int64_t publish_at; /* nothing is sent before: an earlier leader may still send rows of a chunk */
	int64_t now_ms;

	/* What an earlier leader may have sent. */
	uint64_t wal_end;   /* it was streamed nothing above this */
	int64_t caught_up;  /* the last ordinal it may have sent; INT64_MAX: not known yet */
	bool settled;       /* all of that is */
	uint64_t rows_then; /* rows read when we took the lead */
};

#endif
