/* Outbox tables of others whose rows a trigger copies (source = "trigger"): boxhaul.outbox_attach() puts it on (sql/010_capture.sql). */
#ifndef BOXHAUL_BOOKS_OUTBOX_TRIGGER_H
#define BOXHAUL_BOOKS_OUTBOX_TRIGGER_H

#include "config/config.h"

/* $1: a table, as the configuration has it; $2: its mapping. Attaches it, and says so in one row; none where that very mapping is attached already: so the table is not
 * locked for nothing. */
#define OUTBOX_TRIGGER_ATTACH                                                                                         \
	"SELECT boxhaul.outbox_attach($1, $2::pg_catalog.jsonb) WHERE NOT EXISTS (SELECT FROM boxhaul.outbox_table t" \
	" WHERE t.tab = pg_catalog.to_regclass($1) AND t.mapping = $2::pg_catalog.jsonb)"

/* The mapping as JSON, in the words of the configuration. Free with free(). NULL: out of memory. */
char *outbox_trigger_mapping(const struct config_outbox_table *t);

#endif
