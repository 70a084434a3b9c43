#include "books/reasons.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/limits.h"
#include "core/refusal.h"

enum {
	WORDS_BYTES = 192,
	/* As many as one mark may make dead letters of: it writes why soon after they were refused. */
	MESSAGES = LIMIT_MARK_DEAD,
	PER_STREAM = 4, /* reasons */
};

struct said {
	uint64_t number; /* the higher, the later; 0 = a free place */
	int64_t id;
	uint32_t reason;
	char words[WORDS_BYTES];
};

struct reasons {
	uint64_t number;
	struct said message[MESSAGES]; /* at its id's remainder */
	struct said stream[LIMIT_STREAMS][PER_STREAM];
	struct {
		bool any;
		int64_t id;
		uint16_t stream;
		uint32_t reason;
	} last;
};

struct reasons *reasons_create(void)
{
	return calloc(1, sizeof(struct reasons));
}

void reasons_free(struct reasons *r)
{
	free(r);
}

/* --- keeping --- */

static void fill(struct reasons *r, struct said *s, int64_t id, uint32_t reason, const char *words)
{
	s->number = ++r->number;
	s->id = id;
	s->reason = reason;
	snprintf(s->words, sizeof s->words, "%s", words);
}

/* The place of this reason, else the one that was not written for longest. */
static struct said *place_of(struct said *list, uint32_t reason)
{
	struct said *oldest = list;

	for (size_t i = 0; i < PER_STREAM; i++) {
		if (list[i].number > 0 && list[i].reason == reason)
			return &list[i];
		if (list[i].number < oldest->number)
			oldest = &list[i];
	}
	return oldest;
}

static size_t message_place(int64_t id)
{
	return (uint64_t)id % MESSAGES;
}

void reasons_keep(struct reasons *r, int64_t id, uint16_t stream, uint32_t reason, const char *words)
{
	if (id != REASONS_NO_MESSAGE) {
		r->last.any = true;
		r->last.id = id;
		r->last.stream = stream;
		r->last.reason = reason;
	}
	if (words[0] == '\0')
		return;
	if (id != REASONS_NO_MESSAGE)
		fill(r, &r->message[message_place(id)], id, reason, words);
	fill(r, place_of(r->stream[stream], reason), id, reason, words);
}

void reasons_keep_row(struct reasons *r, int64_t id, uint32_t reason, const char *words)
{
	fill(r, &r->message[message_place(id)], id, reason, words);
}

/* --- finding --- */

static bool is_of(const struct said *s, uint32_t reason)
{
	return s->number > 0 && s->reason == reason;
}

/* What was said of a message; else the last that was said for this reason in a list; "" = nothing. */
static const char *words_of(const struct reasons *r, int64_t id, uint32_t reason, const struct said *list, size_t count)
{
	const struct said *message = &r->message[message_place(id)], *found = NULL;

	if (id != REASONS_NO_MESSAGE && message->id == id && is_of(message, reason))
		return message->words;
	for (size_t i = 0; i < count; i++)
		if (is_of(&list[i], reason) && (found == NULL || list[i].number > found->number))
			found = &list[i];
	return found != NULL ? found->words : "";
}

const char *reasons_text(const struct reasons *r, int64_t id, uint16_t stream, uint32_t reason, char *out, size_t size)
{
	return reasons_sentence(reason, words_of(r, id, reason, r->stream[stream], PER_STREAM), out, size);
}

const char *reasons_text_of(const struct reasons *r, int64_t id, uint32_t reason, char *out, size_t size)
{
	const size_t all = sizeof r->stream / sizeof r->stream[0][0];

	return reasons_sentence(reason, words_of(r, id, reason, r->stream[0], all), out, size);
}

/* --- telling --- */

/* A number of the server's stands beside the sentence: several may have the same one, and one that is not known has none. */
const char *reasons_sentence(uint32_t reason, const char *words, char *out, size_t size)
{
	const char *ours = refusal_text(reason);
	char number[16] = "";
	bool says_more = words[0] != '\0' && strcasecmp(words, ours) != 0;

	if (reason >= 10000)
		snprintf(number, sizeof number, " (%" PRIu32 ")", reason);
	snprintf(out, size, "%s%s%s%s", ours, number, says_more ? ": " : "", says_more ? words : "");
	return out;
}

const char *reasons_last(const struct reasons *r, const char *const *streams, char *out, size_t size)
{
	char text[REASONS_TEXT_BYTES];

	out[0] = '\0';
	if (r->last.any)
		snprintf(out, size, "message %" PRId64 " of %s: %s", r->last.id, streams[r->last.stream],
			 reasons_text(r, r->last.id, r->last.stream, r->last.reason, text, sizeof text));
	return out;
}
