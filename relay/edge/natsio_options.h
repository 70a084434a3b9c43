/* NATS: which servers, and how to log in. What the relay's connection and the commands' sessions have in common. */
#ifndef BOXHAUL_EDGE_NATSIO_OPTIONS_H
#define BOXHAUL_EDGE_NATSIO_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

enum { NATSIO_INBOX_PREFIX_BYTES = 64 };

/* Everything is borrowed for the life of the natsio; files are read again at every connect. */
struct natsio_options {
	const char *name; /* of the client, seen in the server's monitoring */
	const char *const *urls;
	size_t url_count;
	const char *user, *password_file, *token_file, *credentials_file, *nkey_seed_file; /* or NULL */
	const char *
		inbox_prefix; /* answers come to <prefix>.<random>.*.*; NULL = _INBOX. At most NATSIO_INBOX_PREFIX_BYTES - 1 */
	bool discover;        /* use servers the cluster announces */
	bool tls;             /* never without; a URL's tls:// does not matter */
	const char *ca_file, *cert_file, *key_file; /* or NULL */
	unsigned lanes;                             /* for pull consumers, an even number: natsio_message.h */
};

/* Releases the library. Call last. */
void natsio_shutdown(void);

#endif
