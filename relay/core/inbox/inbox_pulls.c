/* Each request has a number that comes back with everything it brings: two of them are served in turn, so that nothing
 * but the number tells which one is full. (nats-server 2.9 ends a full one without a word.) */
#include "core/inbox/inbox_pulls.h"

#include <assert.h>

#include "core/inbox/inbox_mutant.h"

static struct inbox_pull *find(struct inbox_pulls *p, uint32_t number)
{
	for (int i = 0; i < LIMIT_INBOX_PULLS; i++)
		if (number != 0 && p->pull[i].number == number)
			return &p->pull[i];
	return NULL;
}

void inbox_pulls_clear(struct inbox_pulls *p)
{
	for (int i = 0; i < LIMIT_INBOX_PULLS; i++)
		p->pull[i] = (struct inbox_pull){ 0 };
}

uint32_t inbox_pulls_add(struct inbox_pulls *p, uint32_t messages, uint32_t bytes, int64_t until_ms)
{
	struct inbox_pull *free = NULL;

	for (int i = 0; i < LIMIT_INBOX_PULLS; i++)
		if (p->pull[i].number == 0)
			free = &p->pull[i];
	assert(free != NULL);
	p->drawn += p->drawn == UINT32_MAX ? 2 : 1;
	*free = (struct inbox_pull){
		.number = p->drawn, .messages_left = messages, .bytes_left = bytes, .until_ms = until_ms
	};
	return free->number;
}

void inbox_pulls_got(struct inbox_pulls *p, uint32_t number, uint32_t bytes)
{
	struct inbox_pull *pull = find(p, number);

	if (pull == NULL)
		return;
	pull->brought = true;
	pull->messages_left--;
	pull->bytes_left -= bytes < pull->bytes_left ? bytes : pull->bytes_left;
	if (pull->messages_left == 0 && !MUTANT(full_waits))
		*pull = (struct inbox_pull){ 0 };
	else if (pull->messages_left == 0)
		pull->messages_left = 1;
}

bool inbox_pulls_ended(struct inbox_pulls *p, uint32_t number)
{
	struct inbox_pull *pull = find(p, number);
	bool brought = pull == NULL || pull->brought;

	if (pull != NULL && !MUTANT(credit_lost))
		*pull = (struct inbox_pull){ 0 };
	return brought;
}

void inbox_pulls_expire(struct inbox_pulls *p, int64_t now_ms)
{
	for (int i = 0; i < LIMIT_INBOX_PULLS; i++)
		if (p->pull[i].number != 0 && now_ms >= p->pull[i].until_ms)
			p->pull[i] = (struct inbox_pull){ 0 };
}

uint32_t inbox_pulls_count(const struct inbox_pulls *p)
{
	uint32_t count = 0;

	for (int i = 0; i < LIMIT_INBOX_PULLS; i++)
		count += p->pull[i].number != 0;
	return count;
}

uint64_t inbox_pulls_messages(const struct inbox_pulls *p)
{
	uint64_t sum = 0;

	for (int i = 0; i < LIMIT_INBOX_PULLS; i++)
		sum += p->pull[i].messages_left;
	return sum;
}

uint64_t inbox_pulls_bytes(const struct inbox_pulls *p)
{
	uint64_t sum = 0;

	for (int i = 0; i < LIMIT_INBOX_PULLS; i++)
		sum += p->pull[i].bytes_left;
	return sum;
}

int64_t inbox_pulls_deadline(const struct inbox_pulls *p)
{
	int64_t first = INBOX_NEVER;

	for (int i = 0; i < LIMIT_INBOX_PULLS; i++)
		if (p->pull[i].number != 0 && p->pull[i].until_ms < first)
			first = p->pull[i].until_ms;
	return first;
}
