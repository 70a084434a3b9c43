/* Any bytes as a value of any type: what is written is JSON, and says what the value says; or it is told, and its bytes are there. */
#include "format/capture_value.h"
#include "fuzz.h"

static const uint32_t oids[] = { 16,   17,   18,   20,   21,   23,   25,   114,  603,  700,  701,   790,
				 1000, 1001, 1005, 1007, 1009, 1016, 1020, 1021, 1022, 1082, 1083,  1114,
				 1115, 1184, 1185, 1186, 1231, 1266, 1700, 2950, 3802, 3807, 16999, 199 };

static json_t *as_json(const struct capture_text *t)
{
	return json_loadb(t->bytes, t->count, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
}

/* A text is read back as it was. (jansson's word.) */
static void check_string(const char *text, size_t bytes)
{
	struct capture_text out = { .bytes = NULL };
	json_t *json;

	if (capture_text_json(&out, text, bytes)) {
		json = as_json(&out);
		promise(json_is_string(json) && json_string_length(json) == bytes &&
				memcmp(json_string_value(json), text, bytes) == 0,
			"another text: %.*s", (int)out.count, out.bytes);
		json_decref(json);
	} else {
		promise(!is_utf8(text, bytes) && out.count == 0, "a text that is refused");
	}
	capture_text_reset(&out);
	capture_text_json_lossy(&out, text, bytes);
	json = as_json(&out);
	promise(json_is_string(json), "no string: %.*s", (int)out.count, out.bytes);
	json_decref(json);
	capture_text_free(&out);
}

static void check_refused(const struct capture_text *out, const char *text, size_t bytes)
{
	promise(out->count == 2 * bytes + 5 && memcmp(out->bytes, "\"\\\\x", 4) == 0, "no bytes: %.*s", (int)out->count,
		out->bytes);
	for (size_t i = 0; i < bytes; i++) {
		char two[3];

		snprintf(two, sizeof two, "%02x", (unsigned char)text[i]);
		promise(memcmp(out->bytes + 4 + 2 * i, two, 2) == 0, "other bytes");
	}
}

/* What is embedded is only looked at for UTF-8: the server has checked it. jansson refuses some of it (numbers beyond a double, \u0000), so nothing more can be said. */
static bool may_embed(const struct capture_type *type)
{
	uint32_t oid = type->base != 0 ? type->base : type->oid;

	return oid == 114 || oid == 199 || oid == 3802 || oid == 3807 || type->element == 114 || type->element == 3802;
}

static void check_value(const struct capture_type *type, enum capture_int8 int8, const char *text, size_t bytes)
{
	struct capture_text out = { .bytes = NULL };
	enum reason defect;
	json_t *json;

	capture_text_say(&out, "before");
	defect = capture_value_write(&out, type, int8, text, bytes);
	promise(memcmp(out.bytes, "before", 6) == 0, "what stood before is gone");
	memmove(out.bytes, out.bytes + 6, out.count -= 6);
	promise(!out.failed && (defect == REASON_NONE || defect == DEFECT_COLUMN), "defect %d", defect);
	promise(is_utf8(out.bytes, out.count), "no UTF-8");
	if (defect == DEFECT_COLUMN)
		check_refused(&out, text, bytes);
	if (defect == DEFECT_COLUMN || !may_embed(type)) {
		json = as_json(&out);
		/* A double that is beyond its range is a number all the same. */
		promise(json != NULL || memchr(text, 'e', bytes) != NULL || memchr(text, 'E', bytes) != NULL ||
				bytes > 18,
			"no JSON: %.*s", (int)out.count, out.bytes);
		json_decref(json);
	}
	capture_text_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	unsigned what = take_byte(&in), which = take_byte(&in);
	uint32_t oid = oids[which % (sizeof oids / sizeof oids[0])];
	struct capture_type type = { .oid = 16999,
				     .base = what % 3 == 1 ? oid : 0,
				     .element = what % 3 == 2 ? oid : 0 };
	struct capture_text bytes = { .bytes = NULL };
	size_t n;
	char *text;

	if (what % 3 == 0)
		type.oid = oid;
	n = in.left;
	text = take_rest(&in);
	check_value(&type, what & 64 ? CAPTURE_INT8_STRING : CAPTURE_INT8_NUMBER, text, n);
	check_string(text, n);
	if (capture_value_unhex(&bytes, text, n))
		promise(bytes.count == (n - 2) / 2, "%zu digits are %zu bytes", n - 2, bytes.count);
	capture_text_free(&bytes);
	free(text);
	return 0;
}
