/* The tables of a sink, as a subscription has them:
 *
 *     tables = ( { from = "public.orders"; to = "shop.orders"; columns = [ "*", "customer=client" ]; function = "shop.order"; } );
 *
 * Nobody but the database looks into them, so they are kept as the JSON that boxhaul.sink_define() takes:
 *
 *     [{"from": "public.orders", "to": "shop.orders", "columns": ["*", "customer=client"], "function": "shop.order"}] */
#ifndef BOXHAUL_CONFIG_CONFIG_TABLES_H
#define BOXHAUL_CONFIG_CONFIG_TABLES_H

#include "config/complaint.h"

/* Reads the list at `node`. The text is the caller's to free; NULL after a complaint, or out of memory (l->no_memory). */
char *config_tables_read(struct loader *l, const char *path, config_setting_t *node);

/* What follows for the subscriptions that have tables: one lane, in the order of the stream, by its position alone. */
void config_tables_derive(struct config *c);

#endif
