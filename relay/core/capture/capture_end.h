/* Where an owned stream ends, as the books have it: the last message that was known to be stored when a mark was made.
 *
 *     wanted mark --CAPTURE_EFFECT_END--> asked --its time, or that nobody says it--> told --> the mark, which has it
 *
 * What is marked is never sent again. So whoever leads, after whatever time, must see that the stream which he fills is the one that has what the
 * books say is stored; else it is gone, and nothing more may be sent (capture.md 9.5). Three things say that it is another one:
 *
 *     it was created at another time     it was made anew, and may have grown beyond by now
 *     it ends below that message         it has lost its end
 *     that message has another time      it has lost its end, and others have grown it since
 *
 * A message that is not there any more, expired or purged, says nothing: the stream's last sequence goes on all the same. */
#ifndef BOXHAUL_CORE_CAPTURE_CAPTURE_END_H
#define BOXHAUL_CORE_CAPTURE_CAPTURE_END_H

#include "core/capture/capture_types.h"

struct capture_end {
	struct stream_end proof;                      /* of the books, or newer: what looks compare; */
	struct stream_end sought;                     /* and what the look under way does */
	int64_t created_ns;                           /* of the stream, by the last look; 0: not known */
	enum { END_OPEN, END_ASKED, END_TOLD } state; /* of the next mark */
	struct stream_end next;                       /* that it names */
	int64_t by_ms;                                /* ASKED: the answer is not waited for any longer */
	struct capture_lost lost; /* by the look that has shown it; why: CAPTURE_LOST_UNTOLD, none has */
};

/* We lead: what the books have. */
void capture_end_begin(struct capture_end *e, const struct stream_end *books);

/* A look goes out. Returns the sequence of the message whose time it is to ask for; 0: none. */
uint64_t capture_end_looks(struct capture_end *e);

/* An answer to it. Returns whether it is another stream than the one that the books speak of. */
bool capture_end_looked(struct capture_end *e, const struct event *ev);

/* A mark is wanted, and the stream is known to end here at least. Returns whether the time of that message is to be asked for now; ask_until_ms:
 * the answer is waited for as long. 0: nobody is to be asked. A stream that was not looked at since the connection came must not be: what
 * stands there may have been put there since. */
bool capture_end_asks(struct capture_end *e, uint64_t sequence, int64_t ask_until_ms);

/* The answer; time_ns 0: none came, or the message is not there. Ignored unless this one is asked for. */
void capture_end_told(struct capture_end *e, uint64_t sequence, int64_t time_ns);

/* The connection is gone, and with it the answer. */
void capture_end_interrupted(struct capture_end *e);

/* The mark that goes out now has this; the next one asks anew. */
struct stream_end capture_end_take(struct capture_end *e);

#endif
