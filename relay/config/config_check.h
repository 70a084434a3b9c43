/* Checks of a configuration beyond what the table of settings says. For config.c only. */
#ifndef BOXHAUL_CONFIG_CONFIG_CHECK_H
#define BOXHAUL_CONFIG_CONFIG_CHECK_H

#include <stdbool.h>

#include "config/complaint.h"

/* Before the text is parsed. False: it is not worth parsing. */
bool config_check_text(struct loader *l, const char *text);

/* All settings, once all layers are in l->c. */
void config_check(struct loader *l);

/* Of the instance, given or derived. */
void config_check_name(struct loader *l);

/* Passwords in a file that everybody may read, or in the environment. */
void config_check_secrets(struct loader *l);

/* Do the values fit together? Those of a file do; those that a relay takes from two of them may not. Writes why not. */
bool config_check_fits(const struct config *c, char *why, size_t size);

#endif
