/* A walsender of PostgreSQL's: one connection that streams a replication slot through the plugin pgoutput, on the loop. Knows libpq and the
 * replication protocol, and nothing of what is streamed.
 *
 *     idle --start--> connecting --up--> streaming --down--> idle
 *
 * It connects once for each start: whether it is tried again, when and from where is for the caller to say. */
#ifndef BOXHAUL_EDGE_PG_WALSENDER_H
#define BOXHAUL_EDGE_PG_WALSENDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "edge/loop.h"
#include "edge/pg_options.h"
#include "edge/pg_replication.h"

struct pg_walsender;

/* Why it is over. */
struct pg_walsender_end {
	char sqlstate[6];  /* "": nobody said */
	uint32_t pid;      /* 55006: the walsender that has the slot; else 0 */
	bool was_up;       /* it streamed; else it could not be had */
	bool by_server;    /* it ended the stream as it should: with CopyDone, at its shutdown */
	const char *words; /* one line */
};

struct pg_walsender_handlers {
	/* The stream runs; what is read begins at max(lsn that was asked for, what the slot has confirmed). */
	void (*up)(void *arg, const struct pg_walsender_place *place);
	/* It is over, or could not be had. Not called for pg_walsender_stop(). */
	void (*down)(void *arg, const struct pg_walsender_end *end);
	/* One message of the plugin; its bytes are the caller's until it returns. lsn: as the server names it, 0 for some. */
	void (*message)(void *arg, uint64_t lsn, const char *data, size_t bytes);
	/* Everything that is to be sent and lies below end_lsn has been handed over. */
	void (*keepalive)(void *arg, uint64_t end_lsn);
	void *arg;
};

/* NULL when out of memory. Calls nobody before it is started. */
struct pg_walsender *pg_walsender_open(struct loop *l, const struct pg_walsender_handlers *handlers);
/* No handler is called any more. NULL is allowed. */
void pg_walsender_close(struct pg_walsender *w);

/* Everything is copied but the options' texts, which are borrowed until up() or down(). */
struct pg_walsender_start {
	struct pg_options options; /* replication and pinned_text are set here */
	const char *slot;
	const char *
		publications; /* as an option's value: identifiers, quoted where they must be, with commas between them */
	uint64_t from_lsn;    /* 0: where the slot stands */
	uint32_t former_timeline; /* 0; or up() is to say where the server's history left that one */
	bool messages;            /* of pg_logical_emit_message, too; not before PostgreSQL 14 (left out there) */
};

/* Only while idle. up() or down() follows. False when it cannot be tried at all: nothing follows. */
bool pg_walsender_start(struct pg_walsender *w, const struct pg_walsender_start *start);

/* Ends it from our side: what was confirmed last is told, and the connection is closed at once. Idle afterwards, but for the moment a
 * thread needs that is still connecting: pg_walsender_is_idle(). */
void pg_walsender_stop(struct pg_walsender *w);
bool pg_walsender_is_idle(const struct pg_walsender *w);

/* Whether it is read. While it is not, nothing but what the kernel and libpq hold already is taken from the server, which waits; that we
 * live is told all the same. On after each start. */
void pg_walsender_read(struct pg_walsender *w, bool on);

/* The server may drop everything below lsn, and hands it to nobody any more. Never goes back; told soon, and with every status. */
void pg_walsender_confirm(struct pg_walsender *w, uint64_t lsn);

/* Asks for a keepalive at once: it says how far the server has decoded. */
void pg_walsender_ask(struct pg_walsender *w);

/* Figures since it was opened. */
struct pg_walsender_figures {
	uint64_t bytes, messages, keepalives, statuses;
};
const struct pg_walsender_figures *pg_walsender_figures(const struct pg_walsender *w);

/* The server's clock now, in microseconds since 2000-01-01, as far as it is known from what it sent last; 0: nothing came yet. */
int64_t pg_walsender_server_us(const struct pg_walsender *w);

/* Writes one identifier, quoted, behind what stands in `out` already, and a comma before it if it is not the first. False: no room. */
bool pg_walsender_add_publication(char *out, size_t size, const char *name);

#endif
