#include "run/inbox_handlers.h"

#include <stdlib.h>

#include "config/servers.h"

/* The name is seen in pg_stat_activity; the sessions that lead have another. */
static const char client[] = "boxhaul handler";

struct inbox_handlers {
	const struct config *config;
	char target[CONFIG_TARGET_BYTES];
	size_t count;
	struct inbox_workers *of[]; /* by subscription; NULL: the service's own workers handle it */
};

struct inbox_handlers *inbox_handlers_open(struct loop *l, const struct config *config, struct log *log,
					   struct served *served)
{
	struct pg_options login = servers_postgres(config, client);
	struct inbox_handlers *r = calloc(1, sizeof *r + config->subscription_count * sizeof r->of[0]);

	if (r == NULL)
		return NULL;
	r->config = config;
	r->count = config->subscription_count;
	config_target(config, r->target);
	for (size_t i = 0; i < r->count; i++) {
		if (config->subscriptions[i].handler[0] == '\0')
			continue;
		r->of[i] = inbox_workers_create(l, &login, served, &config->subscriptions[i], r->target, log);
		if (r->of[i] == NULL) {
			inbox_handlers_close(r);
			inbox_handlers_free(r);
			return NULL;
		}
	}
	return r;
}

void inbox_handlers_close(struct inbox_handlers *r)
{
	for (size_t i = 0; r != NULL && i < r->count; i++) {
		inbox_workers_free(r->of[i]);
		r->of[i] = NULL;
	}
}

void inbox_handlers_free(struct inbox_handlers *r)
{
	free(r);
}

void inbox_handlers_lead(struct inbox_handlers *r, size_t subscription, bool leads)
{
	struct inbox_workers *g = r->of[subscription];

	if (g == NULL)
		return;
	if (leads)
		inbox_workers_begin(g);
	else
		inbox_workers_end(g);
}

void inbox_handlers_wake(struct inbox_handlers *r, size_t subscription)
{
	if (r->of[subscription] != NULL)
		inbox_workers_wake(r->of[subscription]);
}

void inbox_handlers_reloaded(struct inbox_handlers *r, const char *why)
{
	struct pg_options login = servers_postgres(r->config, client);

	for (size_t i = 0; i < r->count; i++)
		if (r->of[i] != NULL)
			inbox_workers_use(r->of[i], &login, why);
}

bool inbox_handlers_look(const struct inbox_handlers *r, size_t subscription, struct inbox_workers_figures *figures)
{
	if (r->of[subscription] == NULL)
		return false;
	*figures = inbox_workers_look(r->of[subscription]);
	return true;
}
