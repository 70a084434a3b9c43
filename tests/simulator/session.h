/* The inside of a database session, for session.c (the queue and its two ends), session_server.c (what the server does) and
 * session_answer.c (what the host hears). */
#ifndef SIM_SESSION_H
#define SIM_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host.h"
#include "world.h"

enum stage { WAITING, EXECUTING, DONE };

struct query {
	enum query_kind kind;
	enum stage stage;
	int64_t asked_ms;
	struct query *next;

	/* the question */
	int64_t after;
	bool forward, horizon_wanted, evidence_wanted, kept, asleep;
	uint32_t limit_rows, limit_bytes;
	struct id_range *wanted;
	size_t wanted_count;
	struct mark mark;
	uint32_t losses[MAX_STREAMS]; /* of the streams, as the leader knows them that writes the mark */
	const struct mark *original;  /* the core's: must not change while the mark is under way */
	bool safety_poll;

	/* the answer */
	bool failed;
	bool leads;
	uint64_t fence, horizon;
	uint64_t xmin;     /* of the snapshot that the rows count as read in */
	uint32_t timeline; /* of the server that is led */
	int64_t position, others_ms;
	uint64_t pause; /* of a question as well */
	uint64_t floors[MAX_STREAMS];
	struct row *row;
	int32_t *message; /* which each of them is */
	size_t rows;
	bool complete, beyond;
	struct exception_row *exception;
	size_t exceptions;
};

struct session {
	uint64_t serial; /* 0 = free */
	uint32_t host;
	bool client, server; /* which ends are alive */
	uint64_t epoch;      /* 0 = does not lead */
	bool keeps;          /* the relay keeps a snapshot: */
	uint64_t kept;       /* so many transactions had ended; 0 = it could not be had, and nothing is in it */
	uint64_t kept_xmin;
	bool shares; /* the last answer was not all there was: the next gives each row the same share of the bytes */
	struct query *first, *last;
	struct query *aside; /* a mark that takes a way of its own, or NULL */
	int64_t answered_at;
};

/* The session of this number, or NULL. */
struct session *session_find(uint64_t serial);
void query_free(struct query *q);

/* The caller's, to free. */
void *copy_of(const void *from, size_t count, size_t size);
#define COPY(array, count) copy_of((array), (count), sizeof *(array))

/* --- session_server.c --- */

/* Does the first step of a query; false: there is a second one, which reads in a snapshot of its own time. */
bool execute_first(struct sim *s, struct session *x, struct query *q);
void execute_second(struct sim *s, struct session *x, struct query *q);
void execute_mark(struct sim *s, struct session *x, struct query *q);

/* --- session_answer.c --- */

/* The host hears what became of its question; the session may be gone afterwards. */
void session_answer(struct sim *s, struct host *h, struct query *q);

#endif
