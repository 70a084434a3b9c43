/* Files that hold secrets: passwords, tokens, seeds, private keys. They are read anew whenever they are needed, so that a
 * new one counts from the next connection on.
 *
 * One that others may read is refused, as ssh and libpq do, by libpq's rule for keys: its owner alone, but root's may be
 * readable by a group (systemd hands credentials over so). A warning would stand in a log for years, and the secret
 * would be none. */
#ifndef BOXHAUL_BASE_SECRET_H
#define BOXHAUL_BASE_SECRET_H

#include <stdbool.h>
#include <stddef.h>

enum { SECRET_MAX_BYTES = 65536 };

/* The whole file, terminated; NULL after writing what is wrong and what to do to `error`. */
char *secret_read(const char *path, char *error, size_t size);

/* Its first line, which must not be empty: a password or a token. */
char *secret_line(const char *path, char *error, size_t size);

/* Nothing but the look at the file: for a library that reads it itself. */
bool secret_check(const char *path, char *error, size_t size);

/* Wipes it, and takes NULL. */
void secret_free(char *secret);

#endif
