/* What reading a configuration and checking it have in common. For config.c and config_check.c only. */
#ifndef BOXHAUL_CONFIG_CHECK_H
#define BOXHAUL_CONFIG_CHECK_H

#include <stdbool.h>
#include <stddef.h>

#include <libconfig.h>

#include "config.h"

struct complaint;

struct loader {
	const char *path;
	struct config *c;
	config_t tree;
	struct complaint *complaints;
	size_t complaint_count;
	bool failed;
	bool no_memory;
};

/* The line a setting stands on; 1 where it does not stand in the file. */
static inline unsigned config_line_of(const config_setting_t *at)
{
	unsigned line = at != NULL ? config_setting_source_line(at) : 0;

	return line > 0 ? line : 1;
}

/* Complains about a setting (NULL: the whole file) and marks it: checks that compare a marked setting with
 * another leave it out. */
__attribute__((format(printf, 3, 4))) void config_complain(struct loader *l, config_setting_t *at, const char *format,
							   ...);

__attribute__((format(printf, 3, 4))) void config_complain_line(struct loader *l, unsigned line, const char *format,
								...);

/* Does not make it fail. */
__attribute__((format(printf, 3, 4))) void config_warn(struct loader *l, const config_setting_t *at, const char *format,
						       ...);

/* Before the text is parsed. False: it is not worth parsing. */
bool config_check_text(struct loader *l, const char *text);

/* All settings, once the tree is in l->c. */
void config_check(struct loader *l);

/* Of the instance, given or derived. */
void config_check_name(struct loader *l);

/* For a file that everybody may read. */
void config_check_secrets(struct loader *l);

#endif
