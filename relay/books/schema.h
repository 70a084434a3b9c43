/* The version of the schema: does this program work on it, and what mends it if not?
 *
 * A release and the one before it get along, whichever of program and schema comes first: then neither the package that is upgraded
 * unattended nor the `migrate` that somebody runs before all relays are new is an outage. How far back that goes is said by the files
 * (sql/001_schema.sql, with what a later one may do): the database keeps it for older programs, this program has it for older
 * schemas. So a statement that needs what a file of this release adds is not sent before the version was asked
 * (leader_schema()); where it is lower, the program does what the release before did. */
#ifndef BOXHAUL_BOOKS_SCHEMA_H
#define BOXHAUL_BOOKS_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "edge/pg_result.h"

/* What to ask the database, one row. Unreleased: of the files that were there before the first release. They had other subjects
 * under the same numbers; nothing brings such a schema forward. Serves: the oldest version whose program it serves. (Their table has no
 * such column.) */
#define SCHEMA_COLUMNS                                                          \
	"coalesce(pg_catalog.max(version), 0),"                                 \
	" coalesce(pg_catalog.bool_or(version = 1 AND name = 'roles'), false)," \
	" coalesce(pg_catalog.max(coalesce((pg_catalog.to_jsonb(schema_version) ->> 'serves')::pg_catalog.int4, version)), 0)"
#define SCHEMA_QUESTION "SELECT " SCHEMA_COLUMNS " FROM boxhaul.schema_version"
enum { SCHEMA_COLUMN_COUNT = 3 };

struct schema_found {
	int64_t version, serves;
	bool is_unreleased;
};

/* Of an answer that begins with SCHEMA_COLUMNS and is no error: in text, from `column` on of a binary one. */
struct schema_found schema_of_text(const struct pg_result *answer);
struct schema_found schema_of_binary(const struct pg_result *answer, int column);

/* The version that this program knows: that of the last file of sql/. */
int schema_version(void);

/* Text for a person; a command in it is as it is to be typed for the instance that `target` means (config_target()). */
enum { SCHEMA_TEXT_BYTES = 2560 };

/* Ours; another one, and this program and it get along; or nothing is to be done on it. But for the first, `what` is the case, in
 * one line, and `mend` what mends it; of the first, both are "". */
enum schema_fit { SCHEMA_OURS, SCHEMA_SERVED, SCHEMA_REFUSED };
enum schema_fit schema_fit(const struct schema_found *found, const char *target, char what[static SCHEMA_TEXT_BYTES],
			   char mend[static SCHEMA_TEXT_BYTES]);

/* The same of the answer to ledger_ready(): an error of it is not ready either. Of a schema that is ready and not ours, `what` and
 * `mend` say so. */
enum schema_readiness { SCHEMA_READY, SCHEMA_NOT_READY, SCHEMA_IN_RECOVERY };
enum schema_readiness schema_readiness(const struct pg_result *answer, const char *target,
				       char what[static SCHEMA_TEXT_BYTES], char mend[static SCHEMA_TEXT_BYTES]);

/* What mends an error that a statement on the schema ended with, by its SQLSTATE: `mend`, or NULL: nothing is known. */
const char *schema_advice(const char *sqlstate, const char *target, char mend[static SCHEMA_TEXT_BYTES]);

/* The same; where nothing is known, `boxhaul check` is to look. Returns `mend`. */
const char *schema_mend(const char *sqlstate, const char *target, char mend[static SCHEMA_TEXT_BYTES]);

#endif
