#include "format/capture_value.h"

#include "tap.h"

static struct capture_text out;

static const char *text_of(struct capture_text *t)
{
	capture_text_char(t, '\0');
	return t->bytes;
}

static enum reason write(uint32_t oid, uint32_t base, uint32_t element, enum capture_int8 int8, const char *text,
			 size_t bytes)
{
	struct capture_type type = { .oid = oid, .base = base, .element = element };

	capture_text_reset(&out);
	return capture_value_write(&out, &type, int8, text, bytes);
}

enum {
	BOOL = 16,
	BYTEA = 17,
	INT8 = 20,
	INT2 = 21,
	INT4 = 23,
	TEXT = 25,
	JSON = 114,
	XML = 142,
	BOXES = 1020,
	FLOAT4 = 700,
	FLOAT8 = 701,
	MONEY = 790,
	INT4S = 1007,
	TEXTS = 1009,
	INT8S = 1016,
	BYTEAS = 1001,
	BOOLS = 1000,
	FLOAT8S = 1022,
	BPCHAR = 1042,
	DATE = 1082,
	TIME = 1083,
	TIMESTAMP = 1114,
	TIMESTAMPTZ = 1184,
	TIMESTAMPTZS = 1185,
	INTERVAL = 1186,
	TIMETZ = 1266,
	NUMERICS = 1231,
	NUMERIC = 1700,
	UUID = 2950,
	JSONB = 3802,
	JSONBS = 3807,
	INT4RANGE = 3904,
	MINE = 16999
};

static const struct {
	uint32_t oid;
	const char *text, *json;
} values[] = {
	{ BOOL, "t", "true" },
	{ BOOL, "f", "false" },
	{ INT2, "-32768", "-32768" },
	{ INT4, "0", "0" },
	{ INT8, "9223372036854775807", "9223372036854775807" },
	{ INT8, "-9223372036854775808", "-9223372036854775808" },
	{ NUMERIC, "12.30", "\"12.30\"" },
	{ NUMERIC, "123456789012345678901234567890.000000000000000000001",
	  "\"123456789012345678901234567890.000000000000000000001\"" },
	{ NUMERIC, "NaN", "\"NaN\"" },
	{ NUMERIC, "-Infinity", "\"-Infinity\"" },
	{ FLOAT8, "0.30000000000000004", "0.30000000000000004" },
	{ FLOAT8, "1e+20", "1e+20" },
	{ FLOAT8, "1e-07", "1e-07" },
	{ FLOAT8, "1.7976931348623157e+308", "1.7976931348623157e+308" },
	{ FLOAT8, "-0", "-0" },
	{ FLOAT8, "NaN", "\"NaN\"" },
	{ FLOAT8, "Infinity", "\"Infinity\"" },
	{ FLOAT4, "-Infinity", "\"-Infinity\"" },
	{ FLOAT4, "1.1", "1.1" },
	{ DATE, "2026-01-02", "\"2026-01-02\"" },
	{ DATE, "infinity", "\"infinity\"" },
	{ DATE, "0044-03-15 BC", "\"0044-03-15 BC\"" },
	{ TIMESTAMP, "2026-01-02 03:04:05.678", "\"2026-01-02T03:04:05.678\"" },
	{ TIMESTAMP, "-infinity", "\"-infinity\"" },
	{ TIMESTAMP, "0044-03-15 12:00:00 BC", "\"0044-03-15 12:00:00 BC\"" },
	{ TIMESTAMP, "294276-12-31 23:59:59.999999", "\"294276-12-31T23:59:59.999999\"" },
	{ TIMESTAMPTZ, "2026-01-02 03:04:05.678+00", "\"2026-01-02T03:04:05.678Z\"" },
	{ TIMESTAMPTZ, "infinity", "\"infinity\"" },
	{ TIMESTAMPTZ, "0044-03-15 12:00:00+00 BC", "\"0044-03-15 12:00:00+00 BC\"" },
	{ TIMESTAMPTZ, "2026-01-02 03:04:05+05:30", "\"2026-01-02 03:04:05+05:30\"" },
	{ TIMESTAMP, "a\n \"", "\"a\\n \\\"\"" },
	{ TIMESTAMPTZ, "2026-01-02\001 03:04:05+00", "\"2026-01-02\\u0001 03:04:05+00\"" },
	{ TIME, "24:00:00", "\"24:00:00\"" },
	{ TIMETZ, "03:04:05+00", "\"03:04:05+00\"" },
	{ INTERVAL, "P1M2DT3H4M5S", "\"P1M2DT3H4M5S\"" },
	{ BYTEA, "\\x", "\"\"" },
	{ BYTEA, "\\x00", "\"AA==\"" },
	{ BYTEA, "\\x00ff", "\"AP8=\"" },
	{ BYTEA, "\\x00ff41", "\"AP9B\"" },
	{ BYTEA, "\\x00ff4142", "\"AP9BQg==\"" },
	{ JSON, "{\"a\": 1.10, \"a\": 2}", "{\"a\": 1.10, \"a\": 2}" },
	{ JSONB, "null", "null" },
	{ JSONB, "12345678901234567890.5", "12345678901234567890.5" },
	{ UUID, "11111111-2222-3333-4444-555555555555", "\"11111111-2222-3333-4444-555555555555\"" },
	{ MONEY, "$1,234.50", "\"$1,234.50\"" },
	{ BPCHAR, "ab  ", "\"ab  \"" },
	{ XML, "<a b=\"c\"/>", "\"<a b=\\\"c\\\"/>\"" },
	{ INT4RANGE, "[1,5)", "\"[1,5)\"" },
	{ TEXT, "", "\"\"" },
	{ TEXT, "a\"b\\c\n\r\t\b\f\001\037\177", "\"a\\\"b\\\\c\\n\\r\\t\\b\\f\\u0001\\u001f\177\"" },
	{ TEXT, "\303\244 \342\202\254 \360\237\230\200", "\"\303\244 \342\202\254 \360\237\230\200\"" },
	{ MINE, "(1,\"a b\")", "\"(1,\\\"a b\\\")\"" },
	{ INT4S, "{}", "[]" },
	{ INT4S, "{1,2,NULL}", "[1,2,null]" },
	{ INT4S, "[0:1]={1,2}", "[1,2]" },
	{ INT4S, "[-1:0][2:3]={{1,2},{3,NULL}}", "[[1,2],[3,null]]" },
	{ INT8S, "{9007199254740993}", "[9007199254740993]" },
	{ BOOLS, "{t,f}", "[true,false]" },
	{ FLOAT8S, "{NaN,1e+20,-Infinity}", "[\"NaN\",1e+20,\"-Infinity\"]" },
	{ NUMERICS, "{1.10,NaN}", "[\"1.10\",\"NaN\"]" },
	{ TEXTS, "{a,\"b c\",\"NULL\",NULL,\"\",\"q\\\"\\\\\",\"{x,y}\"}",
	  "[\"a\",\"b c\",\"NULL\",null,\"\",\"q\\\"\\\\\",\"{x,y}\"]" },
	{ BYTEAS, "{\"\\\\x00ff\",NULL}", "[\"AP8=\",null]" },
	{ JSONBS, "{\"{\\\"a\\\": 1}\",null}", "[{\"a\": 1},null]" },
	{ TIMESTAMPTZS, "{\"2026-01-02 03:04:05+00\",infinity}", "[\"2026-01-02T03:04:05Z\",\"infinity\"]" },
	{ BOXES, "{(1,1),(0,0);(2,2),(1,1)}", "\"{(1,1),(0,0);(2,2),(1,1)}\"" },
};

static void good_values(void)
{
	for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
		is_number(write(values[i].oid, 0, 0, CAPTURE_INT8_NUMBER, values[i].text, strlen(values[i].text)),
			  REASON_NONE, values[i].text);
		is_text(text_of(&out), values[i].json, "its JSON");
	}
	write(INT8, 0, 0, CAPTURE_INT8_STRING, "42", 2);
	is_text(text_of(&out), "\"42\"", "a bigint as a string");
	write(INT8S, 0, 0, CAPTURE_INT8_STRING, "{42,NULL}", 9);
	is_text(text_of(&out), "[\"42\",null]", "and those of an array");
	write(INT4, 0, 0, CAPTURE_INT8_STRING, "42", 2);
	is_text(text_of(&out), "42", "an integer is none");
	write(MINE, INT4, 0, CAPTURE_INT8_NUMBER, "42", 2);
	is_text(text_of(&out), "42", "a domain is its base");
	write(MINE, INT4S, 0, CAPTURE_INT8_NUMBER, "{42}", 4);
	is_text(text_of(&out), "[42]", "also of an array");
	write(MINE, 0, INT4, CAPTURE_INT8_NUMBER, "{42}", 4);
	is_text(text_of(&out), "[42]", "an array of a domain");
	write(MINE, 0, 17000, CAPTURE_INT8_NUMBER, "{red,NULL}", 10);
	is_text(text_of(&out), "[\"red\",null]", "an array of an enum");
}

/* What the type does not write is nothing that JSON could be made of: never a wrong value, and never invalid JSON. */
static void bad_values(void)
{
	static const struct {
		uint32_t oid;
		const char *text, *json;
	} bad[] = {
		{ BOOL, "true", "\"\\\\x74727565\"" },
		{ INT4, "", "\"\\\\x\"" },
		{ INT4, "1.0", "\"\\\\x312e30\"" },
		{ INT4, "01", "\"\\\\x3031\"" },
		{ INT8, "--1", "\"\\\\x2d2d31\"" },
		{ FLOAT8, "nan", "\"\\\\x6e616e\"" },
		{ FLOAT8, "1.", "\"\\\\x312e\"" },
		{ FLOAT8, ".5", "\"\\\\x2e35\"" },
		{ FLOAT8, "1e", "\"\\\\x3165\"" },
		{ BYTEA, "\\000", "\"\\\\x5c303030\"" },
		{ BYTEA, "\\x0", "\"\\\\x5c7830\"" },
		{ BYTEA, "\\x0g", "\"\\\\x5c783067\"" },
		{ JSON, "", "\"\\\\x\"" },
		{ JSON, "\"\377\"", "\"\\\\x22ff22\"" },
		{ TEXT, "a\377", "\"\\\\x61ff\"" },
		{ TEXT, "\355\240\200", "\"\\\\xeda080\"" },
		{ TIMESTAMP, "2026-01-02 \377", "\"\\\\x323032362d30312d303220ff\"" },
		{ UUID, "\300\200", "\"\\\\xc080\"" },
		{ INT4S, "", "\"\\\\x\"" },
		{ INT4S, "{1", "\"\\\\x7b31\"" },
		{ INT4S, "{1,}", "\"\\\\x7b312c7d\"" },
		{ INT4S, "{,1}", "\"\\\\x7b2c317d\"" },
		{ INT4S, "{1}2", "\"\\\\x7b317d32\"" },
		{ INT4S, "}", "\"\\\\x7d\"" },
		{ INT4S, "1", "\"\\\\x31\"" },
		{ INT4S, "{{{{{{{1}}}}}}}", "\"\\\\x7b7b7b7b7b7b7b317d7d7d7d7d7d7d\"" },
		{ TEXTS, "{\"a}", "\"\\\\x7b22617d\"" },
		{ TEXTS, "{a\\", "\"\\\\x7b615c\"" },
		{ TEXTS, "{\377}", "\"\\\\x7bff7d\"" },
	};

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		is_number(write(bad[i].oid, 0, 0, CAPTURE_INT8_NUMBER, bad[i].text, strlen(bad[i].text)), DEFECT_COLUMN,
			  bad[i].json);
		is_text(text_of(&out), bad[i].json, "its bytes");
	}
}

static void type_messages(void)
{
	static const struct {
		const char *schema, *name;
		uint32_t base, element;
	} types[] = {
		{ "pg_catalog", "int4", INT4, 0 },   { "", "timestamptz", TIMESTAMPTZ, 0 },
		{ "pg_catalog", "_int4", INT4S, 0 }, { "public", "mood", 0, 0 },
		{ "public", "_mood", 0, TEXT },      { "public", "int4", 0, 0 },
		{ "pg_catalog", "_box", 0, 0 },      { "pg_catalog", "int2vector", 0, 0 },
	};

	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
		struct capture_type t = capture_value_type(MINE, types[i].schema, types[i].name);

		ok(t.oid == MINE && t.base == types[i].base && t.element == types[i].element, "%s.%s", types[i].schema,
		   types[i].name);
	}
	write(MINE, 0, TEXT, CAPTURE_INT8_NUMBER, "(1,x)", 5);
	is_text(text_of(&out), "\"(1,x)\"", "what is called like an array, and is none");
	is_number(write(MINE, 0, TEXT, CAPTURE_INT8_NUMBER, "{\377}", 3), DEFECT_COLUMN, "or no text");
}

static void large(void)
{
	enum { BYTES = 3000000 };
	char *hex = malloc(2 + 2 * BYTES);

	memset(hex, '4', 2 + 2 * BYTES);
	hex[0] = '\\';
	hex[1] = 'x';
	is_number(write(BYTEA, 0, 0, CAPTURE_INT8_NUMBER, hex, 2 + 2 * BYTES), REASON_NONE, "three million bytes");
	is_number((long long)out.count, BYTES / 3 * 4 + 2, "are four million digits");
	capture_text_reset(&out);
	ok(out.room == 0, "which are given back");
	free(hex);
}

static void texts(void)
{
	capture_text_reset(&out);
	capture_text_number(&out, 0);
	capture_text_char(&out, ' ');
	capture_text_number(&out, UINT64_MAX);
	is_text(text_of(&out), "0 18446744073709551615", "numbers");
	capture_text_reset(&out);
	ok(!capture_text_json(&out, "a\377b", 3) && out.count == 0, "no UTF-8, and nothing of it");
	capture_text_json_lossy(&out, "a\377b\303", 4);
	is_text(text_of(&out), "\"a\357\277\275b\357\277\275\"", "or what is left of it");
	is_text(capture_value_type_name(1184), "timestamp with time zone", "a built-in type");
	ok(capture_value_type_name(16384) == NULL, "another one");
}

int main(void)
{
	good_values();
	bad_values();
	type_messages();
	large();
	texts();
	capture_text_free(&out);
	return done_testing();
}
