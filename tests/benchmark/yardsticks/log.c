/* The bare minimum of whoever reads PostgreSQL's log: libpq, START_REPLICATION with pgoutput, and each change counted. With --url it publishes
 * each, too: the change's own bytes, under an id of its place, at most --window of them unacknowledged; with --chain yes in a chain.
 * With --messages PREFIX it asks for logical messages, too (PostgreSQL 14 and newer), and each with that prefix is one.
 *
 * --conninfo must say replication=database. It reads --count changes of --slot by --publication, confirms them, and ends. The last line
 * has the figures, as JSON: seconds from the first change to the last one (with --url: to the last acknowledgement). */
#include <endian.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bare.h"

enum {
	HEADER = 25,          /* 'w', three numbers; then the message of pgoutput */
	PREFIX_AT = 1 + 1 + 8 /* in a logical message: behind its kind, its flags and its place */
};

static uint64_t number_at(const char *data)
{
	uint64_t n;

	memcpy(&n, data, sizeof n);
	return be64toh(n);
}

static void put(char *data, uint64_t n)
{
	n = htobe64(n);
	memcpy(data, &n, sizeof n);
}

/* All below `end` may be forgotten. */
static void confirm(PGconn *pg, uint64_t end)
{
	char answer[34] = { 'r' };

	for (int i = 0; i < 3; i++)
		put(answer + 1 + 8 * i, end);
	if (PQputCopyData(pg, answer, sizeof answer) != 1 || PQflush(pg) != 0)
		bare_die("status update", PQerrorMessage(pg));
}

/* The next piece of the log, as PQgetCopyData() gives it. While there is none, what was published leaves. */
static int next(PGconn *pg, struct bare *b, char **data)
{
	int bytes = PQgetCopyData(pg, data, b != NULL);

	while (bytes == 0) {
		bare_wait_for(b, PQsocket(pg));
		if (PQconsumeInput(pg) != 1)
			bare_die("the log", PQerrorMessage(pg));
		bytes = PQgetCopyData(pg, data, 1);
	}
	return bytes;
}

static void start(PGconn *pg, const char *slot, const char *publication, bool messages)
{
	char statement[512];
	PGresult *answer;

	snprintf(statement, sizeof statement,
		 "START_REPLICATION SLOT \"%s\" LOGICAL 0/0 (proto_version '1', publication_names '\"%s\"'%s)", slot,
		 publication, messages ? ", messages 'true'" : "");
	answer = PQexec(pg, statement);
	if (PQresultStatus(answer) != PGRES_COPY_BOTH)
		bare_die("START_REPLICATION", PQerrorMessage(pg));
	PQclear(answer);
}

/* A change, or a logical message with the prefix that is wanted. pgoutput ends each prefix with a zero byte. */
static bool is_wanted(const char *message, size_t bytes, const char *prefix)
{
	if (message[0] == 'M')
		return *prefix != '\0' && bytes > PREFIX_AT + strlen(prefix) &&
		       strcmp(message + PREFIX_AT, prefix) == 0;
	return message[0] == 'I' || message[0] == 'U' || message[0] == 'D';
}

/* What the change is stored as: its bytes, under the place of its transaction and its number in it. */
static void store(struct bare *b, const char *subject, uint64_t begin, long index, const char *data, size_t bytes)
{
	char id[37];

	snprintf(id, sizeof id, "%08x-%04x-8000-8000-%012llx", (unsigned)(begin >> 16), (unsigned)(begin & 0xffff),
		 (unsigned long long)index & 0xffffffffffff);
	bare_publish(b, subject, id, NULL, data, bytes);
}

int main(int argc, char **argv)
{
	long count = bare_number(argc, argv, "count", 100000), seen = 0, index = 0;
	const char *url = bare_word(argc, argv, "url", ""), *subject = bare_word(argc, argv, "subject", "bench.0"),
		   *prefix = bare_word(argc, argv, "messages", "");
	struct bare *b = *url == '\0' ? NULL
				      : bare_open(url, (unsigned)bare_number(argc, argv, "window", 1024),
						  bare_mode_word(argc, argv));
	PGconn *pg = PQconnectdb(bare_word(argc, argv, "conninfo", NULL));
	uint64_t begin = 0, end = 0;
	int64_t first = 0;
	char *data;
	int bytes;

	if (PQstatus(pg) != CONNECTION_OK)
		bare_die("connect", PQerrorMessage(pg));
	if (b != NULL && strcmp(bare_word(argc, argv, "chain", "no"), "yes") == 0)
		bare_chain(b, 0);
	start(pg, bare_word(argc, argv, "slot", NULL), bare_word(argc, argv, "publication", NULL), *prefix != '\0');
	/* The last change is followed by its commit, which tells the end. */
	while ((seen < count || end == 0) && (bytes = next(pg, b, &data)) > 0) {
		char kind = data[0] == 'w' && bytes > HEADER ? data[HEADER] : '\0';

		if (data[0] == 'k' && bytes >= 18 && data[17] != 0)
			confirm(pg, 0);
		if (kind == 'B') {
			begin = number_at(data + HEADER + 1);
			index = 0;
			end = 0;
		} else if (kind == 'C') {
			end = number_at(data + HEADER + 10);
		} else if (kind != '\0' && is_wanted(data + HEADER, (size_t)(bytes - HEADER), prefix)) {
			if (seen++ == 0)
				first = bare_now_us();
			if (b != NULL)
				store(b, subject, begin, index++, data + HEADER, (size_t)(bytes - HEADER));
		}
		PQfreemem(data);
	}
	if (seen < count)
		bare_die("the log", PQerrorMessage(pg));
	if (b != NULL)
		bare_settle(b);
	printf("{\"count\": %ld, \"seconds\": %.6f, \"cpu_us\": %lld}\n", seen, (double)(bare_now_us() - first) / 1e6,
	       (long long)bare_cpu_us());
	confirm(pg, end);
	PQputCopyEnd(pg, NULL);
	while ((bytes = PQgetCopyData(pg, &data, 0)) > 0)
		PQfreemem(data);
	PQfinish(pg);
	if (b != NULL)
		bare_close(b);
	return 0;
}
