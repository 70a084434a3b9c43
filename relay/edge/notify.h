/* Word to the supervisor that started us, in the protocol of sd_notify(3): systemd's, and that of others who took it
 * over. Stands alone, without a supervisor it does nothing.
 *
 * Why not libsystemd: its sd_notify() waits for room in the supervisor's socket, so one that reads no more would stop
 * the relay (after eleven words, by the kernel's default); it opens a descriptor for each word, so that a relay out of
 * descriptors would be killed by the watchdog; and the environment must go on naming the socket. */
#ifndef BOXHAUL_EDGE_NOTIFY_H
#define BOXHAUL_EDGE_NOTIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct notify;

/* Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, and takes them out of the environment: call it before there are
 * threads. Writes to `error` what is wrong with what stands there; it is as if there were no supervisor then. NULL when
 * out of memory. */
struct notify *notify_open(char *error, size_t size);
void notify_close(struct notify *n);

/* Is there anybody to talk to? */
bool notify_wanted(const struct notify *n);

/* Says "NAME=value" lines. False when it could not be said now: try again later. Never blocks. */
bool notify_say(struct notify *n, const char *lines);

/* So often, in milliseconds, we must say WATCHDOG=1; 0 = nobody asked us to. */
int64_t notify_watchdog_ms(const struct notify *n);

/* The supervisor's clock, for MONOTONIC_USEC. */
uint64_t notify_clock_usec(void);

#endif
