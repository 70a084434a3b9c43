/* The presets. */
#include "format/outbox_mapping.h"

#include <stddef.h>

const char *outbox_mapping_subject(enum outbox_preset preset)
{
	switch (preset) {
	case OUTBOX_PRESET_DEBEZIUM: return "outbox.event.{aggregatetype>}";
	case OUTBOX_PRESET_PG_TRANSACTIONAL_OUTBOX: return "outbox.{aggregate_type}.{message_type}";
	case OUTBOX_PRESET_GO_OUTBOX: return "outbox.{topic>}";
	case OUTBOX_PRESET_MASSTRANSIT: return "outbox.{type>}";
	case OUTBOX_PRESET_WATERMILL: return "outbox.{table}";
	case OUTBOX_PRESET_NONE: break;
	}
	return NULL;
}
