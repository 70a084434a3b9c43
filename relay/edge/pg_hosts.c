#include "edge/pg_hosts.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *value_of(const PQconninfoOption *o, const char *keyword)
{
	for (; o->keyword != NULL; o++)
		if (strcmp(o->keyword, keyword) == 0)
			return o->val != NULL && o->val[0] != '\0' ? o->val : NULL;
	return NULL;
}

static uint32_t count_of(const char *list)
{
	uint32_t n = 1;

	if (list == NULL)
		return 0;
	for (; *list != '\0'; list++)
		n += *list == ',';
	return n;
}

/* A list with one entry for each host; a single port is that of all, and stays. */
static char *turned(const char *list, uint32_t turn, bool alone)
{
	const char *tail = list;
	char *out;

	if (count_of(list) < 2)
		return NULL;
	for (turn %= count_of(list); turn > 0; turn--)
		tail = strchr(tail, ',') + 1;
	if (tail == list)
		return NULL;
	if (alone)
		return strndup(tail, strcspn(tail, ","));
	return asprintf(&out, "%s,%.*s", tail, (int)(tail - list - 1), list) < 0 ? NULL : out;
}

struct pg_hosts pg_hosts_turned(const char *conninfo, uint32_t turn, bool alone)
{
	PQconninfoOption *parsed = turn != 0 ? PQconninfoParse(conninfo, NULL) : NULL;
	struct pg_hosts h = { .host = NULL };

	if (parsed == NULL)
		return h;
	h.host = turned(value_of(parsed, "host"), turn, alone);
	h.hostaddr = turned(value_of(parsed, "hostaddr"), turn, alone);
	h.port = turned(value_of(parsed, "port"), turn, alone);
	PQconninfoFree(parsed);
	return h;
}

uint32_t pg_hosts_count(const char *conninfo)
{
	PQconninfoOption *parsed = PQconninfoParse(conninfo, NULL);
	uint32_t hosts = parsed != NULL ? count_of(value_of(parsed, "host")) : 0;
	uint32_t addresses = parsed != NULL ? count_of(value_of(parsed, "hostaddr")) : 0;

	PQconninfoFree(parsed);
	hosts = hosts > addresses ? hosts : addresses;
	return hosts > 0 ? hosts : 1;
}

void pg_hosts_free(struct pg_hosts *h)
{
	free(h->host);
	free(h->hostaddr);
	free(h->port);
	*h = (struct pg_hosts){ .host = NULL };
}
