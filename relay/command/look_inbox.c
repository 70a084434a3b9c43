#include "command/look_inbox.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "books/inbox_ledger.h"
#include "command/look.h"

static uint64_t number(const json_t *o, const char *path)
{
	return (uint64_t)json_integer_value(look_at(o, path));
}

static void fill_stop(const json_t *o, struct inbox_stats *stats)
{
	stats->stop = inbox_ledger_stop_of(look_text(o, "stopped"));
	stats->position = number(o, "position");
	stats->stop_from = stats->position;
	stats->stop_to = number(o, "stop.last_seq");
	if (stats->stop != INBOX_STOP_GAP)
		return;
	stats->stop_from = stats->position + 1;
	stats->stop_to = number(o, "stop.first_seq") - 1;
}

/* The first that is held, else the first that failed or stands: as boxhaul.inbox_figures(). */
static const json_t *worst(const json_t *blocked)
{
	const json_t *found = NULL, *b;
	size_t i;

	json_array_foreach (blocked, i, b) {
		if (strcmp(look_text(b, "state"), "held") == 0)
			return b;
		if (found == NULL)
			found = b;
	}
	return found;
}

static void fill_backlog(const json_t *o, struct inbox_backlog *b)
{
	const json_t *w = worst(look_at(o, "blocked"));

	*b = (struct inbox_backlog){
		.known = true,
		.waiting = number(o, "waiting"),
		.handled = number(o, "handled"),
		.oldest_us = (int64_t)(look_number(o, "oldest_seconds") * 1e6),
		.parked = number(o, "parked"),
		.held = number(o, "held"),
		.dead_letters = number(o, "dead"),
		.standing = number(o, "lanes_standing"),
		.sink = look_at(o, "sink") != NULL,
		.applied = number(o, "sink.applied"),
		.missing = number(o, "sink.missing"),
		.different = number(o, "verify.different"),
		.unproved = number(o, "verify.unproved"),
		.proved_us = look_at(o, "verify.proved_us") != NULL ? (int64_t)look_number(o, "verify.proved_us") : -1,
		.blocked_id = (int64_t)number(w, "id"),
		.blocked_has_key = look_at(w, "key") != NULL,
	};
	utf8_line(look_text(o, "verify.different_tab"), b->different_table, sizeof b->different_table);
	utf8_line(look_text(w, "key"), b->blocked_key, sizeof b->blocked_key);
	snprintf(b->blocked_state, sizeof b->blocked_state, "%s", look_text(w, "state"));
	utf8_line(look_text(w, "error"), b->blocked_error, sizeof b->blocked_error);
}

/* No kinds: only the page and /metrics show them. */
static void fill_sagas(const json_t *o, struct look_inbox *out)
{
	const json_t *w = look_at(o, "worst");
	struct saga_figures *g = &out->sagas;

	*g = (struct saga_figures){
		.known = true,
		.open = number(o, "open"),
		.stuck = number(o, "stuck"),
		.oldest_us = (int64_t)(look_number(o, "oldest_open_seconds") * 1e6),
		.timeouts = number(o, "timeouts"),
		.worst_us = (int64_t)(look_number(w, "seconds") * 1e6),
	};
	utf8_line(look_text(w, "id"), g->worst_id, sizeof g->worst_id);
	utf8_line(look_text(w, "name"), g->worst_name, sizeof g->worst_name);
	utf8_line(look_text(w, "step"), g->worst_step, sizeof g->worst_step);
	utf8_line(look_text(w, "stuck"), g->worst_why, sizeof g->worst_why);
	out->facts.sagas.here = look_is(o, "configured") || g->open > 0 || g->stuck > 0;
}

void look_inbox_fill(const json_t *subscriptions, const json_t *sagas, struct look_inbox *out)
{
	const json_t *o;
	size_t i;

	*out = (struct look_inbox){ .facts = { .postgres_up = true,
					       .nats_up = true,
					       .postgres_why = "",
					       .nats_why = "",
					       .cleaning = "",
					       .sagas = { .trouble = "", .figures = &out->sagas } } };
	fill_sagas(sagas, out);
	json_array_foreach (subscriptions, i, o) {
		if (i == LIMIT_SUBSCRIPTIONS)
			return;
		fill_stop(o, &out->stats[i]);
		fill_backlog(o, &out->backlog[i]);
		out->facts.subscription[i] = (struct inbox_subscription_facts){
			.name = look_text(o, "subscription"),
			.stream = look_text(o, "stream"),
			.role = "",
			.trouble = "",
			.state = "",
			.stats = &out->stats[i],
			.refused = look_text(o, "stop.words"),
			.failed = look_text(o, "sink.error"),
			.witness_ms = INBOX_NEVER,
			.handler = { .trouble = "" },
			.ids = strcmp(look_text(o, "dedupe"), "ids") == 0,
			.paused = look_at(o, "paused") != NULL,
			.backlog = &out->backlog[i],
		};
		out->facts.count = i + 1;
	}
}

void look_inbox_sagas(const json_t *subscriptions, const struct config *config, struct look_inbox *out)
{
	const json_t *o;
	size_t i;

	if (config->sagas.replies != NULL)
		return;
	out->facts.sagas.unclocked = out->sagas.open;
	json_array_foreach (subscriptions, i, o)
		if (strcmp(look_text(o, "subscription"), CONFIG_SAGAS) == 0 && look_is(o, "led"))
			out->facts.sagas.unclocked = 0;
}
