/* `boxhaul config show`: what holds, and where it comes from. */
#include <stdio.h>
#include <string.h>

#include "command/commands.h"
#include "command/out.h"
#include "settings.h"

struct printer {
	const struct config *config;
	struct out out;
};

/* What the configuration derives where the file says nothing. */
static const char *origin_of_default(const struct setting *s)
{
	if (strcmp(s->path, "name") == 0)
		return "default: the file's name";
	if (strcmp(s->path, "postgres.migrate_conninfo") == 0)
		return "default: postgres.conninfo";
	return "default";
}

static void print_one(const struct printer *p, const char *path, const struct setting *s, const void *base)
{
	unsigned line = config_line(p->config, s, base);

	fprintf(p->out.file, "%s = ", path);
	setting_write(s, base, p->out.file);
	if (line > 0)
		out_print(&p->out, INK_DIM, ";  # %s:%u\n", p->config->path, line);
	else
		out_print(&p->out, INK_DIM, ";  # %s\n", origin_of_default(s));
}

static void print_streams(const struct printer *p)
{
	for (size_t i = 0; i < p->config->stream_count; i++)
		for (const struct setting *s = settings; s < settings + settings_count; s++) {
			char path[96];

			if (strncmp(s->path, "streams.", 8) != 0)
				continue;
			snprintf(path, sizeof path, "streams[%zu].%s", i, s->path + 8);
			print_one(p, path, s, &p->config->streams[i]);
		}
}

enum exit_code command_config_show(const struct call *call)
{
	struct printer p = { .config = call->config, .out = out_open(stdout) };

	for (const struct setting *s = settings; s < settings + settings_count; s++)
		if (s->type == SETTING_STREAMS)
			print_streams(&p);
		else if (strncmp(s->path, "streams.", 8) != 0)
			print_one(&p, s->path, s, p.config);
	return !out_flush(&p.out) ? EXIT_FAILED : EXIT_OK;
}
