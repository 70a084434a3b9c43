/* When do deadlines count?
 *
 * A deadline that is past says that no answer has come. Nobody can say so who has not read the answers: a daemon that was away for a minute,
 * or had no broker, would find every deadline past and count an attempt of each saga, while their answers stand in the stream. It would
 * be right (what is done is answered again, and undone in order), and still every saga with a single attempt would be undone for
 * a restart. So deadlines count while the answers are read, once those that stood there have been handled; without a broker neither
 * a command would leave nor an answer come. However much there is to read, they count after a while: to wait for ever for a quiet moment
 * would be to have no deadlines. */
#include "run/inbox_sagas.h"

#include <stdlib.h>

#include "config/servers.h"
#include "flow/saga_clock.h"

enum {
	ARRIVE_MS = 1000,    /* a consumer that has brought nothing for so long has nothing to bring */
	CATCH_UP_MS = 30000, /* deadlines count then, whatever is still to be read */
	BREAK_MS = 15000,    /* a consumer is made anew now and then, and that is no absence */
};

struct inbox_sagas {
	const struct config *config;
	struct saga_clock *clock;
	bool leads, runs;
	int64_t pulled_ms; /* it did when we looked last */
};

/* The name is seen in pg_stat_activity. */
static struct pg_options login(const struct config *config)
{
	return servers_postgres(config, "boxhaul sagas");
}

struct inbox_sagas *inbox_sagas_open(struct loop *l, const struct config *config, struct log *log,
				     struct served *served)
{
	struct inbox_sagas *s = calloc(1, sizeof *s);
	struct pg_options o = login(config);

	if (s == NULL)
		return NULL;
	s->config = config;
	s->clock = saga_clock_create(l, &o, served, config, log);
	if (s->clock != NULL)
		return s;
	free(s);
	return NULL;
}

void inbox_sagas_close(struct inbox_sagas *s)
{
	if (s == NULL)
		return;
	saga_clock_free(s->clock);
	s->clock = NULL;
}

void inbox_sagas_free(struct inbox_sagas *s)
{
	free(s);
}

static bool has_caught_up(const struct inbox_sagas_look *k, int64_t now)
{
	bool arrived = k->untaken == 0 && now - k->pulling_ms >= ARRIVE_MS;
	bool handled = k->counted_ms >= k->pulling_ms + ARRIVE_MS && k->unhandled == 0;

	return (arrived && handled) || now - k->pulling_ms >= CATCH_UP_MS;
}

void inbox_sagas_tick(struct inbox_sagas *s, const struct inbox_sagas_look *k)
{
	int64_t now = loop_now_ms();

	s->leads = k->leads;
	if (!k->leads) {
		s->runs = false;
		saga_clock_end(s->clock);
		return;
	}
	if (k->pulls)
		s->pulled_ms = now;
	if (s->runs)
		s->runs = now - s->pulled_ms < BREAK_MS;
	else
		s->runs = k->pulls && has_caught_up(k, now);
	/* Not before the position stands behind what was in the stream: an answer to the first saga would not be taken. */
	if (k->pulls)
		saga_clock_begin(s->clock);
	saga_clock_run(s->clock, s->runs);
}

bool inbox_sagas_wants_count(const struct inbox_sagas *s)
{
	return s->leads && !s->runs;
}

void inbox_sagas_wake(struct inbox_sagas *s)
{
	saga_clock_wake(s->clock);
}

void inbox_sagas_reloaded(struct inbox_sagas *s, const char *why)
{
	struct pg_options o = login(s->config);

	saga_clock_use(s->clock, &o, why);
}

void inbox_sagas_facts(const struct inbox_sagas *s, struct saga_facts *f)
{
	static const struct saga_figures none;

	*f = (struct saga_facts){ .trouble = "", .figures = &none };
	if (s == NULL || s->clock == NULL)
		return;
	f->here = true;
	f->leads = s->leads;
	f->runs = saga_clock_runs(s->clock);
	f->trouble = saga_clock_trouble(s->clock);
	f->figures = saga_clock_figures(s->clock);
}
