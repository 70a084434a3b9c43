#include "command/status_all.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/duration.h"
#include "base/utf8.h"
#include "command/instances.h"
#include "command/look.h"
#include "command/look_verdict.h"
#include "command/out.h"
#include "command/session.h"

/* A file that cannot be read is a relay that does not start. */
static json_t *wrong(const char *path)
{
	return json_pack("{s:s, s:s, s:b, s:s}", "instance", path, "state", "stalled", "ready", 0, "summary",
			 "its configuration is wrong");
}

static json_t *look_at_one(const struct call *all, const struct config *config)
{
	struct call call = *all;
	char why[512 + CONFIG_TARGET_BYTES] = "it does not answer";
	struct pg_session *s;
	json_t *look = NULL;

	call.config = config;
	s = session_try(&call, LOGIN_RELAY, why, sizeof why);
	if (s != NULL && (look_begin(s, config) != EXIT_OK || look_take(s, config, &look) != EXIT_OK))
		look = NULL;
	pg_session_close(s);
	if (look == NULL)
		look = look_without_database(config, why);
	if (look != NULL)
		look_verdict_add(look, config);
	return look;
}

/* 0 is the worst. */
static int rank(const json_t *look)
{
	if (!look_is(look, "ready"))
		return 0;
	return look_text(look, "action")[0] != '\0' ? 1 : 2;
}

static int worst_first(const void *a, const void *b)
{
	const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
	double lag_x = look_number(x, "lag_seconds"), lag_y = look_number(y, "lag_seconds");

	if (rank(x) != rank(y))
		return rank(x) - rank(y);
	if (lag_x != lag_y)
		return lag_x > lag_y ? -1 : 1;
	return strcmp(look_text(x, "instance"), look_text(y, "instance"));
}

static void print_row(const struct out *out, const json_t *look)
{
	static const enum ink inks[] = { INK_BAD, INK_WARN, INK_GOOD };
	char name[64], lag[32] = "-", waiting[24] = "-", summary[512];

	if (look_at(look, "lag_seconds") != NULL)
		duration_text(look_number(look, "lag_seconds"), lag, sizeof lag);
	if (look_at(look, "waiting") != NULL)
		snprintf(waiting, sizeof waiting, "%.0f", look_number(look, "waiting"));
	out_print(out, INK_BOLD, "%-24s ", utf8_line(look_text(look, "instance"), name, sizeof name));
	out_print(out, inks[rank(look)], "%-9s ", look_is(look, "ready") ? "ready" : "NOT ready");
	out_print(out, INK_PLAIN, "%10s %8s %6.0f  %s\n", waiting, lag, look_number(look, "dead_letters"),
		  utf8_line(look_text(look, "summary"), summary, sizeof summary));
}

static void print_all(const struct call *call, json_t *const *looks, size_t count)
{
	struct out out = out_open(stdout);
	json_t *list;

	if (!call->given[OPTION_JSON]) {
		out_print(&out, INK_DIM, "%-24s %-9s %10s %8s %6s  %s\n", "RELAY", "READY", "WAITING", "LAG", "DEAD",
			  "STATE");
		for (size_t i = 0; i < count; i++)
			print_row(&out, looks[i]);
		return;
	}
	list = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append(list, looks[i]);
	out_json(&out, list);
	json_decref(list);
}

static enum exit_code look_at_all(const struct call *call, const struct instances *all, json_t **looks)
{
	enum exit_code code = EXIT_OK;
	size_t count = 0;

	for (size_t i = 0; i < all->count; i++) {
		const struct config *config = all->each[i].config;

		looks[count] = config != NULL ? look_at_one(call, config) : wrong(all->each[i].path);
		count += looks[count] != NULL;
	}
	qsort(looks, count, sizeof looks[0], worst_first);
	print_all(call, looks, count);
	for (size_t i = 0; i < count; i++) {
		if (code == EXIT_OK)
			code = look_judge(call, looks[i]);
		json_decref(looks[i]);
	}
	return code == EXIT_OK && fflush(stdout) != 0 ? EXIT_FAILED : code;
}

enum exit_code status_all(const struct call *call)
{
	struct instances all;
	enum exit_code code = instances_read(&all, call->text[OPTION_CONFIG]);
	json_t **looks = calloc(all.count + 1, sizeof(json_t *));

	if (code == EXIT_OK && looks != NULL)
		code = look_at_all(call, &all, looks);
	free(looks);
	instances_free(&all);
	return code;
}
