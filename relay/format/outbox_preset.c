#include "format/outbox_preset.h"

static const struct outbox_preset_columns presets[] = {
	[OUTBOX_PRESET_NONE] = { .id = NULL },
	[OUTBOX_PRESET_DEBEZIUM] = { .id = "id",
				     .key = "aggregateid",
				     .payload = "payload",
				     .header_columns = { "type" } },
	[OUTBOX_PRESET_PG_TRANSACTIONAL_OUTBOX] = { .id = "id",
						    .key = "segment",
						    .second_key = "aggregate_id",
						    .unkeyed = "concurrency",
						    .payload = "payload",
						    .header_columns = { "message_type", "aggregate_type",
									"aggregate_id", "metadata" } },
	[OUTBOX_PRESET_GO_OUTBOX] = { .id = "id", .key_object = "target", .payload = "payload", .headers = "headers" },
	[OUTBOX_PRESET_WATERMILL] = { .id = "uuid", .payload = "payload", .headers = "metadata" },
	[OUTBOX_PRESET_MASSTRANSIT] = { .id = "MessageId", .key = "CorrelationId", .payload = "Body" },
};

const struct outbox_preset_columns *outbox_preset_columns(enum outbox_preset preset)
{
	return &presets[preset];
}
