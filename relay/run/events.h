/* What PostgreSQL, NATS and the modules of flow/ tell becomes events of the core. */
#ifndef BOXHAUL_RUN_EVENTS_H
#define BOXHAUL_RUN_EVENTS_H

#include "run/relay_state.h"

/* The handlers of each module, all with the relay as their argument. */
struct pg_handlers events_of_postgres(struct relay *r);
struct natsio_handlers events_of_nats(struct relay *r);
struct leader_handlers events_of_leader(struct relay *r);
struct outbox_reader_handlers events_of_reader(struct relay *r);
struct stream_scan_handlers events_of_scan(struct relay *r);

/* Ask the database; the answers become events. On a session that is down nothing is asked: a new lead asks again. False: the same
 * question is on its way, or was asked just now. */
bool events_ask_pause(struct relay *r);
bool events_ask_decisions(struct relay *r);

/* At each tick: asks what a notification wanted asked and could not be. Anybody may notify, as often as they like: a few questions
 * a second come of it, and no more. */
void events_ask_again(struct relay *r);

#endif
