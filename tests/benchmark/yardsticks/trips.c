/* How long a message takes, and what the shortest way could take: the bare round trips it is made of.
 *
 *     trips --postgres=CONNINFO --nats=URL --subject=SUBJECT [--count=N] [--gap-ms=G] [--only=LETTERS] [--first=N]
 *
 * One after the other, each after a pause of its own, so that all of them meet servers that have slept as long:
 *
 *     i  insert one row into the outbox and commit; its payload is the number of the turn
 *     p  publish a message of the same size with an id, and wait for the acknowledgement
 *     n  NOTIFY, from its commit until another session has it
 *     f  read the newest row of the outbox as the relay does
 *
 * First of all N rows without a pause, which count for nothing: they wake the relay. A line per trip: letter, turn,
 * nanoseconds. An insert's line has two times of day instead: before its COMMIT was sent, and when it returned; the stream
 * knows when the message was stored. The pause is drawn anew each time, between 0.5 and 1.5 of G: no rhythm of the relay
 * can hide from it, or please it. */
#include <getopt.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <nats/nats.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PAYLOAD_BYTES = 256 };

struct trips {
	const char *conninfo, *url, *subject, *only;
	int count, gap_ms, first;
	PGconn *writer, *listener, *reader;
	natsConnection *nats;
	natsSubscription *acks;
	char inbox[64];
};

static void fail(const char *what, const char *why)
{
	fprintf(stderr, "trips: %s: %s\n", what, why);
	exit(1);
}

static int64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void rest(const struct trips *t)
{
	int64_t us = t->gap_ms > 0 ? t->gap_ms * 500 + random() % (t->gap_ms * 1000) : 0;

	nanosleep(&(struct timespec){ us / 1000000, us % 1000000 * 1000 }, NULL);
}

/* --- PostgreSQL --- */

static void check(PGconn *c, PGresult *r)
{
	ExecStatusType s = PQresultStatus(r);

	if (s != PGRES_COMMAND_OK && s != PGRES_TUPLES_OK)
		fail("PostgreSQL", PQerrorMessage(c));
	PQclear(r);
}

static PGconn *connect_to(const struct trips *t)
{
	PGconn *c = PQconnectdb(t->conninfo);

	if (PQstatus(c) != CONNECTION_OK)
		fail("PostgreSQL", PQerrorMessage(c));
	return c;
}

static void insert(struct trips *t, int turn)
{
	char payload[PAYLOAD_BYTES + 1], key[16];
	const char *values[] = { t->subject, key, payload };
	int64_t before;

	snprintf(payload, sizeof payload, "%-*d", PAYLOAD_BYTES, turn);
	snprintf(key, sizeof key, "probe-%d", abs(turn) % 100);
	check(t->writer, PQexec(t->writer, "BEGIN"));
	check(t->writer, PQexecPrepared(t->writer, "insert", 3, values, NULL, NULL, 0));
	before = clock_ns(CLOCK_REALTIME);
	check(t->writer, PQexec(t->writer, "COMMIT"));
	printf("i %d %" PRId64 " %" PRId64 "\n", turn, before, clock_ns(CLOCK_REALTIME));
}

static void notify(struct trips *t, int turn)
{
	PGnotify *n;
	int64_t from, to;

	check(t->writer, PQexec(t->writer, "NOTIFY trips"));
	from = clock_ns(CLOCK_MONOTONIC);
	while ((n = PQnotifies(t->listener)) == NULL) {
		poll(&(struct pollfd){ PQsocket(t->listener), POLLIN, 0 }, 1, 1000);
		PQconsumeInput(t->listener);
	}
	to = clock_ns(CLOCK_MONOTONIC);
	PQfreemem(n);
	printf("n %d %" PRId64 "\n", turn, to - from);
}

static void fetch(struct trips *t, int turn)
{
	int64_t from = clock_ns(CLOCK_MONOTONIC);

	check(t->reader, PQexecPrepared(t->reader, "fetch", 0, NULL, NULL, NULL, 1));
	printf("f %d %" PRId64 "\n", turn, clock_ns(CLOCK_MONOTONIC) - from);
}

static void open_postgres(struct trips *t)
{
	t->writer = connect_to(t);
	t->listener = connect_to(t);
	t->reader = connect_to(t);
	check(t->writer,
	      PQprepare(t->writer, "insert",
			"INSERT INTO boxhaul.outbox (subject, key, payload) VALUES ($1, $2, $3::text::bytea)", 3,
			NULL));
	check(t->listener, PQexec(t->listener, "LISTEN trips"));
	check(t->reader, PQexec(t->reader, "SET enable_seqscan = off; SET enable_bitmapscan = off; SET jit = off;"
					   "SET plan_cache_mode = force_generic_plan"));
	check(t->reader,
	      PQprepare(t->reader, "fetch",
			"SELECT id, hashtextextended(key, 0), message_id, subject, headers::text, payload, created_at"
			" FROM boxhaul.outbox WHERE id > (SELECT position - 1 FROM boxhaul.position)"
			" ORDER BY id LIMIT 1",
			0, NULL));
}

/* --- NATS --- */

static void check_nats(natsStatus s)
{
	if (s != NATS_OK)
		fail("NATS", natsStatus_GetText(s));
}

static void publish(struct trips *t, int turn)
{
	char payload[PAYLOAD_BYTES + 1], id[64];
	natsMsg *m = NULL, *ack = NULL;
	int64_t from;

	snprintf(payload, sizeof payload, "%-*d", PAYLOAD_BYTES, turn);
	snprintf(id, sizeof id, "%s-%d-%" PRId64, t->subject, turn, clock_ns(CLOCK_REALTIME));
	from = clock_ns(CLOCK_MONOTONIC);
	check_nats(natsMsg_Create(&m, "trips.bare", t->inbox, payload, PAYLOAD_BYTES));
	check_nats(natsMsgHeader_Set(m, "Nats-Msg-Id", id));
	check_nats(natsConnection_PublishMsg(t->nats, m));
	check_nats(natsSubscription_NextMsg(&ack, t->acks, 10000));
	printf("p %d %" PRId64 "\n", turn, clock_ns(CLOCK_MONOTONIC) - from);
	natsMsg_Destroy(m);
	natsMsg_Destroy(ack);
}

static void open_nats(struct trips *t)
{
	natsOptions *o = NULL;

	check_nats(natsOptions_Create(&o));
	check_nats(natsOptions_SetURL(o, t->url));
	check_nats(natsOptions_SetSendAsap(o, true));
	check_nats(natsConnection_Connect(&t->nats, o));
	snprintf(t->inbox, sizeof t->inbox, "trips.acks.%" PRId64, clock_ns(CLOCK_REALTIME));
	check_nats(natsConnection_SubscribeSync(&t->acks, t->nats, t->inbox));
	natsOptions_Destroy(o);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "postgres", required_argument, NULL, 'd' }, { "nats", required_argument, NULL, 'u' },
		{ "subject", required_argument, NULL, 's' },  { "count", required_argument, NULL, 'c' },
		{ "gap-ms", required_argument, NULL, 'g' },   { "only", required_argument, NULL, 'o' },
		{ "first", required_argument, NULL, 'f' },    { NULL, 0, NULL, 0 }
	};
	struct trips t = { .subject = "bench.probe", .only = "ipnf", .count = 100, .gap_ms = 20 };
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'd': t.conninfo = optarg; break;
		case 'u': t.url = optarg; break;
		case 's': t.subject = optarg; break;
		case 'c': t.count = (int)strtol(optarg, NULL, 10); break;
		case 'g': t.gap_ms = (int)strtol(optarg, NULL, 10); break;
		case 'o': t.only = optarg; break;
		case 'f': t.first = (int)strtol(optarg, NULL, 10); break;
		default: return 2;
		}
	}
	if (t.conninfo == NULL || t.url == NULL)
		fail("usage", "--postgres and --nats are needed");
	setvbuf(stdout, NULL, _IOFBF, 1 << 20);
	open_postgres(&t);
	open_nats(&t);
	for (int turn = -t.first; turn < 0; turn++)
		insert(&t, turn);
	for (int turn = 0; turn < t.count; turn++) {
		for (const char *kind = t.only; *kind != '\0'; kind++) {
			rest(&t);
			switch (*kind) {
			case 'i': insert(&t, turn); break;
			case 'p': publish(&t, turn); break;
			case 'n': notify(&t, turn); break;
			case 'f': fetch(&t, turn); break;
			default: fail("usage", "--only is made of i, p, n and f");
			}
		}
	}
	natsConnection_Destroy(t.nats);
	PQfinish(t.writer);
	PQfinish(t.listener);
	PQfinish(t.reader);
	return 0;
}
