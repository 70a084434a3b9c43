/* By which wire a stream can be sent to: what its configuration, ours and its server's version say. */
#ifndef BOXHAUL_FLOW_STREAM_WIRE_H
#define BOXHAUL_FLOW_STREAM_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "core/vocabulary.h"
#include "format/stream_info.h"

/* WIRE_BATCHES, or why not, for a stream of the configuration. `info` is what the leader of the stream answered. */
enum wire_reason stream_wire_of(const struct config *config, uint16_t stream, const struct stream_info *info);

/* What is used then: "batch" or "single". */
const char *stream_wire_word(enum wire_reason reason);

/* The reason as a sentence, without an end. */
const char *stream_wire_text(enum wire_reason reason);

/* What to do for batches, in `out`: "" where there is nothing to do, or nothing is known. Returns `out`. */
enum { STREAM_WIRE_ADVICE_BYTES = 512 };
const char *stream_wire_advice(enum wire_reason reason, const char *stream, char *out, size_t size);

#endif
