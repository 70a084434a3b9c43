#include "format/consumer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { NS_PER_MS = 1000000, INACTIVE_MS = 60000, BAD_REQUEST = 400, MAXIMUM_CONSUMERS = 10026 };

const char *consumer_name(char to[static CONSUMER_NAME_BYTES], const char *subscription, const char *behind)
{
	snprintf(to, CONSUMER_NAME_BYTES, "boxhaul-%s-%s", subscription, behind);
	for (char *p = to; *p != '\0'; p++)
		if (*p == '.')
			*p = '-';
	return to;
}

static void add_filters(json_t *config, const struct consumer_wish *w)
{
	json_t *list;

	if (w->filter_count == 1)
		json_object_set_new(config, "filter_subject", json_string(w->filters[0]));
	if (w->filter_count < 2)
		return;
	list = json_array();
	for (size_t i = 0; i < w->filter_count; i++)
		json_array_append_new(list, json_string(w->filters[i]));
	json_object_set_new(config, "filter_subjects", list);
}

/* It dies by itself when nobody has asked it for anything for a minute: with a relay that was killed, too. */
char *consumer_wish_write(const struct consumer_wish *w)
{
	json_t *config = json_pack("{s:s, s:s, s:I, s:s, s:s, s:i, s:b, s:I}", "name", w->name, "deliver_policy",
				   "by_start_sequence", "opt_start_seq", (json_int_t)w->start, "ack_policy", "none",
				   "replay_policy", "instant", "num_replicas", 1, "mem_storage", 1,
				   "inactive_threshold", (json_int_t)INACTIVE_MS * NS_PER_MS);
	json_t *body;
	char *text;

	if (config == NULL)
		return NULL;
	add_filters(config, w);
	body = json_pack("{s:s, s:o, s:s}", "stream_name", w->stream, "config", config, "action", "create");
	text = json_dumps(body, JSON_COMPACT);
	json_decref(body);
	return text;
}

/* --- the answer --- */

static bool is_text(const json_t *o, const char *key, const char *text)
{
	const char *there = json_string_value(json_object_get(o, key));

	return there != NULL && strcmp(there, text) == 0;
}

static bool has_filter(const json_t *list, const char *filter)
{
	size_t i;
	const json_t *one;

	json_array_foreach (list, i, one)
		if (json_is_string(one) && strcmp(json_string_value(one), filter) == 0)
			return true;
	return false;
}

static bool has_filters(const json_t *config, const struct consumer_wish *w)
{
	const json_t *list = json_object_get(config, "filter_subjects");

	if (w->filter_count == 0)
		return json_object_get(config, "filter_subject") == NULL && list == NULL;
	if (w->filter_count == 1)
		return is_text(config, "filter_subject", w->filters[0]);
	if (json_array_size(list) != w->filter_count)
		return false;
	for (size_t i = 0; i < w->filter_count; i++)
		if (!has_filter(list, w->filters[i]))
			return false;
	return true;
}

/* Only what a wrong message could come of. */
static enum consumer_verdict compare(const json_t *answer, const struct consumer_wish *w)
{
	const json_t *config = json_object_get(answer, "config");

	if (!is_text(answer, "stream_name", w->stream) || !is_text(answer, "name", w->name) ||
	    !is_text(config, "deliver_policy", "by_start_sequence") || !is_text(config, "ack_policy", "none") ||
	    answer_count(config, "opt_start_seq") != w->start || json_object_get(config, "deliver_subject") != NULL)
		return CONSUMER_OTHER;
	if (has_filters(config, w))
		return CONSUMER_MADE;
	return w->filter_count > 1 ? CONSUMER_UNFILTERED : CONSUMER_OTHER;
}

enum consumer_verdict consumer_answer_read(const char *data, size_t bytes, const struct consumer_wish *w,
					   struct answer_error *error)
{
	json_t *answer = answer_read(data, bytes);
	enum answer_verdict verdict = answer_verdict(answer, "config", error);
	enum consumer_verdict result = CONSUMER_REFUSED;

	if (verdict == ANSWER_OK)
		result = compare(answer, w);
	else if (error->code == BAD_REQUEST && error->err_code != MAXIMUM_CONSUMERS)
		result = CONSUMER_HOPELESS;
	json_decref(answer);
	return result;
}

/* --- one filter for several --- */

static size_t token_bytes(const char *pattern)
{
	return strcspn(pattern, ".");
}

static bool same_token(const char *a, const char *b)
{
	size_t n = token_bytes(a);

	return n == token_bytes(b) && memcmp(a, b, n) == 0 && a[n] == b[n];
}

/* The bytes of the tokens with which all begin, each with the dot behind it. */
static size_t common_bytes(char *const *filters, size_t count)
{
	const char *first = filters[0];
	size_t common = 0, n;

	for (;;) {
		n = token_bytes(first + common);
		for (size_t i = 1; i < count; i++)
			if (!same_token(filters[i] + common, first + common))
				return common;
		if (first[common + n] == '\0')
			return common;
		common += n + 1;
	}
}

bool consumer_common_filter(char *const *filters, size_t count, char to[static CONSUMER_FILTER_BYTES])
{
	size_t n = count == 1 ? strlen(filters[0]) : count > 0 ? common_bytes(filters, count) : 0;

	to[0] = '\0';
	if (n + 2 > CONSUMER_FILTER_BYTES)
		return false;
	if (n == 0)
		return true;
	memcpy(to, filters[0], n);
	memcpy(to + n, count == 1 ? "" : ">", count == 1 ? 1 : 2);
	return true;
}

/* --- requests --- */

int consumer_pull_write(char to[static CONSUMER_PULL_BYTES], uint32_t messages, uint32_t bytes, uint32_t expires_ms,
			uint32_t heartbeat_ms)
{
	return snprintf(to, CONSUMER_PULL_BYTES,
			"{\"batch\":%" PRIu32 ",\"max_bytes\":%" PRIu32 ",\"expires\":%" PRIu64
			",\"idle_heartbeat\":%" PRIu64 "}",
			messages, bytes, (uint64_t)expires_ms * NS_PER_MS, (uint64_t)heartbeat_ms * NS_PER_MS);
}
