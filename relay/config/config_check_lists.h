/* Checks of the lists of groups in a configuration: streams and subscriptions. For config_check.c only. */
#ifndef BOXHAUL_CONFIG_CONFIG_CHECK_LISTS_H
#define BOXHAUL_CONFIG_CONFIG_CHECK_LISTS_H

#include <stdbool.h>

#include "config/complaint.h"

/* Each element for itself, and those of a list against each other. */
void config_check_lists(struct loader *l);

/* Where a member of element i stands; the element where it does not stand there, or where member is NULL. */
config_setting_t *config_check_node(struct loader *l, const char *list, size_t i, const char *member);

/* Can a stream be called so? */
bool config_check_is_stream_name(const char *name);

/* Does it take what is answered to this relay? Such a pattern is no stream's. */
bool config_check_takes_answers(const struct loader *l, const char *pattern);

/* config_check_fits() for the lists. */
bool config_check_lists_fit(const struct config *c, char *why, size_t size);

#endif
