/* What the parts of `boxhaul check` share: the lines they write, and what came of them. */
#ifndef BOXHAUL_COMMAND_CHECK_SAY_H
#define BOXHAUL_COMMAND_CHECK_SAY_H

#include <stdbool.h>

#include <jansson.h>

#include "config/config.h"
#include "format/account_info.h"

struct check {
	const struct config *config;
	char target[CONFIG_TARGET_BYTES]; /* what a command's line says to mean it */
	struct account_info account;      /* what JetStream says of ours; all zero: nothing is known */
	json_t *lines;                    /* --json: what was said so far; NULL: it is printed at once */
	int servers;                      /* natsio_session_servers() */
	bool nobody;                      /* answers for JetStream: one line says so, for all streams */
	bool failed, unreachable;
};

/* One line. verdict: "ok", "warn" or "FAIL". */
__attribute__((format(printf, 3, 4))) void check_say(const struct check *c, const char *verdict, const char *format,
						     ...);

#define ok(c, ...) check_say(c, "ok", __VA_ARGS__)
#define warn(c, ...) check_say(c, "warn", __VA_ARGS__)
#define fail(c, ...) (check_say(c, "FAIL", __VA_ARGS__), (c)->failed = true)

#endif
