/* Why messages were refused, in words for people: our sentence for the reason, and what the server said. The core knows reasons
 * by number only; the server's words are kept here, beside it, and whatever tells of a reason takes its text from here: the
 * books, the log, /status, /readyz and the page. */
#ifndef BOXHAUL_BOOKS_REASONS_H
#define BOXHAUL_BOOKS_REASONS_H

#include <stddef.h>
#include <stdint.h>

enum { REASONS_TEXT_BYTES = 384 };

struct reasons;

/* NULL when out of memory. */
struct reasons *reasons_create(void);
/* NULL is allowed. */
void reasons_free(struct reasons *r);

enum { REASONS_NO_MESSAGE = -1 }; /* an id: the words are of the stream */

/* What the server said (copied) when it refused message `id` of a stream, or a question about the stream, for this reason.
 * "" = nothing, which displaces nothing. `words` is one line of ASCII without secrets (struct answer_error). Room is limited: newer words displace
 * older ones. */
void reasons_keep(struct reasons *r, int64_t id, uint16_t stream, uint32_t reason, const char *words);

/* What the database said of a row that cannot be read: it is of no stream. */
void reasons_keep_row(struct reasons *r, int64_t id, uint32_t reason, const char *words);

/* Writes why message `id` of a stream was refused, or (REASONS_NO_MESSAGE) why the stream takes nothing:
 *     "stream not found (10059)"      "error of the server (10999): what the server said"
 * Where the server's words about this message are not known (any more), they are the last ones about the stream for this reason.
 * Always terminated, never empty. Returns `out`. */
const char *reasons_text(const struct reasons *r, int64_t id, uint16_t stream, uint32_t reason, char *out, size_t size);

/* The same where only the id is known: the last words for this reason, of any stream. */
const char *reasons_text_of(const struct reasons *r, int64_t id, uint32_t reason, char *out, size_t size);

/* The same with the server's words at hand, "" = none. */
const char *reasons_sentence(uint32_t reason, const char *words, char *out, size_t size);

/* The last refusal of a message that was kept, as in "message 7 of ORDERS: ..."; "" = none yet. `streams` names the configured
 * streams by index. Returns `out`. */
const char *reasons_last(const struct reasons *r, const char *const *streams, char *out, size_t size);

#endif
