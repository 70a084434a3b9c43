#include "books/schema.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "books/sql_files.h"

int schema_version(void)
{
	int newest = 0;

	for (const struct sql_file *f = sql_files; f->name != NULL; f++)
		newest = f->version;
	return newest;
}

/* The oldest version that gets along with ours. */
static int oldest_served(void)
{
	int oldest = 0;

	for (const struct sql_file *f = sql_files; f->name != NULL; f++) {
		int serves = f->serves != 0 ? f->serves : f->version;

		if (serves > oldest)
			oldest = serves;
	}
	return oldest;
}

struct schema_found schema_of_text(const struct pg_result *answer)
{
	return (struct schema_found){ .version = strtoll(pg_text(answer, 0, 0), NULL, 10),
				      .is_unreleased = pg_text(answer, 0, 1)[0] == 't',
				      .serves = strtoll(pg_text(answer, 0, 2), NULL, 10) };
}

struct schema_found schema_of_binary(const struct pg_result *answer, int column)
{
	return (struct schema_found){ .version = pg_int8(answer, 0, column),
				      .is_unreleased = pg_int8(answer, 0, column + 1) != 0,
				      .serves = pg_int8(answer, 0, column + 2) };
}

enum schema_fit schema_fit(const struct schema_found *found, const char *target, char what[static SCHEMA_TEXT_BYTES],
			   char mend[static SCHEMA_TEXT_BYTES])
{
	int64_t has = found->version, ours = schema_version(), oldest = oldest_served();
	bool serves = has < ours ? has >= oldest : found->serves <= ours;
	const char *suits = serves ? " when it suits" : "";

	what[0] = mend[0] = '\0';
	if (found->is_unreleased) { /* sql/001_schema.sql says the same of one */
		snprintf(what, SCHEMA_TEXT_BYTES, "the schema has the unreleased version %" PRId64, has);
		snprintf(mend, SCHEMA_TEXT_BYTES,
			 "when all its messages are sent, DROP SCHEMA boxhaul CASCADE, then run `boxhaul migrate %s`",
			 target);
		return SCHEMA_REFUSED;
	}
	if (has == ours)
		return SCHEMA_OURS;
	if (has < ours) {
		snprintf(what, SCHEMA_TEXT_BYTES, "the schema has version %" PRId64 ", this boxhaul %s %" PRId64, has,
			 serves ? "serves it and knows" : "needs", serves ? ours : oldest);
		snprintf(mend, SCHEMA_TEXT_BYTES, "run `boxhaul migrate %s`%s", target, suits);
	} else {
		snprintf(what, SCHEMA_TEXT_BYTES, "the schema has version %" PRId64 "%s, this boxhaul knows %" PRId64,
			 has, serves ? " and serves relays of an older one" : "", ours);
		snprintf(mend, SCHEMA_TEXT_BYTES, "install the newer boxhaul%s", suits);
	}
	return serves ? SCHEMA_SERVED : SCHEMA_REFUSED;
}

const char *schema_advice(const char *sqlstate, const char *target, char mend[static SCHEMA_TEXT_BYTES])
{
	static const char *const not_whole[] = { "3F000", "42P01", "42883", "42703" };

	if (strcmp(sqlstate, "42501") == 0) {
		snprintf(mend, SCHEMA_TEXT_BYTES,
			 "GRANT boxhaul_relay TO this login (to look, boxhaul_monitor is enough)");
		return mend;
	}
	for (size_t i = 0; i < sizeof not_whole / sizeof not_whole[0]; i++)
		if (strcmp(not_whole[i], sqlstate) == 0) {
			snprintf(mend, SCHEMA_TEXT_BYTES, "run `boxhaul migrate %s`, then `boxhaul check %s`", target,
				 target);
			return mend;
		}
	return NULL;
}

const char *schema_mend(const char *sqlstate, const char *target, char mend[static SCHEMA_TEXT_BYTES])
{
	if (schema_advice(sqlstate, target, mend) == NULL)
		snprintf(mend, SCHEMA_TEXT_BYTES, "see `boxhaul check %s`", target);
	return mend;
}

enum schema_readiness schema_readiness(const struct pg_result *answer, const char *target,
				       char what[static SCHEMA_TEXT_BYTES], char mend[static SCHEMA_TEXT_BYTES])
{
	struct schema_found found;

	if (pg_error(answer) != NULL) {
		snprintf(what, SCHEMA_TEXT_BYTES, "%s", pg_error(answer));
		schema_mend(pg_sqlstate(answer), target, mend);
		return SCHEMA_NOT_READY;
	}
	found = schema_of_binary(answer, 0);
	if (schema_fit(&found, target, what, mend) == SCHEMA_REFUSED)
		return SCHEMA_NOT_READY;
	if (pg_int8(answer, 0, SCHEMA_COLUMN_COUNT) == 0)
		return SCHEMA_READY;
	snprintf(what, SCHEMA_TEXT_BYTES, "the server is in recovery (a standby)");
	snprintf(mend, SCHEMA_TEXT_BYTES, "connect to the primary (target_session_attrs=read-write)");
	return SCHEMA_IN_RECOVERY;
}
