/* The values of two configurations: compared, shared. */
#include <string.h>

#include "config/config.h"
#include "config/settings.h"

/* Lists of groups. */

size_t setting_count(const struct setting *list, const struct config *c)
{
	size_t n;

	return memcpy(&n, (const char *)c + list->second, sizeof n), n;
}

void *setting_element(const struct setting *list, const struct config *c, size_t i)
{
	char *array;

	memcpy(&array, (const char *)c + list->offset, sizeof array);
	return array + i * list->element;
}

/* Two values of a setting. */

static bool same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool same_texts(char *const *a, char *const *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!same_text(a[i], b[i]))
			return false;
	return true;
}

static bool same_groups(const struct setting *list, const struct config *a, const struct config *b)
{
	size_t n = setting_count(list, a);

	if (setting_count(list, b) != n)
		return false;
	for (const struct setting *s = settings; s < settings + settings_count; s++)
		for (size_t i = 0; setting_list_of(s) == list && i < n; i++)
			if (!setting_same(s, setting_element(list, a, i), setting_element(list, b, i)))
				return false;
	return true;
}

/* How many bytes the number beside it has, if there is one. */
static size_t second_width(const struct setting *s)
{
	return s->type == SETTING_STRINGS  ? sizeof((struct config *)0)->nats.url_count
	       : s->type == SETTING_LISTEN ? sizeof((struct config *)0)->health.port
	       : s->type == SETTING_CHOICE ? sizeof((struct config_subscription *)0)->start_sequence
					   : 0;
}

const char *setting_text(const struct setting *s, const void *base)
{
	const char *text;

	memcpy(&text, (const char *)base + s->offset, sizeof text);
	return text;
}

static bool same_second(const struct setting *s, const void *a, const void *b)
{
	return memcmp((const char *)a + s->second, (const char *)b + s->second, second_width(s)) == 0;
}

static bool same_list(const struct setting *s, const void *a, const void *b)
{
	char *const *x, *const *y;
	size_t n;

	memcpy(&x, (const char *)a + s->offset, sizeof x);
	memcpy(&y, (const char *)b + s->offset, sizeof y);
	memcpy(&n, (const char *)a + s->second, sizeof n);
	return same_texts(x, y, n);
}

bool setting_same(const struct setting *s, const void *a, const void *b)
{
	switch (s->type) {
	case SETTING_DURATION:
	case SETTING_SIZE:
	case SETTING_INTEGER:
	case SETTING_BOOL:
	case SETTING_WORD: return memcmp((const char *)a + s->offset, (const char *)b + s->offset, s->width) == 0;
	case SETTING_STRING:
	case SETTING_TABLES:
	case SETTING_FILE: return same_text(setting_text(s, a), setting_text(s, b));
	case SETTING_LISTEN: return same_text(setting_text(s, a), setting_text(s, b)) && same_second(s, a, b);
	case SETTING_STRINGS: return same_second(s, a, b) && same_list(s, a, b);
	case SETTING_CHOICE:
		return memcmp((const char *)a + s->offset, (const char *)b + s->offset, s->width) == 0 &&
		       same_second(s, a, b);
	case SETTING_GROUPS: return same_groups(s, a, b);
	}
	return true;
}

void setting_share(const struct setting *s, void *to, const void *from)
{
	memcpy((char *)to + s->offset, (const char *)from + s->offset, s->width);
	if (second_width(s) > 0)
		memcpy((char *)to + s->second, (const char *)from + s->second, second_width(s));
}
