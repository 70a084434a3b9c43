#include "command/instances.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config_load.h"

static const char usual[] = "/etc/boxhaul";

static bool is_shared(const char *path)
{
	const char *slash = strrchr(path, '/');

	return strcmp(slash != NULL ? slash + 1 : path, "boxhaul.conf") == 0;
}

static enum exit_code read_all(struct instances *i, const glob_t *found)
{
	i->each = calloc(found->gl_pathc + 1, sizeof *i->each);
	for (size_t k = 0; i->each != NULL && k < found->gl_pathc; k++) {
		if (is_shared(found->gl_pathv[k]))
			continue;
		i->each[i->count].path = strdup(found->gl_pathv[k]);
		if (i->each[i->count].path == NULL)
			break;
		i->each[i->count].config = config_load(found->gl_pathv[k], stderr);
		i->count++;
	}
	if (i->each != NULL)
		return EXIT_OK;
	fputs("boxhaul: out of memory\n", stderr);
	return EXIT_FAILED;
}

enum exit_code instances_read(struct instances *i, const char *directory)
{
	enum exit_code code;
	char pattern[512];
	glob_t found;

	*i = (struct instances){ .count = 0 };
	snprintf(pattern, sizeof pattern, "%s/*.conf", directory != NULL ? directory : usual);
	if (glob(pattern, 0, NULL, &found) != 0)
		found = (glob_t){ .gl_pathc = 0 };
	code = read_all(i, &found);
	globfree(&found);
	if (code == EXIT_OK && i->count == 0) {
		fprintf(stderr, "boxhaul: no relay is configured: there is no %s\n", pattern);
		code = EXIT_CONFIG;
	}
	return code;
}

void instances_free(struct instances *i)
{
	for (size_t k = 0; i->each != NULL && k < i->count; k++) {
		free(i->each[k].path);
		config_free(i->each[k].config);
	}
	free(i->each);
}
