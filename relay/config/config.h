/* The values of a configuration, as the relay and the commands read them. settings.h is the table that names them. */
#ifndef BOXHAUL_CONFIG_CONFIG_H
#define BOXHAUL_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "core/delivery.h"
#include "core/inbox/inbox_types.h"
#include "format/capture_format.h"
#include "format/outbox_mapping.h"

struct setting;

struct config_stream {
	char *name;
	char **subjects; /* patterns with * and > */
	size_t subject_count;
	bool create;                  /* create the stream where it is missing */
	uint32_t replicas;            /* for create */
	uint32_t duplicate_window_ms; /* for create, and the least that `check` accepts without a warning */
	bool owned;                   /* nobody else publishes to it: one order for all of it (delivery.owned) */
	enum {
		SEND_SINGLE,
		SEND_AUTO,
		SEND_BATCH
	} send;                  /* by batches: never; where it can be; the same, and said where it cannot */
	uint32_t batch_messages; /* in one batch at most */
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
	char *tables; /* config_tables.h; NULL: it is no sink */
	enum config_tables_snapshot { CONFIG_TABLES_SNAPSHOT_REQUIRED, CONFIG_TABLES_SNAPSHOT_NONE } snapshot;
	uint32_t transaction_messages; /* of a sink: a source transaction of so many at most is applied whole */
	char *handler;                 /* schema.function, or "": workers of the service */
	uint32_t workers;              /* sessions that call the handler */
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

/* One relay serves so many. */
enum { LIMIT_CAPTURES = 8, LIMIT_OUTBOX_TABLES = 64, LIMIT_MESSAGES = 64 };

enum config_capture_order { CONFIG_ORDER_COMMIT, CONFIG_ORDER_KEY };
enum config_capture_snapshot { CONFIG_SNAPSHOT_KEYS, CONFIG_SNAPSHOT_WHOLE, CONFIG_SNAPSHOT_NONE };
enum config_capture_budget { CONFIG_BUDGET_WARN, CONFIG_BUDGET_LET_GO };
enum config_capture_gap { CONFIG_GAP_WAIT, CONFIG_GAP_RESYNC };
enum config_capture_failover { CONFIG_FAILOVER_AUTO, CONFIG_FAILOVER_ON, CONFIG_FAILOVER_OFF };

/* A capture. */
struct config_capture {
	char *name;    /* [a-z0-9_]{1,40}: a part of the names of its replication slots */
	char **tables; /* schema.table as SQL writes it (format/sql_name.h); every operation of them */
	size_t table_count;
	char **inserts_only; /* tables of which inserts alone are sent; none of them stands in `tables` */
	size_t inserts_only_count;
	char **skip_applied; /* sinks of this database whose transactions are not sent. Only with CONFIG_SNAPSHOT_NONE */
	size_t skip_applied_count;
	char **sequences; /* that no default names; for a cut-over */
	size_t sequence_count;
	struct config_stream stream; /* its subjects are made of the templates of all that is sent to it */
	char *subject;               /* a template (format/capture_subject.h) for tables; not of a bucket */
	enum config_capture_order order;
	enum poison_policy poison; /* POISON_HOLD only with CONFIG_ORDER_KEY */
	enum capture_format format;
	enum capture_int8 int8;
	enum config_capture_snapshot
		snapshot;       /* of `tables`; WHOLE: of inserts_only, too. That only in the order of commits */
	int64_t whole_limit_ms; /* the longest transaction under which one of these is read */
	uint32_t chunk_rows;
	uint32_t chunk_bytes; /* of the rows of a chunk in memory, but for one that is larger */
	uint32_t chunk_share; /* per cent of the time that chunks may take while a snapshot is taken: 1 .. 100 */
	uint64_t wal_budget;  /* bytes of WAL that the slot may hold back */
	enum config_capture_budget on_budget;
	enum config_capture_gap gap;
	enum config_capture_failover failover;
	enum capture_target target; /* CAPTURE_TARGET_KV: the stream is KV_ and the bucket's name */
};

/* An outbox table of somebody else's. */
struct config_outbox_table {
	char *table; /* schema.table as SQL writes it */
	struct outbox_mapping mapping;
	char *subject; /* a template of its columns; default: the preset's */
	enum outbox_source source;
	char *capture; /* with OUTBOX_SOURCE_WAL: the name of one that is there. Else NULL */
};

/* Logical messages, the outbox without a table. */
struct config_messages {
	char *prefix; /* pg_logical_emit_message's, up to its first slash; EMITTED_PREFIX: those of boxhaul.emit() */
	char *subject; /* a template of {prefix}, {name} and {key}; of EMITTED_PREFIX: the pattern that their subjects match */
	char *capture; /* the name of one that is there */
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
		char *capture_conninfo; /* for captures; default: conninfo */
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
	size_t stream_count; /* 0: there is no outbox. Not this, subscription_count and capture_count are 0 at once */
	struct config_subscription *subscriptions;
	size_t subscription_count; /* 0: there is no inbox */
	size_t inbox_count; /* the first so many stand in the file; the one behind them, if any, is that of the sagas */
	struct config_capture *captures;
	size_t capture_count; /* 0: nothing is captured */
	struct config_outbox_table *outbox_tables;
	size_t outbox_table_count;
	struct config_messages *messages;
	size_t messages_count;
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

/* The capture of that name; NULL: there is none. */
const struct config_capture *config_capture_of(const struct config *c, const char *name);

/* An instance NAME means /etc/boxhaul/NAME.conf; "-", or anything with a slash or a dot, is a path already.
 * Returns a malloc'ed path, NULL when out of memory. */
char *config_path(const char *name_or_path);

/* What a command's line says to mean this configuration: NAME, or -c FILE. Returns `to`. */
enum { CONFIG_TARGET_BYTES = 1024 };
const char *config_target(const struct config *c, char to[static CONFIG_TARGET_BYTES]);

#endif
