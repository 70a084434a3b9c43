/* What the fuzz targets share: promises that end the run when they are broken, and input cut into pieces.
 *
 * A target is one file that defines LLVMFuzzerTestOneInput; tests/fuzz finds it by its name. It is linked with all of the
 * relay; a target that needs something static includes its .c file instead. */
#ifndef BOXHAUL_FUZZ_H
#define BOXHAUL_FUZZ_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* libFuzzer keeps the input of a run that aborts. */
#define promise(condition, ...)                                                         \
	do {                                                                            \
		if (!(condition)) {                                                     \
			fprintf(stderr, "%s:%d: broken promise: ", __FILE__, __LINE__); \
			fprintf(stderr, __VA_ARGS__);                                   \
			fprintf(stderr, "\n");                                          \
			abort();                                                        \
		}                                                                       \
	} while (0)

/* --- input --- */

struct input {
	const uint8_t *at;
	size_t left;
};

/* 0 when there is nothing left. */
__attribute__((unused)) static unsigned take_byte(struct input *in)
{
	if (in->left == 0)
		return 0;
	in->left--;
	return *in->at++;
}

/* Up to the next `end` or the end of the input, terminated. Belongs to the caller. */
__attribute__((unused)) static char *take_text(struct input *in, char end, size_t *bytes)
{
	const uint8_t *stop = in->left > 0 ? memchr(in->at, end, in->left) : NULL;
	size_t n = stop != NULL ? (size_t)(stop - in->at) : in->left, used = n + (stop != NULL);
	char *text = malloc(n + 1);

	if (text == NULL)
		abort();
	if (n > 0)
		memcpy(text, in->at, n);
	text[n] = '\0';
	in->at += used;
	in->left -= used;
	if (bytes != NULL)
		*bytes = n;
	return text;
}

/* What is left, terminated. */
__attribute__((unused)) static char *take_rest(struct input *in)
{
	char *text = malloc(in->left + 1);

	if (text == NULL)
		abort();
	if (in->left > 0)
		memcpy(text, in->at, in->left);
	text[in->left] = '\0';
	in->left = 0;
	return text;
}

/* --- what text may look like; jansson's word on UTF-8, not ours --- */

__attribute__((unused)) static bool is_utf8(const char *text, size_t n)
{
	json_t *string = json_stringn(text, n);

	json_decref(string);
	return string != NULL;
}

/* The byte (of UTF-8: the lead of a C1 control, too) would end a line or move a terminal's cursor. */
__attribute__((unused)) static bool is_control(const char *at)
{
	const unsigned char *c = (const unsigned char *)at;

	return c[0] < 0x20 || c[0] == 0x7f || (c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0);
}

#endif
