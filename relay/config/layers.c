#include "config/layers.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"

static const char shared_name[] = "boxhaul.conf";

char *layers_shared_path(const char *path)
{
	const char *slash = strrchr(path, '/'), *base = slash != NULL ? slash + 1 : path;
	char *shared;

	if (strcmp(path, CONFIG_STDIN) == 0 || strcmp(base, shared_name) == 0)
		return NULL;
	return asprintf(&shared, "%.*s%s", (int)(base - path), path, shared_name) < 0 ? NULL : shared;
}

/* --- looking --- */

config_setting_t *layers_find(const struct layers *l, const char *path)
{
	for (size_t i = LAYERS; i > 0; i--) {
		config_setting_t *found = config_lookup(&l->each[i - 1].tree, path);

		if (found != NULL)
			return found;
	}
	return NULL;
}

bool layers_is_replaced(const struct layers *l, size_t layer, const char *path)
{
	for (size_t i = layer + 1; i < LAYERS; i++)
		if (config_lookup(&l->each[i].tree, path) != NULL)
			return true;
	return false;
}

size_t layers_of(const struct layers *l, const config_setting_t *at)
{
	const config_setting_t *root = at;

	while (root != NULL && root->parent != NULL)
		root = root->parent;
	for (size_t i = 0; i < LAYERS; i++)
		if (root != NULL && root == config_root_setting(&l->each[i].tree))
			return i;
	return LAYER_OWN;
}

unsigned layers_line_of(const config_setting_t *at)
{
	unsigned line = at != NULL ? config_setting_source_line(at) : 0;

	return line > 0 ? line : 1;
}

/* --- names --- */

static const char prefix[] = "BOXHAUL_";

const char *layers_variable(const char *path, char to[static LAYERS_LABEL_BYTES])
{
	size_t n = (size_t)snprintf(to, LAYERS_LABEL_BYTES, "%s", prefix);

	for (; *path != '\0' && n + 1 < LAYERS_LABEL_BYTES; path++)
		to[n++] = *path == '.' ? '_' : (char)toupper((unsigned char)*path);
	to[n] = '\0';
	return to;
}

/* The path of a node, without what has no name. */
static void path_of(const config_setting_t *at, char to[static LAYERS_LABEL_BYTES])
{
	size_t n;

	if (at == NULL || at->parent == NULL) {
		to[0] = '\0';
		return;
	}
	path_of(at->parent, to);
	n = strlen(to);
	if (config_setting_name(at) != NULL)
		snprintf(to + n, LAYERS_LABEL_BYTES - n, "%s%s", n > 0 ? "." : "", config_setting_name(at));
}

const char *layers_label(const struct layers *l, const config_setting_t *at, char to[static LAYERS_LABEL_BYTES])
{
	size_t layer = layers_of(l, at);
	char path[LAYERS_LABEL_BYTES];

	if (layer == LAYER_ENVIRONMENT) {
		path_of(at, path);
		return layers_variable(path, to);
	}
	snprintf(to, LAYERS_LABEL_BYTES, "%s:%u", l->each[layer].path, layers_line_of(at));
	return to;
}
