/* The pictures of lanes.h, asserted. It reads, and writes nothing. */
#ifndef BOXHAUL_CORE_SEND_LANES_AUDIT_H
#define BOXHAUL_CORE_SEND_LANES_AUDIT_H

#include "core/send/lanes.h"

/* Asserts them of every message and of every lane. Slow: for tests. */
void lanes_audit(const struct lanes *l);

#endif
