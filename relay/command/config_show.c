/* `boxhaul config show`: what holds, and where it comes from. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command/commands.h"
#include "command/out.h"
#include "config/settings.h"

struct printer {
	const struct config *config;
	struct out out;
	json_t *list; /* NULL: it is printed at once */
};

/* What the configuration derives where the file says nothing. */
static const char *origin_of_default(const struct config *c, const struct setting *s)
{
	if (strcmp(s->path, "nats.jetstream_prefix") == 0 && c->nats.jetstream_domain != NULL)
		return "default: that of nats.jetstream_domain";
	if (strcmp(s->path, "name") == 0)
		return "default: the file's name";
	if (strcmp(s->path, "postgres.migrate_conninfo") == 0 || strcmp(s->path, "postgres.capture_conninfo") == 0)
		return "default: postgres.conninfo";
	return "default";
}

static void add_one(const struct printer *p, const char *path, const struct setting *s, const void *base,
		    const char *source)
{
	char *text = NULL;
	size_t bytes = 0;
	FILE *out = open_memstream(&text, &bytes);

	if (out == NULL)
		return;
	setting_write(s, base, out);
	fclose(out);
	json_array_append_new(p->list, json_pack("{s:s, s:s, s:s}", "setting", path, "value", text, "source", source));
	free(text);
}

static void print_one(const struct printer *p, const char *path, const struct setting *s, const void *base)
{
	const char *source = config_source(p->config, s, base);

	if (source == NULL)
		source = origin_of_default(p->config, s);
	if (p->list != NULL) {
		add_one(p, path, s, base, source);
		return;
	}
	fprintf(p->out.file, "%s = ", path);
	setting_write(s, base, p->out.file);
	out_print(&p->out, INK_DIM, ";  # %s\n", source);
}

static void print_list(const struct printer *p, const struct setting *list)
{
	for (size_t i = 0; i < setting_count(list, p->config); i++)
		for (const struct setting *s = settings; s < settings + settings_count; s++) {
			char path[96];

			if (setting_list_of(s) != list)
				continue;
			snprintf(path, sizeof path, "%s[%zu].%s", list->path, i, setting_leaf(s->path));
			print_one(p, path, s, setting_element(list, p->config, i));
		}
}

enum exit_code command_config_show(const struct call *call)
{
	struct printer p = { .config = call->config,
			     .out = out_open(stdout),
			     .list = call->given[OPTION_JSON] ? json_array() : NULL };

	for (const struct setting *s = settings; s < settings + settings_count; s++)
		if (s->type == SETTING_GROUPS)
			print_list(&p, s);
		else if (setting_is_top(s))
			print_one(&p, s->path, s, p.config);
	if (p.list != NULL)
		out_json(&p.out, p.list);
	json_decref(p.list);
	return !out_flush(&p.out) ? EXIT_FAILED : EXIT_OK;
}
