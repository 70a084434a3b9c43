/* Where a daemon stands on its way to a lead, of the outbox or of a subscription. */
#ifndef BOXHAUL_FLOW_ROLE_H
#define BOXHAUL_FLOW_ROLE_H

enum role { ROLE_DISCONNECTED, ROLE_STARTING, ROLE_STANDBY, ROLE_LEADER };

/* "disconnected", ... */
const char *role_text(enum role role);

/* Writes who takes a lead, as the books name them: "shop on db1, process 4711". */
enum { ROLE_HOLDER_BYTES = 256 };
void role_holder(const char *instance, char out[ROLE_HOLDER_BYTES]);

#endif
