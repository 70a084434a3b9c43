/* One setting's value: to and from text. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/scrub.h"
#include "config/config.h"
#include "config/settings.h"

struct unit {
	const char *name;
	uint64_t factor;
};

/* Largest first: setting_print takes the first that divides. */
static const struct unit durations[] = {
	{ "d", DAY }, { "h", HOUR }, { "m", MINUTE }, { "s", SECOND }, { "ms", 1 }, { NULL, 0 },
};
static const struct unit sizes[] = {
	{ "GiB", 1ull << 30 }, { "GB", 1000000000 }, { "MiB", MIB }, { "MB", 1000000 }, { "KiB", KIB },
	{ "KB", 1000 },        { "B", 1 },           { "", 1 },      { NULL, 0 },
};

const char *setting_wants(const struct setting *s)
{
	switch (s->type) {
	case SETTING_STRING: return "a text in double quotes";
	case SETTING_FILE: return "an absolute path in double quotes, or the name of a file in $CREDENTIALS_DIRECTORY";
	case SETTING_DURATION:
		return "a duration with its unit in double quotes, such as \"250ms\", \"5s\", \"2m\", \"1h\", \"1d\"";
	case SETTING_SIZE: return "a number of bytes, or a text such as \"64KB\", \"1MiB\"";
	case SETTING_INTEGER: return "a whole number";
	case SETTING_BOOL: return "true or false";
	case SETTING_WORD: return "a word in double quotes";
	case SETTING_LISTEN: return "a text such as \"127.0.0.1:9431\", \"[::1]:9431\" or \"off\"";
	case SETTING_STRINGS: return "a list of texts: [ \"...\", \"...\" ]";
	case SETTING_CHOICE: return "a word in double quotes, or a number";
	case SETTING_TABLES: return "a list of groups: ( { from = \"...\"; to = \"...\"; } )";
	case SETTING_GROUPS: return "a list of groups: ( { name = \"...\"; ... } )";
	}
	return "";
}

/* Numbers. */

uint64_t setting_number(const struct setting *s, const void *base)
{
	const char *at = (const char *)base + s->offset;
	uint64_t wide;
	uint32_t narrow;

	if (s->width == sizeof wide)
		return memcpy(&wide, at, sizeof wide), wide;
	return memcpy(&narrow, at, sizeof narrow), narrow;
}

static void store_number(const struct setting *s, void *base, uint64_t value)
{
	char *at = (char *)base + s->offset;
	uint32_t narrow = (uint32_t)value;

	if (s->width == sizeof value)
		memcpy(at, &value, sizeof value);
	else
		memcpy(at, &narrow, sizeof narrow);
}

const char *setting_print(const struct setting *s, uint64_t value, char *out, size_t size)
{
	const struct unit *u = s->type == SETTING_DURATION ? durations : sizes;

	if (s->type == SETTING_DURATION || (s->type == SETTING_SIZE && value >= KIB)) {
		while (value == 0 ? u->factor != 1 : value % u->factor != 0)
			u++;
		snprintf(out, size, "%llu%s", (unsigned long long)(value / u->factor), u->name);
	} else {
		snprintf(out, size, "%llu", (unsigned long long)value);
	}
	return out;
}

enum setting_result setting_set_number(const struct setting *s, void *base, uint64_t value, char *why, size_t size)
{
	char given[32], from[32], to[32];

	if (value < s->min || value > s->max) {
		snprintf(why, size, "%s is out of range: from %s to %s", setting_print(s, value, given, sizeof given),
			 setting_print(s, s->min, from, sizeof from), setting_print(s, s->max, to, sizeof to));
		return SETTING_WRONG;
	}
	store_number(s, base, value);
	return SETTING_OK;
}

/* "5s" by its units. A value too large for 64 bits stays at the top: it is out of every range. */
static bool scale(const char *text, const struct unit *units, uint64_t *value)
{
	char *end;
	unsigned long long n;

	if (text[0] < '0' || text[0] > '9')
		return false;
	n = strtoull(text, &end, 10);
	while (*end == ' ')
		end++;
	for (const struct unit *u = units; u->name != NULL; u++) {
		if (strcasecmp(end, u->name) == 0) {
			*value = n > UINT64_MAX / u->factor ? UINT64_MAX : n * u->factor;
			return true;
		}
	}
	return false;
}

static enum setting_result set_scaled(const struct setting *s, void *base, const char *text, char *why, size_t size)
{
	uint64_t value;

	if (scale(text, s->type == SETTING_DURATION ? durations : sizes, &value))
		return setting_set_number(s, base, value, why, size);
	if (s->type == SETTING_DURATION && text[0] != '\0' && text[strspn(text, "0123456789")] == '\0')
		snprintf(why, size, "\"%s\" has no unit: write \"%sms\" or \"%ss\"", text, text, text);
	else
		snprintf(why, size, "\"%s\" is not understood: write %s", text, setting_wants(s));
	return SETTING_WRONG;
}

/* Texts. */

static enum setting_result set_string(char **at, const char *text)
{
	char *copy = strdup(text);

	if (copy == NULL)
		return SETTING_NO_MEMORY;
	free(*at);
	*at = copy;
	return SETTING_OK;
}

/* "\"x\" is not known: write \"a\", \"b\" or \"c\"" */
static enum setting_result complain_word(const struct setting *s, const char *text, char *why, size_t size)
{
	size_t n = (size_t)snprintf(why, size, "\"%s\" is not known: write", text);

	for (size_t i = 0; s->words[i] != NULL && n < size; i++) {
		bool last = s->words[i + 1] == NULL, number = last && s->type == SETTING_CHOICE;

		n += (size_t)snprintf(why + n, size - n, "%s \"%s%s\"",
				      i == 0 ? ""
				      : last ? " or"
					     : ",",
				      s->words[i], number ? "2" : "");
	}
	return SETTING_WRONG;
}

static enum setting_result set_word(const struct setting *s, void *base, const char *text, char *why, size_t size)
{
	for (size_t i = 0; s->words[i] != NULL; i++) {
		if (strcmp(s->words[i], text) == 0) {
			store_number(s, base, i);
			return SETTING_OK;
		}
	}
	return complain_word(s, text, why, size);
}

/* Its word and number; the number is 0 for a word that has none. */
static void store_choice(const struct setting *s, void *base, size_t word, uint64_t number)
{
	store_number(s, base, word);
	memcpy((char *)base + s->second, &number, sizeof number);
}

static size_t last_word(const struct setting *s)
{
	size_t last = 0;

	while (s->words[last + 1] != NULL)
		last++;
	return last;
}

static enum setting_result set_choice(const struct setting *s, void *base, const char *text, char *why, size_t size)
{
	size_t last = last_word(s), n = strlen(s->words[last]);
	const char *digits = text + n;
	unsigned long long number;

	for (size_t i = 0; i < last; i++)
		if (strcmp(s->words[i], text) == 0)
			return store_choice(s, base, i, 0), SETTING_OK;
	if (strncmp(text, s->words[last], n) != 0 || digits[0] == '\0' || digits[strspn(digits, "0123456789")] != '\0')
		return complain_word(s, text, why, size);
	number = strtoull(digits, NULL, 10); /* too large: it stays at the top, which is out of range */
	if (number < s->min || number > s->max) {
		snprintf(why, size, "\"%s\" is out of range: from %s%llu to %s%llu", text, s->words[last],
			 (unsigned long long)s->min, s->words[last], (unsigned long long)s->max);
		return SETTING_WRONG;
	}
	return store_choice(s, base, last, number), SETTING_OK;
}

/* The word of a SETTING_CHOICE, with its number where it has one. */
static const char *print_choice(const struct setting *s, const void *base, char *out, size_t size)
{
	size_t word = setting_number(s, base);
	uint64_t number;

	memcpy(&number, (const char *)base + s->second, sizeof number);
	if (word == last_word(s))
		snprintf(out, size, "%s%llu", s->words[word], (unsigned long long)number);
	else
		snprintf(out, size, "%s", s->words[word]);
	return out;
}

const char *setting_key_rule(const struct config_subscription *s, char out[static SETTING_KEY_BYTES])
{
	return print_choice(setting_find("inbox.key"), s, out, SETTING_KEY_BYTES);
}

/* Cuts "address:port" or "[address]:port" up, in place. */
static bool split_listen(char *text, char **address, unsigned long *port)
{
	char *colon = strrchr(text, ':'), *end;
	struct in6_addr parsed;

	if (colon == NULL || strspn(colon + 1, "0123456789") != strlen(colon + 1))
		return false;
	*colon = '\0';
	*port = strtoul(colon + 1, &end, 10);
	*address = text;
	if (text[0] != '[')
		return *port >= 1 && *port <= 65535 && inet_pton(AF_INET, text, &parsed) == 1;
	if (colon[-1] != ']')
		return false;
	colon[-1] = '\0';
	*address = text + 1;
	return *port >= 1 && *port <= 65535 && inet_pton(AF_INET6, text + 1, &parsed) == 1;
}

static enum setting_result set_listen(const struct setting *s, void *base, const char *text, char *why, size_t size)
{
	char copy[128], *address = copy;
	unsigned long port = 0;
	uint16_t narrow;

	if (strcmp(text, "off") == 0 || text[0] == '\0') {
		snprintf(copy, sizeof copy, "127.0.0.1");
	} else {
		snprintf(copy, sizeof copy, "%s", text);
		if (strlen(text) >= sizeof copy || !split_listen(copy, &address, &port)) {
			snprintf(why, size,
				 "\"%s\" is no numeric address with a port: write %s (0.0.0.0 means every address)",
				 text, setting_wants(s));
			return SETTING_WRONG;
		}
	}
	narrow = (uint16_t)port;
	memcpy((char *)base + s->second, &narrow, sizeof narrow);
	return set_string((char **)((char *)base + s->offset), address);
}

/* A bare name is one of systemd's credentials (LoadCredential=). Outside of its unit it stays a bare name: who has no
 * use for the file, as `status` for NATS' token, does not miss it, and who reads it says what is wrong. */
static enum setting_result set_file(const struct setting *s, void *base, const char *text, char *why, size_t size)
{
	const char *directory = getenv("CREDENTIALS_DIRECTORY");
	char **at = (char **)((char *)base + s->offset), *path;
	enum setting_result result;

	if (text[0] != '/' && strchr(text, '/') != NULL) {
		snprintf(why, size,
			 "\"%s\" is no absolute path: begin it with /, or name a file in $CREDENTIALS_DIRECTORY", text);
		return SETTING_WRONG;
	}
	if (text[0] == '/' || directory == NULL || directory[0] != '/')
		return set_string(at, text);
	if (asprintf(&path, "%s/%s", directory, text) < 0)
		return SETTING_NO_MEMORY;
	result = set_string(at, path);
	free(path);
	return result;
}

/* A list of one. */
static enum setting_result set_list(const struct setting *s, void *base, const char *text)
{
	char **list = calloc(1, sizeof *list);
	size_t one = 1;

	if (list == NULL || set_string(list, text) != SETTING_OK) {
		free(list);
		return SETTING_NO_MEMORY;
	}
	memcpy((char *)base + s->offset, &list, sizeof list);
	memcpy((char *)base + s->second, &one, sizeof one);
	return SETTING_OK;
}

enum setting_result setting_set_text(const struct setting *s, void *base, const char *text, char *why, size_t size)
{
	char *at = (char *)base + s->offset;

	switch (s->type) {
	case SETTING_TABLES: /* has no text: config_tables_read() */
	case SETTING_STRING: return set_string((char **)at, text);
	case SETTING_FILE: return set_file(s, base, text, why, size);
	case SETTING_DURATION:
	case SETTING_SIZE:
	case SETTING_INTEGER: return set_scaled(s, base, text, why, size);
	case SETTING_BOOL: *(bool *)at = strcmp(text, "true") == 0; return SETTING_OK;
	case SETTING_WORD: return set_word(s, base, text, why, size);
	case SETTING_LISTEN: return set_listen(s, base, text, why, size);
	case SETTING_STRINGS: return set_list(s, base, text);
	case SETTING_CHOICE: return set_choice(s, base, text, why, size);
	case SETTING_GROUPS: break;
	}
	return SETTING_WRONG;
}

enum setting_result setting_set_defaults(const struct setting *list, void *base)
{
	char why[256];

	for (const struct setting *s = settings; s < settings + settings_count; s++) {
		enum setting_result result = SETTING_OK;

		if (s->standard != NULL && setting_list_of(s) == list)
			result = setting_set_text(s, base, s->standard, why, sizeof why);
		if (result != SETTING_OK)
			return result;
	}
	return SETTING_OK;
}

static void write_text(const char *text, FILE *out)
{
	size_t room = text != NULL ? 3 * strlen(text) + 64 : 0; /* a mask may be longer than what it hides */
	char *clean = text != NULL ? malloc(room) : NULL;

	if (clean == NULL) {
		fputs("none", out);
		return;
	}
	scrub(text, clean, room);
	fputc('"', out);
	for (const char *p = clean; *p != '\0'; p++) {
		if (*p == '"' || *p == '\\')
			fputc('\\', out);
		fputc(*p, out);
	}
	fputc('"', out);
	free(clean);
}

static void write_number(const struct setting *s, const void *base, FILE *out)
{
	char number[32];
	const char *quote = "";

	setting_print(s, setting_number(s, base), number, sizeof number);
	if (strspn(number, "0123456789") != strlen(number))
		quote = "\"";
	fprintf(out, "%s%s%s", quote, number, quote);
}

static void write_listen(const char *address, uint16_t port, FILE *out)
{
	bool six = address != NULL && strchr(address, ':') != NULL;

	if (port == 0)
		fputs("\"off\"", out);
	else
		fprintf(out, "\"%s%s%s:%u\"", six ? "[" : "", address, six ? "]" : "", (unsigned)port);
}

static void write_list(char *const *list, size_t count, FILE *out)
{
	fputs("[ ", out);
	for (size_t i = 0; i < count; i++) {
		fputs(i > 0 ? ", " : "", out);
		write_text(list[i], out);
	}
	fputs(" ]", out);
}

void setting_write(const struct setting *s, const void *base, FILE *out)
{
	const char *at = (const char *)base + s->offset, *second = (const char *)base + s->second;
	uint16_t port;
	char *text, choice[64];
	size_t count;
	char **list;

	switch (s->type) {
	case SETTING_STRING:
	case SETTING_TABLES:
	case SETTING_FILE: memcpy(&text, at, sizeof text), write_text(text, out); break;
	case SETTING_DURATION:
	case SETTING_SIZE:
	case SETTING_INTEGER: write_number(s, base, out); break;
	case SETTING_BOOL: fputs(*(const bool *)at ? "true" : "false", out); break;
	case SETTING_WORD: write_text(s->words[setting_number(s, base)], out); break;
	case SETTING_CHOICE: write_text(print_choice(s, base, choice, sizeof choice), out); break;
	case SETTING_LISTEN:
		memcpy(&text, at, sizeof text);
		memcpy(&port, second, sizeof port);
		write_listen(text, port, out);
		break;
	case SETTING_STRINGS:
		memcpy(&list, at, sizeof list);
		memcpy(&count, second, sizeof count);
		write_list(list, count, out);
		break;
	case SETTING_GROUPS: break;
	}
}
