/* A row that was to go with others and goes alone is the message that it would have been. */
#include "flow/capture_maker.h"

#include "tap.h"

#define VALUE(s)                                                           \
	{                                                                  \
		.kind = PGOUTPUT_TEXT, .text = (s), .bytes = sizeof(s) - 1 \
	}
#define NOTHING                       \
	{                             \
		.kind = PGOUTPUT_NULL \
	}

static const struct capture_column of_orders[] = {
	{ "id", { 20, 0, 0 }, -1, "bigint", 1 },
	{ "note", { 25, 0, 0 }, -1, "text", 0 },
};
static const struct capture_shape orders = { "public", "orders", of_orders, 2, 1, NULL };

/* The key has another order than the columns. */
static const struct capture_column of_lines[] = {
	{ "line", { 23, 0, 0 }, -1, "integer", 2 },
	{ "say \"no\"", { 25, 0, 0 }, -1, "text", 0 },
	{ "order", { 25, 0, 0 }, -1, "text", 1 },
};
static const struct capture_shape lines = { "sales", "Lines", of_lines, 3, 2, NULL };

static const struct capture_shape long_name = {
	"public", "a_name_of_a_table_that_is_as_long_as_a_name_may_be_in_the_server", of_orders, 2, 1, NULL
};

static struct config_capture capture = { .name = (char[]){ "shop" },
					 .subject = (char[]){ "cdc.{capture}.{schema}.{table}" },
					 .format = CAPTURE_FORMAT_TEXT,
					 .order = CONFIG_ORDER_COMMIT,
					 .target = CAPTURE_TARGET_STREAM };
static struct config config = { .captures = &capture, .capture_count = 1, .event_source = (char[]){ "/shop" } };
static struct capture_maker *maker;
static struct capture_writer writer;

static struct capture_read_row row_of(const struct capture_shape *shape, const char *tab,
				      const struct pgoutput_value *values)
{
	return (struct capture_read_row){ .shape = shape,
					  .values = values,
					  .snapshot = "8d3c0f8e-0000-4000-8000-000000000001",
					  .reading = 3,
					  .table = 1,
					  .tab = tab };
}

/* What is written at once, without the maker. */
static enum reason write_at_once(const struct capture_read_row *row, struct capture_message *m)
{
	const struct capture_style style = { .capture = capture.name,
					     .database = "shop",
					     .event_source = config.event_source,
					     .subject = capture.subject,
					     .format = capture.format,
					     .target = capture.target,
					     .in_commit_order = true,
					     .system = 7000000000000000001 };
	const struct capture_change c = { .op = CAPTURE_OP_READ,
					  .shape = row->shape,
					  .row = row->values,
					  .place = { .system = style.system },
					  .snapshot = row->snapshot,
					  .reading = row->reading };

	return capture_event_write(&writer, &style, &c, m);
}

static bool is_same(const void *a, size_t a_bytes, const void *b, size_t b_bytes)
{
	return a_bytes == b_bytes && memcmp(a, b, a_bytes) == 0;
}

static void is_message(const struct capture_parcel *p, const struct capture_message *m, const char *what)
{
	ok(p->snapshot == NULL && p->defect == REASON_NONE, "%s: it is a message", what);
	is_text(p->parcel.message_id, m->id, "its id");
	is_text(p->parcel.subject, m->subject, "its subject");
	ok(is_same(p->parcel.payload, p->parcel.payload_bytes, m->payload, m->payload_bytes), "its payload");
	diag("%.*s", (int)p->parcel.payload_bytes, (const char *)p->parcel.payload);
	is_number((long long)p->parcel.pair_count, (long long)m->header_count, "its headers, as many");
	ok(memcmp(p->parcel.pairs, m->headers, m->headers_bytes) == 0, "its headers");
	is_number((long long)p->parcel.wire_bytes, (long long)m->wire_bytes, "what it takes on the wire");
}

static void is_the_same_alone(const struct capture_shape *shape, const char *tab, const struct pgoutput_value *values,
			      const char *what)
{
	struct capture_read_row row = row_of(shape, tab, values);
	struct capture_parcel *part = capture_maker_row(maker, &row), *p;
	struct capture_message m;

	ok(part->snapshot != NULL && part->part != NULL && part->parcel.message_id[0] == '\0',
	   "%s: it is no message at first", what);
	p = capture_maker_alone(maker, part);
	write_at_once(&row, &m);
	is_message(p, &m, what);
	ok(is_same(p->key, p->key_bytes, part->key, part->key_bytes) && p->lane == part->lane &&
		   p->table == part->table,
	   "for the core it is the same row");
	is_text(p->tab, tab, "its table");
	free(p);
	free(part);
}

static void rows_that_go_alone(void)
{
	is_the_same_alone(&orders, "public.orders", (struct pgoutput_value[]){ VALUE("42"), VALUE("a \"b\"\n") },
			  "a row");
	is_the_same_alone(&orders, "public.orders", (struct pgoutput_value[]){ VALUE("42"), NOTHING }, "a null");
	is_the_same_alone(&lines, "sales.\"Lines\"",
			  (struct pgoutput_value[]){ VALUE("7"), VALUE("x"), VALUE("a/b%\"c\303\244\n") },
			  "a key of two columns, with everything that is escaped");
	is_the_same_alone(&lines, "sales.\"Lines\"", (struct pgoutput_value[]){ VALUE("7"), VALUE(""), VALUE("") },
			  "a key with nothing in it");
}

static void is_made_at_once(struct capture_read_row row, enum reason defect, const char *what)
{
	struct capture_parcel *p = capture_maker_row(maker, &row);

	ok(p->snapshot == NULL && p->parcel.message_id[0] != '\0' && p->defect == defect, "%s is a message at once",
	   what);
	free(p);
}

static void rows_that_are_messages(void)
{
	static char large[8192], subject[512] = "cdc";
	struct pgoutput_value values[] = { VALUE("42"), { .kind = PGOUTPUT_TEXT, .text = large, .bytes = 8192 } };
	struct capture_read_row numbered =
		row_of(&orders, "public.orders", (struct pgoutput_value[]){ VALUE("42"), NOTHING });

	memset(large, 'x', sizeof large);
	is_made_at_once(row_of(&orders, "public.orders", values), REASON_NONE, "one that is too large for company");
	is_made_at_once(row_of(&orders, "public.orders", (struct pgoutput_value[]){ VALUE("42"), VALUE("\377") }),
			DEFECT_COLUMN, "one with a value that is no UTF-8");
	numbered.nth = 9;
	is_made_at_once(numbered, REASON_NONE, "one of a table without a key");
	capture.order = CONFIG_ORDER_KEY;
	capture_maker_configure(maker, 7000000000000000001, "shop");
	numbered.nth = 0;
	is_made_at_once(numbered, REASON_NONE, "one of a capture by key");
	capture.order = CONFIG_ORDER_COMMIT;
	capture.subject = (char[]){ "cdc.{table}.{id}" };
	capture_maker_configure(maker, 7000000000000000001, "shop");
	is_made_at_once(numbered, REASON_NONE, "one with a subject of its own");
	numbered.shape = &long_name;
	for (size_t i = 0; i <= MESSAGE_SUBJECT_MAX_BYTES / strlen(long_name.table); i++)
		snprintf(subject + strlen(subject), sizeof subject - strlen(subject), ".{table}");
	capture.subject = subject;
	capture_maker_configure(maker, 7000000000000000001, "shop");
	is_made_at_once(numbered, DEFECT_SUBJECT_LONG, "one whose subject is too long");
}

int main(void)
{
	maker = capture_maker_create(&config, 0);
	capture_maker_configure(maker, 7000000000000000001, "shop");
	rows_that_go_alone();
	rows_that_are_messages();
	capture_maker_free(maker);
	capture_message_free(&writer);
	return done_testing();
}
