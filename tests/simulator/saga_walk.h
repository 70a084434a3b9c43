/* Walks through the rules, for a comparison with the SQL: a saga, or a participant's step, and events that come in any order. */
#ifndef SIM_SAGA_WALK_H
#define SIM_SAGA_WALK_H

#include "saga_world.h"

/* Prints so many of each, a line for each event: what comes, and behind " => " what is there then and what was sent.
 *
 *     saga KIND,has undo,is local,has payload,retries ...   a new saga with these steps; it is started
 *     MOOD answer STEP DIR ATTEMPT OUTCOME | MOOD clock | MOOD ask EVENT      MOOD: well, or all functions raise, or refuse
 *         => state step reached attempt sent due stuck cancelled; the commands, DIR:STEP:ATTEMPT
 *     part                                         a new step of a participant
 *     command DIR ATTEMPT | say OUTCOME
 *         => what it was told, did, dir, attempt; the answers, DIR:ATTEMPT:OUTCOME
 */
void saga_walks(struct saga_sim *s, uint32_t walks);

#endif
