/* The checks of streams and subscriptions: names, patterns, and what does not go together. */
#include "config/config_check_lists.h"

#include <stdio.h>
#include <string.h>

#include "format/message.h"

enum { SUBSCRIPTION_NAME_MAX = 64, WHY_BYTES = 512 };

/* Nodes of the tree. */

static config_setting_t *find(struct loader *l, const char *path)
{
	return layers_find(&l->layers, path);
}

config_setting_t *config_check_node(struct loader *l, const char *list, size_t i, const char *member)
{
	config_setting_t *node = config_setting_get_elem(find(l, list), (unsigned)i);
	config_setting_t *found =
		member != NULL && config_setting_is_group(node) ? config_setting_get_member(node, member) : NULL;

	return found != NULL ? found : node;
}

static config_setting_t *subject_node(struct loader *l, const char *list, size_t i, size_t subject)
{
	return config_setting_get_elem(config_check_node(l, list, i, "subjects"), (unsigned)subject);
}

/* Names and patterns. */

bool config_check_is_stream_name(const char *name)
{
	for (const char *p = name; *p != '\0'; p++)
		if (*p <= ' ' || *p > '~' || strchr(".*>/\\", *p) != NULL)
			return false;
	return name[0] != '\0' && strlen(name) <= 255;
}

static void check_stream_name(struct loader *l, const char *list, const char *member, size_t i, const char *name)
{
	if (name != NULL && !config_check_is_stream_name(name))
		complaint_at(
			l, config_check_node(l, list, i, member),
			"%s.%s = \"%s\" is no stream name: write printable characters without spaces and . * > / \\",
			list, member, name);
}

/* False after a complaint, and for what was no text. */
static bool check_pattern(struct loader *l, const char *list, size_t i, size_t j, const char *pattern)
{
	if (pattern != NULL && !message_pattern_valid(pattern))
		complaint_at(l, subject_node(l, list, i, j),
			     "%s.subjects: \"%s\" is no subject pattern: write tokens between dots without spaces; "
			     "* is a whole token, > is a whole token and the last",
			     list, pattern);
	return pattern != NULL && message_pattern_valid(pattern);
}

/* Streams. */

/* A stream cannot take the server's own subjects and acknowledge; no row may have them either. */
static bool pattern_reserved(const char *pattern)
{
	return pattern[0] == '$' || message_patterns_overlap(pattern, "$JS.API.>") || strcmp(pattern, "_INBOX") == 0 ||
	       strncmp(pattern, "_INBOX.", 7) == 0;
}

static bool usable(const char *pattern)
{
	return pattern != NULL && message_pattern_valid(pattern) && !pattern_reserved(pattern);
}

/* It would store what is answered to us, and answer that. Answers have three tokens behind the prefix. */
bool config_check_takes_answers(const struct loader *l, const char *pattern)
{
	const char *prefix = l->c->nats.inbox_prefix;
	char answers[256];

	if (prefix == NULL || strlen(prefix) > sizeof answers - 8)
		return false;
	snprintf(answers, sizeof answers, "%s.*.*.*", prefix);
	return message_pattern_valid(answers) && message_patterns_overlap(pattern, answers);
}

static void check_published(struct loader *l, size_t i, size_t j)
{
	const char *pattern = l->c->streams[i].subjects[j];

	if (check_pattern(l, "streams", i, j, pattern) && pattern_reserved(pattern))
		complaint_at(l, subject_node(l, "streams", i, j),
			     "streams.subjects: \"%s\" takes subjects reserved by NATS: begin it with a "
			     "token of your own, such as \"orders.>\"",
			     pattern);
	else if (usable(pattern) && config_check_takes_answers(l, pattern))
		complaint_at(l, subject_node(l, "streams", i, j),
			     "streams.subjects: \"%s\" takes the answers to this relay: narrow it, or choose another "
			     "nats.inbox_prefix than \"%s\"",
			     pattern, l->c->nats.inbox_prefix);
}

/* Does an earlier pattern, of this stream or another, overlap? The first one found is named. */
static void check_overlap(struct loader *l, size_t i, size_t j)
{
	const char *pattern = l->c->streams[i].subjects[j];

	for (size_t k = 0; usable(pattern) && k <= i; k++) {
		const struct config_stream *other = &l->c->streams[k];

		for (size_t m = 0; m < (k == i ? j : other->subject_count); m++) {
			if (!usable(other->subjects[m]) || !message_patterns_overlap(pattern, other->subjects[m]))
				continue;
			complaint_at(l, subject_node(l, "streams", i, j),
				     "streams.subjects: \"%s\" and \"%s\" (stream %s, line %u) overlap: "
				     "a subject may belong to one pattern only; narrow one of them",
				     pattern, other->subjects[m], other->name != NULL ? other->name : "?",
				     layers_line_of(subject_node(l, "streams", k, m)));
			return;
		}
	}
}

/* In one order nothing can wait for an operator while what stands behind it goes on; and what is sent in no order, or in an order that
 * may be lost, has none to keep. */
static bool owned_fits(const struct config *c, size_t i, char *why, size_t size)
{
	const struct config_stream *s = &c->streams[i];

	if (!s->owned)
		return true;
	if (c->delivery.poison == POISON_HOLD)
		return snprintf(
			       why, size,
			       "streams.owned: stream %s is to be in one order, and delivery.poison = \"hold\" would stop all of it "
			       "behind one dead letter: use \"skip\", or owned = false",
			       s->name != NULL ? s->name : "?"),
		       false;
	if (c->delivery.ordering != ORDERING_STRICT)
		return snprintf(
			       why, size,
			       "streams.owned: stream %s is to be in one order: that needs delivery.ordering = \"strict\"",
			       s->name != NULL ? s->name : "?"),
		       false;
	return true;
}

static void check_stream(struct loader *l, size_t i)
{
	const char *name = l->c->streams[i].name;
	char why[WHY_BYTES];
	size_t k = 0;

	check_stream_name(l, "streams", "name", i, name);
	while (k < i && (name == NULL || l->c->streams[k].name == NULL || strcmp(l->c->streams[k].name, name) != 0))
		k++;
	if (k < i)
		complaint_at(l, config_check_node(l, "streams", i, "name"),
			     "streams.name = \"%s\" stands twice (line %u): put all its subjects into one", name,
			     layers_line_of(config_check_node(l, "streams", k, "name")));
	if (!owned_fits(l->c, i, why, sizeof why))
		complaint_at(l, config_check_node(l, "streams", i, "owned"), "%s", why);
	for (size_t j = 0; j < l->c->streams[i].subject_count; j++)
		check_published(l, i, j);
	for (size_t j = 0; j < l->c->streams[i].subject_count; j++)
		check_overlap(l, i, j);
}

/* Subscriptions. */

static void check_subscription_name(struct loader *l, size_t i)
{
	static const char legal[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
	const char *name = l->c->subscriptions[i].name;

	if (name == NULL)
		return;
	if (name[0] == '\0' || strlen(name) > SUBSCRIPTION_NAME_MAX || name[strspn(name, legal)] != '\0')
		complaint_at(l, config_check_node(l, "inbox", i, "name"),
			     "inbox.name = \"%s\" is not usable: write up to %d letters, digits, '_' and '-'", name,
			     SUBSCRIPTION_NAME_MAX);
	for (size_t k = 0; k < i; k++) {
		if (l->c->subscriptions[k].name == NULL || strcmp(l->c->subscriptions[k].name, name) != 0)
			continue;
		complaint_at(l, config_check_node(l, "inbox", i, "name"),
			     "inbox.name = \"%s\" stands twice (line %u): each subscription has a name of its own",
			     name, layers_line_of(config_check_node(l, "inbox", k, "name")));
		return;
	}
}

/* A message that two filters take would come once, but nats-server refuses such a consumer. */
static void check_filters_overlap(struct loader *l, size_t i, size_t j)
{
	const struct config_subscription *s = &l->c->subscriptions[i];
	const char *filter = s->subjects[j];

	for (size_t m = 0; m < j; m++) {
		const char *other = s->subjects[m];

		if (other == NULL || !message_pattern_valid(other) || !message_patterns_overlap(filter, other))
			continue;
		complaint_at(l, subject_node(l, "inbox", i, j),
			     "inbox.subjects: \"%s\" and \"%s\" (line %u) overlap: a subject may belong to one only; "
			     "narrow or leave out one of them",
			     filter, other, layers_line_of(subject_node(l, "inbox", i, m)));
		return;
	}
}

/* Every subject of the filter must have the token, or messages would have no key, unseen. */
static void check_key_token(struct loader *l, size_t i, size_t j)
{
	const struct config_subscription *s = &l->c->subscriptions[i];
	uint64_t tokens = 1;

	for (const char *p = s->subjects[j]; *p != '\0'; p++)
		tokens += *p == '.';
	if (s->key == CONFIG_KEY_SUBJECT && tokens < s->key_token)
		complaint_at(
			l, subject_node(l, "inbox", i, j),
			"inbox.subjects: \"%s\" takes subjects of %llu token%s, and inbox.key = \"subject:%llu\" wants "
			"number %llu of them: write a longer filter, or another key",
			s->subjects[j], (unsigned long long)tokens, tokens == 1 ? "" : "s",
			(unsigned long long)s->key_token, (unsigned long long)s->key_token);
}

/* An SQL name that needs no quotes. Returns what comes behind it; NULL: there is none. */
static const char *skip_sql_name(const char *p)
{
	size_t n = strspn(p, "abcdefghijklmnopqrstuvwxyz0123456789_$");

	return n == 0 || n > 63 || (*p >= '0' && *p <= '9') || *p == '$' ? NULL : p + n;
}

static void check_handler(struct loader *l, size_t i)
{
	const char *handler = l->c->subscriptions[i].handler, *dot, *end = NULL;

	if (handler == NULL || handler[0] == '\0')
		return;
	dot = skip_sql_name(handler);
	if (dot != NULL && *dot == '.')
		end = skip_sql_name(dot + 1);
	if (end == NULL || *end != '\0')
		complaint_at(
			l, config_check_node(l, "inbox", i, "handler"),
			"inbox.handler = \"%s\" is no function with its schema: write \"schema.function\", both in small "
			"letters and without arguments",
			handler);
}

/* With position alone, what a new stream brings may be what the old one brought. */
static bool restart_fits(const struct config_subscription *s, char *why, size_t size)
{
	if (s->dedupe != INBOX_DEDUPE_POSITION || s->on_recreated != INBOX_ON_GO_ON)
		return true;
	snprintf(
		why, size,
		"inbox.on_recreated = \"restart\" needs inbox.dedupe = \"ids\": with \"position\" every message that was "
		"published to the stream again would take effect again; write \"stop\", and decide when it happens");
	return false;
}

static void check_subscription(struct loader *l, size_t i)
{
	const struct config_subscription *s = &l->c->subscriptions[i];
	char why[WHY_BYTES];

	check_subscription_name(l, i);
	check_stream_name(l, "inbox", "stream", i, s->stream);
	for (size_t j = 0; j < s->subject_count; j++)
		if (check_pattern(l, "inbox", i, j, s->subjects[j])) {
			check_filters_overlap(l, i, j);
			check_key_token(l, i, j);
		}
	check_handler(l, i);
	if (s->tables != NULL && s->handler != NULL && s->handler[0] != '\0')
		complaint_at(
			l, config_check_node(l, "inbox", i, "handler"),
			"inbox.handler and inbox.tables exclude each other: leave one out, or make two subscriptions of it");
	if (!restart_fits(s, why, sizeof why))
		complaint_at(l, config_check_node(l, "inbox", i, "on_recreated"), "%s", why);
}

/* All. */

void config_check_lists(struct loader *l)
{
	if (find(l, "streams") == NULL && find(l, "inbox") == NULL && find(l, "sagas.replies") == NULL &&
	    find(l, "capture") == NULL)
		complaint_at(
			l, NULL,
			"streams, inbox and capture are missing: add streams = ( { name = \"ORDERS\"; subjects = [ \"orders.>\" ]; } ); "
			"to publish, inbox = ( ... ) to take, or capture = ( ... ) to send what others write");
	for (size_t i = 0; i < l->c->stream_count; i++)
		check_stream(l, i);
	for (size_t i = 0; i < l->c->inbox_count; i++)
		check_subscription(l, i);
}

bool config_check_lists_fit(const struct config *c, char *why, size_t size)
{
	for (size_t i = 0; i < c->stream_count; i++)
		if (!owned_fits(c, i, why, size))
			return false;
	for (size_t i = 0; i < c->subscription_count; i++)
		if (!restart_fits(&c->subscriptions[i], why, size))
			return false;
	return true;
}
