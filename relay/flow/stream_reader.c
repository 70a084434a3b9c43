#include "flow/stream_reader.h"

enum {
	WINDOW_MESSAGES = 32,    /* asked for at a time, at most; more is no quicker */
	WINDOW_BYTES = 32 << 20, /* fewer where messages may be larger: a server cuts off who is 64 MB behind */
};

static uint32_t window_of(int64_t max_payload)
{
	int64_t most = max_payload / 3 * 4; /* base64 */

	if (most <= WINDOW_BYTES / WINDOW_MESSAGES)
		return WINDOW_MESSAGES;
	return most < WINDOW_BYTES ? (uint32_t)(WINDOW_BYTES / most) : 1;
}

void stream_reader_begin(struct stream_reader *r, uint64_t first, uint64_t last, int64_t max_payload)
{
	uint64_t except = 0;

	if (r->except != NULL && first <= last)
		except = sequences_between(r->except, first, last);
	r->next = first;
	r->last = last;
	r->left = first <= last ? last - first + 1 - except : 0;
	r->outstanding = 0;
	r->window = window_of(max_payload);
	r->read = 0;
}

bool stream_reader_ask(struct stream_reader *r)
{
	while (r->left > 0 && r->outstanding < r->window) {
		if (r->except != NULL)
			r->next = sequences_skip(r->except, r->next);
		if (r->next > r->last) {
			r->left = 0;
			break;
		}
		if (!jetstream_message(&r->js, r->stream, r->next, r->token))
			return false;
		r->next++;
		r->left--;
		r->outstanding++;
	}
	return true;
}

bool stream_reader_is_done(const struct stream_reader *r)
{
	return r->left == 0 && r->outstanding == 0;
}

enum answer_verdict stream_reader_take(struct stream_reader *r, const char *data, size_t bytes, bool no_responders,
				       struct stored_message *message)
{
	enum answer_verdict verdict = ANSWER_ERROR;

	*message = (struct stored_message){ .sequence = 0 };
	if (!no_responders)
		verdict = stored_message_read(data, bytes, message);
	if (r->outstanding > 0)
		r->outstanding--;
	r->read++;
	return verdict;
}
