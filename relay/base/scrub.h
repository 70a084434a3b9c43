/* Secrets are masked in whatever may be shown: in the log, at the health port, in what a command prints. */
#ifndef BOXHAUL_BASE_SCRUB_H
#define BOXHAUL_BASE_SCRUB_H

#include <stddef.h>

/* Copies text to out (size bytes, always terminated) with secrets masked: user:password@ in URLs, password=...
 * in connection strings (quoted or not). Control characters stay. */
void scrub(const char *text, char *out, size_t size);

#endif
