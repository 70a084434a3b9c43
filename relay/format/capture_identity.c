#include "format/capture_identity.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

enum { DIGEST_BYTES = 32 };

void capture_identity_free(struct capture_identity *i)
{
	EVP_MD_CTX_free(i->context);
	i->context = NULL;
}

/* One context for all: to look the algorithm up each time, as SHA256() does, costs three times the digest. */
static bool ready(struct capture_identity *i)
{
	if (i->context != NULL)
		return EVP_DigestInit_ex(i->context, NULL, NULL) == 1;
	i->context = EVP_MD_CTX_new();
	if (i->context != NULL && EVP_DigestInit_ex(i->context, EVP_sha256(), NULL) == 1)
		return true;
	capture_identity_free(i);
	return false;
}

static bool take_digest(struct capture_identity *i, const void *bytes, size_t count, unsigned char digest[DIGEST_BYTES])
{
	return ready(i) && EVP_DigestUpdate(i->context, bytes, count) == 1 &&
	       EVP_DigestFinal_ex(i->context, digest, NULL) == 1;
}

static unsigned char *put_number(unsigned char *at, uint64_t n)
{
	for (int shift = 56; shift >= 0; shift -= 8)
		*at++ = (unsigned char)(n >> shift);
	return at;
}

/* Version 8, and the variant of RFC 9562. */
static void write_uuid(unsigned char digest[DIGEST_BYTES], char id[static UUID_CHARACTERS + 1])
{
	digest[6] = (unsigned char)((digest[6] & 0x0f) | 0x80);
	digest[8] = (unsigned char)((digest[8] & 0x3f) | 0x80);
	uuid_write(id, digest);
}

bool capture_identity_change(struct capture_identity *i, const struct capture_place *place,
			     char id[static UUID_CHARACTERS + 1])
{
	unsigned char all[1 + 5 * 8], digest[DIGEST_BYTES], *at = all;

	*at++ = 'c'; /* what no row of a snapshot begins with */
	at = put_number(at, place->system);
	at = put_number(at, place->commit_lsn);
	at = put_number(at, (uint64_t)place->commit_us);
	at = put_number(at, place->xid);
	at = put_number(at, place->index);
	if (!take_digest(i, all, (size_t)(at - all), digest))
		return false;
	write_uuid(digest, id);
	return true;
}

/* Each is told apart from its neighbours by its length, which stands before it. */
static unsigned char *put_text(unsigned char *at, const void *text, size_t bytes)
{
	at = put_number(at, bytes);
	memcpy(at, text, bytes);
	return at + bytes;
}

bool capture_identity_row(struct capture_identity *i, uint64_t system, const char *snapshot, const char *schema,
			  const char *table, uint64_t reading, const void *key, size_t key_bytes,
			  char id[static UUID_CHARACTERS + 1])
{
	enum { TEXT_MAX_BYTES = 64 };
	unsigned char all[1 + 2 * 8 + 3 * (8 + TEXT_MAX_BYTES) + 8 + DIGEST_BYTES], digest[DIGEST_BYTES], *at = all;

	/* The key may have any length: its own digest stands for it. Snapshot, schema and table are a uuid and two names of the catalogue. */
	if (strlen(snapshot) > TEXT_MAX_BYTES || strlen(schema) > TEXT_MAX_BYTES || strlen(table) > TEXT_MAX_BYTES ||
	    !take_digest(i, key, key_bytes, digest))
		return false;
	*at++ = 'r';
	at = put_number(at, system);
	at = put_text(at, snapshot, strlen(snapshot));
	at = put_text(at, schema, strlen(schema));
	at = put_text(at, table, strlen(table));
	at = put_number(at, reading);
	at = put_text(at, digest, sizeof digest);
	if (!take_digest(i, all, (size_t)(at - all), digest))
		return false;
	write_uuid(digest, id);
	return true;
}

const char *capture_identity_position(const struct capture_place *place, char to[static CAPTURE_PLACE_BYTES])
{
	size_t n = strlen(capture_identity_transaction(place, to));

	snprintf(to + n, CAPTURE_PLACE_BYTES - n, ".%" PRIu64, place->index);
	return to;
}

const char *capture_identity_transaction(const struct capture_place *place, char to[static CAPTURE_PLACE_BYTES])
{
	snprintf(to, CAPTURE_PLACE_BYTES, "%" PRIX32 "/%" PRIX32 ".%" PRId64, (uint32_t)(place->commit_lsn >> 32),
		 (uint32_t)place->commit_lsn, place->commit_us);
	return to;
}
