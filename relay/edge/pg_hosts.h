/* Which host of a connection string is tried first. */
#ifndef BOXHAUL_EDGE_PG_HOSTS_H
#define BOXHAUL_EDGE_PG_HOSTS_H

#include <stdbool.h>
#include <stdint.h>

/* What stands for the connection string's, where its hosts begin with another one. malloc'ed; NULL: as the string has it. */
struct pg_hosts {
	char *host, *hostaddr, *port;
};

/* The hosts of the string, with their addresses and ports, `turn` further: the first ones come last; `alone`: they are left out, as all but
 * the first one then. All NULL where there is one host, or it begins with that one, or the string is not understood. */
struct pg_hosts pg_hosts_turned(const char *conninfo, uint32_t turn, bool alone);

/* How many hosts the string names; 1 where it is not understood. */
uint32_t pg_hosts_count(const char *conninfo);

void pg_hosts_free(struct pg_hosts *h);

#endif
