#include "edge/pg_result.h"

#include <endian.h>
#include <string.h>

#include "edge/pg_answer.h"

const char *pg_error(const struct pg_result *r)
{
	return r->error[0] != '\0' ? r->error : NULL;
}

const char *pg_sqlstate(const struct pg_result *r)
{
	const char *s = r->r != NULL ? PQresultErrorField(r->r, PG_DIAG_SQLSTATE) : NULL;

	return s != NULL ? s : "";
}

bool pg_wants_session(const struct pg_result *r)
{
	const char *state = pg_sqlstate(r);

	return strcmp(state, "25006") == 0 || strcmp(state, "0A000") == 0 || strcmp(state, "26000") == 0;
}

int pg_rows(const struct pg_result *r)
{
	return r->r != NULL ? PQntuples(r->r) : 0;
}

bool pg_is_null(const struct pg_result *r, int row, int column)
{
	return PQgetisnull(r->r, row, column) != 0;
}

int64_t pg_int8(const struct pg_result *r, int row, int column)
{
	const unsigned char *v = (const unsigned char *)PQgetvalue(r->r, row, column);
	int bytes = PQgetlength(r->r, row, column);
	uint64_t x = bytes > 0 && bytes < 8 && (v[0] & 0x80) != 0 ? UINT64_MAX : 0;

	if (bytes == sizeof x) { /* most of them, several in each row */
		memcpy(&x, v, sizeof x);
		return (int64_t)be64toh(x);
	}
	for (int i = 0; i < bytes && i < 8; i++)
		x = x << 8 | v[i];
	return (int64_t)x;
}

const char *pg_bytes(const struct pg_result *r, int row, int column, size_t *bytes)
{
	*bytes = (size_t)PQgetlength(r->r, row, column);
	return PQgetvalue(r->r, row, column);
}

const char *pg_text(const struct pg_result *r, int row, int column)
{
	return r->r != NULL && row < PQntuples(r->r) ? PQgetvalue(r->r, row, column) : "";
}
