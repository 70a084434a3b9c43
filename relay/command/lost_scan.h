/* Is every message that is marked sent, and whose row is still kept, in its stream? One question, for `reconcile`, which says
 * what is missing, and for `replay --missing`, which sends it again.
 *
 * The books only say what is not expected in a stream yet (or any more: dead letters); that a message is there, nothing says but
 * the stream. */
#ifndef BOXHAUL_COMMAND_LOST_SCAN_H
#define BOXHAUL_COMMAND_LOST_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "command/command.h"
#include "command/id_set.h"
#include "command/percent.h"
#include "edge/natsio_session.h"
#include "edge/pg_session.h"

/* What is known of a stream's end of it. */
struct lost_stream {
	bool asked, other_retention; /* something takes messages out by design */
	bool reachable;
	uint64_t deleted;
	int64_t starts_s; /* the time of its first message, if there were others before it; else 0 */
	size_t left;      /* wanted and not found */
};

struct lost_scan {
	/* Given. The calls come by ascending id; either may be NULL. */
	const struct call *call;
	struct pg_session *pg;
	void (*missing)(void *arg, const struct id_set_member *m);
	void (*unrouted)(void *arg, int64_t id); /* no stream of the configuration takes its subject: not checked */
	void *arg;
	/* What came of it. */
	long long committed, stored, lost, pending, dead, discarded, unchecked;
	int64_t oldest_id; /* of the rows that are kept */
	bool reachable;    /* all streams that were asked could be read */
	struct lost_stream stream[LIMIT_STREAMS];
	/* Its own. */
	struct natsio_session *nats;
	struct id_set wanted;
	struct percent progress;
	uint16_t current; /* the stream that is walked through */
	uint64_t walked;
	int64_t after, up_to, oldest_s;
};

/* EXIT_OK: it was looked at to the end; else it has said why not. Call natsio_shutdown() when the command ends. */
enum exit_code lost_scan(struct lost_scan *s);

#endif
