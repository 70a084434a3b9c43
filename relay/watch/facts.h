/* What is known of a relay at one moment: collected by run/collect.c, read by everything that tells of it. */
#ifndef BOXHAUL_WATCH_FACTS_H
#define BOXHAUL_WATCH_FACTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "books/reasons.h"
#include "core/delivery.h"
#include "watch/capture_facts.h"
#include "watch/inbox_facts.h"

struct publisher_figures; /* flow/publisher.h */

/* What waits. Only a leader that has asked the database knows it. */
struct backlog_figures {
	bool known; /* else the rest is 0 */
	/* Not sent yet: in memory, ids above the highest read, and about so many rows as have come into view among the missing ids. Not
	 * those held back. */
	uint64_t messages;
	int64_t oldest_us;     /* age of the oldest of these; 0 = nothing waits */
	int64_t oldest_any_us; /* the same, those held back included */
	int64_t dead_letters, held_letters;
	uint64_t unclocked; /* sagas that are open while no daemon is their clock; 0 where our configuration has them */
	const char *hot;    /* the key of most that wait: they go one after the other; "" = none */
	struct {
		uint32_t messages; /* in memory */
		int64_t since_ms;  /* of loop_now_ms(): the oldest of them is in memory since */
	} stream[LIMIT_STREAMS];
};

/* Everything is borrowed, until the loop's next callback. No text is NULL. */
struct facts {
	const char *instance;
	const char *target;   /* what a command's line says to mean this instance: NAME, or -c FILE */
	const char *database; /* its name, as the connection string has it */
	uint64_t server;      /* leader_server(); 0 = not known, or there is no outbox */
	int64_t schema_behind; /* so many versions behind this program is the schema; less than 0: before it; 0, too, if it is not known */
	int64_t now_ms, started_ms;
	const struct delivery_stats *stats;
	const struct backlog_figures *backlog;
	const struct publisher_figures *publisher;
	const uint64_t *statements; /* sent to PostgreSQL, by number: STATEMENTS of them; NULL: there is no outbox */
	const char *role;           /* disconnected, starting, standby, leader */
	bool leads, stands_by;
	const char *led_by; /* on a standby: name, host and process of the leader; "" = not known */
	int64_t epoch;
	const char *trouble; /* why it neither leads nor stands by; "" */
	bool postgres_up, nats_up;
	const char *postgres_why, *nats_why; /* why not; "" = nothing has failed yet */
	const char *nats_url;
	bool paused;
	const char *paused_by; /* by whom, since when and why */
	char stall[512];       /* why there is no progress; "" = there is */
	size_t stream_count;
	struct {
		const char *name;
		char reason[REASONS_TEXT_BYTES]; /* why it takes nothing, if it is blocked */
		const char *detail;              /* and what is wrong with it; "" */
		int64_t lost_ms; /* what it held is gone, and may be sent again: since then, of now_ms; 0 = no */
	} stream[LIMIT_STREAMS];
	char refused[REASONS_TEXT_BYTES + 64]; /* the last message that was, and why; "" = none yet */
	uint64_t found;                        /* messages found in the streams by a look-back and remembered */
	const char *cleaning;                  /* what of the clean-up fails again and again, and why; "" = nothing */
	uint64_t keyless;                      /* messages that went without their Boxhaul-Key, for want of room */
	uint64_t truncations, connects_postgres, connects_nats;
	const struct inbox_facts *inbox;
	const struct capture_facts *capture; /* NULL: there are none */
	uint64_t reloads;                    /* of the configuration that were asked for and are over */
	bool reload_ok;    /* the last one, or there was none; else the configuration before it counts */
	int64_t reload_ms; /* when that was; 0 = never */

	/* Of a relay that is looked at from outside, through its database: */
	bool nobody_leads;
	int64_t unmarked_ms;    /* something waits, and the leader has marked nothing for so long; 0 = it marks */
	bool unmarked_too_long; /* for longer than health.stall_after */
};

#endif
