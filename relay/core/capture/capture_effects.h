/* What the capture wants, one thing after the other. */
#ifndef BOXHAUL_CORE_CAPTURE_CAPTURE_EFFECTS_H
#define BOXHAUL_CORE_CAPTURE_CAPTURE_EFFECTS_H

#include "core/capture/capture_state.h"

/* As capture_next(), which is this. */
bool capture_effects_next(struct capture *c, struct capture_effect *f);

/* When the lease is to be renewed; INT64_MAX: it need not be. */
int64_t capture_effects_renew_at(const struct capture *c);

#endif
