/* Reading and checking a configuration.
 *
 *     boxhaul.conf --> text --> libconfig's tree --.
 *     NAME.conf -----> text --> libconfig's tree ---+--> struct config --> checks between settings
 *     environment ------------> libconfig's tree --'            |                  |
 *                        `--------- complaints -----------------+------------------'
 *
 * Of a setting that several layers name, the last one's value is taken, and the others are not even looked at.
 *
 * Nothing stops at the first mistake (but for a syntax error, which leaves no tree to look at): complaints are
 * collected and printed in the order of their lines.
 */
#include "config/config_load.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "config/complaint.h"
#include "config/config_captures.h"
#include "config/config_check.h"
#include "config/config_sagas.h"
#include "config/config_tables.h"
#include "config/environment.h"
#include "config/settings.h"

enum { FILE_MAX_BYTES = 1 << 20, PATH_MAX_BYTES = 160, TEXT_MAX_BYTES = 512 };

/* From the tree to struct config. */

static void walk(struct loader *l, config_setting_t *group, const char *prefix, void *base);

static const char *type_name(int type)
{
	switch (type) {
	case CONFIG_TYPE_GROUP: return "a group { }";
	case CONFIG_TYPE_INT:
	case CONFIG_TYPE_INT64: return "a number";
	case CONFIG_TYPE_FLOAT: return "a fraction";
	case CONFIG_TYPE_STRING: return "a text";
	case CONFIG_TYPE_BOOL: return "true or false";
	case CONFIG_TYPE_ARRAY:
	case CONFIG_TYPE_LIST: return "a list";
	}
	return "nothing";
}

static void complain_type(struct loader *l, config_setting_t *node, const struct setting *s)
{
	if (s->type == SETTING_DURATION && config_setting_is_number(node))
		complaint_at(l, node, "%s has no unit: write %s", s->path, setting_wants(s));
	else
		complaint_at(l, node, "%s is %s: write %s", s->path, type_name(config_setting_type(node)),
			     setting_wants(s));
}

static void set_text(struct loader *l, config_setting_t *node, const struct setting *s, void *base)
{
	const char *text = config_setting_get_string(node);
	char why[TEXT_MAX_BYTES];
	enum setting_result result;

	/* "" takes back a text that has no default. */
	if (text[0] == '\0' && s->standard == NULL && !s->required)
		return;
	result = setting_set_text(s, base, text, why, sizeof why);
	if (result == SETTING_WRONG)
		complaint_at(l, node, "%s = %s", s->path, why);
	else if (result == SETTING_NO_MEMORY)
		l->no_memory = true;
}

static void set_number(struct loader *l, config_setting_t *node, const struct setting *s, void *base)
{
	long long value = config_setting_get_int64(node);
	char why[TEXT_MAX_BYTES];

	if (value > INT_MAX) /* told already, from the text: older libraries have wrapped it here */
		return;
	if (value < 0)
		complaint_at(l, node, "%s = %lld is negative: write %s", s->path, value, setting_wants(s));
	else if (setting_set_number(s, base, (uint64_t)value, why, sizeof why) != SETTING_OK)
		complaint_at(l, node, "%s = %s", s->path, why);
}

/* A bare number is the text that it would be. */
static void set_choice_number(struct loader *l, config_setting_t *node, const struct setting *s, void *base)
{
	char text[32], why[TEXT_MAX_BYTES];

	if (config_setting_get_int64(node) > INT_MAX) /* told already, see set_number() */
		return;
	snprintf(text, sizeof text, "%lld", (long long)config_setting_get_int64(node));
	if (setting_set_text(s, base, text, why, sizeof why) != SETTING_OK)
		complaint_at(l, node, "%s = %s", s->path, why);
}

/* Elements that are no texts stay NULL: indexes keep in step with the tree. */
static void set_list(struct loader *l, config_setting_t *node, const struct setting *s, void *base)
{
	size_t n = (size_t)config_setting_length(node);
	char **texts = calloc(n + 1, sizeof *texts), **old;
	size_t *old_n = (size_t *)(void *)((char *)base + s->second);

	if (texts == NULL) {
		l->no_memory = true;
		return;
	}
	for (size_t i = 0; i < n; i++) {
		config_setting_t *element = config_setting_get_elem(node, (unsigned)i);

		if (config_setting_type(element) != CONFIG_TYPE_STRING)
			complain_type(l, element, s);
		else if ((texts[i] = strdup(config_setting_get_string(element))) == NULL)
			l->no_memory = true;
	}
	if (n == 0)
		complaint_at(l, node, "%s is empty: write %s", s->path, setting_wants(s));
	memcpy(&old, (char *)base + s->offset, sizeof old);
	config_free_texts(old, *old_n);
	memcpy((char *)base + s->offset, &texts, sizeof texts);
	*old_n = n;
}

static void set_group(struct loader *l, config_setting_t *node, const struct setting *list, void *element)
{
	if (setting_set_defaults(list, element) != SETTING_OK)
		l->no_memory = true;
	if (!config_setting_is_group(node)) {
		complaint_at(l, node, "%s holds %s: write %s", list->path, type_name(config_setting_type(node)),
			     list->example);
		return;
	}
	walk(l, node, list->path, element);
	for (const struct setting *s = settings; s < settings + settings_count; s++) {
		const char *leaf = setting_leaf(s->path);

		if (s->required && setting_list_of(s) == list && config_setting_get_member(node, leaf) == NULL)
			complaint_at(l, node, "this group of %s has no %s: add %s = %s", list->path, leaf, leaf,
				     s->type == SETTING_STRINGS ? "[ \"...\" ];" : "\"...\";");
	}
}

static void set_groups(struct loader *l, config_setting_t *node, const struct setting *list)
{
	size_t n = (size_t)config_setting_length(node);
	void *array = calloc(n + 1, list->element); /* one more: see config_sagas_derive() */

	if (n == 0)
		complaint_at(l, node, "%s is empty: add %s, or leave it out", list->path, list->example);
	if (n > list->max)
		complaint_at(l, node, "%s holds %zu groups, and one relay serves %llu at most: leave some out",
			     list->path, n, (unsigned long long)list->max);
	if (array == NULL) {
		l->no_memory = true;
		return;
	}
	memcpy((char *)l->c + list->offset, &array, sizeof array);
	memcpy((char *)l->c + list->second, &n, sizeof n);
	for (size_t i = 0; i < n; i++)
		set_group(l, config_setting_get_elem(node, (unsigned)i), list, setting_element(list, l->c, i));
}

static void set_tables(struct loader *l, config_setting_t *node, const struct setting *s, void *base)
{
	char *text = config_tables_read(l, s->path, node);

	memcpy((char *)base + s->offset, &text, sizeof text);
}

static void set(struct loader *l, config_setting_t *node, const struct setting *s, void *base)
{
	int type = config_setting_type(node);
	bool number = type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64;
	bool list = type == CONFIG_TYPE_ARRAY || type == CONFIG_TYPE_LIST;

	if (s->type == SETTING_STRINGS && list)
		set_list(l, node, s, base);
	else if (s->type == SETTING_TABLES && list)
		set_tables(l, node, s, base);
	else if (s->type == SETTING_GROUPS && list)
		set_groups(l, node, s);
	else if (s->type == SETTING_BOOL && type == CONFIG_TYPE_BOOL)
		*(bool *)((char *)base + s->offset) = config_setting_get_bool(node);
	else if ((s->type == SETTING_INTEGER || s->type == SETTING_SIZE) && number)
		set_number(l, node, s, base);
	else if (s->type == SETTING_CHOICE && number)
		set_choice_number(l, node, s, base);
	else if (s->type != SETTING_STRINGS && s->type != SETTING_TABLES && s->type != SETTING_GROUPS &&
		 s->type != SETTING_BOOL && s->type != SETTING_INTEGER && type == CONFIG_TYPE_STRING)
		set_text(l, node, s, base);
	else
		complain_type(l, node, s);
}

static void remember(struct loader *l, config_setting_t *node, const struct setting *s, const void *base)
{
	struct config *c = l->c;
	struct config_origin *more = realloc(c->origins, (c->origin_count + 1) * sizeof *more);
	char label[LAYERS_LABEL_BYTES];

	if (more == NULL) {
		l->no_memory = true;
		return;
	}
	c->origins = more;
	more += c->origin_count;
	*more = (struct config_origin){ .setting = s,
					.base = base,
					.source = strdup(layers_label(&l->layers, node, label)) };
	l->no_memory |= more->source == NULL;
	c->origin_count++;
}

static void walk_one(struct loader *l, config_setting_t *node, const char *path, void *base)
{
	const struct setting *s = setting_find(path);
	char near[PATH_MAX_BYTES];

	if (s != NULL && setting_is_top(s) && layers_is_replaced(&l->layers, layers_of(&l->layers, node), path))
		return;
	if (s != NULL) {
		set(l, node, s, base);
		remember(l, node, s, base);
	} else if (setting_is_group(path) && config_setting_is_group(node))
		walk(l, node, path, base);
	else if (setting_is_group(path))
		complaint_at(l, node, "%s is %s: write a group, %s = { ... };", path,
			     type_name(config_setting_type(node)), path);
	else if (setting_nearest(path, near, sizeof near))
		complaint_at(l, node, "unknown key %s: did you mean %s?", path, near);
	else
		complaint_at(l, node, "unknown key %s: `boxhaul config-sample` lists them all", path);
}

static void walk(struct loader *l, config_setting_t *group, const char *prefix, void *base)
{
	char path[PATH_MAX_BYTES];

	for (int i = 0; i < config_setting_length(group); i++) {
		config_setting_t *node = config_setting_get_elem(group, (unsigned)i);

		snprintf(path, sizeof path, "%s%s%s", prefix, prefix[0] != '\0' ? "." : "", config_setting_name(node));
		walk_one(l, node, path, base);
	}
}

/* The files. */

static void parse(struct loader *l, const char *text)
{
	config_t *tree = &l->layers.each[l->current].tree;
	const char *what;

	if (!config_check_text(l, text) || config_read_string(tree, text) == CONFIG_TRUE)
		return;
	what = config_error_text(tree);
	if (what != NULL && strncmp(what, "duplicate", 9) == 0)
		complaint_on_line(l, (unsigned)config_error_line(tree),
				  "%s: it stands further above, too: leave one out", what);
	else
		complaint_on_line(l, (unsigned)config_error_line(tree),
				  "%s: look for a missing quote, bracket or ';' here or on "
				  "the line before",
				  what != NULL ? what : "syntax error");
}

/* The whole file, terminated; NULL after a complaint. */
static char *read_text(struct loader *l, FILE *file)
{
	char *text = malloc(FILE_MAX_BYTES + 1);
	size_t n;

	if (text == NULL) {
		l->no_memory = true;
		return NULL;
	}
	errno = 0;
	n = fread(text, 1, FILE_MAX_BYTES + 1, file);
	text[n <= FILE_MAX_BYTES ? n : FILE_MAX_BYTES] = '\0';
	if (ferror(file))
		complaint_on_line(l, 1, "cannot be read: %s", strerror(errno));
	else if (n > FILE_MAX_BYTES)
		complaint_on_line(l, 1, "is larger than 1 MiB: this is no configuration file");
	else if (strlen(text) != n)
		complaint_on_line(l, 1, "holds a NUL byte: this is no text file");
	else
		return text;
	free(text);
	return NULL;
}

static FILE *open_file(struct loader *l, const char *path)
{
	FILE *file = strcmp(path, CONFIG_STDIN) == 0 ? stdin : fopen(path, "re");

	if (file == NULL && (errno != ENOENT || l->current == LAYER_OWN))
		complaint_on_line(l, 1,
				  errno == ENOENT   ? "does not exist (%s): `boxhaul config-sample` prints one"
				  : errno == EACCES ? "may not be read by this user (%s): mend its owner or mode"
						    : "cannot be opened: %s",
				  strerror(errno));
	return file;
}

static void read_file(struct loader *l, size_t layer, const char *path)
{
	FILE *file;
	struct stat st;
	char *text;

	l->current = layer;
	l->layers.each[layer].path = strcmp(path, CONFIG_STDIN) == 0 ? "stdin" : path;
	file = open_file(l, path);
	if (file == NULL)
		return;
	text = read_text(l, file);
	if (text != NULL)
		parse(l, text);
	l->layers.each[layer].open = file != stdin && fstat(fileno(file), &st) == 0 && (st.st_mode & S_IROTH) != 0;
	free(text);
	if (file != stdin)
		fclose(file);
}

/* A tree that could not be parsed says nothing about the others: they are read, and not checked against each other. */
static void read_layers(struct loader *l, const char *shared)
{
	if (shared != NULL)
		read_file(l, LAYER_SHARED, shared);
	read_file(l, LAYER_OWN, l->path);
	if (l->failed || l->no_memory)
		return;
	environment_read(l);
	for (size_t i = 0; i < LAYERS; i++)
		walk(l, config_root_setting(&l->layers.each[i].tree), "", l->c);
	config_tables_derive(l->c);
	config_check(l);
	config_check_secrets(l);
}

/* "/etc/boxhaul/shop.conf" --> "shop" */
static char *instance_name(const char *path)
{
	const char *slash = strrchr(path, '/'), *base = slash != NULL ? slash + 1 : path;
	size_t n = strlen(base);

	if (n > 5 && strcmp(base + n - 5, ".conf") == 0)
		n -= 5;
	return strndup(base, n);
}

/* Defaults that depend on something else than the table. */
static void derive(struct loader *l)
{
	struct config *c = l->c;
	bool unnamed = c->name == NULL;

	if (unnamed && strcmp(l->path, CONFIG_STDIN) == 0 && !l->failed)
		complaint_on_line(l, 1,
				  "has no name: what comes from stdin has no file's name either: add name = \"...\";");
	if (unnamed)
		c->name = instance_name(l->path);
	if (c->postgres.migrate_conninfo == NULL && c->postgres.conninfo != NULL)
		c->postgres.migrate_conninfo = strdup(c->postgres.conninfo);
	if (c->postgres.capture_conninfo == NULL && c->postgres.conninfo != NULL)
		c->postgres.capture_conninfo = strdup(c->postgres.conninfo);
	if (c->event_source == NULL && c->name != NULL && asprintf(&c->event_source, "/boxhaul/%s", c->name) < 0)
		c->event_source = NULL;
	if (c->nats.jetstream_prefix == NULL &&
	    asprintf(&c->nats.jetstream_prefix, "$JS%s%s.API", c->nats.jetstream_domain != NULL ? "." : "",
		     c->nats.jetstream_domain != NULL ? c->nats.jetstream_domain : "") < 0)
		c->nats.jetstream_prefix = NULL;
	l->no_memory = l->no_memory || c->nats.jetstream_prefix == NULL || c->name == NULL ||
		       c->postgres.migrate_conninfo == NULL || c->postgres.capture_conninfo == NULL ||
		       c->event_source == NULL;
	if (unnamed && !l->failed && !l->no_memory)
		config_check_name(l);
	l->no_memory |= !config_sagas_derive(c);
	if (!l->failed && !l->no_memory)
		l->no_memory = !config_captures_derive(c);
	c->delivery.streams = (uint32_t)c->stream_count;
	for (size_t i = 0; i < c->stream_count && i < LIMIT_STREAMS; i++) { /* too many are refused */
		c->delivery.owned |= (uint32_t)c->streams[i].owned << i;
		c->delivery.foreign_passes |= (uint32_t)(c->streams[i].foreign == FOREIGN_PASSES) << i;
	}
	/* nats.c before 3.13 takes tls:// for nats://, and would use a server that does not ask for TLS in plain text. */
	for (size_t i = 0; i < c->nats.url_count; i++)
		if (c->nats.urls[i] != NULL && strncmp(c->nats.urls[i], "tls://", 6) == 0)
			c->nats.tls.required = true;
	if (c->nats.tls.ca_file != NULL || c->nats.tls.cert_file != NULL)
		c->nats.tls.required = true;
}

struct config *config_load(const char *path, FILE *errors)
{
	struct loader l = { .path = path, .c = calloc(1, sizeof *l.c), .current = LAYER_OWN };
	char *shared = layers_shared_path(path);

	if (l.c == NULL || (l.c->path = strdup(path)) == NULL || setting_set_defaults(NULL, l.c) != SETTING_OK)
		l.no_memory = true;
	for (size_t i = 0; i < LAYERS; i++) {
		config_init(&l.layers.each[i].tree);
		l.layers.each[i].path = path;
	}
	if (!l.no_memory)
		read_layers(&l, shared);
	l.current = LAYER_OWN;
	if (!l.no_memory)
		derive(&l);
	complaint_print(&l, errors);
	for (size_t i = 0; i < LAYERS; i++)
		config_destroy(&l.layers.each[i].tree);
	free(shared);
	if (!l.failed && !l.no_memory)
		return l.c;
	config_free(l.c);
	return NULL;
}
