/* The paths in the table of settings: what stands at one, what stands below it, and what is near one that nobody knows. */
#include <stdio.h>
#include <string.h>

#include "base/nearest.h"
#include "config/settings.h"

const struct setting *setting_find(const char *path)
{
	for (size_t i = 0; i < settings_count; i++)
		if (strcmp(settings[i].path, path) == 0)
			return &settings[i];
	return NULL;
}

static bool below(const char *path, const char *group)
{
	size_t n = strlen(group);

	return strncmp(path, group, n) == 0 && path[n] == '.';
}

const struct setting *setting_list_of(const struct setting *s)
{
	for (size_t i = 0; i < settings_count; i++)
		if (settings[i].type == SETTING_GROUPS && below(s->path, settings[i].path))
			return &settings[i];
	return NULL;
}

bool setting_is_top(const struct setting *s)
{
	return setting_list_of(s) == NULL;
}

bool setting_is_group(const char *path)
{
	for (size_t i = 0; i < settings_count; i++)
		if (below(settings[i].path, path))
			return true;
	return false;
}

/* --- suggestions --- */

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

const char *setting_leaf(const char *path)
{
	const char *dot = strrchr(path, '.');

	return dot != NULL ? dot + 1 : path;
}

bool setting_nearest(const char *path, char *out, size_t size)
{
	unsigned best = nearest_limit(setting_leaf(path)); /* exclusive */

	for (size_t i = 0; i < settings_count; i++) {
		char candidate[NEAREST_MAX_BYTES + 1];
		char *dot = candidate;

		/* The groups a setting stands in are candidates, too; a right name in a wrong group is one error. */
		snprintf(candidate, sizeof candidate, "%s", settings[i].path);
		while (dot != NULL) {
			unsigned d = least(nearest_distance(path, candidate),
					   nearest_distance(setting_leaf(path), setting_leaf(candidate)) + 1);

			if (d < best) {
				best = d;
				snprintf(out, size, "%s", candidate);
			}
			dot = strrchr(candidate, '.');
			if (dot != NULL)
				*dot = '\0';
		}
	}
	return best < nearest_limit(setting_leaf(path));
}
