/* Times as JetStream writes them: RFC 3339 in UTC with up to nine digits behind the second, without zeros at the end. */
#ifndef BOXHAUL_FORMAT_RFC3339_H
#define BOXHAUL_FORMAT_RFC3339_H

#include <stdbool.h>
#include <stdint.h>

enum { RFC3339_BYTES = 40 };

/* Nanoseconds since 1970 of "2026-11-22T16:59:10.446123Z", from 1970 to 2262; false where it is no such time. `text` may be NULL. */
bool rfc3339_read(const char *text, int64_t *ns);

/* The other way round; ns >= 0. Returns `to`. */
const char *rfc3339_write(int64_t ns, char to[static RFC3339_BYTES]);

#endif
