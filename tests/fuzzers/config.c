/* Any text as a configuration file. It is refused with a line that says where; or everything in it is what the relay's
 * other parts rely on. */
#include "config/config_load.h"

#include <sys/mman.h>
#include <unistd.h>

#include "config/settings.h"
#include "format/capture_subject.h"
#include "format/message.h"
#include "format/sql_name.h"
#include "fuzz.h"

/* The path of a file with these bytes. */
static const char *file_of(const uint8_t *data, size_t size)
{
	static char path[32];
	static int fd = -1;

	if (fd < 0) {
		fd = memfd_create("config", MFD_CLOEXEC);
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	}
	if (ftruncate(fd, 0) != 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
		abort();
	return path;
}

static void check_complaints(const char *path, const char *text)
{
	for (const char *line = text, *end; *line != '\0'; line = end + 1) {
		end = strchr(line, '\n');
		promise(end != NULL && strncmp(line, path, strlen(path)) == 0 && line[strlen(path)] == ':' &&
				line[strlen(path) + 1] >= '1' && line[strlen(path) + 1] <= '9',
			"a complaint without its place: %s", line);
		for (const char *p = line; p < end; p++)
			promise((unsigned char)*p >= ' ' && *p != 0x7f, "byte %d in a complaint", *p);
	}
}

static void check_numbers(const struct config *c)
{
	for (const struct setting *s = settings; s < settings + settings_count; s++) {
		bool number = s->type == SETTING_DURATION || s->type == SETTING_SIZE || s->type == SETTING_INTEGER;
		const struct setting *list = setting_list_of(s);

		for (size_t i = 0; number && i < (list != NULL ? setting_count(list, c) : 1); i++) {
			uint64_t value =
				setting_number(s, list != NULL ? setting_element(list, c, i) : (const void *)c);

			promise(value >= s->min && value <= s->max, "%s = %llu", s->path, (unsigned long long)value);
		}
	}
}

static void check_stream(const struct config *c, size_t i)
{
	const struct config_stream *s = &c->streams[i];

	promise(s->name != NULL && s->name[0] != '\0' && s->name[strcspn(s->name, " .*>/\\\t\r\n")] == '\0',
		"a stream's name");
	promise(s->subject_count > 0, "no subjects");
	for (size_t j = 0; j < s->subject_count; j++) {
		promise(s->subjects[j] != NULL && message_pattern_valid(s->subjects[j]), "a pattern");
		/* Where a pattern is a plain subject only one stream may take it. */
		for (size_t k = 0; k < i; k++)
			for (size_t m = 0; m < c->streams[k].subject_count; m++)
				promise(!message_subject_matches(c->streams[k].subjects[m], s->subjects[j]),
					"%s and %s", c->streams[k].subjects[m], s->subjects[j]);
	}
}

static bool tokens_there(const char *filter, uint64_t want)
{
	uint64_t n = 1;

	for (; *filter != '\0'; filter++)
		n += *filter == '.';
	return n >= want;
}

/* As boxhaul.inbox_define() and inbox_create() want it. */
static void check_subscription(const struct config *c, size_t i)
{
	const struct config_subscription *s = &c->subscriptions[i];
	char rule[SETTING_KEY_BYTES];

	promise(s->name[0] != '\0' && strlen(s->name) <= 64, "the name %s", s->name);
	promise(s->stream[0] != '\0' && s->subject_count > 0, "nothing to take");
	for (size_t j = 0; j < s->subject_count; j++) {
		promise(message_pattern_valid(s->subjects[j]) && tokens_there(s->subjects[j], s->key_token),
			"the filter %s", s->subjects[j]);
		for (size_t k = 0; k < s->subject_count; k++)
			promise(k == j || !message_subject_matches(s->subjects[k], s->subjects[j]), "%s and %s",
				s->subjects[k], s->subjects[j]);
	}
	promise((s->start == INBOX_START_SEQUENCE) == (s->start_sequence > 0) && s->start_sequence <= INT64_MAX,
		"the start");
	promise((s->key == CONFIG_KEY_SUBJECT) == (s->key_token > 0) && strlen(setting_key_rule(s, rule)) > 0,
		"the key");
	promise((strchr(s->name, '.') != NULL) == (i >= c->inbox_count), "the name %s is nobody else's", s->name);
	promise(s->dedupe == INBOX_DEDUPE_IDS || s->on_recreated == INBOX_ON_STOP,
		"what comes again would not be known");
	promise(s->handler[0] == '\0' || (strchr(s->handler, '.') != NULL && strpbrk(s->handler, " ;'\"()") == NULL),
		"the handler %s", s->handler);
}

static bool is_sql_name(const char *text)
{
	struct sql_name name;

	return sql_name_read(text, &name);
}

/* As capture_define() and the names of slots want it; and what JetStream takes for the subjects of a stream. */
static void check_capture(const struct config *c, size_t i)
{
	const struct config_capture *x = &c->captures[i];
	char why[256];

	promise(x->name[0] != '\0' && strlen(x->name) <= 40 &&
			x->name[strspn(x->name, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0',
		"the name %s", x->name);
	promise(config_capture_of(c, x->name) == x, "another one is called %s", x->name);
	promise((x->subject == NULL) == (x->target == CAPTURE_TARGET_KV) &&
			(x->subject == NULL || capture_subject_check(x->subject, NULL, why, sizeof why)),
		"its subject");
	promise(x->target != CAPTURE_TARGET_KV || strncmp(x->stream.name, "KV_", 3) == 0, "the bucket %s",
		x->stream.name);
	promise(x->stream.subject_count > 0, "nothing is sent to %s", x->stream.name);
	for (size_t j = 0; j < x->stream.subject_count; j++) {
		promise(message_pattern_valid(x->stream.subjects[j]), "a pattern");
		for (size_t k = 0; k < j; k++)
			promise(strcmp(x->stream.subjects[j], x->stream.subjects[k]) != 0, "%s stands twice",
				x->stream.subjects[j]);
	}
	for (size_t j = 0; j < x->table_count; j++)
		promise(is_sql_name(x->tables[j]), "the table %s", x->tables[j]);
	for (size_t j = 0; j < x->inserts_only_count; j++)
		promise(is_sql_name(x->inserts_only[j]), "the table %s", x->inserts_only[j]);
}

static void check_captures(const struct config *c)
{
	char why[256];

	for (size_t i = 0; i < c->capture_count; i++)
		check_capture(c, i);
	for (size_t i = 0; i < c->outbox_table_count; i++) {
		const struct config_outbox_table *t = &c->outbox_tables[i];

		promise(is_sql_name(t->table) && capture_subject_check(t->subject, NULL, why, sizeof why),
			"the outbox table %s", t->table);
		promise(t->source == OUTBOX_SOURCE_TRIGGER ? t->capture == NULL
							   : config_capture_of(c, t->capture) != NULL,
			"whose %s is", t->table);
	}
	for (size_t i = 0; i < c->messages_count; i++)
		promise(c->messages[i].prefix[0] != '\0' && c->messages[i].subject != NULL &&
				config_capture_of(c, c->messages[i].capture) != NULL,
			"the messages %s", c->messages[i].prefix);
}

static void check_config(const struct config *c)
{
	promise(c->stream_count + c->subscription_count + c->capture_count >= 1 && c->stream_count <= LIMIT_STREAMS &&
			c->subscription_count <= LIMIT_SUBSCRIPTIONS,
		"%zu streams, %zu subscriptions", c->stream_count, c->subscription_count);
	promise(c->subscription_count == c->inbox_count + (c->sagas.replies != NULL), "sagas add one subscription");
	promise(c->delivery.streams == c->stream_count, "the core knows of %u streams", c->delivery.streams);
	promise(c->nats.url_count > 0 && c->postgres.conninfo != NULL && c->postgres.migrate_conninfo != NULL,
		"nowhere to connect to");
	promise(c->name != NULL && strlen(c->name) <= 48, "a name");
	promise(c->delivery.window_messages <= c->delivery.queue_messages &&
			c->max_message_bytes <= c->delivery.window_bytes &&
			c->max_message_bytes <= c->delivery.queue_bytes,
		"what is in flight is in memory");
	check_numbers(c);
	for (size_t i = 0; i < c->stream_count; i++)
		check_stream(c, i);
	for (size_t i = 0; i < c->subscription_count; i++)
		check_subscription(c, i);
	check_captures(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *path = file_of(data, size);
	char *complaints = NULL;
	size_t bytes;
	FILE *errors = open_memstream(&complaints, &bytes);
	struct config *c = config_load(path, errors);

	fclose(errors);
	check_complaints(path, complaints);
	promise(c != NULL || bytes > 0, "refused without a word");
	if (c != NULL)
		check_config(c);
	config_free(c);
	free(complaints);
	return 0;
}
