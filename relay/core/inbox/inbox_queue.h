/* Messages in memory, in the order of the stream: a ring of slots.
 *
 *      head            taken           checked         tail
 *       |   in flight    |   to be taken  |  in question  |
 *
 * In question: between one of them and the one before it there is a hole, and nobody knows yet whether something left
 * the stream there. */
#ifndef BOXHAUL_CORE_INBOX_INBOX_QUEUE_H
#define BOXHAUL_CORE_INBOX_INBOX_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

struct inbox_item {
	uint64_t sequence;
	int64_t time;
	uint64_t gap_from, gap_to; /* lost before it; gap_from 0: nothing */
	uint32_t bytes;
};

struct inbox_queue {
	struct inbox_item *item;
	uint32_t slots;
	uint64_t head, taken, checked, tail; /* these count for ever; the slot is the number modulo slots */
	uint64_t bytes;
};

/* False: out of memory. */
bool inbox_queue_create(struct inbox_queue *q, uint32_t slots);
void inbox_queue_destroy(struct inbox_queue *q);

static inline uint32_t inbox_queue_slot(const struct inbox_queue *q, uint64_t number)
{
	return (uint32_t)(number % q->slots);
}
static inline struct inbox_item *inbox_queue_at(const struct inbox_queue *q, uint64_t number)
{
	return &q->item[number % q->slots];
}
static inline uint32_t inbox_queue_count(const struct inbox_queue *q)
{
	return (uint32_t)(q->tail - q->head);
}

/* Adds one that is in question, and returns its slot; -1: there is none free. */
int32_t inbox_queue_push(struct inbox_queue *q, uint64_t sequence, int64_t time, uint32_t bytes);

/* The oldest `count` are gone: they were answered for. */
void inbox_queue_pop(struct inbox_queue *q, uint32_t count);

/* Forgets the newest, down to this number. */
void inbox_queue_cut(struct inbox_queue *q, uint64_t number);

/* So many of those to be taken make the next batch: within the limits, but one at least; a gap begins a batch. 0:
 * there are none. */
uint32_t inbox_queue_batch(const struct inbox_queue *q, uint32_t messages, uint32_t bytes);

void inbox_queue_audit(const struct inbox_queue *q);

#endif
