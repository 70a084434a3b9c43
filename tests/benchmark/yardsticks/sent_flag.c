/* A relay as most people would write it, to compare with: each row has a flag, which is set when the row is sent.
 *
 *     BEGIN; SELECT ... WHERE sent_at IS NULL ORDER BY id LIMIT --batch FOR UPDATE SKIP LOCKED;
 *     publish all of them, wait for all acknowledgements;
 *     UPDATE ... SET sent_at = now() WHERE id = ANY (...); COMMIT
 *
 * It ends when there is nothing left. It keeps no order within a batch, and has no idea of refusals or of other relays; so it
 * has less to do than one must. The last line has the figures, as JSON. */
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bare.h"

static const char SELECT_ROWS[] = "SELECT id::text, message_id::text, subject, payload FROM sent_flag"
				  " WHERE sent_at IS NULL ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED";
static const char SET_FLAGS[] = "UPDATE sent_flag SET sent_at = now() WHERE id = ANY ($1::bigint[])";

static PGresult *run(PGconn *pg, PGresult *r)
{
	ExecStatusType status = PQresultStatus(r);

	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
		bare_die("postgres", PQerrorMessage(pg));
	return r;
}

static PGresult *call(PGconn *pg, const char *statement, const char *value)
{
	return run(pg, PQexecPrepared(pg, statement, 1, &value, NULL, NULL, 1));
}

/* {1,2,3} */
static char *list_ids(const PGresult *rows, int n)
{
	size_t size = (size_t)n * 21 + 2, used = 0;
	char *list = malloc(size);

	if (list == NULL)
		bare_die("ids", "out of memory");
	for (int i = 0; i < n; i++)
		used += (size_t)snprintf(list + used, size - used, "%c%s", i == 0 ? '{' : ',', PQgetvalue(rows, i, 0));
	snprintf(list + used, size - used, "}");
	return list;
}

/* How many rows it sent. */
static int send_batch(PGconn *pg, struct bare *b, const char *batch)
{
	PGresult *rows;
	int n;

	PQclear(run(pg, PQexec(pg, "BEGIN")));
	rows = call(pg, "select", batch);
	n = PQntuples(rows);
	for (int i = 0; i < n; i++)
		bare_publish(b, PQgetvalue(rows, i, 2), PQgetvalue(rows, i, 1), NULL, PQgetvalue(rows, i, 3),
			     (size_t)PQgetlength(rows, i, 3));
	bare_settle(b);
	if (n > 0) {
		char *ids = list_ids(rows, n);

		PQclear(call(pg, "update", ids));
		free(ids);
	}
	PQclear(run(pg, PQexec(pg, "COMMIT")));
	PQclear(rows);
	return n;
}

/* The CPU time of our backend, which is on this machine. */
static int64_t backend_us(PGconn *pg)
{
	clockid_t clock;
	struct timespec t;

	if (clock_getcpuclockid(PQbackendPID(pg), &clock) != 0 || clock_gettime(clock, &t) != 0)
		bare_die("backend", "its CPU time cannot be read");
	return t.tv_sec * (int64_t)1000000 + t.tv_nsec / 1000;
}

int main(int argc, char **argv)
{
	const char *batch = bare_word(argc, argv, "batch", "1000");
	struct bare *b = bare_open(bare_word(argc, argv, "url", NULL),
				   (unsigned)bare_number(argc, argv, "window", 1024), bare_mode_word(argc, argv));
	PGconn *pg = PQconnectdb(bare_word(argc, argv, "conninfo", NULL));
	int64_t begin = bare_now_us();
	long count = 0;
	int n;

	if (PQstatus(pg) != CONNECTION_OK)
		bare_die("postgres", PQerrorMessage(pg));
	PQclear(run(pg, PQprepare(pg, "select", SELECT_ROWS, 0, NULL)));
	PQclear(run(pg, PQprepare(pg, "update", SET_FLAGS, 0, NULL)));
	while ((n = send_batch(pg, b, batch)) > 0)
		count += n;
	printf("{\"count\": %ld, \"seconds\": %.6f, \"cpu_us\": %lld, \"backend_cpu_us\": %lld}\n", count,
	       (double)(bare_now_us() - begin) / 1e6, (long long)bare_cpu_us(), (long long)backend_us(pg));
	PQfinish(pg);
	bare_close(b);
	return 0;
}
