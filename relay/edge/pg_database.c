#include "edge/pg_database.h"

#include <libpq-fe.h>
#include <stdio.h>

/* libpq looks at services and defaults only where it makes a connection. So it is given an address that is none: it has the
 * name by then, and gives up before it asks a resolver or a server. What stands behind dbname wins over the string; one host, one
 * address and one port, for their numbers have to agree. */
void pg_database_of(const char *conninfo, char *name, size_t size)
{
	const char *const keys[] = { "dbname", "host", "hostaddr", "port", NULL };
	const char *const values[] = { conninfo, "nowhere", "!", "1", NULL };
	PGconn *c = PQconnectStartParams(keys, values, 1);
	const char *found = c != NULL ? PQdb(c) : NULL;

	snprintf(name, size, "%s", found != NULL ? found : "");
	PQfinish(c);
}
