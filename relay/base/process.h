/* What the kernel says of this process, and what it gets back from it. */
#ifndef BOXHAUL_BASE_PROCESS_H
#define BOXHAUL_BASE_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is not known is negative. */
struct process_figures {
	double cpu_seconds, start_seconds; /* start: since 1970 */
	int64_t resident_bytes, virtual_bytes;
	int64_t open_fds, max_fds;
};

/* Reads them from the kernel: about ten calls, for /metrics and not for every turn. */
void process_look(struct process_figures *p);

/* Set to 1 in the environment, it lets debuggers and core files see the process. Both then show what it knows: passwords,
 * keys and messages. */
#define PROCESS_DUMPS "BOXHAUL_ALLOW_CORE_FILES_WITH_SECRETS"

/* No core file and no debugger but root's, unless PROCESS_DUMPS allows them: then nothing is done. Returns whether it is
 * protected. Called once, before there are secrets. */
bool process_protect(void);

/* SIGHUP waits until process_take_hangup(), in this thread and in those that it makes: to whoever does not handle it yet it would
 * be the end. */
void process_hold_hangup(void);
void process_take_hangup(void);

enum { PROCESS_OPEN_MAX = 64 };

/* Could so many descriptors be opened now? Asks for PROCESS_OPEN_MAX at most. */
bool process_can_open(size_t count);

/* Root becomes another user of the system, for good: nothing of root's is left. False: there is no such user, it is root itself, or
 * we are not root; then nothing has changed. */
bool process_become(const char *user);

/* What is large goes back as soon as it is freed. Before the first large one. */
void process_keep_little(void);

/* Memory that was freed and that the allocator still holds goes back. May take milliseconds: for a quiet moment. */
void process_give_back(void);

#endif
