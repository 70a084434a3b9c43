/* `boxhaul verify`: is what a sink has made of captured tables what the source has? The comparing is done in the stream's order, where the rows are applied
 * (sql/012_verify.sql). Here passes are asked for in the source's database, waited for, and told of from the target's; and what differs is read once more,
 * set right, and proved. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/plural.h"
#include "command/commands.h"
#include "command/line.h"
#include "command/verify_pass.h"
#include "config/config_load.h"

enum { SHOWN = 20 /* keys that are printed of one table; all of them stand in boxhaul.verify_difference */ };

/* --- what is told --- */

static const char *words_of(const struct verify_table *t)
{
	if (t->why[0] != '\0')
		return "unproved";
	return t->found == 0 ? "equal" : t->left == 0 ? "repaired" : "different";
}

static void print_keys(struct verify *v, const struct verify_table *t)
{
	const struct pg_result *r = verify_keys(v, t, SHOWN);

	for (int i = 0; pg_error(r) == NULL && i < pg_rows(r); i++)
		printf("%s: table=%s key=%s%s%s\n", pg_text(r, i, 0), t->tab, pg_text(r, i, 1),
		       pg_text(r, i, 2)[0] != '\0' ? " repaired " : "", pg_text(r, i, 2));
	if (pg_error(r) == NULL && t->found > SHOWN)
		printf("... and %" PRId64 " more of %s: they stand in boxhaul.verify_difference of the target\n",
		       t->found - SHOWN, t->tab);
}

static void print_table(struct verify *v, const struct verify_table *t)
{
	print_keys(v, t);
	printf("table %s: %" PRId64 " row%s, %" PRId64 " range%s, %" PRId64 " different, %" PRId64 " left, ", t->tab,
	       t->rows, plural(t->rows), t->ranges, plural(t->ranges), t->found, t->left);
	if (t->why[0] != '\0')
		printf("not proved: %s\n", t->why);
	else
		printf("proved between %s and %s\n", t->from, t->to);
	if (t->kept[0] != '\0')
		printf("table %s: not set right: %s\n", t->tab, t->kept);
}

static json_t *json_of(struct verify *v, const struct verify_table *t)
{
	const struct pg_result *r = verify_keys(v, t, INT32_MAX);
	json_t *keys = json_array();

	for (int i = 0; pg_error(r) == NULL && i < pg_rows(r); i++)
		json_array_append_new(keys, json_pack("{s:s, s:o, s:b}", "kind", pg_text(r, i, 0), "key",
						      json_loads(pg_text(r, i, 1), JSON_DECODE_ANY, NULL), "repaired",
						      (int)(pg_text(r, i, 2)[0] != '\0')));
	return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:s, s:s, s:s, s:s, s:o}", "table", t->tab,
			 "subscription", t->subscription, "capture", t->capture, "verdict", words_of(t), "rows",
			 (json_int_t)t->rows, "ranges", (json_int_t)t->ranges, "different", (json_int_t)t->found,
			 "left", (json_int_t)t->left, "from", t->from, "to", t->to, "why", t->why, "kept", t->kept,
			 "keys", keys);
}

static void tell_json(struct verify *v)
{
	struct out out = out_open(stdout);
	json_t *list = json_array(), *o;

	for (size_t i = 0; i < v->count; i++)
		json_array_append_new(list, json_of(v, &v->table[i]));
	o = json_pack("{s:s, s:o}", "instance", v->call->config->name, "tables", list);
	out_json(&out, o);
	json_decref(o);
}

static void tell_lines(struct verify *v)
{
	int64_t rows = 0, ranges = 0, found = 0, left = 0, unproved = 0;

	for (size_t i = 0; i < v->count; i++) {
		const struct verify_table *t = &v->table[i];

		print_table(v, t);
		rows += t->rows;
		ranges += t->ranges;
		found += t->found;
		left += t->left;
		unproved += t->why[0] != '\0';
	}
	printf("tables=%zu rows=%" PRId64 " ranges=%" PRId64 " different=%" PRId64 " left=%" PRId64 " unproved=%" PRId64
	       "\n",
	       v->count, rows, ranges, found, left, unproved);
	fflush(stdout);
	if (left > 0 && !v->call->given[OPTION_REPAIR])
		fprintf(stderr,
			"boxhaul: somebody has written into the copy, or a mapping or a function loses something: find out who; then the same "
			"with --repair sets it right\n");
}

/* --- the command --- */

static enum exit_code verdict(const struct verify *v)
{
	for (size_t i = 0; i < v->count; i++)
		if (v->table[i].left > 0 || v->table[i].why[0] != '\0')
			return EXIT_FAILED;
	return EXIT_OK;
}

static enum exit_code verify(struct verify *v)
{
	enum exit_code code = verify_find(v);

	if (code == EXIT_OK)
		code = verify_all(v);
	if (code == EXIT_OK && v->call->given[OPTION_REPAIR])
		code = verify_repair(v);
	if (code == EXIT_OK)
		code = verify_settle(v);
	if (code != EXIT_OK)
		return code;
	if (v->call->given[OPTION_JSON])
		tell_json(v);
	else
		tell_lines(v);
	return fflush(stdout) != 0 ? EXIT_FAILED : verdict(v);
}

static enum exit_code with_target(struct verify *v, const struct call *target)
{
	enum exit_code code;

	v->source = session_open(v->call, LOGIN_RELAY);
	v->target = v->source != NULL ? session_open(target, LOGIN_RELAY) : NULL;
	if (v->target == NULL)
		code = EXIT_UNREACHABLE;
	else
		code = session_schema(v->source, v->call->config);
	if (code == EXIT_OK)
		code = session_schema(v->target, target->config);
	if (code == EXIT_OK)
		code = verify(v);
	pg_session_close(v->source);
	pg_session_close(v->target);
	return code;
}

enum exit_code command_verify(const struct call *call)
{
	struct verify v = { .call = call, .to = *call, .out = out_open(stderr) };
	struct config *config;
	char *path;
	enum exit_code code;

	if (!call->given[OPTION_TO])
		return line_wrong("--to FILE: name the configuration of the service that the tables move to");
	path = config_path(call->text[OPTION_TO]);
	config = path != NULL ? config_load(path, stderr) : NULL;
	free(path);
	if (config == NULL)
		return EXIT_CONFIG;
	v.to.config = config;
	code = with_target(&v, &v.to);
	verify_free(&v);
	config_free(config);
	return code;
}
