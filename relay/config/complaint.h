/* A configuration file on its way in, and what is wrong with it. For the readers and checkers of config/ only. */
#ifndef BOXHAUL_CONFIG_COMPLAINT_H
#define BOXHAUL_CONFIG_COMPLAINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "config/config.h"
#include "config/layers.h"

struct complaint;

struct loader {
	const char *path;
	struct config *c;
	struct layers layers;
	size_t current; /* the layer that is read */
	struct complaint *complaints;
	size_t complaint_count;
	bool failed;
	bool no_memory;
};

/* Complains about a setting (NULL: the whole file) and marks it: checks that compare a marked setting with
 * another leave it out. */
__attribute__((format(printf, 3, 4))) void complaint_at(struct loader *l, config_setting_t *at, const char *format,
							...);

/* The same about a setting, which is not marked. */
__attribute__((format(printf, 3, 4))) void complaint_near(struct loader *l, const config_setting_t *at,
							  const char *format, ...);

/* The same about a variable of the environment. */
__attribute__((format(printf, 3, 4))) void complaint_in_environment(struct loader *l, const char *name,
								    const char *format, ...);

/* The same about a line of the layer that is read; 0: the first. Nothing is marked. */
__attribute__((format(printf, 3, 4))) void complaint_on_line(struct loader *l, unsigned line, const char *format, ...);

/* Does not make it fail. */
__attribute__((format(printf, 3, 4))) void complaint_warn(struct loader *l, const config_setting_t *at,
							  const char *format, ...);

/* Prints all of them, a line each, layer by layer and by line; then forgets them. */
void complaint_print(struct loader *l, FILE *errors);

#endif
