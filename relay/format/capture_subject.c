/* Templates of subjects. */
#include "format/capture_subject.h"

#include <stdio.h>
#include <string.h>

/* A part of a template: text, or a name. */
struct part {
	const char *text;
	size_t count;
	bool name, tokens; /* {name}; {name>} */
};

/* Takes the next part off; false: there is none, or (count 0 with `name`) braces that do not fit. */
static bool next_part(const char **at, struct part *p)
{
	const char *s = *at;

	*p = (struct part){ .text = s };
	if (*s == '\0')
		return false;
	if (*s != '{') {
		p->count = strcspn(s, "{");
		*at = s + p->count;
		return true;
	}
	p->name = true;
	p->text = s + 1;
	p->count = strcspn(s + 1, "{}");
	if (s[1 + p->count] != '}') {
		p->count = 0;
		return false;
	}
	*at = s + 1 + p->count + 1;
	p->tokens = p->count > 1 && p->text[p->count - 1] == '>';
	p->count -= p->tokens;
	return p->count > 0;
}

static bool is_name(const struct part *p, const char *name)
{
	return p->name && strlen(name) == p->count && memcmp(p->text, name, p->count) == 0;
}

/* --- checking --- */

/* A wildcard takes the place of a name where a template is looked at as a pattern; but that of the capture is known (NULL: it is not). */
static void write_pattern(const char *template, const char *capture, char *pattern, size_t size)
{
	const char *at = template;
	struct part p;
	size_t n = 0, token = 0; /* where the token begins */
	bool wild = false;

	while (next_part(&at, &p)) {
		if (capture != NULL && is_name(&p, "capture"))
			p = (struct part){ .text = capture, .count = strlen(capture) };
		if (p.name) {
			wild = true;
			n = token;
			n += (size_t)snprintf(pattern + n, size - n, "%s", p.tokens ? ">" : "*");
			continue;
		}
		for (size_t i = 0; i < p.count && n + 1 < size; i++) {
			if (p.text[i] == '.') {
				pattern[n++] = '.';
				token = n;
				wild = false;
			} else if (!wild) {
				pattern[n++] = p.text[i];
			}
		}
	}
	pattern[n] = '\0';
}

void capture_subject_pattern(const char *template, const char *capture,
			     char pattern[static MESSAGE_SUBJECT_MAX_BYTES + 1])
{
	write_pattern(template, capture, pattern, MESSAGE_SUBJECT_MAX_BYTES + 1);
}

static bool check_part(const struct part *p, const char *template, const char *behind,
		       bool (*known)(const char *name, size_t n), char *why, size_t size)
{
	if (!p->name && memchr(p->text, '}', p->count) != NULL)
		snprintf(why, size, "has a } without its {: write names as {name}");
	else if (!p->name && (memchr(p->text, '*', p->count) != NULL || memchr(p->text, '>', p->count) != NULL))
		snprintf(why, size, "has a wildcard: write text, and names as {name}");
	else if (p->tokens && (*behind != '\0' || (p->text - 1 != template && p->text[-2] != '.')))
		snprintf(why, size, "has {%.*s>} beside something else: it is the whole of the last token",
			 (int)p->count, p->text);
	else if (p->name && known != NULL && !known(p->text, p->count))
		snprintf(why, size, "has {%.*s}, which nothing stands for here", (int)p->count, p->text);
	else
		return true;
	return false;
}

bool capture_subject_check(const char *template, bool (*known)(const char *name, size_t n), char *why, size_t size)
{
	char pattern[MESSAGE_SUBJECT_MAX_BYTES + 1];
	const char *at = template;
	struct part p;

	if (template[0] == '\0' || strlen(template) > MESSAGE_SUBJECT_MAX_BYTES / 2) {
		snprintf(why, size, "is empty or too long: write a subject of at most %d bytes",
			 MESSAGE_SUBJECT_MAX_BYTES / 2);
		return false;
	}
	if (template[0] == '{') {
		snprintf(why, size,
			 "begins with a name, so it could be anybody's: begin it with a token of your own, such as "
			 "\"cdc.\"");
		return false;
	}
	while (next_part(&at, &p))
		if (!check_part(&p, template, at, known, why, size))
			return false;
	if (*at != '\0') {
		snprintf(why, size, "has a { without its name and }: write names as {name}");
		return false;
	}
	write_pattern(template, NULL, pattern, sizeof pattern);
	if (message_pattern_valid(pattern) && pattern[0] != '$' && strcmp(pattern, "_INBOX") != 0 &&
	    strncmp(pattern, "_INBOX.", 7) != 0)
		return true;
	snprintf(why, size,
		 "is no subject that can be published to: write tokens between dots, without spaces, and "
		 "none of the server's own ($..., _INBOX)");
	return false;
}

bool capture_subject_names(const char *template, const char *name)
{
	const char *at = template;
	struct part p;

	while (next_part(&at, &p))
		if (is_name(&p, name))
			return true;
	return false;
}

/* --- writing --- */

struct writer {
	char *at, *end; /* end: where the terminator may stand at the latest */
	bool full;
};

static void put(struct writer *w, char c)
{
	if (w->at < w->end)
		*w->at++ = c;
	else
		w->full = true;
}

/* What a token may not hold; the percent sign, so that no value looks like an encoded one; and what is no ASCII, so that invalid UTF-8
 * cannot come in. */
static bool is_encoded(unsigned char c)
{
	return c <= ' ' || c >= 0x7f || strchr(".*>%", c) != NULL;
}

static void put_encoded(struct writer *w, const char *bytes, size_t n)
{
	static const char hex[] = "0123456789ABCDEF";

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)bytes[i];

		if (!is_encoded(c)) {
			put(w, bytes[i]);
			continue;
		}
		put(w, '%');
		put(w, hex[c >> 4]);
		put(w, hex[c & 15]);
	}
}

static void put_plain(struct writer *w, const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		put(w, bytes[i]);
}

enum reason capture_subject_write(const char *template,
				  struct capture_subject_value (*value)(void *arg, const char *name, size_t n),
				  void *arg, char subject[static MESSAGE_SUBJECT_MAX_BYTES + 1])
{
	struct writer w = { .at = subject, .end = subject + MESSAGE_SUBJECT_MAX_BYTES };
	const char *at = template;
	struct part p;

	while (next_part(&at, &p)) {
		struct capture_subject_value v = { .bytes = p.text, .count = p.count };

		if (p.name)
			v = value(arg, p.text, p.count);
		if (v.bytes == NULL)
			return DEFECT_SUBJECT_NULL;
		/* Between two texts an empty value would go unseen: "a{x}b" is a token all the same, but of no value. */
		if (p.name && v.count == 0)
			return DEFECT_SUBJECT_TOKEN;
		if (p.name && !p.tokens)
			put_encoded(&w, v.bytes, v.count);
		else
			put_plain(&w, v.bytes, v.count);
	}
	*w.at = '\0';
	return w.full ? DEFECT_SUBJECT_LONG : message_check_subject(subject, (size_t)(w.at - subject));
}
