/* The load: producers with their transactions; and the faults that come by themselves. */
#ifndef SIM_LOAD_H
#define SIM_LOAD_H

#include <stdbool.h>
#include <stdint.h>

struct sim;

void load_open(struct sim *s);

/* The database has crashed: every client begins again. */
void load_restart(struct sim *s);

/* What had been prepared when the database went back to then still has to be ended. */
void load_prepared_again(struct sim *s);

/* Nobody does anything any more: what is open stays open. */
void load_freeze(struct sim *s);

/* All transactions end now, the prepared ones included, and no new ones begin. */
void load_finish(struct sim *s);

/* One message in a transaction of its own, committed at once; its notification is heard or left out. */
int64_t load_one(struct sim *s, bool heard);

void faults_open(struct sim *s);

/* Everything that is broken is mended. */
void faults_heal(struct sim *s);

/* A stream waits for the word of an operator, who hears of it. */
void faults_operator_is_called(struct sim *s);

#endif
