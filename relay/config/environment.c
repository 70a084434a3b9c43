#include "config/environment.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/settings.h"

static const char prefix[] = "BOXHAUL_";

/* The group in which a path stands, made where it is not there; its last name. NULL: out of memory. */
static config_setting_t *group_for(struct loader *l, const char *path)
{
	config_setting_t *group = config_root_setting(&l->layers.each[LAYER_ENVIRONMENT].tree), *next;

	for (const char *dot; group != NULL && (dot = strchr(path, '.')) != NULL; path = dot + 1, group = next) {
		char name[LAYERS_LABEL_BYTES];

		snprintf(name, sizeof name, "%.*s", (int)(dot - path), path);
		next = config_setting_get_member(group, name);
		if (next == NULL)
			next = config_setting_add(group, name, CONFIG_TYPE_GROUP);
	}
	return group;
}

static bool add_texts(config_setting_t *group, const char *name, const char *value)
{
	config_setting_t *list = config_setting_add(group, name, CONFIG_TYPE_ARRAY);
	char *copy = strdup(value), *rest = copy, *text;
	bool ok = list != NULL && copy != NULL;

	while (ok && (text = strsep(&rest, ",")) != NULL)
		ok = config_setting_set_string_elem(list, -1, text + strspn(text, " ")) != NULL;
	free(copy);
	return ok;
}

/* As the file would say it; what is no number stays a text, about which the reader complains. */
static bool add_value(config_setting_t *group, const struct setting *s, const char *value)
{
	const char *name = setting_leaf(s->path);
	bool number = s->type == SETTING_INTEGER && value[0] != '\0' && strlen(value) < 10 &&
		      strspn(value, "0123456789") == strlen(value);
	bool truth = s->type == SETTING_BOOL && (strcmp(value, "true") == 0 || strcmp(value, "false") == 0);
	config_setting_t *node;

	if (s->type == SETTING_STRINGS)
		return add_texts(group, name, value);
	node = config_setting_add(group, name,
				  number  ? CONFIG_TYPE_INT
				  : truth ? CONFIG_TYPE_BOOL
					  : CONFIG_TYPE_STRING);
	if (node == NULL)
		return false;
	if (number)
		return config_setting_set_int(node, (int)strtol(value, NULL, 10)) == CONFIG_TRUE;
	if (truth)
		return config_setting_set_bool(node, value[0] == 't') == CONFIG_TRUE;
	return config_setting_set_string(node, value) == CONFIG_TRUE;
}

/* The setting that a variable means: "BOXHAUL_NATS_URLS=..." NULL: none. */
static const struct setting *setting_of(const char *variable)
{
	size_t n = strcspn(variable, "=");
	char name[LAYERS_LABEL_BYTES];

	for (const struct setting *s = settings; s < settings + settings_count; s++)
		if (setting_is_top(s) && strlen(layers_variable(s->path, name)) == n && strncmp(name, variable, n) == 0)
			return s;
	return NULL;
}

/* Does it begin like the settings of a group? Other variables of that prefix are not for us. */
static bool is_near(const char *variable, const struct setting **near)
{
	for (const struct setting *s = settings; s < settings + settings_count; s++) {
		size_t n = strcspn(s->path, ".");
		char name[LAYERS_LABEL_BYTES], group[LAYERS_LABEL_BYTES];

		if (!setting_is_top(s) || s->path[n] != '.')
			continue;
		snprintf(group, sizeof group, "%.*s.", (int)n, s->path);
		layers_variable(group, name);
		*near = s;
		if (strncmp(variable, name, strlen(name)) == 0)
			return true;
	}
	return false;
}

static void complain_unknown(struct loader *l, const char *variable)
{
	const struct setting *near;
	char name[LAYERS_LABEL_BYTES], example[LAYERS_LABEL_BYTES];

	if (!is_near(variable, &near))
		return;
	snprintf(name, sizeof name, "%.*s", (int)strcspn(variable, "="), variable);
	complaint_in_environment(l, name, "no setting has this name: nats.urls, as an example, is %s",
				 layers_variable("nats.urls", example));
}

static void take_variable(struct loader *l, const char *variable)
{
	const struct setting *s = setting_of(variable);
	char name[LAYERS_LABEL_BYTES];
	config_setting_t *group;

	if (s == NULL) {
		complain_unknown(l, variable);
		return;
	}
	if (s->type == SETTING_GROUPS) {
		complaint_in_environment(l, layers_variable(s->path, name), "a list of groups stands in a file");
		return;
	}
	group = group_for(l, s->path);
	if (group == NULL || !add_value(group, s, strchr(variable, '=') + 1))
		l->no_memory = true;
}

void environment_read(struct loader *l)
{
	for (char **e = environ; *e != NULL; e++)
		if (strncmp(*e, prefix, sizeof prefix - 1) == 0 && strchr(*e, '=') != NULL)
			take_variable(l, *e);
}
