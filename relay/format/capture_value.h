/* A value as PostgreSQL writes it in a session with pinned text (edge/pg_options.h: datestyle ISO, intervalstyle iso_8601, extra_float_digits 3, timezone UTC,
 * bytea_output hex, client_encoding UTF8, lc_monetary C), as JSON.
 *
 *     bool                     true, false
 *     int2, int4, int8         a number; int8 a string on demand
 *     numeric                  a string, exact: "12.30", "NaN", "Infinity"
 *     float4, float8           the shortest number that is read as the same; "NaN", "Infinity", "-Infinity" as strings
 *     date, timestamp          a string, ISO 8601: "2026-01-02", "2026-01-02T03:04:05.678"; "infinity", "-infinity", and years BC, as PostgreSQL writes them
 *     timestamptz              the same in UTC: "2026-01-02T03:04:05.678Z"
 *     time, timetz, interval   a string: "03:04:05", "03:04:05+00", "P1M2DT3H4M5S"
 *     bytea                    a string, base64
 *     json, jsonb              as it is
 *     an array                 a JSON array, nested, of its elements; null for NULL. Its lower bounds are not in it
 *     a domain                 as its base type
 *     any other                a string: PostgreSQL's text (uuid, inet, enums, ranges, composites, hstore, tsvector, money ...) */
#ifndef BOXHAUL_FORMAT_CAPTURE_VALUE_H
#define BOXHAUL_FORMAT_CAPTURE_VALUE_H

#include <stdint.h>

#include "core/refusal.h"
#include "format/capture_format.h"
#include "format/capture_text.h"

struct capture_type {
	uint32_t oid;
	uint32_t base;    /* of a domain: the oid of the type that it is made of, at the bottom; else 0 */
	uint32_t element; /* of an array whose type is not built in: the oid of its elements, or their base; else 0 */
};

/* What pgoutput says of a type that is not built in, in a Type message: its own oid, and schema ("" or pg_catalog for that) and name of its base type, which is its own
 * where it is no domain. A name that begins with _ is that of an array, by PostgreSQL's own rule for naming; a value that is none is a text all the same. */
struct capture_type capture_value_type(uint32_t oid, const char *schema, const char *name);

/* Writes a value that is not null. DEFECT_COLUMN: it is not valid UTF-8, or nothing that the type writes; then it was written as a string all the
 * same, "\x" and its bytes in hexadecimal, for whoever has to look at it. */
enum reason capture_value_write(struct capture_text *out, const struct capture_type *type, enum capture_int8 int8,
				const char *text, size_t bytes);

/* The name of a built-in type, as format_type() says it; NULL: another one. */
const char *capture_value_type_name(uint32_t oid);

/* The bytes of a bytea in hexadecimal ("\x00ff"), put at the end of `out`. False: that is none. */
bool capture_value_unhex(struct capture_text *out, const char *text, size_t bytes);

#endif
