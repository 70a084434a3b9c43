#include "flow/capture_pack.h"

#include <stdlib.h>
#include <string.h>

#include "base/network.h"

void capture_pack_key(struct capture_text *out, const struct capture_shape *s, const struct pgoutput_value *values)
{
	char bytes[4];

	capture_text_reset(out);
	for (uint16_t part = 1; part <= s->key_count; part++) {
		size_t at = capture_shape_key(s, part);

		if (at == s->count || values[at].kind != PGOUTPUT_TEXT) {
			capture_text_reset(out);
			return;
		}
		network_write32(bytes, (uint32_t)values[at].bytes); /* as format/capture_key.h has it */
		capture_text_put(out, bytes, sizeof bytes);
		capture_text_put(out, values[at].text, values[at].bytes);
	}
}

static const char *keep(char **room, const void *bytes, size_t count)
{
	char *at = *room;

	memcpy(at, bytes, count);
	*room += count;
	return at;
}

static const char *keep_text(char **room, const char *text)
{
	return keep(room, text, strlen(text) + 1);
}

static size_t length(const struct capture_text *t)
{
	return t != NULL ? t->count : 0;
}

/* NULL where there is nothing to be kept. */
static const char *keep_all(char **room, const struct capture_text *t)
{
	return t != NULL && t->count > 0 ? keep(room, t->bytes, t->count) : NULL;
}

/* FNV-1a. Zero is a lane like any other. What is carried has its lane on record (boxhaul.capture_carried): another hash would let newer changes of a key pass
 * older ones that wait there. */
static uint64_t mix(uint64_t hash, const char *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		hash = (hash ^ (unsigned char)bytes[i]) * UINT64_C(1099511628211);
	return hash;
}

/* Of a table and its key; of a message that somebody has written, of its key, if it has one. */
static uint64_t lane_of(const struct capture_message *m, const struct capture_parts *p)
{
	uint64_t hash = mix(UINT64_C(14695981039346656037), p->tab, strlen(p->tab) + 1);

	if (p->written)
		return m->key != NULL ? mix(hash, m->key, strlen(m->key)) | 1 : 0;
	return (p->key != NULL ? mix(hash, p->key->bytes, p->key->count) : hash) | 1;
}

/* The list, and behind it the keys. */
static size_t bytes_of_others(const struct capture_parts *p)
{
	size_t bytes = p->other_count * sizeof *p->others;

	for (uint32_t i = 0; i < p->other_count; i++)
		bytes += p->others[i].key_bytes;
	return bytes;
}

static void keep_others(struct capture_parcel *c, const struct capture_parts *p, char **room)
{
	if (p->other_count == 0)
		return;
	/* It is the first thing behind the parcel, so it is aligned. */
	c->others = (struct capture_key_of *)(void *)*room;
	c->other_count = p->other_count;
	*room += p->other_count * sizeof *c->others;
	for (uint32_t i = 0; i < p->other_count; i++)
		c->others[i] = (struct capture_key_of){ keep(room, p->others[i].key, p->others[i].key_bytes),
							p->others[i].key_bytes };
}

static void fill(struct capture_parcel *c, const struct capture_message *m, const struct capture_parts *p,
		 const char *position, char *room)
{
	const char *why = m->why != NULL ? m->why : "";

	keep_others(c, p, &room);
	c->parcel.subject = keep_text(&room, m->subject);
	c->parcel.pairs = keep(&room, m->headers, m->headers_bytes);
	c->parcel.pair_count = m->header_count;
	c->parcel.payload = keep(&room, m->payload, m->payload_bytes);
	c->parcel.payload_bytes = m->payload_bytes;
	c->parcel.wire_bytes = m->wire_bytes;
	memcpy(c->parcel.message_id, m->id, sizeof c->parcel.message_id);
	c->tab = keep_text(&room, p->tab);
	c->position = keep_text(&room, position);
	c->why = keep_text(&room, why);
	c->key = keep_all(&room, p->key);
	c->key_bytes = (uint32_t)length(p->key);
	c->repair_key = keep_all(&room, p->repair_key);
	c->repair_key_bytes = (uint32_t)length(p->repair_key);
	c->moves_whole = p->moves_whole;
	if (p->part_bytes > 0) {
		c->part = (const char *)c->parcel.payload + p->part_at;
		c->part_bytes = p->part_bytes;
	}
	if (p->snapshot != NULL)
		c->snapshot = keep_text(&room, p->snapshot);
	c->columns = keep_all(&room, p->columns);
	if (c->columns != NULL)
		*room = '\0';
}

static size_t bytes_of(const struct capture_message *m, const struct capture_parts *p, const char *position)
{
	return sizeof(struct capture_parcel) + strlen(m->subject) + 1 + m->headers_bytes + m->payload_bytes +
	       strlen(p->tab) + 1 + strlen(position) + 1 + (m->why != NULL ? strlen(m->why) : 0) + 1 + length(p->key) +
	       length(p->repair_key) + length(p->columns) + 1 + bytes_of_others(p) +
	       (p->snapshot != NULL ? strlen(p->snapshot) + 1 : 0);
}

/* Of what there was no memory for nothing else is known. */
struct capture_parcel *capture_pack(const struct capture_message *m, const struct capture_parts *p)
{
	char position[CAPTURE_PLACE_BYTES] = "";
	struct capture_parcel *c;
	size_t bytes;

	if (p->defect == REASON_NO_MEMORY)
		return NULL;
	if (p->place != NULL)
		capture_identity_position(p->place, position);
	bytes = bytes_of(m, p, position);
	if (bytes > UINT32_MAX || (c = calloc(1, bytes)) == NULL)
		return NULL;
	c->table = p->table;
	c->defect = (uint16_t)p->defect;
	c->read_instead = p->read_instead;
	c->bytes = (uint32_t)bytes;
	c->lane = lane_of(m, p);
	c->reading = p->reading;
	fill(c, m, p, position, (char *)(c + 1));
	return c;
}
