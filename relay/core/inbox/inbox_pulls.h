/* The requests that wait at the consumer, and the room that is kept for what they may bring. */
#ifndef BOXHAUL_CORE_INBOX_INBOX_PULLS_H
#define BOXHAUL_CORE_INBOX_INBOX_PULLS_H

#include "core/inbox/inbox_types.h"

struct inbox_pull {
	uint32_t number; /* 0: free */
	uint32_t messages_left, bytes_left;
	bool brought;     /* at least one */
	int64_t until_ms; /* it has ended by then, told or not */
};

struct inbox_pulls {
	struct inbox_pull pull[LIMIT_INBOX_PULLS];
	uint32_t drawn; /* numbers so far */
};

/* None are outstanding; numbers go on. */
void inbox_pulls_clear(struct inbox_pulls *p);

/* The number of a new one; there must be room for it. */
uint32_t inbox_pulls_add(struct inbox_pulls *p, uint32_t messages, uint32_t bytes, int64_t until_ms);

/* A message came for it. With its last one it is over, and nothing need say so. */
void inbox_pulls_got(struct inbox_pulls *p, uint32_t number, uint32_t bytes);

/* It is over. False: it had brought nothing. */
bool inbox_pulls_ended(struct inbox_pulls *p, uint32_t number);

/* Drops those whose time is over. */
void inbox_pulls_expire(struct inbox_pulls *p, int64_t now_ms);

uint32_t inbox_pulls_count(const struct inbox_pulls *p);
uint64_t inbox_pulls_messages(const struct inbox_pulls *p);
uint64_t inbox_pulls_bytes(const struct inbox_pulls *p);

/* When the first of them ends; INBOX_NEVER: there is none. */
int64_t inbox_pulls_deadline(const struct inbox_pulls *p);

#endif
