/* The configuration: one table of settings; the parser, its errors, `boxhaul config show` and the sample
 * file walk the same table. Syntax is libconfig's: name = value; groups in braces, lists in parentheses. */
#ifndef BOXHAUL_CONFIG_H
#define BOXHAUL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/delivery.h"
#include "log.h"

struct setting;

struct config_stream {
	char *name;
	char **subjects; /* patterns with * and > */
	size_t subject_count;
	bool create;                  /* create the stream where it is missing */
	uint32_t replicas;            /* for create */
	uint32_t duplicate_window_ms; /* for create, and the least that `check` accepts without a warning */
};

/* Where the file sets something. */
struct config_origin {
	const struct setting *setting;
	const void *base; /* the struct config, or the struct config_stream */
	unsigned line;
};

struct config {
	char *path;
	struct config_origin *origins;
	size_t origin_count;
	char *name; /* of the instance; default: the file's name without .conf */
	enum { ENVELOPE_RAW, ENVELOPE_CLOUDEVENTS } envelope;
	char *event_source; /* default: /boxhaul/NAME */
	struct {
		char *conninfo;         /* libpq's; default "" */
		char *password_file;    /* or NULL */
		char *migrate_conninfo; /* for `migrate`; default: conninfo */
	} postgres;
	struct {
		char **urls;
		size_t url_count;
		char *user, *password_file, *token_file, *credentials_file, *nkey_seed_file; /* or NULL */
		bool discover; /* use servers the cluster announces */
		struct {
			bool required;                        /* also on when a URL says tls://, or a file is named */
			char *ca_file, *cert_file, *key_file; /* or NULL */
		} tls;
	} nats;
	struct config_stream *streams;
	size_t stream_count;
	struct delivery_settings delivery;
	uint32_t drain_timeout_ms;
	uint64_t retention_ms;      /* of settled rows in the outbox */
	uint32_t max_message_bytes; /* payload and headers */
	enum { WAKEUP_NOTIFY, WAKEUP_POLL } wakeup;
	struct {
		char *address;           /* numeric; default 127.0.0.1 */
		uint16_t port;           /* 0: no health port */
		uint32_t stall_after_ms; /* backlog and no ack for so long is not ready */
	} health;
	struct {
		enum log_level level;
		enum log_format format;
		uint32_t stats_interval_ms;
	} log;
};

/* Reads and checks a file. Returns NULL after writing EVERY error found to `errors`, one per line, each
 * "file:line: what is wrong and what to do". Warnings (a world-readable file with a password in it) go there
 * too and do not make it fail. The result belongs to the caller. */
struct config *config_load(const char *path, FILE *errors);
void config_free(struct config *c);

/* The line of the file that sets it in the config, or in one of its streams; 0: none does, it has its default. */
unsigned config_line(const struct config *c, const struct setting *s, const void *base);

/* Do the values fit together? Those of a file do; those that a relay takes from two of them may not. Writes why not. */
bool config_fits(const struct config *c, char *why, size_t size);

/* An instance NAME means /etc/boxhaul/NAME.conf; anything with a slash or a dot is a path already.
 * Returns a malloc'ed path, NULL when out of memory. */
char *config_path(const char *name_or_path);

/* Every setting with type, range, default and meaning, as a commented sample file. */
void config_sample(FILE *out);

#endif
