/* Rather a harmless word masked than a secret shown. */
#include "base/scrub.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

struct scrubbing {
	const char *in;
	char *out;
	size_t n, size;
};

static void copy(struct scrubbing *s, size_t n)
{
	size_t room = s->size - 1 - s->n, fits = n < room ? n : room;

	memcpy(s->out + s->n, s->in, fits);
	s->n += fits;
	s->in += n;
}

static void mask(struct scrubbing *s, size_t n)
{
	const char *after = s->in + n;

	s->in = "***";
	copy(s, n > 0 ? 3 : 0);
	s->in = after;
}

/* After "://": user:password@ keeps the user, token@ (NATS takes it for a token) keeps nothing. */
static void scrub_authority(struct scrubbing *s, bool nats)
{
	size_t length = strcspn(s->in, "/?# \t\r\n\"'<>"), user;
	const char *at = memrchr(s->in, '@', length);

	if (at == NULL)
		return;
	length = (size_t)(at - s->in);
	user = strcspn(s->in, nats ? ":@" : ":");
	if (user < length && s->in[user] == ':') {
		copy(s, user + 1);
		length -= user + 1;
	} else if (!nats) {
		return;
	}
	mask(s, length);
}

/* After "password": = and a value as libpq reads it: quoted, or up to a space, with \ before what is escaped. */
static void scrub_value(struct scrubbing *s)
{
	size_t before = strspn(s->in, " \t\r\n"), n = 0;
	char quote;

	if (s->in[before] != '=')
		return;
	before++;
	before += strspn(s->in + before, " \t\r\n");
	quote = s->in[before] == '\'' ? '\'' : '\0';
	copy(s, before + (quote != '\0'));
	while (s->in[n] != '\0' && (quote != '\0' ? s->in[n] != quote : strchr(" \t\r\n", s->in[n]) == NULL))
		n += s->in[n] == '\\' && s->in[n + 1] != '\0' ? 2 : 1;
	mask(s, n);
}

static bool ends_with_nats(const char *text, const char *end)
{
	return (end - text >= 4 && strncasecmp(end - 4, "nats", 4) == 0) ||
	       (end - text >= 3 && strncasecmp(end - 3, "tls", 3) == 0);
}

void scrub(const char *text, char *out, size_t size)
{
	static const char word[] = "password";
	struct scrubbing s = { .in = text, .out = out, .size = size };

	while (*s.in != '\0') {
		if (strncmp(s.in, "://", 3) == 0) {
			bool nats = ends_with_nats(text, s.in);

			copy(&s, 3);
			scrub_authority(&s, nats);
		} else if (strncasecmp(s.in, word, sizeof word - 1) == 0) {
			copy(&s, sizeof word - 1);
			scrub_value(&s);
		} else {
			copy(&s, 1);
		}
	}
	out[s.n] = '\0';
}
