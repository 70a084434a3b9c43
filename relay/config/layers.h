/* Where a configuration comes from: built-in defaults < boxhaul.conf beside the file < the file < the environment. A setting has the
 * value of the last layer that names it, a list its whole list. For the readers and checkers of config/ only. */
#ifndef BOXHAUL_CONFIG_LAYERS_H
#define BOXHAUL_CONFIG_LAYERS_H

#include <stdbool.h>
#include <stddef.h>

#include <libconfig.h>

enum { LAYER_SHARED, LAYER_OWN, LAYER_ENVIRONMENT, LAYERS };

struct layer {
	const char *path; /* as it is named to people */
	config_t tree;
	bool open; /* everybody may read it */
};

struct layers {
	struct layer each[LAYERS];
};

enum { LAYERS_LABEL_BYTES = 512 };

/* The path of the file that all configurations of this one's directory share, to be freed; NULL: there is none, or it is this one. */
char *layers_shared_path(const char *path);

/* The setting of that path in the last layer that has it; NULL: none has. */
config_setting_t *layers_find(const struct layers *l, const char *path);

/* Does a later layer name it? Then this one's value does not count. */
bool layers_is_replaced(const struct layers *l, size_t layer, const char *path);

/* Of which layer it is; LAYER_OWN where that cannot be told. */
size_t layers_of(const struct layers *l, const config_setting_t *at);

/* The line a setting stands on; 1 where it does not stand in a file. */
unsigned layers_line_of(const config_setting_t *at);

/* "BOXHAUL_NATS_URLS". Returns `to`. */
const char *layers_variable(const char *path, char to[static LAYERS_LABEL_BYTES]);

/* "shop.conf:12", or the name of a variable. Returns `to`. */
const char *layers_label(const struct layers *l, const config_setting_t *at, char to[static LAYERS_LABEL_BYTES]);

#endif
