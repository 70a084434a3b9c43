/* The log, as it comes: transactions, one after the other, each whole. */
#ifndef BOXHAUL_CORE_CAPTURE_CAPTURE_LOG_H
#define BOXHAUL_CORE_CAPTURE_CAPTURE_LOG_H

#include "core/capture/capture_state.h"

void capture_log_forget(struct capture *c);
void capture_log_begin(struct capture *c, const struct capture_event *ev); /* we lead */
void capture_log_up(struct capture *c);
void capture_log_down(struct capture *c);
void capture_log_event(struct capture *c, struct capture_event *ev); /* BEGIN, CHANGE, COMMIT, POSITION */

/* May the next of them be given? */
bool capture_log_takes(const struct capture *c);

/* Everything of ours that the log has brought is on record, and nothing else is under way. */
bool capture_log_is_idle(const struct capture *c);

bool capture_log_next(struct capture *c, struct capture_effect *f);

#endif
