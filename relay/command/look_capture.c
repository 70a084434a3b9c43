#include "command/look_capture.h"

#include <stdio.h>
#include <string.h>

#include "command/look.h"
#include "core/capture/capture_types.h"

static uint64_t number(const json_t *o, const char *path)
{
	return (uint64_t)json_integer_value(look_at(o, path));
}

/* Returns how many there are. */
static size_t fill_tables(const json_t *tables, struct capture_table_facts *to)
{
	size_t n = 0, i;
	const json_t *t;

	json_array_foreach (tables, i, t)
		if (look_at(t, "reason") != NULL && n < LOOK_AILING_TABLES)
			to[n++] = (struct capture_table_facts){
				.name = look_text(t, "tab"),
				.state = look_text(t, "state"),
				.reason = look_text(t, "reason"),
				.rows = number(t, "rows"),
				.estimate = number(t, "rows_estimate"),
				.whole = strcmp(look_text(t, "snapshot"), "whole") == 0,
				.rate = -1,
			};
	return n;
}

static void fill(const json_t *o, const struct config *config, struct capture_one_facts *c)
{
	const struct config_capture *w = config_capture_of(config, look_text(o, "name"));

	*c = (struct capture_one_facts){
		.name = look_text(o, "name"),
		.stream = look_text(o, "stream"),
		.slot = look_text(o, "slot"),
		.role = "",
		.leads = look_is(o, "led"),
		.nobody_leads = !look_is(o, "led"),
		.trouble = "",
		.state = look_text(o, "state"),
		.reason = look_text(o, "reason"),
		.detail = look_text(o, "detail"),
		.diverged = look_text(o, "diverged"),
		.paused = look_at(o, "paused") != NULL,
		.paused_by = look_text(o, "paused"),
		.waits_for = look_text(o, "waits"),
		.waits_what = strcmp(look_text(o, "state"), "creating") == 0 ? "the replication slot" : "a chunk",
		/* How long it waits nobody knows here: since it is in this state, at most. */
		.waits_us = (int64_t)(look_number(o, "since_seconds") * 1e6),
		.broken = look_text(o, "differs"),
		.failed = "",
		.blocked_why = "",
		.wal_known = look_at(o, "retained_bytes") != NULL,
		.lag_bytes = number(o, "lag_bytes"),
		.retained_bytes = number(o, "retained_bytes"),
		.safe_bytes = number(o, "spare_bytes"),
		.budget_bytes = w != NULL ? w->wal_budget : 0,
		.lets_go = w != NULL && w->on_budget == CONFIG_BUDGET_LET_GO,
		.lag_us = -1,
		.dead_letters = number(o, "letters"),
		.carried = number(o, "carried"),
		.held = number(o, "held"),
		.carried_full = number(o, "carried") >= LIMIT_CAPTURE_CARRIED,
		.unfinished = (size_t)number(o, "unfinished"),
	};
}

static bool is_in(const struct look_capture *l, const char *name)
{
	for (size_t i = 0; i < l->facts.count; i++)
		if (strcmp(l->capture[i].name, name) == 0)
			return true;
	return false;
}

/* The books come with the daemon, or with `capture start`. */
static void add_configured(const struct config *config, struct look_capture *out)
{
	for (size_t i = 0; i < config->capture_count && out->facts.count < LIMIT_CAPTURES; i++) {
		struct capture_one_facts *c = &out->capture[out->facts.count];

		if (is_in(out, config->captures[i].name))
			continue;
		fill(NULL, config, c);
		c->name = config->captures[i].name;
		c->stream = config->captures[i].stream.name;
		c->state = "none";
		out->facts.count++;
	}
}

void look_capture_fill(const json_t *captures, const struct config *config, struct look_capture *out)
{
	const json_t *o;
	size_t i;

	*out = (struct look_capture){ .facts = { .postgres_up = true,
						 .nats_up = true,
						 .postgres_why = "",
						 .nats_why = "",
						 .capture = out->capture } };
	json_array_foreach (captures, i, o) {
		if (i == LIMIT_CAPTURES)
			break;
		fill(o, config, &out->capture[i]);
		out->capture[i].table = out->table[i];
		out->capture[i].table_count = fill_tables(look_at(o, "progress"), out->table[i]);
		out->facts.count = i + 1;
	}
	add_configured(config, out);
}

/* --- what the relay says of them --- */

enum { BEGINS_BYTES = 64 };

/* The first of the relay's problems that begins with "Capture NAME", or NULL. */
static json_t *problem_of(const json_t *relay, const char *name)
{
	const json_t *list = look_at(relay, "problems");
	char begins[BEGINS_BYTES];
	json_t *p;
	size_t i, n;

	snprintf(begins, sizeof begins, "Capture %s", name);
	n = strlen(begins);
	json_array_foreach (list, i, p)
		if (strncmp(look_text(p, "summary"), begins, n) == 0 &&
		    strchr(" :", look_text(p, "summary")[n]) != NULL)
			return p;
	return NULL;
}

void look_capture_add_told(json_t *captures, const json_t *relay)
{
	json_t *o, *told;
	size_t i, k;

	json_array_foreach (captures, i, o)
		json_array_foreach (look_at(relay, "captures"), k, told)
			if (strcmp(look_text(told, "name"), look_text(o, "name")) == 0 && look_is(told, "leader")) {
				json_object_set(told, "problem", problem_of(relay, look_text(o, "name")));
				json_object_set(o, "told", told);
			}
}
