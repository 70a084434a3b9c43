#include "format/stream_info.h"

#include <stdlib.h>
#include <string.h>

#include "format/message.h"

enum { NS_PER_MS = 1000000 };

static bool flag(const json_t *config, const char *key)
{
	return json_is_true(json_object_get(config, key));
}

static bool is_word(const json_t *config, const char *key, const char *word)
{
	const char *text = json_string_value(json_object_get(config, key));

	return text != NULL && strcmp(text, word) == 0;
}

/* What does not fit is left out: a part of it would be another thing. */
static void copy_text(char *out, size_t size, const char *text)
{
	if (text != NULL && strlen(text) < size)
		memcpy(out, text, strlen(text) + 1);
}

static void read_subjects(struct stream_info *info, const json_t *list)
{
	size_t i;
	const json_t *subject;

	info->subjects = calloc(json_array_size(list) + 1, sizeof *info->subjects);
	if (info->subjects == NULL)
		return;
	json_array_foreach (list, i, subject) {
		char *copy = json_is_string(subject) ? strdup(json_string_value(subject)) : NULL;

		if (copy != NULL)
			info->subjects[info->subject_count++] = copy;
	}
}

static void read_state(struct stream_info *info, const json_t *state)
{
	info->first = answer_count(state, "first_seq");
	info->last = answer_count(state, "last_seq");
	info->messages = answer_count(state, "messages");
	info->bytes = answer_count(state, "bytes");
	info->deleted = answer_count(state, "num_deleted");
}

static void read_limits(struct stream_info *info, const json_t *config)
{
	uint64_t replicas = answer_count(config, "num_replicas");

	info->max_messages = answer_count(config, "max_msgs");
	info->max_bytes = answer_count(config, "max_bytes");
	info->max_message_bytes = answer_count(config, "max_msg_size");
	info->max_messages_per_subject = answer_count(config, "max_msgs_per_subject");
	info->max_age_ms = answer_count(config, "max_age") / NS_PER_MS;
	info->duplicate_window_ms = answer_count(config, "duplicate_window") / NS_PER_MS;
	info->replicas = replicas < UINT32_MAX ? (uint32_t)replicas : UINT32_MAX;
}

/* What the server that answers, which leads the stream, adds to what was set. */
static uint32_t read_version(const json_t *config)
{
	const char *text = json_string_value(json_object_get(json_object_get(config, "metadata"), "_nats.ver"));
	unsigned long part[2] = { 0, 0 };
	char *end = NULL;

	for (int i = 0; i < 2 && text != NULL; i++, text = *end == '.' ? end + 1 : NULL) {
		part[i] = *text >= '0' && *text <= '9' ? strtoul(text, &end, 10) : 1000;
		if (part[i] >= 1000)
			return 0;
	}
	return stream_info_server((uint32_t)part[0], (uint32_t)part[1]);
}

static void read_config(struct stream_info *info, const json_t *config)
{
	info->retention = is_word(config, "retention", "interest")    ? RETENTION_INTEREST
			  : is_word(config, "retention", "workqueue") ? RETENTION_WORK_QUEUE
								      : RETENTION_LIMITS;
	info->discard_new = is_word(config, "discard", "new");
	info->discard_new_per_subject = flag(config, "discard_new_per_subject");
	info->file_storage = is_word(config, "storage", "file");
	info->no_ack = flag(config, "no_ack");
	info->sealed = flag(config, "sealed");
	info->persist_async = is_word(config, "persist_mode", "async");
	info->transforms = json_is_object(json_object_get(config, "subject_transform"));
	info->mirror = json_is_object(json_object_get(config, "mirror"));
	info->sources = json_array_size(json_object_get(config, "sources")) > 0;
	info->allow_rollup = flag(config, "allow_rollup_hdrs");
	info->allow_direct = flag(config, "allow_direct");
	info->allow_ttl = flag(config, "allow_msg_ttl");
	info->allow_counters = flag(config, "allow_msg_counter");
	info->allow_schedules = flag(config, "allow_msg_schedules");
	info->allow_atomic = flag(config, "allow_atomic");
	info->allow_batched = flag(config, "allow_batched");
	info->server = read_version(config);
	read_limits(info, config);
	read_subjects(info, json_object_get(config, "subjects"));
}

enum answer_verdict stream_info_read(const char *data, size_t bytes, struct stream_info *info)
{
	json_t *answer = answer_read(data, bytes);
	enum answer_verdict verdict;

	*info = (struct stream_info){ .first = 0 };
	verdict = answer_verdict(answer, "state", &info->error);
	if (verdict == ANSWER_OK) {
		read_state(info, json_object_get(answer, "state"));
		read_config(info, json_object_get(answer, "config"));
		copy_text(info->created, sizeof info->created, json_string_value(json_object_get(answer, "created")));
		copy_text(info->leader, sizeof info->leader,
			  json_string_value(json_object_get(json_object_get(answer, "cluster"), "leader")));
	}
	json_decref(answer);
	return verdict;
}

void stream_info_free(struct stream_info *info)
{
	for (size_t i = 0; i < info->subject_count; i++)
		free(info->subjects[i]);
	free(info->subjects);
	info->subjects = NULL;
	info->subject_count = 0;
}

/* Its last token is a >: it matches any number of tokens. */
static bool is_open(const char *pattern)
{
	size_t n = strlen(pattern);

	return n > 0 && pattern[n - 1] == '>' && (n == 1 || pattern[n - 2] == '.');
}

/* A pattern matches itself as a subject where the wider one covers it; but a * covers no >. */
static bool covers(const char *wide, const char *pattern)
{
	return strcmp(wide, pattern) == 0 ||
	       (message_subject_matches(wide, pattern) && (is_open(wide) || !is_open(pattern)));
}

bool stream_info_takes(const struct stream_info *info, const char *pattern)
{
	for (size_t i = 0; i < info->subject_count; i++)
		if (covers(info->subjects[i], pattern))
			return true;
	return false;
}
