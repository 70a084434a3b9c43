/* What the kernel says of this process, and what it gets back from it. */
#ifndef BOXHAUL_PROCESS_H
#define BOXHAUL_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is not known is negative. */
struct process_figures {
	double cpu_seconds, start_seconds; /* start: since 1970 */
	int64_t resident_bytes, virtual_bytes;
	int64_t open_fds, max_fds;
};

void process_look(struct process_figures *p);

enum { PROCESS_OPEN_MAX = 64 };

/* Could so many descriptors be opened now? Asks for PROCESS_OPEN_MAX at most. */
bool process_can_open(size_t count);

/* Memory that was freed and that the allocator still holds goes back. May take milliseconds: for a quiet moment. */
void process_give_back(void);

#endif
