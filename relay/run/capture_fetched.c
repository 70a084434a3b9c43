/* What a capture carries, on its way back out of the books: as the core and the publisher had it before. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run/capture_room_state.h"

/* --- a parcel --- */

static const char *keep(char **room, const void *bytes, size_t count)
{
	char *at = *room;

	if (count > 0)
		memcpy(at, bytes, count);
	at[count] = '\0';
	*room += count + 1;
	return at;
}

static const char *keep_text(char **room, const char *text)
{
	return keep(room, text, strlen(text));
}

static size_t count_of_pairs(const char *pairs, size_t bytes)
{
	size_t ends = 0;

	for (size_t i = 0; i < bytes; i++)
		ends += pairs[i] == '\0';
	return ends / 2;
}

/* NULL: no memory. */
static struct capture_parcel *parcel_of(const struct capture_ledger_change *x)
{
	enum { PARTS = 7 }; /* each with a terminator */
	size_t bytes = sizeof(struct capture_parcel) + strlen(x->subject) + strlen(x->tab) + strlen(x->position) +
		       strlen(x->why) + x->payload_bytes + x->headers_bytes + x->key_bytes + PARTS;
	struct capture_parcel *p = bytes <= UINT32_MAX ? calloc(1, bytes) : NULL;
	char *room;

	if (p == NULL)
		return NULL;
	room = (char *)(p + 1);
	p->parcel.id = x->ordinal;
	p->parcel.subject = keep_text(&room, x->subject);
	p->parcel.pairs = keep(&room, x->headers, x->headers_bytes);
	p->parcel.pair_count = count_of_pairs(x->headers, x->headers_bytes);
	p->parcel.payload = keep(&room, x->payload, x->payload_bytes);
	p->parcel.payload_bytes = x->payload_bytes;
	p->parcel.wire_bytes = x->wire_bytes;
	snprintf(p->parcel.message_id, sizeof p->parcel.message_id, "%s", x->message_id);
	p->table = CAPTURE_NO_TABLE;
	p->tab = keep_text(&room, x->tab);
	p->position = keep_text(&room, x->position);
	p->why = keep_text(&room, x->why);
	if (x->key != NULL)
		p->key = keep(&room, x->key, x->key_bytes);
	p->key_bytes = (uint32_t)x->key_bytes;
	p->defect = x->defect;
	p->bytes = (uint32_t)bytes;
	return p;
}

/* --- fetching --- */

struct fetched {
	int64_t ordinal[LIMIT_CAPTURE_FETCH];
	struct capture_row row[LIMIT_CAPTURE_FETCH];
	struct capture_parcel *parcel[LIMIT_CAPTURE_FETCH];
	size_t count;
};

/* False: no memory. */
static bool read_all(const struct pg_result *result, struct fetched *f)
{
	struct capture_ledger_change change;

	for (int i = 0; i < pg_rows(result) && i < LIMIT_CAPTURE_FETCH; i++) {
		capture_ledger_read_change(result, i, &change);
		f->parcel[i] = parcel_of(&change);
		if (f->parcel[i] == NULL)
			return false;
		f->ordinal[i] = change.ordinal;
		f->row[i] = capture_maker_row_of(f->parcel[i]);
		f->count++;
	}
	return true;
}

static void on_fetched(void *arg, const struct pg_result *result)
{
	struct capture_one *c = arg;
	struct capture_event ev = { .kind = CAPTURE_EVENT_CARRIED };
	struct fetched f = { .count = 0 };

	/* The core waits for them: begin again from what the database holds. */
	if (pg_error(result) != NULL || !read_all(result, &f)) {
		for (size_t i = 0; i < f.count; i++)
			free(f.parcel[i]);
		pg_break(c->pg, pg_error(result) != NULL ? pg_error(result) : "out of memory");
		return;
	}
	ev.carried.ordinals = f.ordinal;
	ev.carried.rows = f.row;
	ev.carried.count = f.count;
	capture_room_step(c, &ev);
	for (size_t i = 0; i < f.count; i++)
		capture_room_keep(c, f.row[i].slot, f.parcel[i]);
}

bool capture_room_fetch(struct capture_one *c, const struct capture_effect *f)
{
	return capture_ledger_fetch(c->pg, capture_room_config(c)->name, capture_leader_look(c->leader).epoch,
				    f->fetch.ordinals, f->fetch.count, on_fetched, c);
}
