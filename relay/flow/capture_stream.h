/* From the messages of a replication stream to the events of a capture's core.
 *
 *     walsender --message--> pgoutput --> relations (what tuples mean)
 *                                    `--> parcels --> waiting --give()--> core, as long as it takes
 *
 * Changes of one transaction may be one message (flow/capture_together.h). One message of the server may be several events (a TRUNCATE of several tables; a table's new shape before its row), and the last change of a transaction says that it
 * is the last, which is known when the commit has come. So what is made waits here, the last change always, until it may be given. While
 * something waits that the core does not take, the walsender is not to be read: so what waits is one message of ours, and what one of the server's makes. */
#ifndef BOXHAUL_FLOW_CAPTURE_STREAM_H
#define BOXHAUL_FLOW_CAPTURE_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/capture/capture_types.h"
#include "flow/capture_maker.h"
#include "flow/capture_relations.h"

struct capture_stream;

struct capture_stream_handlers {
	/* Whether the core takes the next event, after all that it wants is carried out (capture_takes()). */
	bool (*takes)(void *arg);
	/* BEGIN, CHANGE, COMMIT or POSITION, without time and randomness. The parcel (of a change) is the callee's. */
	void (*give)(void *arg, struct capture_event *event, struct capture_parcel *parcel);
	/* Whether a row that was inserted into this table is not to be sent (capture_lets_go()): then its change is not given. But if it is the last one of its
	 * transaction, the columns of the table are, in its place. */
	bool (*lets_go)(void *arg, uint32_t table);
	/* Whether it is known what the stream takes: no transaction begins before. And whether it takes messages of several changes: so many bytes in one. */
	bool (*knows)(void *arg);
	bool (*together)(void *arg);
	/* What was read makes no sense, or there is no memory for it. Nothing is given any more until capture_stream_begin(): the stream is to be
	 * ended, and begun again from what is settled. */
	void (*broken)(void *arg, const char *why);
	void *arg;
};

/* Everything is borrowed. NULL when out of memory. */
struct capture_stream *capture_stream_create(struct capture_relations *relations, struct capture_maker *maker,
					     const struct capture_stream_handlers *handlers);
void capture_stream_free(struct capture_stream *s);

/* A walsender streams from now on: of this server. What waits is dropped, and what was said of tables forgotten. */
void capture_stream_begin(struct capture_stream *s, uint64_t system);

/* The walsender is gone: what waits is dropped. */
void capture_stream_end(struct capture_stream *s);

/* Of the walsender. */
void capture_stream_message(struct capture_stream *s, const char *data, size_t bytes);
void capture_stream_keepalive(struct capture_stream *s, uint64_t end_lsn);

/* Gives what waits, as far as it is taken. Whether the walsender may be read: nothing waits but what must, and the core takes. */
bool capture_stream_go_on(struct capture_stream *s);

/* Logical messages outside of transactions that had a prefix of ours: they survive a roll-back and have no place in the order, so they are left
 * out. A counter. */
uint64_t capture_stream_left_out(const struct capture_stream *s);

#endif
