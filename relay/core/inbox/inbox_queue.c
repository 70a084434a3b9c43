/* The ring of messages. See the picture in the header. */
#include "core/inbox/inbox_queue.h"

#include <assert.h>
#include <stdlib.h>

bool inbox_queue_create(struct inbox_queue *q, uint32_t slots)
{
	*q = (struct inbox_queue){ .slots = slots };
	q->item = calloc(slots, sizeof *q->item);
	return q->item != NULL;
}

void inbox_queue_destroy(struct inbox_queue *q)
{
	free(q->item);
	q->item = NULL;
}

int32_t inbox_queue_push(struct inbox_queue *q, uint64_t sequence, int64_t time, uint32_t bytes)
{
	if (inbox_queue_count(q) == q->slots)
		return -1;
	*inbox_queue_at(q, q->tail) = (struct inbox_item){ .sequence = sequence, .time = time, .bytes = bytes };
	q->bytes += bytes;
	return (int32_t)inbox_queue_slot(q, q->tail++);
}

void inbox_queue_pop(struct inbox_queue *q, uint32_t count)
{
	assert(count <= q->taken - q->head);
	for (uint32_t i = 0; i < count; i++)
		q->bytes -= inbox_queue_at(q, q->head++)->bytes;
}

void inbox_queue_cut(struct inbox_queue *q, uint64_t number)
{
	assert(number >= q->taken && number <= q->tail);
	while (q->tail > number)
		q->bytes -= inbox_queue_at(q, --q->tail)->bytes;
	if (q->checked > number)
		q->checked = number;
}

uint32_t inbox_queue_batch(const struct inbox_queue *q, uint32_t messages, uint32_t bytes)
{
	uint32_t count = 0;
	uint64_t sum = 0;

	for (uint64_t n = q->taken; n < q->checked && count < messages; n++) {
		const struct inbox_item *item = inbox_queue_at(q, n);

		sum += item->bytes;
		if (count > 0 && (sum > bytes || item->gap_from != 0))
			break;
		count++;
	}
	return count;
}

void inbox_queue_audit(const struct inbox_queue *q)
{
	uint64_t bytes = 0, before = 0;

	assert(q->head <= q->taken && q->taken <= q->checked && q->checked <= q->tail && q->tail - q->head <= q->slots);
	for (uint64_t n = q->head; n < q->tail; n++) {
		const struct inbox_item *item = inbox_queue_at(q, n);

		assert(item->sequence > before);
		assert(item->gap_from == 0 ||
		       (item->gap_from > before && item->gap_from <= item->gap_to && item->gap_to < item->sequence));
		before = item->sequence;
		bytes += item->bytes;
	}
	assert(bytes == q->bytes);
}
