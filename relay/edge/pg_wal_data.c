#include "edge/pg_wal_data.h"

#include <stdio.h>
#include <string.h>

#include "base/network.h"

enum {
	PLUGIN_HEADER_BYTES = 25, /* 'w', start, end, time */
	KEEPALIVE_BYTES = 18,     /* 'k', end, time, whether a reply is wanted */
};

const char *pg_wal_data_read(const char *data, size_t bytes, struct pg_wal_data *out)
{
	if (bytes >= PLUGIN_HEADER_BYTES && data[0] == 'w') {
		*out = (struct pg_wal_data){ .kind = PG_WAL_DATA_PLUGIN,
					     .lsn = network_read(data + 1, 8),
					     .time_us = (int64_t)network_read(data + 17, 8),
					     .content = data + PLUGIN_HEADER_BYTES,
					     .bytes = bytes - PLUGIN_HEADER_BYTES };
		return NULL;
	}
	if (bytes == KEEPALIVE_BYTES && data[0] == 'k') {
		*out = (struct pg_wal_data){ .kind = PG_WAL_DATA_KEEPALIVE,
					     .end_lsn = network_read(data + 1, 8),
					     .time_us = (int64_t)network_read(data + 9, 8),
					     .reply_wanted = data[17] != 0 };
		return NULL;
	}
	return "it is neither data nor a keepalive";
}

void pg_wal_data_write_status(char out[PG_WAL_DATA_STATUS_BYTES], const struct pg_wal_data_status *s)
{
	out[0] = 'r';
	network_write64(out + 1, s->received_lsn);
	network_write64(out + 9, s->confirmed_lsn);  /* flushed: the server may drop what is below; */
	network_write64(out + 17, s->confirmed_lsn); /* and applied, which only pg_stat_replication shows */
	network_write64(out + 25, (uint64_t)s->time_us);
	out[33] = s->reply_wanted;
}

/* Lines are ascending. Where `former` is none of them the server comes from an ancestor of it, and left that one no later. */
uint64_t pg_wal_data_fork(const char *content, size_t bytes, uint32_t former)
{
	uint64_t fork = 0;

	for (const char *end = content + bytes; content < end;) {
		const char *newline = memchr(content, '\n', (size_t)(end - content));
		size_t n = (size_t)((newline != NULL ? newline : end) - content);
		unsigned timeline, high, low;
		char line[64];

		snprintf(line, sizeof line, "%.*s", (int)(n < sizeof line ? n : sizeof line - 1), content);
		if (sscanf(line, "%u %X/%X", &timeline, &high, &low) == 3 && timeline <= former)
			fork = (uint64_t)high << 32 | low;
		content += n + (newline != NULL);
	}
	return fork;
}
