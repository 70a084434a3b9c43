/* Verify passes: what is known of one, as those see it who write its messages. */
#include "format/sql_name.h"
#include "run/capture_room_state.h"

struct capture_verify capture_verify_of(struct capture_one *c, uint32_t table, uint64_t reading,
					const struct capture_shape *shape)
{
	const struct capture_ledger_pass *p = &c->tables[table].pass;
	struct capture_verify v = { .pass = p->id,
				    .reading = reading,
				    .columns = p->columns,
				    .columns_bytes = p->columns_bytes,
				    .repair = p->repair,
				    .keys = p->keys,
				    .shape = shape };

	if (shape != NULL)
		return v;
	/* Its columns are not known any more, and nobody needs them: it is the end. */
	if (!sql_name_read(capture_relations_name(c->relations, table), &c->verified))
		c->verified = (struct sql_name){ .schema = "" };
	c->nameless = (struct capture_shape){ .schema = c->verified.schema, .table = c->verified.table };
	v.shape = &c->nameless;
	return v;
}
