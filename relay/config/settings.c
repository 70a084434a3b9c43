/* The table of settings. */
#include "config/settings.h"

#include "config/config.h"

/* clang-format off */
#define IN(member) .offset = offsetof(struct config, member), .width = sizeof(((struct config *)0)->member)
#define OF(member) \
	.offset = offsetof(struct config_stream, member), .width = sizeof(((struct config_stream *)0)->member)
#define BY(member) \
	.offset = offsetof(struct config_subscription, member), \
	.width = sizeof(((struct config_subscription *)0)->member)
#define OF_CAPTURE(member) \
	.offset = offsetof(struct config_capture, member), .width = sizeof(((struct config_capture *)0)->member)
#define OF_OUTBOX_TABLE(member) \
	.offset = offsetof(struct config_outbox_table, member), \
	.width = sizeof(((struct config_outbox_table *)0)->member)
#define OF_MESSAGES(member) \
	.offset = offsetof(struct config_messages, member), .width = sizeof(((struct config_messages *)0)->member)
#define RANGE(from, to) .min = (from), .max = (to)
#define WORDS(...) .words = (const char *const[]){ __VA_ARGS__, NULL }
/* clang-format on */

_Static_assert(ENVELOPE_RAW == 0 && ENVELOPE_CLOUDEVENTS == 1, "order of the words");
_Static_assert(ORDERING_STRICT == 0 && ORDERING_PIPELINED == 1 && ORDERING_NONE == 2, "order of the words");
_Static_assert(SEND_SINGLE == 0 && SEND_AUTO == 1 && SEND_BATCH == 2, "order of the words");
_Static_assert(POISON_SKIP == 0 && POISON_HOLD == 1, "order of the words");
_Static_assert(INBOX_START_ALL == 0 && INBOX_START_NEW == 1 && INBOX_START_SEQUENCE == 2, "order of the words");
_Static_assert(CONFIG_KEY_HEADER == 0 && CONFIG_KEY_NONE == 1 && CONFIG_KEY_SUBJECT == 2, "order of the words");
_Static_assert(INBOX_DEDUPE_IDS == 0 && INBOX_DEDUPE_POSITION == 1, "order of the words");
_Static_assert(INBOX_ON_STOP == 0 && INBOX_ON_GO_ON == 1, "order of the words");
_Static_assert(CONFIG_TABLES_SNAPSHOT_REQUIRED == 0 && CONFIG_TABLES_SNAPSHOT_NONE == 1, "order of the words");
_Static_assert(CONFIG_ORDER_COMMIT == 0 && CONFIG_ORDER_KEY == 1, "order of the words");
_Static_assert(CAPTURE_FORMAT_ROW == 0 && CAPTURE_FORMAT_TEXT == 1 && CAPTURE_FORMAT_DEBEZIUM == 2 &&
		       CAPTURE_FORMAT_CLOUDEVENTS == 3,
	       "order of the words");
_Static_assert(CAPTURE_INT8_NUMBER == 0 && CAPTURE_INT8_STRING == 1, "order of the words");
_Static_assert(CONFIG_SNAPSHOT_KEYS == 0 && CONFIG_SNAPSHOT_WHOLE == 1 && CONFIG_SNAPSHOT_NONE == 2,
	       "order of the words");
_Static_assert(CONFIG_BUDGET_WARN == 0 && CONFIG_BUDGET_LET_GO == 1, "order of the words");
_Static_assert(CONFIG_GAP_WAIT == 0 && CONFIG_GAP_RESYNC == 1, "order of the words");
_Static_assert(CONFIG_FAILOVER_AUTO == 0 && CONFIG_FAILOVER_ON == 1 && CONFIG_FAILOVER_OFF == 2, "order of the words");
_Static_assert(CAPTURE_TARGET_STREAM == 0 && CAPTURE_TARGET_KV == 1, "order of the words");
_Static_assert(OUTBOX_PRESET_NONE == 0 && OUTBOX_PRESET_DEBEZIUM == 1 && OUTBOX_PRESET_PG_TRANSACTIONAL_OUTBOX == 2 &&
		       OUTBOX_PRESET_GO_OUTBOX == 3 && OUTBOX_PRESET_WATERMILL == 4 && OUTBOX_PRESET_MASSTRANSIT == 5,
	       "order of the words");
_Static_assert(OUTBOX_SOURCE_WAL == 0 && OUTBOX_SOURCE_TRIGGER == 1, "order of the words");
_Static_assert(WAKEUP_NOTIFY == 0 && WAKEUP_POLL == 1, "order of the words");
_Static_assert(LOG_LEVEL_ERROR == 0 && LOG_LEVEL_DEBUG == 3 && LOG_LOGFMT == 0 && LOG_JSON == 1, "order of the words");

const struct setting settings[] = {
	{ "name", SETTING_STRING, IN(name), .example = "shop",
	  .help = "The relay's name in its log, its metrics and pg_stat_activity. Without it: the name of this file "
		  "without .conf." },
	{ "envelope", SETTING_WORD, IN(envelope), .standard = "raw", WORDS("raw", "cloudevents"),
	  .help = "raw: a message has the headers of its row. cloudevents: it is a CloudEvents 1.0 event besides, in "
		  "binary mode: ce-id, ce-source, ce-type (the subject), ce-time, ce-partitionkey (the key) and "
		  "ce-datacontenttype (the row's content-type) are added, and a row's own ce-... headers are attributes." },
	{ "event_source", SETTING_STRING, IN(event_source), .example = "/boxhaul/shop",
	  .help = "The ce-source of events: a URI or a path. Without it: /boxhaul/ and the relay's name." },

	{ "postgres.conninfo", SETTING_STRING, .apply = APPLY_POSTGRES, IN(postgres.conninfo), .standard = "",
	  .help = "The service's database: a libpq connection string or URI. What it leaves out comes from the PG... "
		  "environment variables." },
	{ "postgres.password_file", SETTING_FILE, .apply = APPLY_POSTGRES, IN(postgres.password_file),
	  .example = "/etc/boxhaul/shop.pgpass",
	  .help = "A password file in libpq's format (host:port:database:user:password). As every file named here: an "
		  "absolute path, or the name of a systemd credential ($CREDENTIALS_DIRECTORY); read again at every "
		  "connection; refused when others than its owner may read it (root's: others than its group)." },
	{ "postgres.migrate_conninfo", SETTING_STRING, .apply = APPLY_LIVE, IN(postgres.migrate_conninfo),
	  .example = "host=/run/postgresql dbname=shop user=shop_owner",
	  .help = "For `boxhaul migrate`, which needs more rights than the relay. Without it: conninfo." },

	{ "postgres.capture_conninfo", SETTING_STRING, IN(postgres.capture_conninfo),
	  .example = "host=/run/postgresql dbname=shop user=shop_capture",
	  .help = "For captures, which need the attribute REPLICATION: a role that has it reads every published table, so it should "
		  "be one of its own. Without it: conninfo." },

	{ "nats.urls", SETTING_STRINGS, .apply = APPLY_NATS, IN(nats.urls),
	  .second = offsetof(struct config, nats.url_count), .standard = "nats://127.0.0.1:4222",
	  .help = "Servers of one cluster; tls:// demands TLS." },
	{ "nats.user", SETTING_STRING, .apply = APPLY_NATS, IN(nats.user), .example = "shop_relay",
	  .help = "Log in with user and password." },
	{ "nats.password_file", SETTING_FILE, .apply = APPLY_NATS, IN(nats.password_file),
	  .example = "/etc/boxhaul/shop.nats-password", .help = "Its first line is the password of `user`." },
	{ "nats.token_file", SETTING_FILE, .apply = APPLY_NATS, IN(nats.token_file),
	  .example = "/etc/boxhaul/shop.nats-token", .help = "Log in with a token: the first line of the file." },
	{ "nats.credentials_file", SETTING_FILE, .apply = APPLY_NATS, IN(nats.credentials_file),
	  .example = "/etc/boxhaul/shop.creds", .help = "Log in with a JWT and its key: a .creds file." },
	{ "nats.nkey_seed_file", SETTING_FILE, .apply = APPLY_NATS, IN(nats.nkey_seed_file),
	  .example = "/etc/boxhaul/shop.nk",
	  .help = "Log in with an nkey: its seed, which begins with SU. The server knows its public key." },
	{ "nats.discover", SETTING_BOOL, .apply = APPLY_NATS, IN(nats.discover), .standard = "false",
	  .help = "When the connection is lost, try the servers that the cluster announced, too." },
	{ "nats.inbox_prefix", SETTING_STRING, .apply = APPLY_NATS, IN(nats.inbox_prefix), .standard = "_INBOX",
	  .help = "Answers are expected under this subject, at PREFIX.>: the login must be allowed to subscribe to it. One for each "
		  "login, such as \"_INBOX_shop\", keeps the others of the account from listening." },
	{ "nats.jetstream_domain", SETTING_STRING, .apply = APPLY_NATS, IN(nats.jetstream_domain), .example = "hub",
	  .help = "The JetStream domain in which the streams are, where it is not the server's own: of a hub, for a relay at "
		  "a leaf node." },
	{ "nats.jetstream_prefix", SETTING_STRING, .apply = APPLY_NATS, IN(nats.jetstream_prefix),
	  .example = "JS.orders.API",
	  .help = "Where JetStream is asked, if it is another account's: the subject under which its $JS.API is imported. "
		  "Without it: $JS.API, or that of the domain." },
	{ "nats.tls.required", SETTING_BOOL, .apply = APPLY_NATS, IN(nats.tls.required), .standard = "false",
	  .help = "Refuse a connection without TLS. Also on when a URL says tls://." },
	{ "nats.tls.ca_file", SETTING_FILE, .apply = APPLY_NATS, IN(nats.tls.ca_file), .example = "/etc/boxhaul/ca.pem",
	  .help = "Trust these authorities instead of the system's." },
	{ "nats.tls.cert_file", SETTING_FILE, .apply = APPLY_NATS, IN(nats.tls.cert_file),
	  .example = "/etc/boxhaul/relay.pem", .help = "Client certificate; needs key_file." },
	{ "nats.tls.key_file", SETTING_FILE, .apply = APPLY_NATS, IN(nats.tls.key_file),
	  .example = "/etc/boxhaul/relay.key", .help = "Its private key." },

	{ "streams", SETTING_GROUPS, .offset = offsetof(struct config, streams), .width = sizeof(void *),
	  .second = offsetof(struct config, stream_count), .element = sizeof(struct config_stream),
	  .max = LIMIT_STREAMS, .required = true, .example = "{ name = \"...\"; subjects = [ \"...\" ]; }",
	  .help = "The JetStream streams that take the messages, and the subjects that go to each. A row with any "
		  "other subject becomes a dead letter." },
	{ "streams.name", SETTING_STRING, .required = true, OF(name), .example = "ORDERS",
	  .help = "The stream's name in JetStream." },
	{ "streams.subjects", SETTING_STRINGS, .required = true, OF(subjects),
	  .second = offsetof(struct config_stream, subject_count), .example = "orders.>",
	  .help = "Patterns: * is one token, > is one or more at the end. No two may overlap." },
	{ "streams.create", SETTING_BOOL, OF(create), .standard = "false",
	  .help = "Create the stream where it is missing; with allow_batched where send is \"batch\" and the server has that." },
	{ "streams.replicas", SETTING_INTEGER, OF(replicas), RANGE(1, 5), .standard = "1", .help = "For create." },
	{ "streams.duplicate_window", SETTING_DURATION, OF(duplicate_window_ms), RANGE(SECOND, 7 * DAY),
	  .standard = "2m", .help = "For create, and the least that `boxhaul check` accepts without a warning." },
	{ "streams.owned", SETTING_BOOL, OF(owned), .standard = "false",
	  .help = "Only this outbox publishes to the stream. All its messages, whatever their keys, are stored in one order, "
		  "the order in which they are read, with a whole window in flight: a hot key is as fast as many. A message "
		  "that must wait stops the stream." },
	{ "streams.send", SETTING_WORD, OF(send), .standard = "auto", WORDS("single", "auto", "batch"),
	  .help = "auto: where nats-server is 2.14 or newer and the stream has allow_batched, messages go in batches which the "
		  "server stores in their order, all keys: a hot key is as fast as many. Else as with single. batch: the same, and "
		  "where that cannot be, it is warned of. single: each message is a publish of its own, and a key has one in "
		  "flight. `boxhaul check` says which of the two is used, and why." },
	{ "streams.batch_messages", SETTING_INTEGER, OF(batch_messages), RANGE(16, 65536), .standard = "1000",
	  .help = "Messages in one batch at most; then it ends, and the next begins when all of it is stored. With replicas more may be faster." },
	{ "streams.foreign", SETTING_WORD, OF(foreign), .standard = "stop", WORDS("stop", "pass"),
	  .help = "Owned, and somebody else has published to it: the stream stops until the relay is paused and resumed (stop), "
		  "or it is only said (pass)." },

	{ "delivery.ordering", SETTING_WORD, IN(delivery.ordering), .standard = "strict",
	  WORDS("strict", "pipelined", "none"),
	  .help = "strict: one message of a key in flight. pipelined: many, faster for a hot key, but its order may be "
		  "lost when one of them fails alone. none: keys are ignored." },
	{ "delivery.poison", SETTING_WORD, .apply = APPLY_LIVE, IN(delivery.poison), .standard = "skip",
	  WORDS("skip", "hold"),
	  .help = "Behind a dead letter its key goes on (skip), or waits for `redrive` or `discard` (hold)." },
	{ "delivery.window", SETTING_INTEGER, .apply = APPLY_LIVE, IN(delivery.window_messages), RANGE(1, 65536),
	  .standard = "1024", .help = "Messages in flight at most." },
	{ "delivery.window_bytes", SETTING_SIZE, .apply = APPLY_LIVE, IN(delivery.window_bytes), RANGE(KIB, 1024 * MIB),
	  .standard = "8MiB", .help = "Bytes in flight at most." },
	{ "delivery.queue", SETTING_INTEGER, IN(delivery.queue_messages), RANGE(16, 65536), .standard = "4096",
	  .help = "Messages in memory at most, those in flight included." },
	{ "delivery.queue_bytes", SETTING_SIZE, .apply = APPLY_LIVE, IN(delivery.queue_bytes), RANGE(KIB, 1024 * MIB),
	  .standard = "16MiB", .help = "Bytes in memory at most. A capture has an eighth of that." },
	{ "delivery.ack_timeout", SETTING_DURATION, .apply = APPLY_LIVE, IN(delivery.ack_timeout_ms),
	  RANGE(100, 5 * MINUTE), .standard = "5s",
	  .help = "Send again what the stream has not acknowledged by then." },
	{ "delivery.retry_min", SETTING_DURATION, .apply = APPLY_LIVE, IN(delivery.retry_min_ms), RANGE(1, HOUR),
	  .standard = "100ms",
	  .help = "The first pause before a message is tried again; it doubles, with jitter, up to retry_max." },
	{ "delivery.retry_max", SETTING_DURATION, .apply = APPLY_LIVE, IN(delivery.retry_max_ms), RANGE(1, HOUR),
	  .standard = "10s", .help = "The longest pause." },
	{ "delivery.mark_interval", SETTING_DURATION, .apply = APPLY_LIVE, IN(delivery.mark_interval_ms),
	  RANGE(1, 10 * SECOND), .standard = "100ms",
	  .help = "Write to the database what is sent once in this time at most." },
	{ "delivery.drain_timeout", SETTING_DURATION, .apply = APPLY_LIVE, IN(drain_timeout_ms), RANGE(0, 10 * MINUTE),
	  .standard = "10s", .help = "After SIGTERM: wait so long for acknowledgements before the end." },

	{ "outbox.retention", SETTING_DURATION, .apply = APPLY_LIVE, IN(retention_ms), RANGE(SECOND, 30ull * DAY),
	  .standard = "1h",
	  .help = "Keep rows that are sent for so long at least. Run `boxhaul migrate` after a change." },
	{ "outbox.max_message_size", SETTING_SIZE, .apply = APPLY_LIVE, IN(max_message_bytes), RANGE(KIB, 64 * MIB),
	  .standard = "1MiB",
	  .help = "Payload, headers and key; not above the server's max_payload. Run `boxhaul migrate` after a change." },
	{ "outbox.wakeup", SETTING_WORD, IN(wakeup), .standard = "notify", WORDS("notify", "poll"),
	  .help = "How an idle relay learns of a row: a notification, or polling every 100 ms (where notifications "
		  "do not arrive)." },
	{ "outbox.safety_poll", SETTING_DURATION, .apply = APPLY_LIVE, IN(delivery.safety_poll_ms), RANGE(100, HOUR),
	  .standard = "30s", .help = "An idle relay looks this often without being told." },
	{ "outbox.sleep_after", SETTING_DURATION, .apply = APPLY_LIVE, IN(delivery.sleep_after_ms), RANGE(10, MINUTE),
	  .standard = "200ms", .help = "Idle means: no row for so long, or for 12 ms where rows come one by one." },
	{ "outbox.gap_grace", SETTING_DURATION, .apply = APPLY_LIVE, IN(delivery.grace_ms), RANGE(0, MINUTE),
	  .standard = "1s",
	  .help = "An id missing for less than this is waited for in memory; one missing for longer is written down. "
		  "Either way only its own message is late." },
	{ "outbox.lease", SETTING_DURATION, IN(delivery.lease_ms), RANGE(SECOND, MINUTE), .standard = "5s",
	  .help = "Publish nothing when the database has given no sign of life for so long: another relay may lead." },

	{ "inbox", SETTING_GROUPS, .offset = offsetof(struct config, subscriptions), .width = sizeof(void *),
	  .second = offsetof(struct config, inbox_count), .element = sizeof(struct config_subscription),
	  .max = LIMIT_INBOX, .example = "{ name = \"...\"; stream = \"...\"; subjects = [ \"...\" ]; }",
	  .help = "Subscriptions: messages of a stream that take effect in this database, each exactly once and in order per "
		  "key. Without any, nothing is taken. `boxhaul-sql`(7) has the calls for workers." },
	{ "inbox.name", SETTING_STRING, .required = true, BY(name), .example = "billing",
	  .help = "What `boxhaul.receive` and the commands call it. Another name is another subscription, which begins anew; "
		  "the old one stays until `boxhaul inbox drop`." },
	{ "inbox.stream", SETTING_STRING, .required = true, BY(stream), .example = "ORDERS",
	  .help = "The stream, by its name in JetStream: one that keeps its messages by limits. A work queue, an interest stream "
		  "and a mirror are refused." },
	{ "inbox.subjects", SETTING_STRINGS, .required = true, BY(subjects),
	  .second = offsetof(struct config_subscription, subject_count), .example = "orders.>",
	  .help = "What is taken of it: * is one token, > is one or more at the end. No two may overlap. nats-server before 2.10 "
		  "has room for one." },
	{ "inbox.start", SETTING_CHOICE, BY(start), .second = offsetof(struct config_subscription, start_sequence),
	  .standard = "all", WORDS("all", "new", ""), RANGE(1, INT64_MAX),
	  .help = "Where a subscription that has no position yet begins: with all that the stream holds, with what is new, or at "
		  "a sequence of the stream. A database that fails over to a state from before it began is taken from there again by a "
		  "relay that knew; one that was started since begins anew, and its log says where." },
	{ "inbox.key", SETTING_CHOICE, BY(key), .second = offsetof(struct config_subscription, key_token),
	  .standard = "header", WORDS("header", "none", "subject:"), RANGE(1, 64),
	  .help = "Where the key of a message stands. header: Boxhaul-Key, which boxhaul sends. subject:2: the "
		  "second token of its subject. none: no message has a key, and there is no order among them. It can change only "
		  "while no message waits." },
	{ "inbox.lanes", SETTING_INTEGER, BY(lanes), RANGE(1, 256), .standard = "64",
	  .help = "So many workers can handle messages at once. A key has one lane. It can change only while no message waits." },
	{ "inbox.dedupe", SETTING_WORD, BY(dedupe), .standard = "ids", WORDS("ids", "position"),
	  .help = "ids: a message whose Nats-Msg-Id came within `retention` is left out, wherever in the stream it stands. "
		  "position: ids are not kept, which is faster, but what the stream holds twice is taken twice, and a stream that "
		  "was truncated or made anew stops the subscription." },
	{ "inbox.handler", SETTING_STRING, BY(handler), .standard = "",
	  .help = "A function that boxhaul calls for each message: schema.function, of one argument, boxhaul.inbox. Without it, "
		  "workers of the service call `boxhaul.receive` and `boxhaul.done`." },
	{ "inbox.tables", SETTING_TABLES, BY(tables),
	  .example =
		  "( { from = \"public.orders\"; to = \"shop.orders\"; columns = [ \"*\", \"customer=client\" ]; } )",
	  .help = "Instead of a handler or workers: apply what a capture sends to tables of this database. from: the table as the capture "
		  "names it; to: the table here, to which no other one goes; columns: what is set, \"*\" (all, under their names), \"column\", or \"theirs=ours\"; "
		  "function: schema.function(jsonb) returning jsonb, which makes columns of ours out of a row of theirs. The capture has "
		  "format = \"text\" and order = \"commit\". key, lanes, dedupe and all of handlers mean nothing then. See boxhaul-sql(7)." },
	{ "inbox.snapshot", SETTING_WORD, BY(snapshot), .standard = "required", WORDS("required", "none"),
	  .help = "With tables: nothing of a table is applied before its snapshot begins in the stream (required); or nothing before "
		  "boxhaul.sink_complete() says that the tables hold what the source held (none)." },
	{ "inbox.transaction", SETTING_INTEGER, BY(transaction_messages), RANGE(1, 1000000), .standard = "10000",
	  .help = "With tables: a transaction of the source with so many messages at most takes effect at once, a larger one in parts." },
	{ "inbox.workers", SETTING_INTEGER, BY(workers), RANGE(1, 64), .standard = "1",
	  .help = "With a handler: sessions that call it." },
	{ "inbox.max_attempts", SETTING_INTEGER, .apply = APPLY_LIVE, BY(max_attempts), RANGE(1, 1000000),
	  .standard = "10", .help = "A message that failed so often is given up, as `poison` says." },
	{ "inbox.stuck_after", SETTING_DURATION, .apply = APPLY_LIVE, BY(stuck_after_ms), RANGE(100, DAY),
	  .standard = "1m",
	  .help = "A message that workers were given, and that is neither done nor failed for so long, is shown." },
	{ "inbox.crash_attempts", SETTING_INTEGER, .apply = APPLY_LIVE, BY(crash_attempts), RANGE(0, 1000000),
	  .standard = "3",
	  .help = "After it was given out so often since then, it is parked as if it had failed. 0: never." },
	{ "inbox.handler_timeout", SETTING_DURATION, .apply = APPLY_LIVE, BY(handler_timeout_ms), RANGE(10, HOUR),
	  .standard = "30s", .help = "With a handler: a message that takes longer has failed." },
	{ "inbox.poison", SETTING_WORD, .apply = APPLY_LIVE, BY(poison), .standard = "hold", WORDS("skip", "hold"),
	  .help = "A message that is given up becomes a dead letter and its key goes on (skip), or holds its key until somebody "
		  "retries or skips it (hold)." },
	{ "inbox.retention", SETTING_DURATION, .apply = APPLY_LIVE, BY(retention_ms), RANGE(SECOND, 365ull * DAY),
	  .standard = "7d",
	  .help = "Keep messages that are handled, and the ids that are known, for so long at least: longer than a publisher may "
		  "send a message again." },
	{ "inbox.on_gap", SETTING_WORD, .apply = APPLY_LIVE, BY(on_gap), .standard = "stop", WORDS("stop", "continue"),
	  .help = "Messages left the stream before they were taken: stop until somebody accepts that, or record it and go on." },
	{ "inbox.on_recreated", SETTING_WORD, .apply = APPLY_LIVE, BY(on_recreated), .standard = "stop",
	  WORDS("stop", "restart"),
	  .help = "The stream was deleted and made anew: stop until somebody decides, or take it from its beginning." },
	{ "inbox.queue", SETTING_INTEGER, BY(queue_messages), RANGE(16, 65536), .standard = "4096",
	  .help = "Messages in memory at most." },
	{ "inbox.queue_bytes", SETTING_SIZE, BY(queue_bytes), RANGE(KIB, 1024 * MIB), .standard = "8MiB",
	  .help = "Bytes in memory at most, but for one message that is larger." },

	{ "capture", SETTING_GROUPS, .offset = offsetof(struct config, captures), .width = sizeof(void *),
	  .second = offsetof(struct config, capture_count), .element = sizeof(struct config_capture),
	  .max = LIMIT_CAPTURES, .example = "{ name = \"...\"; tables = [ \"...\" ]; stream = \"...\"; }",
	  .help = "Captures: what others write, taken from PostgreSQL's log (wal_level = logical) and sent, without their knowing. "
		  "Each has a stream. Without any, nothing is captured. `boxhaul capture plan` says what is missing for one." },
	{ "capture.name", SETTING_STRING, .required = true, OF_CAPTURE(name), .example = "shop",
	  .help = "What the commands, the publications and the replication slots are called by: small letters, digits and '_'. "
		  "Another name is another capture, which begins anew; the old one keeps its slot, and with it the server's WAL, "
		  "until `boxhaul capture drop`." },
	{ "capture.tables", SETTING_STRINGS, .apply = APPLY_CAPTURE, OF_CAPTURE(tables),
	  .second = offsetof(struct config_capture, table_count), .example = "public.orders",
	  .help = "Tables whose every change is sent: each as schema.table. They need a primary key or another replica identity." },
	{ "capture.inserts_only", SETTING_STRINGS, .apply = APPLY_CAPTURE, OF_CAPTURE(inserts_only),
	  .second = offsetof(struct config_capture, inserts_only_count), .example = "public.visits",
	  .help = "Tables of which inserts alone are sent, because they have no replica identity; rows that are there already with snapshot = "
		  "\"whole\" alone. They do not stand in `tables`." },
	{ "capture.stream", SETTING_STRING, .required = true, OF_CAPTURE(stream.name), .example = "SHOP_CDC",
	  .help = "The stream, by its name in JetStream. With order = \"commit\" nobody else may publish to it." },
	{ "capture.create", SETTING_BOOL, OF_CAPTURE(stream.create), .standard = "false",
	  .help = "Create the stream where it is missing, with the subjects that follow from what is sent to it." },
	{ "capture.replicas", SETTING_INTEGER, OF_CAPTURE(stream.replicas), RANGE(1, 5), .standard = "1",
	  .help = "For create." },
	{ "capture.duplicate_window", SETTING_DURATION, OF_CAPTURE(stream.duplicate_window_ms), RANGE(SECOND, 7 * DAY),
	  .standard = "2m", .help = "For create, and the least that `boxhaul check` accepts without a warning." },
	{ "capture.subject", SETTING_STRING, OF_CAPTURE(subject), .standard = "cdc.{capture}.{schema}.{table}",
	  .help = "The subject of a change, with names in braces: {capture}, {schema}, {table}, {op} (c, u, d, r, t, s), {key}, and "
		  "{COLUMN} for a column of the key. Each stands in one token: what a token cannot hold is percent-encoded." },
	{ "capture.order", SETTING_WORD, OF_CAPTURE(order), .standard = "commit", WORDS("commit", "key"),
	  .help = "commit: in the order in which transactions committed, on a stream of its own. key: in order per table and key, "
		  "on a stream that others may use, too." },
	{ "capture.poison", SETTING_WORD, .apply = APPLY_LIVE, OF_CAPTURE(poison), .standard = "skip",
	  WORDS("skip", "hold"),
	  .help = "A change that can never be stored becomes a dead letter. Behind it its key goes on (skip), or waits for `capture redrive` "
		  "or `capture discard` (hold); that needs order = \"key\"." },
	{ "capture.format", SETTING_WORD, OF_CAPTURE(format), .standard = "row",
	  WORDS("row", "text", "debezium", "cloudevents"),
	  .help = "row: JSON, for people and most consumers. text: JSON with each column as PostgreSQL writes it, from which a table "
		  "can be made again exactly. debezium: as Debezium's, without schemas. cloudevents: row, as a CloudEvents 1.0 event "
		  "in binary mode." },
	{ "capture.int8", SETTING_WORD, OF_CAPTURE(int8), .standard = "number", WORDS("number", "string"),
	  .help = "bigint in JSON. Numbers above 2^53 are not exact for consumers that read them as doubles, such as JavaScript." },
	{ "capture.snapshot", SETTING_WORD, OF_CAPTURE(snapshot), .standard = "keys", WORDS("keys", "whole", "none"),
	  .help = "Rows that are there already. keys: of `tables`, read in chunks by the key, beside the changes; this resumes anywhere. "
		  "whole: those, and the rows of `inserts_only`, each such table in one piece and one transaction, from the start after a "
		  "crash; needs order = \"commit\". none: not sent." },
	{ "capture.whole_limit", SETTING_DURATION, OF_CAPTURE(whole_limit_ms), RANGE(SECOND, 7 * DAY), .standard = "1h",
	  .help = "With snapshot = \"whole\": the longest transaction under which a table is read. Vacuum and ALTER TABLE wait for it. One that is not "
		  "through by then is let go, and begun anew after as long again." },
	{ "capture.skip_applied", SETTING_STRINGS, OF_CAPTURE(skip_applied),
	  .second = offsetof(struct config_capture, skip_applied_count), .example = "orders",
	  .help = "Subscriptions with tables in this database, by name: what they apply is not sent, so that a way back brings nothing back to where it "
		  "came from. Needs snapshot = \"none\"." },
	{ "capture.sequences", SETTING_STRINGS, OF_CAPTURE(sequences),
	  .second = offsetof(struct config_capture, sequence_count), .example = "public.hibernate_sequence",
	  .help = "Sequences with their schema that no default of a column names, such as an object-relational mapper's: `boxhaul cutover` "
		  "sets those of the same name in the other database, too; \"here=there\" where it has another name." },
	{ "capture.chunk_rows", SETTING_INTEGER, OF_CAPTURE(chunk_rows), RANGE(1, 65536), .standard = "1000",
	  .help = "Rows of a chunk at most." },
	{ "capture.chunk_bytes", SETTING_SIZE, .apply = APPLY_LIVE, OF_CAPTURE(chunk_bytes),
	  RANGE(64 * KIB, 1024 * MIB), .standard = "4MiB",
	  .help = "Bytes of a chunk in memory at most, but for one row that is larger." },
	{ "capture.chunk_share", SETTING_INTEGER, OF_CAPTURE(chunk_share), RANGE(1, 100), .standard = "50",
	  .help = "Per cent of the time that chunks may take while a snapshot is taken, as long as changes come. While none comes, twice as "
		  "much: from 50 on a chunk follows the other." },
	{ "capture.wal_budget", SETTING_SIZE, .apply = APPLY_LIVE, OF_CAPTURE(wal_budget),
	  RANGE(64 * MIB, 1024ull * 1024 * 1024 * MIB), .standard = "8GB",
	  .help = "So much WAL may be kept on the server for this capture before on_budget counts." },
	{ "capture.on_budget", SETTING_WORD, .apply = APPLY_LIVE, OF_CAPTURE(on_budget), .standard = "warn",
	  WORDS("warn", "let_go"),
	  .help = "warn: say so. let_go: drop the slot before the server's disk is full; what comes then is a gap." },
	{ "capture.gap", SETTING_WORD, OF_CAPTURE(gap), .standard = "wait", WORDS("wait", "resync"),
	  .help = "When changes are lost for good (the slot is gone): wait for `boxhaul capture resync`, or begin it alone." },
	{ "capture.failover", SETTING_WORD, OF_CAPTURE(failover), .standard = "auto", WORDS("auto", "on", "off"),
	  .help = "From PostgreSQL 17 on: whether the slot is copied to standbys. auto: if synchronized_standby_slots is set." },
	{ "capture.target", SETTING_WORD, OF_CAPTURE(target), .standard = "stream", WORDS("stream", "kv"),
	  .help = "kv: the stream is that of a NATS KV bucket (KV_ and its name), where the key TABLE.KEY holds the row. `subject` "
		  "is not set then." },

	{ "outbox_tables", SETTING_GROUPS, .offset = offsetof(struct config, outbox_tables), .width = sizeof(void *),
	  .second = offsetof(struct config, outbox_table_count), .element = sizeof(struct config_outbox_table),
	  .max = LIMIT_OUTBOX_TABLES, .example = "{ table = \"...\"; preset = \"debezium\"; }",
	  .help = "Outbox tables of other libraries: each row that is inserted is a message." },
	{ "outbox_tables.table", SETTING_STRING, .required = true, OF_OUTBOX_TABLE(table), .example = "public.outbox",
	  .help = "The table, as schema.table." },
	{ "outbox_tables.preset", SETTING_WORD, OF_OUTBOX_TABLE(mapping.preset), .standard = "none",
	  WORDS("none", "debezium", "pg-transactional-outbox", "go-outbox", "watermill", "masstransit"),
	  .help = "The library whose columns it has. none: say them below." },
	{ "outbox_tables.subject", SETTING_STRING, OF_OUTBOX_TABLE(subject), .example = "outbox.{aggregatetype}.{type}",
	  .help = "The subject of a message: names in braces are columns. {COLUMN>} at the end stands for as many tokens as its value "
		  "has. Without it: the preset's." },
	{ "outbox_tables.source", SETTING_WORD, OF_OUTBOX_TABLE(source), .standard = "wal", WORDS("wal", "trigger"),
	  .help = "wal: a capture reads it from the log. trigger: for servers whose wal_level cannot be logical, a trigger copies each "
		  "row into boxhaul's own outbox, and `streams` has its subjects; `boxhaul migrate` puts it on the table." },
	{ "outbox_tables.capture", SETTING_STRING, OF_OUTBOX_TABLE(capture), .example = "shop",
	  .help = "With source = \"wal\": the capture that sends it. Without it: the only one." },
	{ "outbox_tables.id", SETTING_STRING, OF_OUTBOX_TABLE(mapping.id), .example = "id",
	  .help = "The column with the message's id, a uuid. Without it: the preset's, or an id is made." },
	{ "outbox_tables.key", SETTING_STRING, OF_OUTBOX_TABLE(mapping.key), .example = "customer_id",
	  .help = "The column with the ordering key. Without it: the preset's, or there is none." },
	{ "outbox_tables.payload", SETTING_STRING, OF_OUTBOX_TABLE(mapping.payload), .example = "body",
	  .help = "The column with the payload. Without it: the preset's." },
	{ "outbox_tables.headers", SETTING_STRING, OF_OUTBOX_TABLE(mapping.headers), .example = "meta",
	  .help = "A json or jsonb column with an object: its members are headers. Without it: the preset's, or there is none." },
	{ "outbox_tables.header_columns", SETTING_STRINGS, OF_OUTBOX_TABLE(mapping.header_columns),
	  .second = offsetof(struct config_outbox_table, mapping.header_column_count), .example = "tenant",
	  .help = "Columns that are headers by their names, beside the preset's." },

	{ "messages", SETTING_GROUPS, .offset = offsetof(struct config, messages), .width = sizeof(void *),
	  .second = offsetof(struct config, messages_count), .element = sizeof(struct config_messages),
	  .max = LIMIT_MESSAGES, .example = "{ prefix = \"...\"; subject = \"...\"; }",
	  .help = "Logical messages, the outbox without a table: pg_logical_emit_message(true, 'PREFIX/NAME/KEY', content), or "
		  "boxhaul.emit(subject, payload, key, headers). From PostgreSQL 14 on." },
	{ "messages.prefix", SETTING_STRING, .required = true, OF_MESSAGES(prefix), .example = "shop",
	  .help = "The prefix up to its first slash. \"boxhaul\": what boxhaul.emit() wrote." },
	{ "messages.subject", SETTING_STRING, .required = true, OF_MESSAGES(subject), .example = "shop.{name}",
	  .help = "The subject: {prefix}, {name} and {key} are the parts of the prefix; {name>} has as many tokens as it has. For "
		  "\"boxhaul\": the pattern of the subjects that boxhaul.emit() may be called with, such as \"shop.>\"." },
	{ "messages.capture", SETTING_STRING, OF_MESSAGES(capture), .example = "shop",
	  .help = "The capture that sends them. Without it: the only one." },

	{ "sagas.stream", SETTING_STRING, IN(sagas.stream), .standard = "SAGAS",
	  .help = "The stream with the answers to sagas that are started in this database: one that keeps its messages by limits." },
	{ "sagas.replies", SETTING_STRING, IN(sagas.replies), .example = "shop.saga",
	  .help = "The subject of these answers: every command says it, and participants publish to it. Each database that starts "
		  "sagas has one of its own. Without it no saga can be started here. boxhaul-saga(7) is about sagas." },
	{ "sagas.tick", SETTING_DURATION, .apply = APPLY_LIVE, IN(sagas.tick_ms), RANGE(10, MINUTE), .standard = "1s",
	  .help = "While a saga is open, look once in this time at least whether a deadline has passed. What is started meanwhile "
		  "may have one that is nearer than all others, so no deadline is taken much later than this." },
	{ "sagas.retention", SETTING_DURATION, .apply = APPLY_LIVE, IN(sagas.retention_ms), RANGE(SECOND, 365ull * DAY),
	  .standard = "30d",
	  .help = "Keep sagas that have ended, and what was done here for sagas of others, for so long at least: longer than the streams "
		  "with the commands keep their messages." },

	{ "health.listen", SETTING_LISTEN, IN(health.address), .second = offsetof(struct config, health.port),
	  .standard = "127.0.0.1:9431",
	  .help = "Address and port for the page /, and for /livez, /readyz, /healthz, /metrics and /status; \"off\" for none. IPv6: "
		  "\"[::1]:9431\". Where nobody sets it, and another relay has the default one, there is none. A unit's relay "
		  "answers at /run/boxhaul/NAME/health.sock besides." },
	{ "health.stall_after", SETTING_DURATION, .apply = APPLY_LIVE, IN(health.stall_after_ms), RANGE(SECOND, HOUR),
	  .standard = "30s", .help = "A backlog and no acknowledgement for so long is not ready." },

	{ "log.level", SETTING_WORD, .apply = APPLY_LIVE, IN(log.level), .standard = "info",
	  WORDS("error", "warn", "info", "debug"), .help = "What is less important is not written." },
	{ "log.format", SETTING_WORD, .apply = APPLY_LIVE, IN(log.format), .standard = "logfmt",
	  WORDS("logfmt", "json"), .help = "One line per event." },
	{ "log.stats_interval", SETTING_DURATION, .apply = APPLY_LIVE, IN(log.stats_interval_ms), RANGE(SECOND, DAY),
	  .standard = "1m", .help = "One line of figures in this time." },
};

const size_t settings_count = sizeof settings / sizeof settings[0];
