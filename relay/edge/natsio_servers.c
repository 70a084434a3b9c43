#include "edge/natsio_servers.h"

#include <stdlib.h>
#include <string.h>

void natsio_servers_learn(struct natsio_servers *s, natsConnection *nc)
{
	char **found = NULL;
	int count = 0;

	if (natsConnection_GetDiscoveredServers(nc, &found, &count) != NATS_OK)
		return;
	if (count == 0) { /* so a server that goes takes leave */
		free(found);
		return;
	}
	natsio_servers_forget(s);
	s->found = found;
	s->count = (size_t)count;
}

void natsio_servers_forget(struct natsio_servers *s)
{
	natsio_servers_free_list(s->found, s->count);
	*s = (struct natsio_servers){ .count = 0 };
}

char **natsio_servers_list(const struct natsio_servers *s, const struct natsio_options *o, size_t *count)
{
	char **list;

	*count = o->url_count + (o->discover ? s->count : 0);
	list = calloc(*count, sizeof *list);
	for (size_t i = 0; list != NULL && i < *count; i++) {
		list[i] = strdup(i < o->url_count ? o->urls[i] : s->found[i - o->url_count]);
		if (list[i] == NULL) {
			natsio_servers_free_list(list, i);
			return NULL;
		}
	}
	return list;
}

void natsio_servers_free_list(char **list, size_t count)
{
	for (size_t i = 0; list != NULL && i < count; i++)
		free(list[i]);
	free(list);
}

bool natsio_servers_same(const struct natsio_options *a, const struct natsio_options *b)
{
	bool same = a->url_count == b->url_count;

	for (size_t i = 0; same && i < a->url_count; i++)
		same = strcmp(a->urls[i], b->urls[i]) == 0;
	return same;
}
