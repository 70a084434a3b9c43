/* What JetStream answers to STREAM.INFO (and to STREAM.CREATE): what a stream holds, and how it is set up. */
#ifndef BOXHAUL_FORMAT_STREAM_INFO_H
#define BOXHAUL_FORMAT_STREAM_INFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/answer.h"

enum stream_retention { RETENTION_LIMITS, RETENTION_INTEREST, RETENTION_WORK_QUEUE };

struct stream_info {
	/* What it holds. */
	uint64_t first, last; /* sequences */
	uint64_t messages, bytes;
	uint64_t deleted; /* between first and last */

	/* How much it takes; 0 = without a limit. */
	uint64_t max_messages, max_bytes, max_message_bytes, max_messages_per_subject;
	uint64_t max_age_ms;
	uint64_t duplicate_window_ms;

	enum stream_retention retention;
	bool discard_new; /* full: it refuses; else it deletes its oldest */
	bool discard_new_per_subject;
	bool file_storage, no_ack, sealed;
	bool persist_async;   /* it acknowledges before it has written (2.12) */
	bool transforms;      /* it stores under another subject than it was sent to */
	bool mirror, sources; /* it takes messages from another stream: a mirror from there only */
	bool allow_rollup, allow_direct, allow_ttl, allow_counters, allow_schedules, allow_atomic, allow_batched;
	uint32_t replicas;
	uint32_t
		server; /* the version of the one that leads it: stream_info_server(2, 14) for 2.14.10; 0 = older than 2.11, which do not say */

	char created[40]; /* another time, another stream; "" = it does not say */
	char leader[64];  /* the server that leads it in a cluster; "" = none, or no cluster */
	char **subjects;
	size_t subject_count;

	struct answer_error error;
};

/* A version of nats-server, in one number that grows with it. */
static inline uint32_t stream_info_server(uint32_t major, uint32_t minor)
{
	return major * 1000 + minor;
}

/* Reads an answer; everything is zero but the error where the verdict is not ANSWER_OK. Free with stream_info_free(),
 * whatever the verdict. */
enum answer_verdict stream_info_read(const char *data, size_t bytes, struct stream_info *info);

/* Frees what it holds, and empties it. */
void stream_info_free(struct stream_info *info);

/* Whether it takes every subject that the pattern matches. */
bool stream_info_takes(const struct stream_info *info, const char *pattern);

#endif
