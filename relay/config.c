/* Reading and checking a configuration file.
 *
 *     file --> text --> libconfig's tree --> struct config --> checks between settings
 *                 \            |                   |                  |
 *                  `-----------+---- complaints ---+------------------'
 *
 * Nothing stops at the first mistake (but for a syntax error, which leaves no tree to look at): complaints are
 * collected and printed in the order of their lines.
 */
#include "config.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "config_check.h"
#include "settings.h"

enum { FILE_MAX_BYTES = 1 << 20, PATH_MAX_BYTES = 160, TEXT_MAX_BYTES = 512 };

struct complaint {
	unsigned line;
	size_t order;
	char *text;
};

/* Complaints. */

/* A complaint quotes values, which may hold anything, and is one line. */
static void keep_on_one_line(char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

__attribute__((format(printf, 4, 0))) static void add(struct loader *l, unsigned line, const char *kind,
						      const char *format, va_list args)
{
	struct complaint *more = realloc(l->complaints, (l->complaint_count + 1) * sizeof *more);
	char *what, *text;

	if (more == NULL) {
		l->no_memory = true;
		return;
	}
	l->complaints = more;
	if (vasprintf(&what, format, args) < 0) {
		l->no_memory = true;
		return;
	}
	keep_on_one_line(what);
	if (asprintf(&text, "%s:%u: %s%s", l->path, line, kind, what) < 0)
		l->no_memory = true;
	else
		l->complaints[l->complaint_count] =
			(struct complaint){ .line = line, .order = l->complaint_count, .text = text },
		l->complaint_count++;
	free(what);
}

void config_complain(struct loader *l, config_setting_t *at, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	add(l, config_line_of(at), "", format, args);
	va_end(args);
	l->failed = true;
	if (at != NULL)
		config_setting_set_hook(at, l);
}

void config_complain_line(struct loader *l, unsigned line, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	add(l, line > 0 ? line : 1, "", format, args);
	va_end(args);
	l->failed = true;
}

void config_warn(struct loader *l, const config_setting_t *at, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	add(l, config_line_of(at), "warning: ", format, args);
	va_end(args);
}

static int by_line(const void *a, const void *b)
{
	const struct complaint *x = a, *y = b;

	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

static void print_complaints(struct loader *l, FILE *errors)
{
	if (l->complaint_count > 0)
		qsort(l->complaints, l->complaint_count, sizeof l->complaints[0], by_line);
	for (size_t i = 0; i < l->complaint_count; i++) {
		fprintf(errors, "%s\n", l->complaints[i].text);
		free(l->complaints[i].text);
	}
	free(l->complaints);
	if (l->no_memory)
		fprintf(errors, "%s:1: out of memory\n", l->path);
}

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
		config_complain(l, node, "%s has no unit: write %s", s->path, setting_wants(s));
	else
		config_complain(l, node, "%s is %s: write %s", s->path, type_name(config_setting_type(node)),
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
		config_complain(l, node, "%s = %s", s->path, why);
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
		config_complain(l, node, "%s = %lld is negative: write %s", s->path, value, setting_wants(s));
	else if (setting_set_number(s, base, (uint64_t)value, why, sizeof why) != SETTING_OK)
		config_complain(l, node, "%s = %s", s->path, why);
}

static void free_texts(char **texts, size_t n)
{
	for (size_t i = 0; texts != NULL && i < n; i++)
		free(texts[i]);
	free(texts);
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
		config_complain(l, node, "%s is empty: write %s", s->path, setting_wants(s));
	memcpy(&old, (char *)base + s->offset, sizeof old);
	free_texts(old, *old_n);
	memcpy((char *)base + s->offset, &texts, sizeof texts);
	*old_n = n;
}

static void set_stream(struct loader *l, config_setting_t *node, struct config_stream *stream)
{
	if (setting_set_defaults("streams", stream) != SETTING_OK)
		l->no_memory = true;
	if (!config_setting_is_group(node)) {
		config_complain(l, node, "streams holds %s: write { name = \"...\"; subjects = [ \"...\" ]; }",
				type_name(config_setting_type(node)));
		return;
	}
	walk(l, node, "streams", stream);
	for (const struct setting *s = settings; s < settings + settings_count; s++)
		if (s->required && strncmp(s->path, "streams.", 8) == 0 &&
		    config_setting_get_member(node, s->path + 8) == NULL)
			config_complain(l, node, "this stream has no %s: add %s = %s", s->path + 8, s->path + 8,
					s->type == SETTING_STRINGS ? "[ \"...\" ];" : "\"...\";");
}

static void set_streams(struct loader *l, config_setting_t *node)
{
	size_t n = (size_t)config_setting_length(node);

	if (n == 0)
		config_complain(l, node,
				"streams is empty: nothing could be published. Add { name = \"...\"; subjects = [ "
				"\"...\" ]; }");
	if (n > LIMIT_STREAMS)
		config_complain(l, node, "streams has %zu streams, and one relay serves %d at most: leave some out", n,
				LIMIT_STREAMS);
	l->c->streams = calloc(n + 1, sizeof l->c->streams[0]);
	if (l->c->streams == NULL) {
		l->no_memory = true;
		return;
	}
	l->c->stream_count = n;
	for (size_t i = 0; i < n; i++)
		set_stream(l, config_setting_get_elem(node, (unsigned)i), &l->c->streams[i]);
}

static void set(struct loader *l, config_setting_t *node, const struct setting *s, void *base)
{
	int type = config_setting_type(node);
	bool number = type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64;
	bool list = type == CONFIG_TYPE_ARRAY || type == CONFIG_TYPE_LIST;

	if (s->type == SETTING_STRINGS && list)
		set_list(l, node, s, base);
	else if (s->type == SETTING_STREAMS && list)
		set_streams(l, node);
	else if (s->type == SETTING_BOOL && type == CONFIG_TYPE_BOOL)
		*(bool *)((char *)base + s->offset) = config_setting_get_bool(node);
	else if ((s->type == SETTING_INTEGER || s->type == SETTING_SIZE) && number)
		set_number(l, node, s, base);
	else if (s->type != SETTING_STRINGS && s->type != SETTING_STREAMS && s->type != SETTING_BOOL &&
		 s->type != SETTING_INTEGER && type == CONFIG_TYPE_STRING)
		set_text(l, node, s, base);
	else
		complain_type(l, node, s);
}

static void remember(struct loader *l, config_setting_t *node, const struct setting *s, const void *base)
{
	struct config *c = l->c;
	struct config_origin *more = realloc(c->origins, (c->origin_count + 1) * sizeof *more);

	if (more == NULL) {
		l->no_memory = true;
		return;
	}
	c->origins = more;
	c->origins[c->origin_count++] =
		(struct config_origin){ .setting = s, .base = base, .line = config_line_of(node) };
}

static void walk_one(struct loader *l, config_setting_t *node, const char *path, void *base)
{
	const struct setting *s = setting_find(path);
	char near[PATH_MAX_BYTES];

	if (s != NULL) {
		set(l, node, s, base);
		remember(l, node, s, base);
	} else if (setting_is_group(path) && config_setting_is_group(node))
		walk(l, node, path, base);
	else if (setting_is_group(path))
		config_complain(l, node, "%s is %s: write a group, %s = { ... };", path,
				type_name(config_setting_type(node)), path);
	else if (setting_nearest(path, near, sizeof near))
		config_complain(l, node, "unknown key %s: did you mean %s?", path, near);
	else
		config_complain(l, node, "unknown key %s: `boxhaul config-sample` lists them all", path);
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

/* The file. */

static void parse(struct loader *l, const char *text)
{
	if (!config_check_text(l, text))
		return;
	if (config_read_string(&l->tree, text) != CONFIG_TRUE) {
		const char *what = config_error_text(&l->tree);

		config_complain_line(l, (unsigned)config_error_line(&l->tree),
				     "%s: look for a missing quote, bracket or ';' here or on "
				     "the line before",
				     what != NULL ? what : "syntax error");
		return;
	}
	walk(l, config_root_setting(&l->tree), "", l->c);
	config_check(l);
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
		config_complain_line(l, 1, "cannot be read: %s", strerror(errno));
	else if (n > FILE_MAX_BYTES)
		config_complain_line(l, 1, "is larger than 1 MiB: this is no configuration file");
	else if (strlen(text) != n)
		config_complain_line(l, 1, "holds a NUL byte: this is no text file");
	else
		return text;
	free(text);
	return NULL;
}

static void read_file(struct loader *l)
{
	FILE *file = fopen(l->path, "re");
	struct stat st;
	char *text;

	if (file == NULL) {
		config_complain_line(l, 1,
				     errno == ENOENT   ? "does not exist (%s): `boxhaul config-sample` prints one"
				     : errno == EACCES ? "may not be read by this user (%s): mend its owner or mode"
						       : "cannot be opened: %s",
				     strerror(errno));
		return;
	}
	text = read_text(l, file);
	if (text != NULL)
		parse(l, text);
	if (text != NULL && fstat(fileno(file), &st) == 0 && (st.st_mode & S_IROTH) != 0)
		config_check_secrets(l);
	free(text);
	fclose(file);
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

	if (unnamed)
		c->name = instance_name(l->path);
	if (c->postgres.migrate_conninfo == NULL && c->postgres.conninfo != NULL)
		c->postgres.migrate_conninfo = strdup(c->postgres.conninfo);
	if (c->event_source == NULL && c->name != NULL && asprintf(&c->event_source, "/boxhaul/%s", c->name) < 0)
		c->event_source = NULL;
	l->no_memory =
		l->no_memory || c->name == NULL || c->postgres.migrate_conninfo == NULL || c->event_source == NULL;
	if (unnamed && !l->failed && !l->no_memory)
		config_check_name(l);
	c->delivery.streams = (uint32_t)c->stream_count;
	/* nats.c before 3.13 takes tls:// for nats://, and would use a server that does not ask for TLS in plain text. */
	for (size_t i = 0; i < c->nats.url_count; i++)
		if (c->nats.urls[i] != NULL && strncmp(c->nats.urls[i], "tls://", 6) == 0)
			c->nats.tls.required = true;
	if (c->nats.tls.ca_file != NULL || c->nats.tls.cert_file != NULL)
		c->nats.tls.required = true;
}

struct config *config_load(const char *path, FILE *errors)
{
	struct loader l = { .path = path, .c = calloc(1, sizeof *l.c) };

	if (l.c == NULL || (l.c->path = strdup(path)) == NULL || setting_set_defaults("", l.c) != SETTING_OK)
		l.no_memory = true;
	config_init(&l.tree);
	if (!l.no_memory)
		read_file(&l);
	if (!l.no_memory)
		derive(&l);
	config_destroy(&l.tree);
	print_complaints(&l, errors);
	if (!l.failed && !l.no_memory)
		return l.c;
	config_free(l.c);
	return NULL;
}

void config_free(struct config *c)
{
	if (c == NULL)
		return;
	for (size_t i = 0; i < c->stream_count; i++) {
		free(c->streams[i].name);
		free_texts(c->streams[i].subjects, c->streams[i].subject_count);
	}
	free(c->streams);
	free_texts(c->nats.urls, c->nats.url_count);
	free(c->nats.user);
	free(c->nats.password_file);
	free(c->nats.token_file);
	free(c->nats.credentials_file);
	free(c->nats.nkey_seed_file);
	free(c->nats.tls.ca_file);
	free(c->nats.tls.cert_file);
	free(c->nats.tls.key_file);
	free(c->postgres.conninfo);
	free(c->postgres.password_file);
	free(c->postgres.migrate_conninfo);
	free(c->health.address);
	free(c->origins);
	free(c->event_source);
	free(c->name);
	free(c->path);
	free(c);
}

unsigned config_line(const struct config *c, const struct setting *s, const void *base)
{
	for (size_t i = 0; i < c->origin_count; i++)
		if (c->origins[i].setting == s && c->origins[i].base == base)
			return c->origins[i].line;
	return 0;
}

char *config_path(const char *name_or_path)
{
	char *path;

	if (strpbrk(name_or_path, "./") != NULL)
		return strdup(name_or_path);
	return asprintf(&path, "/etc/boxhaul/%s.conf", name_or_path) < 0 ? NULL : path;
}
