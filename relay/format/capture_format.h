/* How the changes of a capture look. (Words of the configuration, in this order.) */
#ifndef BOXHAUL_FORMAT_CAPTURE_FORMAT_H
#define BOXHAUL_FORMAT_CAPTURE_FORMAT_H

enum capture_format {
	CAPTURE_FORMAT_ROW,      /* JSON by type, for people and most consumers */
	CAPTURE_FORMAT_TEXT,     /* each column as PostgreSQL writes it, or null: what a table can be made of again */
	CAPTURE_FORMAT_DEBEZIUM, /* before, after, source, op, ts_ms: for those who move over */
	CAPTURE_FORMAT_CLOUDEVENTS, /* as row, with the attributes of a CloudEvent as headers */
};

/* int8 as a JSON number; or as a string, for those who read numbers as doubles, which are exact up to 2^53 only. */
enum capture_int8 { CAPTURE_INT8_NUMBER, CAPTURE_INT8_STRING };

enum capture_target {
	CAPTURE_TARGET_STREAM,
	CAPTURE_TARGET_KV, /* a key of a NATS KV bucket holds the row: $KV.<bucket>.<table>.<key> */
};

#endif
