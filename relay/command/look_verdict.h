/* The verdict on one look: what the relay on this machine says of itself, or, where none answers, the same words from what the
 * database knows. */
#ifndef BOXHAUL_COMMAND_LOOK_VERDICT_H
#define BOXHAUL_COMMAND_LOOK_VERDICT_H

#include <jansson.h>
#include <stddef.h>

#include "command/command.h"
#include "config/config.h"
#include "watch/verdict.h"

void look_verdict(const json_t *look, const struct config *config, struct verdict *v);

/* Adds it to the look: state, ready, summary, action. */
void look_verdict_add(json_t *look, const struct config *config);

/* How a command ends that has shown the look: by --max-lag and --exit-code. */
enum exit_code look_judge(const struct call *call, const json_t *look);

/* "pid 812 (psql, idle in transaction for 3 min)". Returns `to`. */
const char *look_verdict_who(const json_t *who, char *to, size_t size);

#endif
