#include "format/message.h"

#include <jansson.h>

#include "tap.h"

static const struct {
	const char *name;
	enum reason reason;
} verdicts[] = {
	{ "ok", REASON_NONE },
	{ "SUBJECT_EMPTY", DEFECT_SUBJECT_EMPTY },
	{ "SUBJECT_CHARACTER", DEFECT_SUBJECT_CHARACTER },
	{ "SUBJECT_WILDCARD", DEFECT_SUBJECT_WILDCARD },
	{ "SUBJECT_TOKEN", DEFECT_SUBJECT_TOKEN },
	{ "SUBJECT_RESERVED", DEFECT_SUBJECT_RESERVED },
	{ "HEADERS_SHAPE", DEFECT_HEADERS_SHAPE },
	{ "HEADER_NAME", DEFECT_HEADER_NAME },
	{ "HEADER_VALUE", DEFECT_HEADER_VALUE },
	{ "HEADER_RESERVED", DEFECT_HEADER_RESERVED },
};

static int reason_named(const char *name)
{
	for (size_t i = 0; i < sizeof verdicts / sizeof verdicts[0]; i++)
		if (strcmp(verdicts[i].name, name) == 0)
			return verdicts[i].reason;
	return -1;
}

static bool count(void *arg, const char *name, const char *value)
{
	(void)name, (void)value;
	++*(unsigned *)arg;
	return true;
}

static enum reason check_headers(const char *json)
{
	unsigned called = 0;
	enum reason reason = message_each_header(json, strlen(json), count, &called);

	if (reason != REASON_NONE && called > 0)
		ok(false, "nothing is called before everything is checked");
	return reason;
}

static enum reason check_subject(const char *quoted)
{
	json_t *text = json_loads(quoted, JSON_DECODE_ANY, NULL);
	enum reason reason = message_check_subject(json_string_value(text), json_string_length(text));

	json_decref(text);
	return reason;
}

static void try_line(char *line)
{
	char *kind = strtok_r(line, "\t", &line), *verdict = strtok_r(NULL, "\t", &line),
	     *value = strtok_r(NULL, "\n", &line);

	if (kind == NULL || kind[0] == '#')
		return;
	if (!ok(verdict != NULL && value != NULL, "%s has a verdict and a value", kind))
		return;
	is_number(strcmp(kind, "subject") == 0 ? check_subject(value) : check_headers(value), reason_named(verdict),
		  value);
}

static void vectors(void)
{
	const char *dir = getenv("srcdir");
	char path[4096], line[4096];
	FILE *file;

	snprintf(path, sizeof path, "%s/tests/unit/message_vectors.txt", dir != NULL ? dir : ".");
	file = fopen(path, "r");
	if (!ok(file != NULL, "%s is there", path))
		return;
	while (fgets(line, sizeof line, file) != NULL)
		try_line(line);
	fclose(file);
}

static void subjects(void)
{
	static const struct {
		const char *bytes;
		const char *what;
	} broken[] = {
		{ "a\xff", "a byte that never occurs" },
		{ "a\x80", "a lone continuation" },
		{ "\xc3", "a character cut off" },
		{ "\xe2\x82", "a longer character cut off" },
		{ "\xc0\xaf", "an overlong slash" },
		{ "\xe0\x80\xae", "an overlong dot" },
		{ "\xf0\x80\x80\xae", "a more overlong dot" },
		{ "\xed\xa0\x80", "a surrogate" },
		{ "\xf4\x90\x80\x80", "beyond U+10FFFF" },
		{ "\xf5\x80\x80\x80", "far beyond" },
		{ "gr\xf6\xdf"
		  "e",
		  "Latin-1" },
	};
	char longest[MESSAGE_SUBJECT_MAX_BYTES + 1];

	is_number(message_check_subject(NULL, 0), DEFECT_SUBJECT_NULL, "no subject");
	for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++)
		is_number(message_check_subject(broken[i].bytes, strlen(broken[i].bytes)), DEFECT_SUBJECT_UTF8,
			  broken[i].what);
	is_number(message_check_subject("\xf4\x8f\xbf\xbf", 4), REASON_NONE, "U+10FFFF");
	is_number(message_check_subject("a\0b", 3), DEFECT_SUBJECT_CHARACTER, "a NUL byte");
	memset(longest, 'x', sizeof longest);
	is_number(message_check_subject(longest, sizeof longest - 1), REASON_NONE, "1024 bytes");
	is_number(message_check_subject(longest, sizeof longest), DEFECT_SUBJECT_LONG, "1025 bytes");
	is_number(message_check_subject("orders.new", 6), REASON_NONE, "the length counts, not the terminator");
	is_number(message_check_subject("orders.new", 7), DEFECT_SUBJECT_TOKEN, "nor what stands behind it");
}

static void single_headers(void)
{
	is_number(message_check_header("a", 1, "x\0y", 3), DEFECT_HEADER_VALUE, "a NUL byte in a value");
	is_number(message_check_header("a\0b", 3, "x", 1), DEFECT_HEADER_NAME, "a NUL byte in a name");
	is_number(message_check_header("a", 1, "\xff", 1), DEFECT_HEADER_VALUE, "a value that is no UTF-8");
	is_number(message_check_header("a\xff", 2, "", 0), DEFECT_HEADER_NAME, "a name that is no ASCII");
	is_number(message_check_header("Nats-", 5, "", 0), DEFECT_HEADER_RESERVED, "Nats- alone");
	is_number(message_check_header("Nats", 4, "", 0), REASON_NONE, "Nats without a dash");
	is_number(message_check_header("~", 1, "\t", 1), REASON_NONE, "a tab in a value");
}

static void long_headers(void)
{
	static char json[MESSAGE_HEADERS_MAX_BYTES + 2];
	size_t n = MESSAGE_HEADERS_MAX_BYTES;

	memset(json, 'x', sizeof json);
	memcpy(json, "{\"a\": \"", 7);
	memcpy(json + n - 2, "\"}", 3);
	is_number(message_each_header(json, n, count, &(unsigned){ 0 }), REASON_NONE, "49152 bytes of headers");
	memcpy(json + n - 2, "x\"}", 4);
	is_number(message_each_header(json, n + 1, count, &(unsigned){ 0 }), DEFECT_HEADERS_LONG, "49153 bytes");
}

struct seen {
	char text[256];
	unsigned stop_after;
};

static bool note(void *arg, const char *name, const char *value)
{
	struct seen *seen = arg;
	size_t n = strlen(seen->text);

	snprintf(seen->text + n, sizeof seen->text - n, "%s=%s|", name, value);
	return --seen->stop_after > 0;
}

static void each_header(void)
{
	static const char json[] = "{\"b\": \"1\", \"a\": \"\\u00fc\\\"\", \"c\": \"\"}";
	struct seen all = { .stop_after = 99 }, first = { .stop_after = 1 }, none = { .stop_after = 99 };
	static const char *const garbage[] = { "",
					       "{",
					       "{\"a\"}",
					       "{\"a\": \"b\"} x",
					       "{\"a\": \"\xff\"}",
					       "{\"a\": \"\\u0000\"}",
					       "{\"a\": \"x\", \"a\": \"y\"}",
					       "{\"a\": \"\\ud800\"}" };

	is_number(message_each_header(json, sizeof json - 1, note, &all), REASON_NONE, "three headers");
	is_text(all.text, "b=1|a=\xc3\xbc\"|c=|", "in their order, decoded");
	is_number(message_each_header(json, sizeof json - 1, note, &first), REASON_NONE, "stopping is no defect");
	is_text(first.text, "b=1|", "and stops");
	is_number(message_each_header(NULL, 0, note, &none), REASON_NONE, "no headers");
	is_text(none.text, "", "none seen");
	for (size_t i = 0; i < sizeof garbage / sizeof garbage[0]; i++)
		ok(message_each_header(garbage[i], strlen(garbage[i]), note, &none) == DEFECT_HEADERS_SHAPE,
		   "garbage %zu", i);
	is_text(none.text, "", "still none seen");
}

/* The one that fails; 0 = none. Counts down. */
static int allocations_left;

static void *scarce(size_t n)
{
	return --allocations_left == 0 ? NULL : malloc(n);
}

/* Jansson blames the syntax then; a good message must not be given up for that. */
static void without_memory(void)
{
	static const char json[] = "{\"b\": \"\\ud83d\\ude00\", \"a\" : \"\\u00fc\\\"\" , \"c\":\"\"} ";
	bool failed = true;
	int at = 0;

	json_set_alloc_funcs(scarce, free);
	while (failed && at < 1000) {
		struct seen seen = { .stop_after = 99 };
		enum reason defect;

		allocations_left = ++at;
		defect = message_each_header(json, sizeof json - 1, note, &seen);
		failed = allocations_left <= 0;
		ok(defect == (failed ? REASON_NO_MEMORY : REASON_NONE), "without allocation %d: %d", at, defect);
	}
	json_set_alloc_funcs(malloc, free);
	ok(at > 5, "%d allocations", at);
}

static void matches(void)
{
	static const struct {
		const char *pattern, *subject;
		bool want;
	} table[] = {
		{ "orders", "orders", true },
		{ "orders", "order", false },
		{ "order", "orders", false },
		{ "orders", "orders.a", false },
		{ "orders.a", "orders", false },
		{ "orders.>", "orders", false },
		{ "orders.>", "orders.a", true },
		{ "orders.>", "orders.a.b.c", true },
		{ "orders.>", "ordersx.a", false },
		{ "orders.*", "orders.a", true },
		{ "orders.*", "orders.a.b", false },
		{ "orders.*", "orders", false },
		{ "*", "a", true },
		{ "*", "a.b", false },
		{ ">", "a", true },
		{ ">", "a.b.c", true },
		{ "*.b.*", "a.b.c", true },
		{ "*.b.*", "a.x.c", false },
		{ "*.b.*", "a.b", false },
		{ "*.*.>", "a.b", false },
		{ "*.*.>", "a.b.c", true },
		{ "Orders", "orders", false },
	};

	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
		ok(message_subject_matches(table[i].pattern, table[i].subject) == table[i].want, "%s %s %s",
		   table[i].pattern, table[i].want ? "takes" : "does not take", table[i].subject);
}

static void patterns(void)
{
	static const char *const good[] = {
		"a", "a.b", "*", ">", "a.*", "a.>", "*.*", "*.>", "a.*.b", "größe.>", "$x.>"
	};
	static const char *const bad[] = { "",   ".",  "a.", ".a",     "a..b", "a b", "a.>.b", ">.a",   "a*", "*a",
					   "a>", ">>", "**", "a.b*.c", "a\n",  "a\t", "a\x7f", "a\xff", "a. " };
	char longest[MESSAGE_SUBJECT_MAX_BYTES + 2] = { 0 };

	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
		ok(message_pattern_valid(good[i]), "\"%s\" is a pattern", good[i]);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		ok(!message_pattern_valid(bad[i]), "bad pattern %zu is none", i);
	memset(longest, 'x', sizeof longest - 1);
	ok(!message_pattern_valid(longest), "a pattern of 1025 bytes is none");
}

int main(void)
{
	vectors();
	subjects();
	single_headers();
	long_headers();
	each_header();
	without_memory();
	matches();
	patterns();
	return done_testing();
}
