/* What the kernel says of this process. */
#ifndef BOXHAUL_PROCESS_H
#define BOXHAUL_PROCESS_H

#include <stdint.h>

/* What is not known is negative. */
struct process_figures {
	double cpu_seconds, start_seconds; /* start: since 1970 */
	int64_t resident_bytes, virtual_bytes;
	int64_t open_fds, max_fds;
};

void process_look(struct process_figures *p);

#endif
