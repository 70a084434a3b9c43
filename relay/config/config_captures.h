/* Captures, the outbox tables and the messages that they send: their checks, and what follows from them. For config_check.c and
 * config_load.c only. */
#ifndef BOXHAUL_CONFIG_CONFIG_CAPTURES_H
#define BOXHAUL_CONFIG_CONFIG_CAPTURES_H

#include <stdbool.h>

#include "config/complaint.h"
#include "format/message.h"

/* Of a stream that is a bucket's. */
#define CONFIG_BUCKET_STREAM "KV_"

/* The capture of who names this one, or none where there is no other; NULL: there is no such one, or nobody can say. */
struct config_capture *config_captures_find(const struct config *c, const char *name);

/* The template of an outbox table's subjects; NULL: there is none. */
const char *config_captures_outbox_subject(const struct config_outbox_table *t);

/* What all subjects of these messages match. Prefix and subject are there, and the subject is valid. */
void config_captures_messages_pattern(const struct config_messages *m,
				      char pattern[static MESSAGE_SUBJECT_MAX_BYTES + 1]);

void config_captures_check(struct loader *l);

/* Fills in what depends on other settings: whose outbox tables and messages are, a preset's subject, the subjects of a capture's stream.
 * For a configuration without complaints. False: out of memory. */
bool config_captures_derive(struct config *c);

#endif
