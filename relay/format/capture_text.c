#include "format/capture_text.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

enum {
	FIRST_BYTES = 4096,
	KEPT_BYTES = 1 << 20, /* what one large row needed beyond is given back */
};

void capture_text_reset(struct capture_text *t)
{
	if (t->room > KEPT_BYTES)
		capture_text_free(t);
	t->count = 0;
	t->failed = false;
}

void capture_text_free(struct capture_text *t)
{
	free(t->bytes);
	*t = (struct capture_text){ .bytes = NULL };
}

char *capture_text_room(struct capture_text *t, size_t count)
{
	size_t room = t->room < FIRST_BYTES ? FIRST_BYTES : t->room;
	char *grown;

	if (t->room - t->count >= count)
		return t->bytes + t->count;
	while (room - t->count < count && room <= SIZE_MAX / 2)
		room *= 2;
	grown = room - t->count >= count ? realloc(t->bytes, room) : NULL;
	if (grown == NULL) {
		t->failed = true;
		return NULL;
	}
	t->bytes = grown;
	t->room = room;
	return grown + t->count;
}

void capture_text_put(struct capture_text *t, const void *bytes, size_t count)
{
	char *at = count > 0 ? capture_text_room(t, count) : NULL;

	if (at == NULL)
		return;
	memcpy(at, bytes, count);
	t->count += count;
}

void capture_text_char(struct capture_text *t, char c)
{
	capture_text_put(t, &c, 1);
}

void capture_text_say(struct capture_text *t, const char *text)
{
	capture_text_put(t, text, strlen(text));
}

void capture_text_number(struct capture_text *t, uint64_t n)
{
	char digits[20], *at = digits + sizeof digits;

	do
		*--at = (char)('0' + n % 10);
	while ((n /= 10) > 0);
	capture_text_put(t, at, (size_t)(digits + sizeof digits - at));
}

/* --- JSON strings --- */

/* How many bytes from here on stand in a JSON string as they are. */
static size_t plain_bytes(const char *s, size_t n)
{
	size_t i = 0;

	while (i < n && (unsigned char)s[i] >= 0x20 && (unsigned char)s[i] < 0x80 && s[i] != '"' && s[i] != '\\')
		i++;
	return i;
}

static void put_escaped(struct capture_text *t, char c)
{
	static const char hex[] = "0123456789abcdef";
	char escape[] = { '\\', 'u', '0', '0', hex[(unsigned char)c >> 4 & 15], hex[c & 15] };
	const char *known = c != '\0' ? strchr("\"\"\\\\\bb\ff\nn\rr\tt", c) : NULL;

	if (known == NULL) {
		capture_text_put(t, escape, sizeof escape);
		return;
	}
	escape[1] = known[1];
	capture_text_put(t, escape, 2);
}

/* lossy: what is no UTF-8 is replaced. False: it is no UTF-8. */
static bool put_json(struct capture_text *t, const char *s, size_t n, bool lossy)
{
	capture_text_char(t, '"');
	for (size_t i = 0; i < n;) {
		size_t plain = plain_bytes(s + i, n - i), length;

		capture_text_put(t, s + i, plain);
		i += plain;
		if (i == n)
			break;
		length = utf8_length(s + i, n - i);
		if (length == 0 && !lossy)
			return false;
		if (length == 0)
			capture_text_say(t, "\357\277\275"); /* U+FFFD */
		else if (length == 1)
			put_escaped(t, s[i]);
		else
			capture_text_put(t, s + i, length);
		i += length > 0 ? length : 1;
	}
	capture_text_char(t, '"');
	return true;
}

bool capture_text_json(struct capture_text *t, const char *text, size_t count)
{
	size_t before = t->count;
	bool ok = put_json(t, text, count, false);

	if (!ok)
		t->count = before;
	return ok;
}

void capture_text_json_lossy(struct capture_text *t, const char *text, size_t count)
{
	put_json(t, text, count, true);
}

void capture_text_base64(struct capture_text *t, const unsigned char *bytes, size_t count)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < count; i += 3) {
		uint32_t three = (uint32_t)bytes[i] << 16 | (i + 1 < count ? (uint32_t)bytes[i + 1] << 8 : 0) |
				 (i + 2 < count ? bytes[i + 2] : 0u);
		char four[4] = { digits[three >> 18], digits[three >> 12 & 63],
				 i + 1 < count ? digits[three >> 6 & 63] : '=',
				 i + 2 < count ? digits[three & 63] : '=' };

		capture_text_put(t, four, sizeof four);
	}
}
