/* Any bytes as JetStream's answer to the making of a consumer, and as filters. It counts as made only with all that was asked for. */
#include "format/consumer.h"
#include "format/message.h"
#include "fuzz.h"

static bool is_text(const json_t *o, const char *key, const char *text)
{
	const char *there = json_string_value(json_object_get(o, key));

	return there != NULL && strcmp(there, text) == 0;
}

static void check_answer(const char *data, size_t size, size_t filters)
{
	char one[] = "orders.>", two[] = "sales.>", *both[] = { one, two };
	struct consumer_wish w = { .stream = "S", .name = "c", .start = 7, .filters = both, .filter_count = filters };
	struct answer_error error;
	json_t *answer = answer_read(data, size);
	const json_t *config = json_object_get(answer, "config");
	enum consumer_verdict verdict = consumer_answer_read(data, size, &w, &error);

	if (verdict == CONSUMER_MADE) {
		promise(is_text(config, "ack_policy", "none") && is_text(answer, "name", "c") &&
				is_text(answer, "stream_name", "S") && answer_count(config, "opt_start_seq") == 7,
			"another consumer");
		promise(filters != 1 || is_text(config, "filter_subject", one), "another filter");
		promise(filters != 2 || json_array_size(json_object_get(config, "filter_subjects")) == 2,
			"other filters");
	}
	promise(verdict != CONSUMER_HOPELESS || error.code == 400, "hopeless with code %u", error.code);
	json_decref(answer);
}

/* The first two lines. */
static void check_filters(char *text)
{
	char *second = strchr(text, '\n'), *filters[2] = { text, second }, common[CONSUMER_FILTER_BYTES];

	if (second == NULL)
		return;
	*second = '\0';
	filters[1] = second + 1;
	filters[1][strcspn(filters[1], "\n")] = '\0';
	for (int i = 0; i < 2; i++)
		if (!message_pattern_valid(filters[i]))
			return;
	if (!consumer_common_filter(filters, 2, common) || common[0] == '\0')
		return;
	promise(message_pattern_valid(common), "%s is no pattern", common);
	for (int i = 0; i < 2; i++)
		promise(message_subject_matches(common, filters[i]), "%s does not take %s", common, filters[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	memcpy(text, data, size);
	text[size] = '\0';
	for (size_t filters = 0; filters <= 2; filters++)
		check_answer((const char *)data, size, filters);
	check_filters(text);
	free(text);
	return 0;
}
