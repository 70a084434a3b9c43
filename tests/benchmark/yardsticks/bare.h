/* A bare publisher: nats.c, an inbox, a window, and nothing else. What the yardsticks share. */
#ifndef BARE_H
#define BARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How the connection is driven. Both read acknowledgements from a synchronous subscription, so that no thread hands them
 * on.
 *   BARE_THREADS  nats.c's own threads read and flush
 *   BARE_LOOP     this thread polls the socket itself: one thread in all */
enum bare_mode { BARE_THREADS, BARE_LOOP };

struct bare;

/* Never returns NULL: a yardstick that cannot measure says why and ends. */
struct bare *bare_open(const char *url, unsigned window, enum bare_mode mode);
void bare_close(struct bare *b);

/* Returns when the message is handed over: while the window is full, it waits for acknowledgements. key: for a header
 * Boxhaul-Key, as the relay sends it; NULL for none. */
void bare_publish(struct bare *b, const char *subject, const char *message_id, const char *key, const void *payload,
		  size_t bytes);

/* Wait until `fd` can be read, and see meanwhile to it that what was published leaves: in BARE_LOOP nothing else does. */
void bare_wait_for(struct bare *b, int fd);

/* From now on each message says which one it expects to be the stream's last (Nats-Expected-Last-Sequence), from `last` on:
 * a chain, for a stream that nobody else publishes to. */
void bare_chain(struct bare *b, uint64_t last);

/* Wait until everything is acknowledged. */
void bare_settle(struct bare *b);

/* --- for everybody's command line: --name value --- */

const char *bare_word(int argc, char **argv, const char *name, const char *otherwise);
long bare_number(int argc, char **argv, const char *name, long otherwise);
enum bare_mode bare_mode_word(int argc, char **argv);

void bare_die(const char *what, const char *why) __attribute__((noreturn));

/* User and system time of this process so far. */
int64_t bare_cpu_us(void);
int64_t bare_now_us(void);

#endif
