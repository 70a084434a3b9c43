/* The configuration that counts, and its reloading.
 *
 * Whoever needs a setting holds a `const struct config *` and reads the field when it decides something: one thread
 * decides, so a reload only has to put other values into the one object they all look at. Settings that somebody has
 * taken a copy of, or laid memory out by, are marked in the table (APPLY_RESTART) and keep their first value; but for those of a capture that ends
 * and begins anew for them (APPLY_CAPTURE). */
#ifndef BOXHAUL_CONFIG_RELOAD_H
#define BOXHAUL_CONFIG_RELOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "config/config.h"
#include "edge/loop.h"

struct reload;

struct reload_changes {
	bool ok;       /* else the old configuration stays, whole */
	bool postgres; /* the session's settings, or a file they name, are others */
	bool nats;     /* the connection's */
	bool captures
		[LIMIT_CAPTURES]; /* by index: the tables of this one are others, and all that counts them is void */
};

struct reload_handlers {
	/* It is over, and told to the log. If it went well the configuration has its new values, and no pointer into the old ones may
	 * be kept, but by work that was offloaded before. */
	void (*reloaded)(void *arg, const struct reload_changes *changes);
	void *arg;
};

/* `config` outlives it. NULL when out of memory. */
struct reload *reload_create(struct loop *l, const struct config *config, struct log *log,
			     const struct reload_handlers *handlers);

/* From here on reloaded() is not called. The object itself goes after the loop. */
void reload_close(struct reload *r);
void reload_free(struct reload *r);

/* Always the same object, with the values that count now. */
const struct config *reload_config(const struct reload *r);

/* Reads the file again, on a thread of its own. */
void reload_begin(struct reload *r);

/* Once a second: tidies up. */
void reload_tick(struct reload *r);

uint64_t reload_count(const struct reload *r); /* that are over, well or not */
bool reload_failed(const struct reload *r);    /* the last one */
int64_t reload_at_ms(const struct reload *r);  /* the last one's time; 0 = none yet */

#endif
