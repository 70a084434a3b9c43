/* A logical message of PostgreSQL (pg_logical_emit_message) as a message of ours. Its prefix says what it is:
 *
 *     orders/paid/order-42    of those that messages = ( { prefix = "orders"; ... } ) names: the name "paid", the key "order-42", its content as it is. A name alone
 *                             ("orders/paid") has no key; what comes behind the second slash is the key, whatever is in it
 *     boxhaul                 what boxhaul.emit() wrote (format/emitted.h): subject, key and headers stand in the content
 *     boxhaul.chunk, ...      our own marks, which are no messages */
#ifndef BOXHAUL_FORMAT_LOGICAL_MESSAGE_H
#define BOXHAUL_FORMAT_LOGICAL_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "format/capture_change.h"
#include "format/capture_message.h"

/* Is a message with this prefix one of those that `configured` names (struct config_messages)? */
bool logical_message_is_of(const char *prefix, const char *configured);

/* Makes it. `subject`: the template; of EMITTED_PREFIX the pattern that its subject has to match. REASON_NONE; else why it can never be sent, and *m is what there is
 * of it: DEFECT_SUBJECT_..., DEFECT_HEADER..., DEFECT_EMITTED (m->why says more). REASON_NO_MEMORY: nobody can say now. */
enum reason logical_message_write(struct capture_writer *w, const struct capture_style *style, const char *subject,
				  const struct capture_place *place, const char *prefix, const void *content,
				  size_t bytes, struct capture_message *m);

#endif
