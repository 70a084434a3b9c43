/* Any text as the value of a setting, behind its path on a line of its own. What is stored is in the setting's range, and what is printed is read again as the
 * same; what is refused changes nothing and is explained. */
#include "config/setting_value.c"

#include <arpa/inet.h>

#include "config/config.h"
#include "fuzz.h"

static bool is_number(const struct setting *s)
{
	return s->type == SETTING_DURATION || s->type == SETTING_SIZE || s->type == SETTING_INTEGER;
}

static void check_stored(const struct setting *s, void *base, const char *text)
{
	char printed[64], why[256];
	uint64_t value = setting_number(s, base);

	promise(value >= strtoull(text, NULL, 10), "%s = %s was taken for %llu", s->path, text,
		(unsigned long long)value);
	promise(value >= s->min && value <= s->max, "%s = %llu", s->path, (unsigned long long)value);
	setting_print(s, value, printed, sizeof printed);
	promise(setting_set_text(s, base, printed, why, sizeof why) == SETTING_OK && setting_number(s, base) == value,
		"%s = %llu is printed %s: %s", s->path, (unsigned long long)value, printed, why);
}

/* An address is a number, and a port is the one that was written. */
static void check_listen(const struct config *c, const char *text)
{
	unsigned char number[16];
	const char *colon = strrchr(text, ':');

	promise(inet_pton(AF_INET, c->health.address, number) == 1 ||
			inet_pton(AF_INET6, c->health.address, number) == 1,
		"the address %s of %s", c->health.address, text);
	promise(c->health.port == (colon != NULL ? strtoul(colon + 1, NULL, 10) : 0), "the port %u of %s",
		c->health.port, text);
}

/* A suggestion must be a path, or a group of one. */
static void check_nearest(const char *text)
{
	char near[160] = "";

	if (setting_nearest(text, near, sizeof near))
		promise(setting_find(near) != NULL || setting_is_group(near), "%s is suggested for %s", near, text);
}

/* Where a setting of a kind with memory of its own keeps it. */
static void release(const struct setting *s, void *base)
{
	char **at = (char **)(void *)((char *)base + s->offset);

	if (s->type == SETTING_STRINGS && *at != NULL)
		free(**(char ***)(void *)at);
	if (s->type == SETTING_STRINGS || s->type == SETTING_STRING || s->type == SETTING_FILE ||
	    s->type == SETTING_LISTEN)
		free(*at);
}

/* Printed and read again it is the same. */
static void check_choice(const struct setting *s, void *base, const char *text)
{
	char printed[64], why[256];
	uint64_t number, again;

	memcpy(&number, (char *)base + s->second, sizeof number);
	promise(number == 0 || (number >= s->min && number <= s->max), "%s = %s was taken for %llu", s->path, text,
		(unsigned long long)number);
	print_choice(s, base, printed, sizeof printed);
	promise(setting_set_text(s, base, printed, why, sizeof why) == SETTING_OK, "%s = %s is printed %s: %s", s->path,
		text, printed, why);
	memcpy(&again, (char *)base + s->second, sizeof again);
	promise(again == number, "%s = %s is printed %s", s->path, text, printed);
}

static void check_value(const struct setting *s, const char *text)
{
	union {
		struct config config;
		struct config_stream stream;
		struct config_subscription subscription;
	} base, before;
	enum setting_result result;
	char why[512] = "";

	memset(&base, 0, sizeof base);
	before = base;
	result = setting_set_text(s, &base, text, why, sizeof why);
	if (result == SETTING_OK && is_number(s))
		check_stored(s, &base, text);
	if (result == SETTING_OK && s->type == SETTING_CHOICE)
		check_choice(s, &base, text);
	if (result == SETTING_OK && s->type == SETTING_LISTEN)
		check_listen(&base.config, text);
	promise(result == SETTING_OK || (why[0] != '\0' && memcmp(&base, &before, sizeof base) == 0),
		"%s = %s is refused, but \"%s\"", s->path, text, why);
	release(s, &base);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	char *path = take_text(&in, '\n', NULL), *text = take_rest(&in);
	const struct setting *s = setting_find(path);

	if (s != NULL && s->type != SETTING_GROUPS)
		check_value(s, text);
	else if (text[0] == '?')
		check_nearest(path); /* slow: only where it is asked for */
	free(path);
	free(text);
	return 0;
}
