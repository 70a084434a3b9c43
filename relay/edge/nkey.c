/*     "SU..."  base32 of  | seed, of a user (2) | the private key (32) | CRC (2) |
 *     "U..."   base32 of  |        user (1)     | the public key (32)  | CRC (2) |
 */
#include "edge/nkey.h"

#include <openssl/evp.h>
#include <stdint.h>
#include <string.h>

enum {
	KEY_BYTES = 32,
	CRC_BYTES = 2,
	SEED_BYTES = 2 + KEY_BYTES + CRC_BYTES,
	PUBLIC_BYTES = 1 + KEY_BYTES + CRC_BYTES
};
enum { SEED_CHARS = (SEED_BYTES * 8 + 4) / 5, USER = 20 << 3 };

_Static_assert(NKEY_PUBLIC_CHARS == (PUBLIC_BYTES * 8 + 4) / 5, "base32: five bits to a character");

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/* CRC-16/XMODEM */
static uint16_t crc_of(const unsigned char *bytes, size_t n)
{
	uint16_t crc = 0;

	for (size_t i = 0; i < n; i++) {
		crc = (uint16_t)(crc ^ bytes[i] << 8);
		for (int bit = 0; bit < 8; bit++)
			crc = (uint16_t)(crc << 1 ^ ((crc & 0x8000) != 0 ? 0x1021 : 0));
	}
	return crc;
}

static bool decode(const char *text, unsigned char out[SEED_BYTES])
{
	uint32_t bits = 0;
	int held = 0;
	size_t n = 0;

	for (size_t i = 0; i < SEED_CHARS; i++) {
		const char *at = text[i] != '\0' ? strchr(alphabet, text[i]) : NULL;

		if (at == NULL)
			return false;
		bits = bits << 5 | (uint32_t)(at - alphabet);
		held += 5;
		if (held >= 8 && n < SEED_BYTES)
			out[n++] = (unsigned char)(bits >> (held -= 8));
	}
	return n == SEED_BYTES;
}

static void encode(const unsigned char in[PUBLIC_BYTES], char out[NKEY_PUBLIC_CHARS + 1])
{
	uint32_t bits = 0;
	int held = 0;
	size_t n = 0;

	for (size_t i = 0; i < PUBLIC_BYTES; i++) {
		bits = bits << 8 | in[i];
		for (held += 8; held >= 5; held -= 5)
			out[n++] = alphabet[bits >> (held - 5) & 31];
	}
	out[n] = '\0';
}

/* The public key of a private one, on the curve of nkeys. */
static bool derive(const unsigned char private[KEY_BYTES], unsigned char public[KEY_BYTES])
{
	EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, private, KEY_BYTES);
	size_t n = KEY_BYTES;
	bool ok = key != NULL && EVP_PKEY_get_raw_public_key(key, public, &n) == 1 && n == KEY_BYTES;

	EVP_PKEY_free(key);
	return ok;
}

bool nkey_public(const char *seed, char out[NKEY_PUBLIC_CHARS + 1])
{
	unsigned char raw[SEED_BYTES], public[PUBLIC_BYTES] = { USER };
	uint16_t crc;
	bool ok = strncmp(seed, "SU", 2) == 0 && decode(seed, raw) &&
		  crc_of(raw, SEED_BYTES - CRC_BYTES) == (raw[SEED_BYTES - 2] | raw[SEED_BYTES - 1] << 8) &&
		  derive(raw + 2, public + 1);

	explicit_bzero(raw, sizeof raw);
	crc = crc_of(public, PUBLIC_BYTES - CRC_BYTES);
	public[PUBLIC_BYTES - 2] = (unsigned char)(crc & 0xff);
	public[PUBLIC_BYTES - 1] = (unsigned char)(crc >> 8);
	encode(public, out);
	return ok;
}
