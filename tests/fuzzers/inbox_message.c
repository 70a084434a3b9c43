/* Any bytes as what a consumer sends: subjects of acknowledgements, numbers, keys, blocks of headers, times; and as an array of the database's. What
 * is read is there, and what is written reads back. */
#include "books/arrays.h"
#include "format/envelope.h"
#include "format/header_block.h"
#include "format/inbox_message.h"
#include "format/rfc3339.h"
#include "fuzz.h"

static void check_ack(const char *text)
{
	struct inbox_ack ack;
	size_t dots = 0;
	char again[1200];

	if (!inbox_ack_read(text, &ack))
		return;
	for (const char *p = text; *p != '\0'; p++)
		dots += *p == '.';
	promise(dots == 8 || dots >= 10, "%zu dots", dots);
	promise(ack.consumer >= text && ack.consumer + ack.consumer_bytes <= text + strlen(text),
		"a consumer elsewhere");
	promise(memchr(ack.consumer, '.', ack.consumer_bytes) == NULL && ack.consumer_bytes > 0, "a consumer's name");
	promise(ack.sequence > 0 && ack.consumer_sequence > 0 && ack.time_ns >= 0, "numbers");
	if (ack.consumer_bytes > 500)
		return;
	snprintf(again, sizeof again, "$JS.ACK.S.%.*s.1.%llu.%llu.%lld.%llu", (int)ack.consumer_bytes, ack.consumer,
		 (unsigned long long)ack.sequence, (unsigned long long)ack.consumer_sequence, (long long)ack.time_ns,
		 (unsigned long long)ack.pending);
	promise(inbox_ack_read(again, &ack), "not read again: %s", again);
}

static void check_number(const char *text)
{
	uint64_t number;

	if (inbox_number_read(text, &number))
		promise(strspn(text, "0123456789") == strlen(text) && strtoull(text, NULL, 10) == number,
			"%s is read as %llu", text, (unsigned long long)number);
	else
		promise(number == 0, "no number, and something of it");
}

static void check_time(const char *text)
{
	char again[RFC3339_BYTES];
	int64_t ns, same;

	if (!rfc3339_read(text, &ns))
		return;
	promise(ns >= 0, "before 1970");
	promise(rfc3339_read(rfc3339_write(ns, again), &same) && same == ns, "%s becomes %s", text, again);
}

static void check_key(const char *text)
{
	char *key = malloc(strlen(text) + 1), *encoded, *again;

	if (inbox_key_decode(text, key) == NULL) {
		promise(is_utf8(key, strlen(key)) && strlen(key) <= INBOX_KEY_MAX_BYTES, "no key");
		encoded = malloc(envelope_encode(key, NULL) + 1);
		envelope_encode(key, encoded);
		again = malloc(strlen(encoded) + 1);
		promise(inbox_key_decode(encoded, again) == NULL && strcmp(key, again) == 0, "another key: %s", again);
		free(encoded);
		free(again);
	}
	free(key);
}

static void check_token(const char *text, uint64_t number)
{
	const char *token;
	size_t n = inbox_key_token(text, number, &token);

	promise(n == 0 || (token >= text && token + n <= text + strlen(text) && memchr(token, '.', n) == NULL),
		"a token elsewhere");
}

static bool is_trimmed(const char *text)
{
	size_t n = strlen(text);

	return n == 0 || (strchr(" \t", text[0]) == NULL && strchr(" \t\r", text[n - 1]) == NULL);
}

static void check_block(const char *data, size_t size)
{
	char *block = malloc(size + 1);
	struct header_block h;

	memcpy(block, data, size);
	block[size] = '\0';
	promise(header_block_read(&h, block, size), "out of memory");
	for (size_t i = 0; i < h.count; i++) {
		const struct header *a = &h.header[i];

		promise(a->name >= block && a->name < a->value && a->value + strlen(a->value) <= block + size,
			"elsewhere");
		promise(h.trouble != NULL || (is_trimmed(a->name) && is_trimmed(a->value)), "blanks around %s: %s",
			a->name, a->value);
		promise(strpbrk(a->value, "\n") == NULL, "another line in %s", a->value);
		if (i > 0)
			promise(strcmp(a[-1].name, a->name) < 0 ||
					(strcmp(a[-1].name, a->name) == 0 && a[-1].order < a->order),
				"not in order: %s", a->name);
	}
	for (size_t i = 0; i < h.count; i += header_block_same(&h, i))
		promise(header_block_value(&h, h.header[i].name) == h.header[i].value, "%s is not found",
			h.header[i].name);
	header_block_free(&h);
	free(block);
}

/* Lines: the first byte of a name's line says that its values follow as lines until the next such. */
static void check_json(char *text)
{
	struct inbox_json j;
	json_t *tree, *expected = json_object();
	char *rest = text, *line, *json;

	inbox_json_begin(&j);
	while ((line = strsep(&rest, "\n")) != NULL) {
		char *value = strsep(&rest, "\n"), *second = strsep(&rest, "\n");

		if (value == NULL || second == NULL || inbox_text_trouble(line) != NULL ||
		    inbox_text_trouble(value) != NULL || inbox_text_trouble(second) != NULL ||
		    json_object_get(expected, line) != NULL)
			continue;
		inbox_json_name(&j, line, second[0] != '\0');
		inbox_json_value(&j, value);
		if (second[0] != '\0')
			inbox_json_value(&j, second);
		json_object_set_new(expected, line,
				    second[0] != '\0' ? json_pack("[s, s]", value, second) : json_string(value));
	}
	json = inbox_json_end(&j);
	promise(json != NULL, "out of memory");
	tree = json_loads(json, JSON_REJECT_DUPLICATES, NULL);
	promise(tree != NULL && json_equal(tree, expected), "not what was written: %s", json);
	json_decref(tree);
	json_decref(expected);
	free(json);
}

static void check_array(const char *data, size_t size)
{
	int64_t values[8], again[8];
	struct array a = { .bytes = NULL };
	const char *bytes;
	int n;
	size_t count = array_read_int8(data, size, values, 8);

	if (count == SIZE_MAX)
		return;
	promise(count <= 8, "%zu elements", count);
	array_begin(&a, ARRAY_INT8);
	for (size_t i = 0; i < count; i++)
		array_add_int8(&a, values[i]);
	promise(array_end(&a, false, &bytes, &n), "not whole");
	promise(array_read_int8(bytes, (size_t)n, again, 8) == count &&
			memcmp(values, again, count * sizeof values[0]) == 0,
		"another array");
	array_free(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	memcpy(text, data, size);
	text[size] = '\0';
	check_array((const char *)data, size);
	check_ack(text);
	check_number(text);
	check_time(text);
	check_key(text);
	check_token(text, size % 7 + 1);
	inbox_notice_read(text, text);
	check_json(text);
	check_block((const char *)data, size);
	free(text);
	return 0;
}
