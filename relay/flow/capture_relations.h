/* What a replication stream has said of its tables and types. A tuple is read by the Relation that came before it in the same connection, and by no
 * other description: columns may have come, gone or changed their places since. */
#ifndef BOXHAUL_FLOW_CAPTURE_RELATIONS_H
#define BOXHAUL_FLOW_CAPTURE_RELATIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "format/capture_key.h"
#include "format/capture_shape.h"
#include "format/pgoutput.h"

struct capture_relation {
	uint32_t oid;
	uint32_t version;               /* of this description in the connection: the same again has the same */
	char identity;                  /* of its replica identity: 'd', 'n', 'f', 'i' */
	struct capture_shape shape;     /* all that it points to is ours */
	struct capture_column *columns; /* the shape's */
	uint16_t *members;              /* the same */
	char *texts;                    /* its names, each terminated */
	uint32_t table;                 /* of the capture, as the core counts them; or CAPTURE_NO_TABLE */
	const struct config_outbox_table *outbox; /* or NULL */
	const char *tab;                          /* as the configuration names it; "": it does not */
	bool signals;                             /* its rows are boxhaul's own (format/signal_row.h) */
	bool told;                                /* consumers know these columns */
	bool says_key;  /* the stream flags the columns of its key, of which every change has values or keeps them */
	bool other_key; /* and they are not those by which its rows are read */
	const char *history; /* of the table, as the books name it; NULL: it has none */
};

struct capture_relations;

/* `config` is borrowed, `index` is the capture's in it. NULL when out of memory. */
struct capture_relations *capture_relations_create(const struct config *config, size_t index);
void capture_relations_free(struct capture_relations *r);

/* How many tables the capture has, and the name of each: `tables` in order, then `inserts_only`. */
size_t capture_relations_tables(const struct capture_relations *r);
const char *capture_relations_name(const struct capture_relations *r, uint32_t table);

/* A new connection knows nothing, and what was said over the last one is void. Keys and columns that the books hold stay. */
void capture_relations_forget(struct capture_relations *r);

/* The configuration has new values: the same, with other names for what is known. */
void capture_relations_configure(struct capture_relations *r);

/* The names of the columns of a table's key, in the order of the index by which its rows are read; copied. Without it a key is what the
 * stream flags, in the order of the columns; and where it flags all (REPLICA IDENTITY FULL) there is none. Where it flags other columns the key is these. False: out of memory. */
bool capture_relations_set_key(struct capture_relations *r, uint32_t table, const char *const *names, unsigned count);

/* What consumers were told of the columns of a table (format/capture_shape.h), as the books have it; NULL: nothing. Copied. False: out of
 * memory. */
bool capture_relations_set_told(struct capture_relations *r, uint32_t table, const char *columns);

/* The history in which changes of a table stand, as the books have it (a uuid; longer ones are cut off); "": none. Copied. */
void capture_relations_set_history(struct capture_relations *r, uint32_t table, const char *history);

/* A Relation or a Type was read. False: out of memory. */
bool capture_relations_take(struct capture_relations *r, const struct pgoutput_message *m);

/* What was said of it; NULL: nothing. It lives until the next Relation of this oid. */
struct capture_relation *capture_relations_find(struct capture_relations *r, uint32_t oid);

#endif
