/* A bare reader of a stream, to compare the inbox with: an AckNone pull consumer, two requests of --batch outstanding, and what comes is
 *
 *     --into none     counted
 *     --into copy     written by COPY, a transaction for each batch
 *     --into insert   written by single INSERTs in a pipeline, a transaction for each batch
 *     --into ids      written by one INSERT of arrays, what is known by its id left out: the same anti-join as the inbox's
 *
 * It ends when it has --count. It looks for no hole, no other history of the stream and no other reader, and forgets where it was; so it
 * has less to do than one must. The last line has the figures, as JSON. */
#include <libpq-fe.h>
#include <nats/nats.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bare.h"

enum { BATCH_MAX = 10000, SILENCE_MS = 20000, NAME_BYTES = 64, SUBJECT_BYTES = 256 };

static const char TABLES[] =
	"CREATE TABLE IF NOT EXISTS bare_position (position bigint) WITH (fillfactor = 50);"
	"DELETE FROM bare_position; INSERT INTO bare_position VALUES (0);"
	"CREATE TABLE IF NOT EXISTS bare_inbox (id bigint PRIMARY KEY, message_id uuid, subject text, payload bytea,"
	" received_at timestamptz DEFAULT clock_timestamp()); TRUNCATE bare_inbox;"
	"CREATE TABLE IF NOT EXISTS bare_seen (id uuid PRIMARY KEY); TRUNCATE bare_seen;"
	"SET synchronous_commit = off; SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off;"
	"SET enable_mergejoin = off; SET plan_cache_mode = force_generic_plan";

static const char INSERT_IDS[] =
	"WITH new AS MATERIALIZED (SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::text[], $4::bytea[]) AS u (id, uid, subject, payload)"
	"  WHERE NOT EXISTS (SELECT FROM bare_seen k WHERE k.id = u.uid LIMIT 1)),"
	" seen AS (INSERT INTO bare_seen SELECT uid FROM new)"
	" INSERT INTO bare_inbox (id, message_id, subject, payload) SELECT id, uid, subject, payload FROM new";

struct text {
	char *at;
	size_t used, size;
};

struct reader {
	PGconn *pg;
	natsMsg *messages[BATCH_MAX];
	int count, batch;
	long taken;
	struct text column[4], line;
};

static void check(natsStatus s, const char *what)
{
	if (s != NATS_OK)
		bare_die(what, natsStatus_GetText(s));
}

static void run(PGconn *pg, PGresult *r)
{
	ExecStatusType status = PQresultStatus(r);

	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_COPY_IN)
		bare_die("postgres", PQerrorMessage(pg));
	PQclear(r);
}

/* --- text --- */

static char *room(struct text *t, size_t bytes)
{
	if (t->used + bytes + 1 > t->size) {
		t->size = 2 * (t->used + bytes + 1);
		t->at = realloc(t->at, t->size);
		if (t->at == NULL)
			bare_die("text", "out of memory");
	}
	t->used += bytes;
	return t->at + t->used - bytes;
}

static void put(struct text *t, const char *s)
{
	size_t n = strlen(s);

	memcpy(room(t, n), s, n);
}

static void put_number(struct text *t, long n)
{
	char digits[24];

	snprintf(digits, sizeof digits, "%ld", n);
	put(t, digits);
}

static void put_hex(struct text *t, const char *bytes, size_t n)
{
	static const char hex[] = "0123456789abcdef";
	char *to = room(t, 2 * n);

	for (size_t i = 0; i < n; i++) {
		to[2 * i] = hex[(unsigned char)bytes[i] >> 4];
		to[2 * i + 1] = hex[bytes[i] & 15];
	}
}

static const char *id_of(natsMsg *m)
{
	const char *id = NULL;

	check(natsMsgHeader_Get(m, "Nats-Msg-Id", &id), "Nats-Msg-Id");
	return id;
}

/* --- the ways to write a batch --- */

static void move(struct reader *r)
{
	char sql[96];

	snprintf(sql, sizeof sql, "UPDATE bare_position SET position = %ld", r->taken);
	run(r->pg, PQexec(r->pg, sql));
}

static void by_copy(struct reader *r)
{
	run(r->pg, PQexec(r->pg, "BEGIN"));
	run(r->pg, PQexec(r->pg, "COPY bare_inbox (id, message_id, subject, payload) FROM STDIN"));
	r->line.used = 0;
	for (int i = 0; i < r->count; i++) {
		natsMsg *m = r->messages[i];

		put_number(&r->line, r->taken - r->count + i + 1);
		put(&r->line, "\t");
		put(&r->line, id_of(m));
		put(&r->line, "\t");
		put(&r->line, natsMsg_GetSubject(m));
		put(&r->line, "\t\\\\x");
		put_hex(&r->line, natsMsg_GetData(m), (size_t)natsMsg_GetDataLength(m));
		put(&r->line, "\n");
	}
	if (PQputCopyData(r->pg, r->line.at, (int)r->line.used) != 1 || PQputCopyEnd(r->pg, NULL) != 1)
		bare_die("COPY", PQerrorMessage(r->pg));
	for (PGresult *end; (end = PQgetResult(r->pg)) != NULL;)
		run(r->pg, end);
	move(r);
	run(r->pg, PQexec(r->pg, "COMMIT"));
}

static void by_insert(struct reader *r)
{
	run(r->pg, PQexec(r->pg, "BEGIN"));
	if (PQenterPipelineMode(r->pg) != 1)
		bare_die("pipeline", PQerrorMessage(r->pg));
	for (int i = 0; i < r->count; i++) {
		natsMsg *m = r->messages[i];
		char id[24];
		const char *p[] = { id, id_of(m), natsMsg_GetSubject(m), natsMsg_GetData(m) };
		int bytes[] = { 0, 0, 0, natsMsg_GetDataLength(m) }, formats[] = { 0, 0, 0, 1 };

		snprintf(id, sizeof id, "%ld", r->taken - r->count + i + 1);
		if (PQsendQueryPrepared(r->pg, "insert", 4, p, bytes, formats, 0) != 1)
			bare_die("insert", PQerrorMessage(r->pg));
	}
	PQpipelineSync(r->pg);
	for (bool synced = false; !synced;) {
		PGresult *result = PQgetResult(r->pg);

		if (result == NULL)
			continue;
		synced = PQresultStatus(result) == PGRES_PIPELINE_SYNC;
		if (synced)
			PQclear(result);
		else
			run(r->pg, result);
	}
	PQexitPipelineMode(r->pg);
	move(r);
	run(r->pg, PQexec(r->pg, "COMMIT"));
}

static void by_ids(struct reader *r)
{
	const char *p[4];

	for (int c = 0; c < 4; c++) {
		r->column[c].used = 0;
		put(&r->column[c], "{");
	}
	for (int i = 0; i < r->count; i++) {
		natsMsg *m = r->messages[i];

		for (int c = 0; i > 0 && c < 4; c++)
			put(&r->column[c], ",");
		put_number(&r->column[0], r->taken - r->count + i + 1);
		put(&r->column[1], id_of(m));
		put(&r->column[2], natsMsg_GetSubject(m));
		put(&r->column[3], "\\\\x");
		put_hex(&r->column[3], natsMsg_GetData(m), (size_t)natsMsg_GetDataLength(m));
	}
	for (int c = 0; c < 4; c++) {
		put(&r->column[c], "}");
		*room(&r->column[c], 1) = '\0';
		p[c] = r->column[c].at;
	}
	run(r->pg, PQexec(r->pg, "BEGIN"));
	run(r->pg, PQexecPrepared(r->pg, "ids", 4, p, NULL, NULL, 0));
	move(r);
	run(r->pg, PQexec(r->pg, "COMMIT"));
}

static void flush(struct reader *r, const char *into)
{
	if (strcmp(into, "copy") == 0)
		by_copy(r);
	else if (strcmp(into, "insert") == 0)
		by_insert(r);
	else if (strcmp(into, "ids") == 0)
		by_ids(r);
	for (int i = 0; i < r->count; i++)
		natsMsg_Destroy(r->messages[i]);
	r->count = 0;
}

/* --- the consumer --- */

struct pull {
	natsConnection *nc;
	natsInbox *inbox;
	natsSubscription *sub;
	char subject[SUBJECT_BYTES], body[96];
};

static void ask(const struct pull *p)
{
	check(natsConnection_PublishRequestString(p->nc, p->subject, p->inbox, p->body), "a request");
}

static void open_consumer(struct pull *p, const char *url, const char *stream, int batch)
{
	char name[NAME_BYTES], subject[SUBJECT_BYTES], body[512];
	natsMsg *answer = NULL;

	check(natsConnection_ConnectTo(&p->nc, url), "connect");
	check(natsInbox_Create(&p->inbox), "inbox");
	check(natsConnection_SubscribeSync(&p->sub, p->nc, p->inbox), "subscribe");
	check(natsSubscription_SetPendingLimits(p->sub, -1, -1), "limits");
	snprintf(name, sizeof name, "bare%lld", (long long)bare_now_us());
	snprintf(subject, sizeof subject, "$JS.API.CONSUMER.CREATE.%s.%s", stream, name);
	snprintf(
		body, sizeof body,
		"{\"stream_name\":\"%s\",\"config\":{\"name\":\"%s\",\"deliver_policy\":\"all\",\"ack_policy\":\"none\","
		"\"mem_storage\":true,\"num_replicas\":1,\"inactive_threshold\":60000000000}}",
		stream, name);
	check(natsConnection_RequestString(&answer, p->nc, subject, body, SILENCE_MS), "the consumer");
	if (strstr(natsMsg_GetData(answer), "\"error\"") != NULL)
		bare_die("the consumer", natsMsg_GetData(answer));
	natsMsg_Destroy(answer);
	snprintf(p->subject, sizeof p->subject, "$JS.API.CONSUMER.MSG.NEXT.%s.%s", stream, name);
	snprintf(p->body, sizeof p->body, "{\"batch\":%d,\"expires\":30000000000}", batch);
	ask(p);
	ask(p);
}

static void read_all(struct reader *r, struct pull *p, long count, const char *into)
{
	long asked_at = 0;

	while (r->taken < count) {
		natsMsg *m = NULL;
		const char *status = NULL;

		check(natsSubscription_NextMsg(&m, p->sub, SILENCE_MS), "a message");
		if (natsMsg_GetDataLength(m) == 0 && natsMsgHeader_Get(m, "Status", &status) == NATS_OK) {
			natsMsg_Destroy(m);
			continue;
		}
		r->messages[r->count++] = m;
		r->taken++;
		if (r->taken - asked_at == r->batch) { /* one of the two is answered */
			asked_at = r->taken;
			ask(p);
		}
		if (r->count == r->batch || r->taken == count)
			flush(r, into);
	}
}

int main(int argc, char **argv)
{
	long count = bare_number(argc, argv, "count", 100000);
	const char *into = bare_word(argc, argv, "into", "none");
	struct reader *r = calloc(1, sizeof *r);
	struct pull p = { .nc = NULL };
	int64_t begin;

	if (r == NULL)
		bare_die("reader", "out of memory");
	r->batch = (int)bare_number(argc, argv, "batch", 1000);
	if (strcmp(into, "none") != 0) {
		r->pg = PQconnectdb(bare_word(argc, argv, "conninfo", NULL));
		if (PQstatus(r->pg) != CONNECTION_OK)
			bare_die("postgres", PQerrorMessage(r->pg));
		run(r->pg, PQexec(r->pg, TABLES));
		run(r->pg,
		    PQprepare(r->pg, "insert",
			      "INSERT INTO bare_inbox (id, message_id, subject, payload) VALUES ($1, $2, $3, $4)", 0,
			      NULL));
		run(r->pg, PQprepare(r->pg, "ids", INSERT_IDS, 0, NULL));
	}
	begin = bare_now_us();
	open_consumer(&p, bare_word(argc, argv, "url", NULL), bare_word(argc, argv, "stream", "BENCH"), r->batch);
	read_all(r, &p, count, into);
	printf("{\"count\": %ld, \"seconds\": %.6f, \"cpu_us\": %lld}\n", r->taken,
	       (double)(bare_now_us() - begin) / 1e6, (long long)bare_cpu_us());
	return 0;
}
