/* Captures, the outbox tables and the messages that they send. */
#include "config/config_captures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/capture_subject.h"
#include "format/emitted.h"

struct config_capture *config_captures_find(const struct config *c, const char *name)
{
	for (size_t i = 0; i < c->capture_count; i++) {
		const char *this = c->captures[i].name;

		if (name == NULL ? c->capture_count == 1 : this != NULL && strcmp(this, name) == 0)
			return &c->captures[i];
	}
	return NULL;
}

/* What somebody sends to a capture's stream matches this; false: nothing that could be said. */
static bool capture_pattern(const struct config_capture *c, char pattern[static MESSAGE_SUBJECT_MAX_BYTES + 1])
{
	if (c->target == CAPTURE_TARGET_KV)
		return snprintf(pattern, MESSAGE_SUBJECT_MAX_BYTES + 1, "$KV.%s.>",
				c->stream.name + sizeof CONFIG_BUCKET_STREAM - 1) <= MESSAGE_SUBJECT_MAX_BYTES;
	if (c->table_count + c->inserts_only_count == 0)
		return false;
	capture_subject_pattern(c->subject, c->name, pattern);
	return true;
}

const char *config_captures_outbox_subject(const struct config_outbox_table *t)
{
	return t->subject != NULL ? t->subject : outbox_mapping_subject(t->mapping.preset);
}

void config_captures_messages_pattern(const struct config_messages *m,
				      char pattern[static MESSAGE_SUBJECT_MAX_BYTES + 1])
{
	if (strcmp(m->prefix, EMITTED_PREFIX) == 0)
		snprintf(pattern, MESSAGE_SUBJECT_MAX_BYTES + 1, "%s", m->subject);
	else
		capture_subject_pattern(m->subject, NULL, pattern);
}

/* --- what follows --- */

/* A pattern that others of the stream cover, or that covers them, would be one of two that overlap: JetStream refuses those. */
static bool is_covered(const char *pattern, const char *by)
{
	for (;;) {
		size_t n = strcspn(pattern, "."), m = strcspn(by, ".");

		if (m == 1 && *by == '>')
			return true;
		if (n == 1 && *pattern == '>')
			return false;
		if (!(m == 1 && *by == '*') && (n != m || memcmp(pattern, by, n) != 0))
			return false;
		if (pattern[n] == '\0' || by[m] == '\0')
			return pattern[n] == by[m];
		pattern += n + 1;
		by += m + 1;
	}
}

static bool add_subject(struct config_stream *s, const char *pattern)
{
	char **more, *copy;
	size_t n = 0;

	for (size_t i = 0; i < s->subject_count; i++)
		if (is_covered(pattern, s->subjects[i]))
			return true;
	for (size_t i = 0; i < s->subject_count; i++)
		if (is_covered(s->subjects[i], pattern))
			free(s->subjects[i]);
		else
			s->subjects[n++] = s->subjects[i];
	s->subject_count = n;
	more = realloc(s->subjects, (n + 1) * sizeof *more);
	if (more != NULL)
		s->subjects = more;
	copy = strdup(pattern);
	if (more == NULL || copy == NULL)
		return free(copy), false;
	s->subjects[s->subject_count++] = copy;
	return true;
}

static bool name_capture(char **name, const struct config_capture *c)
{
	if (*name == NULL && c != NULL)
		*name = strdup(c->name);
	return *name != NULL;
}

static bool derive_capture(struct config_capture *c)
{
	char pattern[MESSAGE_SUBJECT_MAX_BYTES + 1];

	if (c->target == CAPTURE_TARGET_KV) {
		free(c->subject);
		c->subject = NULL;
	}
	return !capture_pattern(c, pattern) || add_subject(&c->stream, pattern);
}

static bool derive_outbox_table(struct config *c, struct config_outbox_table *t)
{
	struct config_capture *of = t->source == OUTBOX_SOURCE_WAL ? config_captures_find(c, t->capture) : NULL;
	char pattern[MESSAGE_SUBJECT_MAX_BYTES + 1];

	if (t->subject == NULL && (t->subject = strdup(config_captures_outbox_subject(t))) == NULL)
		return false;
	if (of == NULL)
		return true;
	capture_subject_pattern(t->subject, NULL, pattern);
	return name_capture(&t->capture, of) && add_subject(&of->stream, pattern);
}

static bool derive_messages(struct config *c, struct config_messages *m)
{
	struct config_capture *of = config_captures_find(c, m->capture);
	char pattern[MESSAGE_SUBJECT_MAX_BYTES + 1];

	config_captures_messages_pattern(m, pattern);
	return name_capture(&m->capture, of) && add_subject(&of->stream, pattern);
}

bool config_captures_derive(struct config *c)
{
	bool ok = true;

	for (size_t i = 0; ok && i < c->capture_count; i++)
		ok = derive_capture(&c->captures[i]);
	for (size_t i = 0; ok && i < c->outbox_table_count; i++)
		ok = derive_outbox_table(c, &c->outbox_tables[i]);
	for (size_t i = 0; ok && i < c->messages_count; i++)
		ok = derive_messages(c, &c->messages[i]);
	return ok;
}
