/* The values of a configuration, as the relay and the commands read them. settings.h is the table that names them. */
#ifndef BOXHAUL_CONFIG_CONFIG_H
#define BOXHAUL_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "core/delivery.h"
#include "core/inbox/inbox_types.h"

struct setting;

struct config_stream {
	char *name;
	char **subjects; /* patterns with * and > */
	size_t subject_count;
	bool create;                  /* create the stream where it is missing */
	uint32_t replicas;            /* for create */
	uint32_t duplicate_window_ms; /* for create, and the least that `check` accepts without a warning */
	bool owned;                   /* nobody else publishes to it: one order for all of it (delivery.owned) */
	enum { FOREIGN_STOPS, FOREIGN_PASSES } foreign; /* owned: what a message of somebody else does to it */
};

/* The subscription that takes the answers to sagas. No file can say such a name, so it is nobody else's. */
#define CONFIG_SAGAS "sagas.replies"

/* Of the file; and with that one. */
enum { LIMIT_INBOX = 32, LIMIT_SUBSCRIPTIONS = LIMIT_INBOX + 1 };

/* Where the key of a message stands. */
enum config_key { CONFIG_KEY_HEADER, CONFIG_KEY_NONE, CONFIG_KEY_SUBJECT };

/* A subscription. Its names are those of inbox_define() (sql/008_inbox.sql) and of struct inbox_settings. */
struct config_subscription {
	char *name; /* [A-Za-z0-9_-]{1,64}, or CONFIG_SAGAS */
	char *stream;
	char **subjects; /* filters with * and >; no two overlap */
	size_t subject_count;
	enum inbox_start start;
	uint64_t start_sequence; /* 1 .. INT64_MAX; 0 where start is no sequence */
	enum config_key key;
	uint64_t
		key_token; /* of the subject, from 1 on; all subjects have so many. 0 where the key does not stand there */
	uint32_t lanes;    /* 1 .. 256 */
	enum inbox_dedupe dedupe;
	char *handler;    /* schema.function, or "": workers of the service */
	uint32_t workers; /* sessions that call the handler */
	uint32_t max_attempts;
	uint32_t stuck_after_ms;
	uint32_t crash_attempts; /* 0: never parked for it */
	uint32_t handler_timeout_ms;
	enum poison_policy poison;
	uint64_t retention_ms;
	enum inbox_on on_gap;
	enum inbox_on on_recreated; /* INBOX_ON_GO_ON only with INBOX_DEDUPE_IDS */
	uint32_t queue_messages;
	uint32_t queue_bytes;
};

/* Who sets something: a line of a file, or a variable. */
struct config_origin {
	const struct setting *setting;
	const void *base; /* the struct config, or the element of a list in it */
	char *source;     /* "/etc/boxhaul/shop.conf:12", "BOXHAUL_NATS_URLS" */
};

/* As the path of a configuration: it is read from the standard input. */
#define CONFIG_STDIN "-"

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
		bool discover;          /* use servers the cluster announces */
		char *inbox_prefix;     /* answers are expected under it */
		char *jetstream_domain; /* or NULL */
		char *jetstream_prefix; /* of JetStream's subjects; default: $JS.API, or the domain's */
		struct {
			bool required;                        /* also on when a URL says tls://, or a file is named */
			char *ca_file, *cert_file, *key_file; /* or NULL */
		} tls;
	} nats;
	struct config_stream *streams;
	size_t stream_count; /* 0: there is no outbox. Not both this and subscription_count are 0 */
	struct config_subscription *subscriptions;
	size_t subscription_count; /* 0: there is no inbox */
	size_t inbox_count; /* the first so many stand in the file; the one behind them, if any, is that of the sagas */
	struct {
		char *stream;          /* with the answers to sagas that are started here */
		char *replies;         /* their subject; NULL: no sagas are started here */
		uint32_t tick_ms;      /* while a saga is open, deadlines are asked for once in this time at least */
		uint64_t retention_ms; /* of sagas that have ended */
	} sagas;
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

/* NULL is allowed. */
void config_free(struct config *c);

/* Frees a list of texts, and the texts. */
void config_free_texts(char **texts, size_t n);

/* Who sets it in the config, or in an element of one of its lists; NULL: nobody does, it has its default. */
const char *config_source(const struct config *c, const struct setting *s, const void *base);

/* Where a message with this subject goes: the index of the first stream that is configured for it; stream_count: nowhere. */
size_t config_stream_of(const struct config *c, const char *subject);

/* An instance NAME means /etc/boxhaul/NAME.conf; "-", or anything with a slash or a dot, is a path already.
 * Returns a malloc'ed path, NULL when out of memory. */
char *config_path(const char *name_or_path);

/* What a command's line says to mean this configuration: NAME, or -c FILE. Returns `to`. */
enum { CONFIG_TARGET_BYTES = 1024 };
const char *config_target(const struct config *c, char to[static CONFIG_TARGET_BYTES]);

#endif
