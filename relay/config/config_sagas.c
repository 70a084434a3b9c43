/* The subscription that takes the answers to sagas is one like any other, so nobody who takes messages knows of sagas. Its settings say
 * what an answer is: something that may come twice, or not at all, and that a deadline asks for again. */
#include "config/config_sagas.h"

#include <stdlib.h>
#include <string.h>

#include "config/config_check_lists.h"
#include "config/settings.h"
#include "format/message.h"

enum {
	LANES = 16, /* few, so that a transaction handles the answers of several sagas */
	WORKERS = 2,
};

static const char handler[] = "boxhaul.saga_reply";

static void check_replies(struct loader *l)
{
	const char *replies = l->c->sagas.replies;

	/* It goes into a header of each command, and from there into the outbox of a participant. */
	if (replies != NULL && (message_check_subject(replies, strlen(replies)) != REASON_NONE || replies[0] == '$'))
		complaint_at(
			l, layers_find(&l->layers, "sagas.replies"),
			"sagas.replies = \"%s\" is no subject that a service can publish to: write tokens between dots, "
			"without * and > and not beginning with $, such as \"shop.saga\"",
			replies);
}

void config_sagas_check(struct loader *l)
{
	static const char *const others[] = { "sagas.stream", "sagas.tick" };

	for (size_t i = 0; l->c->sagas.replies == NULL && i < sizeof others / sizeof others[0]; i++) {
		config_setting_t *node = layers_find(&l->layers, others[i]);

		if (node == NULL)
			continue;
		complaint_at(l, node, "%s is set, and sagas.replies is not: add replies = \"...\"; or leave both out",
			     others[i]);
		break;
	}
	if (l->c->sagas.stream != NULL && !config_check_is_stream_name(l->c->sagas.stream))
		complaint_at(
			l, layers_find(&l->layers, "sagas.stream"),
			"sagas.stream = \"%s\" is no stream name: write printable characters without spaces and . * > / \\",
			l->c->sagas.stream);
	check_replies(l);
}

static bool set_text(char **to, const char *text)
{
	free(*to);
	*to = strdup(text);
	return *to != NULL;
}

/* A second "done" of a step is ignored, whatever its message id: the transition names step and direction. So nothing here rests on the
 * ids, and what has to hold for other subscriptions need not for this one:
 *
 *   on_gap, on_recreated  An answer that the stream has lost is asked for again when its deadline has passed. To stop until somebody
 *                         decides would hold up every saga for what mends itself.
 *   poison                The same for one that cannot be handled: it stands as a dead letter, and its saga goes on.
 *   retention             Long enough for somebody to look at them.
 *   start                 What was answered before sagas were started here is an answer to nobody.
 *   key                   The saga: its answers keep their order (a "done" of step 2 does not pass that of step 1). */
static bool fill(const struct config *c, struct config_subscription *s)
{
	if (setting_set_defaults(setting_find("inbox"), s) != SETTING_OK)
		return false;
	s->subjects = calloc(1, sizeof *s->subjects);
	if (s->subjects == NULL)
		return false;
	s->subject_count = 1;
	s->start = INBOX_START_NEW;
	s->key = CONFIG_KEY_HEADER;
	s->lanes = LANES;
	s->workers = WORKERS;
	s->dedupe = INBOX_DEDUPE_IDS;
	s->poison = POISON_SKIP;
	s->retention_ms = DAY;
	s->on_gap = s->on_recreated = INBOX_ON_GO_ON;
	return set_text(&s->name, CONFIG_SAGAS) && set_text(&s->stream, c->sagas.stream) &&
	       set_text(&s->handler, handler) && set_text(&s->subjects[0], c->sagas.replies);
}

bool config_sagas_derive(struct config *c)
{
	c->subscription_count = c->inbox_count;
	if (c->sagas.replies == NULL)
		return true;
	if (c->subscriptions == NULL && (c->subscriptions = calloc(1, sizeof *c->subscriptions)) == NULL)
		return false;
	c->subscription_count++; /* before it is filled: what there is of it is freed with the others */
	return fill(c, &c->subscriptions[c->inbox_count]);
}
