/* A consumer as services make it themselves: durable, with acknowledgements, and a table of the ids that it has seen. Of each message it
 * inserts the id, and where that is new the effect; --batch messages a transaction, acknowledged behind the commit. The last line has the
 * figures, as JSON. It keeps no order when a message comes again, and a message that fails stops it. */
#include <libpq-fe.h>
#include <nats/nats.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bare.h"

enum { BATCH_MAX = 1000, REQUEST = 500, SILENCE_MS = 20000, SUBJECT_BYTES = 256 };

static const char TABLES[] =
	"CREATE TABLE IF NOT EXISTS home_seen (id uuid PRIMARY KEY); TRUNCATE home_seen;"
	"CREATE TABLE IF NOT EXISTS home_handled (n bigint, at timestamptz DEFAULT clock_timestamp());"
	"TRUNCATE home_handled";

static const char HANDLE[] = "WITH new AS (INSERT INTO home_seen VALUES ($1::uuid) ON CONFLICT DO NOTHING RETURNING id)"
			     " INSERT INTO home_handled (n) SELECT $2::bigint FROM new";

struct consumer {
	natsConnection *nc;
	natsInbox *inbox;
	natsSubscription *sub;
	PGconn *pg;
	char subject[SUBJECT_BYTES];
	natsMsg *messages[BATCH_MAX];
	int count, batch;
};

static void check(natsStatus s, const char *what)
{
	if (s != NATS_OK)
		bare_die(what, natsStatus_GetText(s));
}

static void run(PGconn *pg, PGresult *r)
{
	if (PQresultStatus(r) != PGRES_COMMAND_OK)
		bare_die("postgres", PQerrorMessage(pg));
	PQclear(r);
}

static void ask(const struct consumer *c)
{
	char body[96];

	snprintf(body, sizeof body, "{\"batch\":%d,\"expires\":30000000000}", REQUEST);
	check(natsConnection_PublishRequestString(c->nc, c->subject, c->inbox, body), "a request");
}

static void open_consumer(struct consumer *c, const char *url, const char *stream)
{
	char name[32], subject[SUBJECT_BYTES], body[512];
	natsMsg *answer = NULL;

	check(natsConnection_ConnectTo(&c->nc, url), "connect");
	check(natsInbox_Create(&c->inbox), "inbox");
	check(natsConnection_SubscribeSync(&c->sub, c->nc, c->inbox), "subscribe");
	snprintf(name, sizeof name, "home%lld", (long long)bare_now_us());
	snprintf(subject, sizeof subject, "$JS.API.CONSUMER.DURABLE.CREATE.%s.%s", stream, name);
	snprintf(
		body, sizeof body,
		"{\"stream_name\":\"%s\",\"config\":{\"durable_name\":\"%s\",\"deliver_policy\":\"all\",\"ack_policy\":\"explicit\","
		"\"max_ack_pending\":%d}}",
		stream, name, 4 * REQUEST);
	check(natsConnection_RequestString(&answer, c->nc, subject, body, SILENCE_MS), "the consumer");
	if (strstr(natsMsg_GetData(answer), "\"error\"") != NULL)
		bare_die("the consumer", natsMsg_GetData(answer));
	natsMsg_Destroy(answer);
	snprintf(c->subject, sizeof c->subject, "$JS.API.CONSUMER.MSG.NEXT.%s.%s", stream, name);
	ask(c);
	ask(c);
}

static void handle(struct consumer *c, long handled)
{
	run(c->pg, PQexec(c->pg, "BEGIN"));
	for (int i = 0; i < c->count; i++) {
		char number[24];
		const char *p[] = { NULL, number };

		snprintf(number, sizeof number, "%ld", handled + i);
		check(natsMsgHeader_Get(c->messages[i], "Nats-Msg-Id", &p[0]), "Nats-Msg-Id");
		run(c->pg, PQexecPrepared(c->pg, "handle", 2, p, NULL, NULL, 0));
	}
	run(c->pg, PQexec(c->pg, "COMMIT"));
	for (int i = 0; i < c->count; i++) {
		check(natsConnection_PublishString(c->nc, natsMsg_GetReply(c->messages[i]), ""), "an acknowledgement");
		natsMsg_Destroy(c->messages[i]);
	}
	c->count = 0;
}

static void handle_all(struct consumer *c, long count)
{
	long taken = 0, handled = 0;

	while (handled < count) {
		natsMsg *m = NULL;
		const char *status = NULL;

		check(natsSubscription_NextMsg(&m, c->sub, SILENCE_MS), "a message");
		if (natsMsg_GetDataLength(m) == 0 && natsMsgHeader_Get(m, "Status", &status) == NATS_OK) {
			natsMsg_Destroy(m);
			continue;
		}
		c->messages[c->count++] = m;
		if (++taken % REQUEST == 0) /* one of the two is answered */
			ask(c);
		if (c->count == c->batch || taken == count) {
			int n = c->count;

			handle(c, handled);
			handled += n;
		}
	}
}

int main(int argc, char **argv)
{
	static struct consumer c;
	long count = bare_number(argc, argv, "count", 10000);
	int64_t begin;

	c.batch = (int)bare_number(argc, argv, "batch", 1);
	if (c.batch < 1 || c.batch > BATCH_MAX)
		bare_die("--batch", "1 to 1000");
	c.pg = PQconnectdb(bare_word(argc, argv, "conninfo", NULL));
	if (PQstatus(c.pg) != CONNECTION_OK)
		bare_die("postgres", PQerrorMessage(c.pg));
	run(c.pg, PQexec(c.pg, TABLES));
	run(c.pg, PQprepare(c.pg, "handle", HANDLE, 0, NULL));
	begin = bare_now_us();
	open_consumer(&c, bare_word(argc, argv, "url", NULL), bare_word(argc, argv, "stream", "BENCH"));
	handle_all(&c, count);
	printf("{\"count\": %ld, \"seconds\": %.6f, \"cpu_us\": %lld}\n", count, (double)(bare_now_us() - begin) / 1e6,
	       (long long)bare_cpu_us());
	return 0;
}
