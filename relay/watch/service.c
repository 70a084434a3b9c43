#include "watch/service.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/scrub.h"
#include "base/utf8.h"
#include "edge/notify.h"

enum { LINE_MAX_BYTES = 896, STOP_MARGIN_MS = 5000, SAY_AGAIN_MS = 1000 };

struct service {
	struct notify *notify;
	struct loop_timer *watchdog;
	char state[96]; /* "READY=1" or the like */
	bool said;      /* the supervisor has taken it */
	bool stopping;
	char line[LINE_MAX_BYTES]; /* the last one it has taken */
	int64_t last_ms;           /* of the rate: */
	uint64_t last_acked;
};

/* --- the watchdog --- */

/* A timer of the loop, and nothing else: what stops the loop stops it too. */
static void on_watchdog(void *arg)
{
	struct service *s = arg;
	int64_t pause = notify_watchdog_ms(s->notify) / 2;

	if (!notify_say(s->notify, "WATCHDOG=1") && pause > SAY_AGAIN_MS)
		pause = SAY_AGAIN_MS;
	loop_timer_at(s->watchdog, loop_now_ms() + (pause > 0 ? pause : 1));
}

/* --- states --- */

static void say_state(struct service *s)
{
	s->said = notify_say(s->notify, s->state);
}

void service_ready(struct service *s)
{
	if (s->stopping)
		return;
	snprintf(s->state, sizeof s->state, "READY=1");
	say_state(s);
}

void service_reloading(struct service *s)
{
	if (s->stopping)
		return;
	snprintf(s->state, sizeof s->state, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, notify_clock_usec());
	say_state(s);
}

void service_stopping(struct service *s, int64_t drain_ms)
{
	s->stopping = true;
	/* Whatever the unit allows: a drain that was configured is waited for. */
	snprintf(s->state, sizeof s->state, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%" PRId64,
		 (drain_ms + STOP_MARGIN_MS) * 1000);
	say_state(s);
}

/* --- the line --- */

static uint64_t rate(struct service *s, const struct facts *f)
{
	int64_t ms = f->now_ms - s->last_ms;
	uint64_t acked = f->stats->acked - s->last_acked;

	s->last_ms = f->now_ms;
	s->last_acked = f->stats->acked;
	return ms > 0 ? (acked * 1000 + (uint64_t)ms / 2) / (uint64_t)ms : 0;
}

/* The verdict; of a leader that works, the rate too. */
static void describe(struct service *s, const struct facts *f, const struct verdict *v, char *out, size_t size)
{
	uint64_t per_second = rate(s, f);

	if (f->leads && v->ready)
		snprintf(out, size, "%s; %" PRIu64 " messages/s, %u in memory, %u in flight", v->summary, per_second,
			 f->stats->resident, f->stats->in_flight);
	else
		snprintf(out, size, "%s%s", v->state == VERDICT_STALLED ? "not ready: " : "", v->summary);
}

void service_tick(struct service *s, const struct facts *f, const struct verdict *v)
{
	char text[LINE_MAX_BYTES - 16], clean[LINE_MAX_BYTES - 8], line[LINE_MAX_BYTES];

	if (!notify_wanted(s->notify))
		return;
	if (!s->said && s->state[0] != '\0')
		say_state(s);
	describe(s, f, v, text, sizeof text);
	scrub(text, clean, sizeof clean);
	snprintf(line, sizeof line, "STATUS=%s", utf8_line(clean, text, sizeof text));
	if (strcmp(line, s->line) != 0 && notify_say(s->notify, line))
		memcpy(s->line, line, sizeof line);
}

/* --- from start to end --- */

struct service *service_create(struct loop *l, struct log *log)
{
	struct service *s = calloc(1, sizeof *s);
	char error[256] = "";

	if (s == NULL)
		return NULL;
	s->notify = notify_open(error, sizeof error);
	s->watchdog = loop_timer(l, on_watchdog, s);
	if (s->notify == NULL || s->watchdog == NULL) {
		service_free(s);
		return NULL;
	}
	if (error[0] != '\0')
		log_error(log, "the supervisor cannot be told anything", KS("why", error));
	if (notify_watchdog_ms(s->notify) > 0)
		on_watchdog(s);
	return s;
}

void service_free(struct service *s)
{
	if (s == NULL)
		return;
	notify_close(s->notify);
	free(s);
}
