#include "flow/saga_figures.h"

#include "base/utf8.h"

/* clang-format off */
enum {
	OPEN, STUCK, OLDEST_US, LATE_US, TIMEOUTS, WORST_ID, WORST_NAME, WORST_STEP, WORST_WHY, WORST_US, NAME, STATE, COUNT
};

const char saga_figures_query[] =
	"SELECT (l ->> 'open')::pg_catalog.int8, (l ->> 'stuck')::pg_catalog.int8,"
	" ((l ->> 'oldest_open_seconds')::pg_catalog.float8 * 1000000)::pg_catalog.int8,"
	" ((l ->> 'late_ms')::pg_catalog.float8 * 1000)::pg_catalog.int8, (l ->> 'timeouts')::pg_catalog.int8,"
	" l #>> '{worst,id}', l #>> '{worst,name}', l #>> '{worst,step}', l #>> '{worst,stuck}',"
	" ((l #>> '{worst,seconds}')::pg_catalog.float8 * 1000000)::pg_catalog.int8, b.name, b.state, b.count"
	" FROM (SELECT boxhaul.saga_look() AS l) x LEFT JOIN LATERAL"
	" pg_catalog.jsonb_to_recordset(l -> 'by') AS b(name pg_catalog.text, state pg_catalog.text, count pg_catalog.int8) ON true";
/* clang-format on */

static int64_t number(const struct pg_result *r, int row, int column)
{
	return pg_is_null(r, row, column) ? 0 : pg_int8(r, row, column);
}

static void words(const struct pg_result *r, int row, int column, char *to, size_t size)
{
	size_t bytes;

	utf8_line(pg_is_null(r, row, column) ? "" : pg_bytes(r, row, column, &bytes), to, size);
}

void saga_figures_read(const struct pg_result *r, struct saga_figures *f)
{
	*f = (struct saga_figures){ .known = pg_error(r) == NULL && pg_rows(r) > 0 };
	if (!f->known)
		return;
	f->open = (uint64_t)number(r, 0, OPEN);
	f->stuck = (uint64_t)number(r, 0, STUCK);
	f->oldest_us = number(r, 0, OLDEST_US);
	f->late_us = number(r, 0, LATE_US);
	f->timeouts = (uint64_t)number(r, 0, TIMEOUTS);
	words(r, 0, WORST_ID, f->worst_id, sizeof f->worst_id);
	words(r, 0, WORST_NAME, f->worst_name, sizeof f->worst_name);
	words(r, 0, WORST_STEP, f->worst_step, sizeof f->worst_step);
	words(r, 0, WORST_WHY, f->worst_why, sizeof f->worst_why);
	f->worst_us = number(r, 0, WORST_US);
	for (int i = 0; i < pg_rows(r) && f->kinds < LIMIT_SAGA_KINDS && !pg_is_null(r, i, NAME); i++) {
		struct saga_kind *k = &f->kind[f->kinds++];

		words(r, i, NAME, k->name, sizeof k->name);
		words(r, i, STATE, k->state, sizeof k->state);
		k->open = (uint64_t)number(r, i, COUNT);
	}
}
