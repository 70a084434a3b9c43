/* Outbox tables of others: which column is what. A preset knows the layout of one library; whatever is set beside it counts more.
 *
 *     preset                   message id  key                       payload  headers             subject
 *     debezium                 id          aggregateid               payload  type                outbox.event.{aggregatetype>}
 *     pg-transactional-outbox  id          segment or aggregate_id;  payload  message_type,       outbox.{aggregate_type}.{message_type}
 *                                          none where concurrency             aggregate_type,
 *                                          is 'parallel'                      aggregate_id,
 *                                                                             metadata
 *     go-outbox                id          "key" of target           payload  headers             outbox.{topic>}
 *     watermill                uuid        none                      payload  metadata            outbox.{table}
 *     masstransit              MessageId   CorrelationId             Body     Content-Type        outbox.{type>}
 *
 * Layouts: Debezium's outbox event router; pg-transactional-outbox 0.6; github.com/efureev/go-outbox; watermill-sql's PostgreSQL schemas;
 * MassTransit with Entity Framework Core, of which the names are taken as they are or in snake case. */
#ifndef BOXHAUL_FORMAT_OUTBOX_MAPPING_H
#define BOXHAUL_FORMAT_OUTBOX_MAPPING_H

#include <stddef.h>

/* Words of the configuration, in this order. */
enum outbox_preset {
	OUTBOX_PRESET_NONE,
	OUTBOX_PRESET_DEBEZIUM,
	OUTBOX_PRESET_PG_TRANSACTIONAL_OUTBOX,
	OUTBOX_PRESET_GO_OUTBOX,
	OUTBOX_PRESET_WATERMILL,
	OUTBOX_PRESET_MASSTRANSIT,
};

enum outbox_source {
	OUTBOX_SOURCE_WAL,     /* of a capture */
	OUTBOX_SOURCE_TRIGGER, /* a trigger copies the row into boxhaul's own outbox */
};

/* Names of columns as they are in the catalogue, without quotes. NULL: the preset's, if it has one; "": none at all. */
struct outbox_mapping {
	enum outbox_preset preset;
	char *id;              /* a uuid; without it the message has the id of a change */
	char *key;             /* the ordering key; null there: no key */
	char *payload;         /* bytea as it is, any other type as its text */
	char *headers;         /* json or jsonb: an object */
	char **header_columns; /* each is a header of the column's name, beside the preset's */
	size_t header_column_count;
};

/* The preset's subject, a template; NULL: there is none. */
const char *outbox_mapping_subject(enum outbox_preset preset);

#endif
