/* From the messages of the log to the events of a core: their order, their numbers, what waits and what is told of tables. */
#include "flow/capture_stream.h"

#include <string.h>

#include "base/network.h"
#include "tap.h"

/* --- messages, as a server writes them --- */

static char bytes[8192];
static size_t count;

static void put(const void *from, size_t n)
{
	memcpy(bytes + count, from, n);
	count += n;
}

static void put_text(const char *text)
{
	put(text, strlen(text) + 1);
}

static void put8(char c)
{
	put(&c, 1);
}

static void put16(unsigned n)
{
	put8((char)(n >> 8));
	put8((char)n);
}

static void put32(uint32_t n)
{
	network_write32(bytes + count, n);
	count += 4;
}

static void put64(uint64_t n)
{
	network_write64(bytes + count, n);
	count += 8;
}

/* "7|a|?|-": ? was not sent, - is null. */
static void put_tuple(const char *line)
{
	unsigned columns = 1;

	for (const char *c = line; *c != '\0'; c++)
		columns += *c == '|';
	put16(columns);
	for (const char *c = line;; c += strcspn(c, "|") + 1) {
		size_t n = strcspn(c, "|");

		if (n == 1 && (*c == '?' || *c == '-')) {
			put8(*c == '?' ? 'u' : 'n');
		} else {
			put8('t');
			put32((uint32_t)n);
			put(c, n);
		}
		if (c[n] == '\0')
			return;
	}
}

static void begin_message(char letter)
{
	count = 0;
	put8(letter);
}

/* --- what a core is given --- */

static struct capture_relations *relations;
static char given[2048];                /* a line: B17 c2 ... */
static char payload[8192], others[256]; /* of what was given last; the keys of what goes together */
static bool takes_any = true;
static unsigned takes_more;
static const char *broke;

static bool takes(void *arg)
{
	(void)arg;
	return takes_any || takes_more > 0;
}

static uint32_t not_sent = CAPTURE_NO_TABLE;

static bool several = true, known = true;

static bool knows(void *arg)
{
	(void)arg;
	return known;
}

static bool together(void *arg)
{
	(void)arg;
	return several;
}

static bool lets_go(void *arg, uint32_t table)
{
	(void)arg;
	return table == not_sent;
}

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
	size_t n = strlen(given);
	va_list args;

	va_start(args, format);
	vsnprintf(given + n, sizeof given - n, format, args);
	va_end(args);
}

/* Which one it says. */
static void say_history(const struct capture_parcel *p)
{
	static const char word[] = "\"history\":\"";
	const char *at = memmem(p->parcel.payload, p->parcel.payload_bytes, word, sizeof word - 1);

	if (at != NULL)
		say("(%.2s)", at + sizeof word - 1);
}

static void give(void *arg, struct capture_event *ev, struct capture_parcel *p)
{
	static const char *const kinds[] = { "row", "truncate", "other" };

	(void)arg;
	if (takes_more > 0)
		takes_more--;
	switch (ev->kind) {
	case CAPTURE_EVENT_BEGIN: say("B%u ", ev->begin.xid); break;
	case CAPTURE_EVENT_COMMIT: say("C%llX ", (unsigned long long)ev->commit.end_lsn); break;
	case CAPTURE_EVENT_POSITION:
		say("%s%llX ", ev->position.idle ? "K" : "P", (unsigned long long)ev->position.lsn);
		break;
	default:
		say("%s%u", kinds[ev->change.kind], ev->change.index);
		if (ev->change.other_count > 0)
			say("*%u", ev->change.other_count + 1);
		say("%s%s%s", p->parcel.last ? "!" : "", p->columns != NULL ? "s" : "",
		    p->repair_key != NULL ? "r" : "");
		say_history(p);
		say(" ");
	}
	if (p != NULL)
		snprintf(payload, sizeof payload, "%.*s", (int)p->parcel.payload_bytes,
			 (const char *)p->parcel.payload);
	for (uint32_t i = 0; p != NULL && i < ev->change.other_count; i++)
		snprintf(others + strlen(others), sizeof others - strlen(others), "%.*s ",
			 (int)ev->change.others[i].key_bytes - 4, (const char *)ev->change.others[i].key + 4);
	if (p != NULL && p->columns != NULL)
		capture_relations_set_told(relations, p->table, p->columns);
	free(p);
}

static void broken(void *arg, const char *why)
{
	(void)arg;
	broke = why;
}

/* What was given since this was asked last. */
static const char *so_far(void)
{
	static char line[sizeof given];

	memcpy(line, given, sizeof line);
	given[0] = '\0';
	return line;
}

/* --- one stream --- */

static char *tables[] = { (char[]){ "public.orders" }, (char[]){ "public.stock" } };
static char *skipped[] = { (char[]){ "back" } };
static struct config_capture capture = { .skip_applied = skipped,
					 .skip_applied_count = 1,
					 .name = (char[]){ "shop" },
					 .tables = tables,
					 .table_count = 2,
					 .subject = (char[]){ "cdc.{schema}.{table}" } };
static struct config_messages messages = { .prefix = (char[]){ "orders" },
					   .subject = (char[]){ "orders.{name}" },
					   .capture = (char[]){ "shop" } };
static struct config config = { .captures = &capture,
				.capture_count = 1,
				.messages = &messages,
				.messages_count = 1,
				.event_source = (char[]){ "/x" } };
static struct capture_maker *maker;
static struct capture_stream *stream;

static void send_message(void)
{
	capture_stream_message(stream, bytes, count);
}

static void begin(uint32_t xid, uint64_t lsn)
{
	begin_message('B');
	put64(lsn);
	put64(1000);
	put32(xid);
	send_message();
}

static void commit(uint64_t lsn)
{
	begin_message('C');
	put8(0);
	put64(lsn);
	put64(lsn + 0x10);
	put64(1000);
	send_message();
}

static char identity = 'd';

static void describe_in(const char *schema, uint32_t oid, const char *table, const char *second, const char *third)
{
	begin_message('R');
	put32(oid);
	put_text(schema);
	put_text(table);
	put8(identity);
	put16(3);
	put8(1);
	put_text("id");
	put32(20);
	put32(UINT32_MAX);
	put8(0);
	put_text(second);
	put32(25);
	put32(UINT32_MAX);
	put8(0);
	put_text(third);
	put32(25);
	put32(UINT32_MAX);
	send_message();
}

static void describe(uint32_t oid, const char *table, const char *third)
{
	describe_in("public", oid, table, "name", third);
}

static void insert(uint32_t oid, const char *row)
{
	begin_message('I');
	put32(oid);
	put8('N');
	put_tuple(row);
	send_message();
}

static void update(uint32_t oid, const char *old, const char *row)
{
	begin_message('U');
	put32(oid);
	if (old != NULL) {
		put8('K');
		put_tuple(old);
	}
	put8('N');
	put_tuple(row);
	send_message();
}

static void delete_key(uint32_t oid, const char *old)
{
	begin_message('D');
	put32(oid);
	put8('K');
	put_tuple(old);
	send_message();
}

static void truncate_both(uint32_t a, uint32_t b)
{
	begin_message('T');
	put32(2);
	put8(0);
	put32(a);
	put32(b);
	send_message();
}

static void emit_text(const char *prefix, const char *content)
{
	begin_message('M');
	put8(true);
	put64(0x50);
	put_text(prefix);
	put32((uint32_t)strlen(content));
	put(content, strlen(content));
	send_message();
}

static void emit(bool transactional, const char *prefix)
{
	begin_message('M');
	put8(transactional);
	put64(0x50);
	put_text(prefix);
	put32(1);
	put8('x');
	send_message();
}

static void order_and_numbers(void)
{
	begin(7, 0x100);
	is_text(so_far(), "B7 ", "a transaction begins");
	describe(1, "orders", "doc");
	insert(1, "1|a|x");
	is_text(so_far(), "other0s ", "its columns are told, and the change itself waits: it may be the last");
	update(1, NULL, "1|b|?");
	is_text(so_far(), "row2 ", "each waits for the next one");
	update(1, "1|-|-", "2|b|?");
	is_text(so_far(), "row5 ", "a key that stays needs no repair");
	commit(0x100);
	is_text(so_far(), "row8!r C110 ", "the last one says so; a key that changes with a value left out does");
	begin(8, 0x200);
	commit(0x200);
	is_text(so_far(), "B8 C210 ", "an empty one has no last change");
	begin(9, 0x300);
	describe(1, "orders", "doc");
	insert(1, "3|a|x");
	describe(1, "orders", "document");
	insert(1, "4|a|x");
	commit(0x300);
	is_text(so_far(), "B9 row2 other3s row5! C310 ",
		"columns are told again where they are others, and only there");
}

/* Behind a new slot nothing was told of a table: that it stands in another history is said before its first change, by each leader until the books have it. */
static void a_new_history(void)
{
	for (unsigned leader = 0; leader < 2; leader++) {
		capture_stream_begin(stream, 1);
		capture_relations_set_told(relations, 0, NULL);
		capture_relations_set_history(relations, 0, "h2");
		begin(30, 0x400);
		describe(1, "orders", "document");
		update(1, NULL, "1|a|x");
		commit(0x400);
		is_text(so_far(), "B30 other0s(h2) row2! C410 ", "before the first change");
	}
	capture_stream_begin(stream, 1);
	begin(31, 0x500);
	describe(1, "orders", "document");
	update(1, NULL, "1|b|x");
	describe(1, "orders", "doc");
	update(1, NULL, "1|c|x");
	describe(2, "stock", "doc");
	insert(2, "1|c|x");
	commit(0x500);
	is_text(so_far(), "B31 row2 other3s(h2) row5 other6s row8! C510 ",
		"and behind it where columns are told; a table whose rows nobody reads has none");
	capture_relations_set_told(relations, 1, NULL);
	begin(32, 0x600);
	describe(1, "orders", "document");
	update(1, NULL, "1|d|x");
	commit(0x600);
	capture_relations_set_history(relations, 0, "");
	so_far();
}

/* The last one may never be stored: too large for somebody, or for all. */
static void ends_for_sure(void)
{
	char large[4000], row[4100];

	memset(large, 'x', sizeof large - 1);
	large[sizeof large - 1] = '\0';
	begin(40, 0x3000);
	describe(1, "orders", "document");
	snprintf(row, sizeof row, "1|%s|x", large);
	insert(1, row);
	commit(0x3000);
	is_text(so_far(), "B40 row2 other5! C3010 ", "a message of its own says that it ends");
	begin(41, 0x3100);
	insert(1, row);
	insert(1, "2|a|x");
	commit(0x3100);
	is_text(so_far(), "B41 row2 row5! C3110 ", "where the last one is stored for sure there is none");
	begin(42, 0x3200);
	insert(1, "3|\xff|x");
	commit(0x3200);
	is_text(so_far(), "B42 row2 other5! C3210 ", "a dead letter ends no transaction either");
}

/* A table that is read whole: an insert that its rows hold already is not sent, and is no last message either. */
static void what_is_let_go(void)
{
	begin(20, 0x380);
	describe(1, "orders", "document");
	insert(1, "7|a|x");
	not_sent = 0;
	insert(1, "8|a|x");
	commit(0x380);
	is_text(so_far(), "B20 row2 other5!s C390 ", "the end of a transaction is where it is without that, too");
	begin(21, 0x3a0);
	insert(1, "9|a|x");
	not_sent = CAPTURE_NO_TABLE;
	insert(1, "10|a|x");
	commit(0x3a0);
	is_text(so_far(), "B21 row5! C3B0 ", "what is let go keeps its number");
	begin(22, 0x3c0);
	not_sent = 0;
	insert(1, "3|\xff|x");
	not_sent = CAPTURE_NO_TABLE;
	commit(0x3c0);
	is_text(so_far(), "B22 other5! C3D0 ", "nor is it told from one that was refused");
}

static void the_rest(void)
{
	begin(10, 0x400);
	describe(2, "stock", "a");
	describe(3, "strange", "a");
	insert(3, "1|a|b");
	truncate_both(1, 2);
	emit(true, "orders/paid/7");
	emit(true, "others/paid/7");
	emit(true, "boxhaul.chunk");
	commit(0x400);
	is_text(so_far(), "B10 truncate5 other6s truncate8 other11! C410 ",
		"what is not ours has a number, and is not sent; a truncate is one change for each table");
	emit(false, "boxhaul.chunk");
	is_text(so_far(), "P50 ", "our own mark outside of transactions is a place");
	emit(false, "orders/paid/7");
	is_text(so_far(), "", "somebody's there is none: it survives a roll-back");
	is_number((long long)capture_stream_left_out(stream), 1, "and is counted");
	capture_stream_keepalive(stream, 0x500);
	is_text(so_far(), "K500 ", "a keepalive");
	begin(11, 0x600);
	capture_stream_keepalive(stream, 0x700);
	is_text(so_far(), "B11 ", "inside a transaction it says nothing of what is stored");
	commit(0x600);
	so_far();
}

/* What a sink of this database has applied is not sent, and nothing else is left out. */
static void what_a_sink_applied(void)
{
	begin(21, 0x1100);
	emit_text("boxhaul.applied", "back");
	describe(1, "orders", "other");
	insert(1, "1|a|b");
	update(1, NULL, "1|a|c");
	truncate_both(1, 2);
	emit(true, "orders/paid/7");
	commit(0x1100);
	is_text(so_far(), "B21 C1110 ", "its transaction has a place, and no change");
	begin(22, 0x1200);
	insert(1, "1|a|b");
	commit(0x1200);
	is_text(so_far(), "B22 other0s row2! C1210 ", "the next one is whole, and its columns are told");
	begin(23, 0x1300);
	emit_text("boxhaul.applied", "another");
	insert(1, "2|a|b");
	commit(0x1300);
	is_text(so_far(), "B23 row5! C1310 ", "a sink that is not named");
	begin(24, 0x1400);
	insert(1, "3|a|b");
	emit_text("boxhaul.applied", "back");
	insert(1, "4|a|b");
	commit(0x1400);
	is_text(so_far(), "B24 row2 row8! C1410 ", "a mark behind a change says nothing");
}

static void tokens(void)
{
	begin(25, 0x1500);
	emit_text("boxhaul.token", "6f1c1b1e-0000-4000-8000-000000000001");
	commit(0x1500);
	is_text(so_far(), "B25 C1510 ", "a token is for sinks, which take text");
	capture.format = CAPTURE_FORMAT_TEXT;
	capture_maker_configure(maker, 1, "db");
	begin(26, 0x1600);
	emit_text("boxhaul.token", "6f1c1b1e-0000-4000-8000-000000000001");
	commit(0x1600);
	is_text(so_far(), "B26 other2! C1610 ", "they are told, in a transaction of its own");
	begin(27, 0x1700);
	emit_text("boxhaul.token", "6f1c1b1e-0000-4000-8000-00000000000");
	emit_text("boxhaul.token", "6f1c1b1e-0000-4000-8000-00000000000\n");
	commit(0x1700);
	is_text(so_far(), "B27 C1710 ", "what is no token is nobody's");
	capture.format = CAPTURE_FORMAT_ROW;
	capture_maker_configure(maker, 1, "db");
}

/* PostgreSQL 13 sends no messages: there rows say the same, at the same places. */
static void signals_that_are_rows(void)
{
	begin(31, 0x1800);
	describe_in("boxhaul", 9, "capture_signal", "prefix", "content");
	insert(9, "1|boxhaul.applied|back");
	insert(1, "5|a|b");
	truncate_both(1, 2);
	commit(0x1800);
	is_text(so_far(), "B31 C1810 ", "what a sink has applied is not sent");
	begin(32, 0x1900);
	insert(1, "5|a|b");
	insert(9, "2|boxhaul.applied|back");
	insert(1, "6|a|b");
	commit(0x1900);
	is_text(so_far(), "B32 row2 row8! C1910 ", "a mark behind a change says nothing, and no such row is sent");
	capture.format = CAPTURE_FORMAT_TEXT;
	capture_maker_configure(maker, 1, "db");
	begin(33, 0x1a00);
	insert(9, "3|boxhaul.token|6f1c1b1e-0000-4000-8000-000000000001");
	commit(0x1a00);
	is_text(so_far(), "B33 other2! C1A10 ", "a token");
	begin(34, 0x1b00);
	insert(9, "4|boxhaul.token|?");
	insert(9, "5|-|6f1c1b1e-0000-4000-8000-000000000001");
	insert(9, "6|orders/paid/7|x");
	insert(9, "7|boxhaul.a_name_that_is_longer_than_any_of_those_that_we_have_given_one|x");
	update(9, NULL, "8|boxhaul.token|6f1c1b1e-0000-4000-8000-000000000001");
	describe_in("boxhaul", 9, "capture_signal", "prefix", "words");
	insert(9, "9|boxhaul.token|6f1c1b1e-0000-4000-8000-000000000001");
	commit(0x1b00);
	is_text(so_far(), "B34 C1B10 ", "what is no signal is nothing");
	capture.format = CAPTURE_FORMAT_ROW;
	capture_maker_configure(maker, 1, "db");
}

static void what_is_not_taken(void)
{
	takes_any = false;
	takes_more = 2;
	begin(12, 0x800);
	insert(1, "1|a|b");
	insert(1, "2|a|b");
	is_text(so_far(), "B12 row2 ", "as much as is taken");
	ok(!capture_stream_go_on(stream), "and it is not to be read on");
	insert(1, "3|a|b");
	is_text(so_far(), "", "nothing more");
	takes_any = true;
	ok(capture_stream_go_on(stream), "until it is taken again");
	is_text(so_far(), "row5 ", "in order");
	commit(0x800);
	is_text(so_far(), "row8! C810 ", "to its end");
	takes_any = false;
	begin(13, 0x900);
	capture_stream_end(stream);
	takes_any = true;
	capture_stream_begin(stream, 1);
	ok(capture_stream_go_on(stream), "what waits is dropped with the connection");
	is_text(so_far(), "", "and never given");
}

static void as_text(bool text)
{
	capture.format = text ? CAPTURE_FORMAT_TEXT : CAPTURE_FORMAT_ROW;
	capture.order = text ? CONFIG_ORDER_COMMIT : CONFIG_ORDER_KEY;
	capture_maker_configure(maker, 1, "db");
}

/* Who makes tables of them is sent several changes of a transaction in one message. */
static void what_goes_together(void)
{
	as_text(true);
	begin(50, 0x4000);
	so_far();
	describe(1, "orders", "doc");
	insert(1, "1|a|x");
	insert(1, "2|b|-");
	update(1, NULL, "1|c|?");
	delete_key(1, "2|-|-");
	is_text(so_far(), "other0s ", "they wait for one another");
	commit(0x4000);
	is_text(so_far(), "row11*4! C4010 ", "and have the number of the last one");
	is_text(others, "2 1 2 ", "the core is told all keys");
	is_text(payload,
		"{\"op\":\"m\",\"table\":\"public.orders\",\"changes\":["
		"{\"op\":\"c\",\"key\":{\"id\":\"1\"},\"row\":{\"id\":\"1\",\"doc\":\"x\",\"name\":\"a\"}},"
		"{\"op\":\"c\",\"key\":{\"id\":\"2\"},\"row\":{\"id\":\"2\",\"doc\":null,\"name\":\"b\"}},"
		"{\"op\":\"u\",\"key\":{\"id\":\"1\"},\"row\":{\"id\":\"1\",\"name\":\"c\"},\"unchanged\":[\"doc\"]},"
		"{\"op\":\"d\",\"key\":{\"id\":\"2\"},\"old\":{\"id\":\"2\"}}],\"at\":\"2000-01-01T00:00:00.001000Z\"}",
		"each stands there as it does alone");
	begin(51, 0x4100);
	insert(1, "3|a|x");
	describe(1, "orders", "doc");
	insert(1, "4|a|x");
	capture_relations_set_told(relations, 0, "[]");
	describe(1, "orders", "doc");
	insert(1, "5|a|x");
	commit(0x4100);
	is_text(so_far(), "B51 other6s row8*3! C4110 ",
		"where one ends does not depend on what consumers were told: the columns go before it");
	begin(52, 0x4200);
	for (int i = 0; i < CAPTURE_MAKER_TOGETHER_MOST + 2; i++)
		insert(1, "6|a|x");
	commit(0x4200);
	is_text(so_far(), "B52 row161*54 row197*12! C4210 ", "each is small enough for any stream");
}

/* Half of a transaction may be stored when its leader dies; and the next one may know another key, which somebody gave the table since. */
static void whoever_reads_it(void)
{
	static const char *const ours[] = { "id" }, *const others_name[] = { "number" }, *const another[] = { "name" };
	static const char *const *const names[] = { ours, others_name, another };
	char first[sizeof payload];

	for (size_t leader = 0; leader < sizeof names / sizeof names[0]; leader++) {
		capture_stream_begin(stream, 1);
		capture_relations_set_key(relations, 0, names[leader], 1);
		begin(62, 0x4c00);
		describe(1, "orders", "doc");
		others[0] = '\0';
		insert(1, "1|a|x");
		update(1, NULL, "1|b|x");
		delete_key(1, "1|-|-");
		commit(0x4c00);
		is_text(so_far() + strlen("B62 "), leader == 0 ? "row8*3! C4C10 " : "row8! C4C10 ",
			"each leader makes one message of the same changes");
		is_text(others, leader == 0 ? "1 1 " : "", "where rows are read by other columns no key is told");
		if (leader == 0)
			memcpy(first, payload, sizeof first);
		is_text(payload, first, "which says the same, whoever makes it");
	}
	capture_relations_set_key(relations, 0, ours, 1);
	identity = 'f';
	describe(1, "orders", "doc");
	begin(63, 0x4d00);
	insert(1, "1|a|x");
	insert(1, "2|a|x");
	commit(0x4d00);
	is_text(so_far(), "B63 row2 row5! C4D10 ", "where the log does not say which columns the key is they go apart");
	identity = 'd';
	describe(1, "orders", "doc");
}

static void what_goes_apart(void)
{
	static char of_rows[] = "cdc.{table}.{name}", of_tables[] = "cdc.{schema}.{table}";
	char large[CAPTURE_MAKER_TOGETHER_BYTES], row[CAPTURE_MAKER_TOGETHER_BYTES + 8];

	describe(2, "stock", "doc");
	describe(3, "strange", "doc");
	begin(53, 0x4300);
	insert(1, "1|a|x");
	insert(2, "1|a|x");
	insert(2, "2|a|x");
	insert(1, "2|a|x");
	commit(0x4300);
	is_text(so_far(), "B53 row2 other3s row8*2 row11! C4310 ", "another table");
	begin(54, 0x4400);
	insert(1, "1|a|x");
	insert(3, "1|a|x");
	insert(1, "2|a|x");
	emit(true, "others/paid/7");
	insert(1, "3|a|x");
	commit(0x4400);
	is_text(so_far(), "B54 row2 row8 row14! C4410 ", "and what is not ours: another leader may know more tables");
	begin(55, 0x4500);
	insert(1, "1|a|x");
	insert(1, "2|a|x");
	update(1, "2|-|-", "3|a|x");
	insert(1, "2|a|x");
	insert(1, "4|a|x");
	truncate_both(1, 2);
	commit(0x4500);
	is_text(so_far(), "B55 row5*2 row8r row14*2 truncate17 truncate20! C4510 ", "a change of key, and a truncate");
	begin(56, 0x4600);
	insert(1, "1|\xff|x");
	insert(1, "2|a|x");
	insert(1, "3|a|x");
	commit(0x4600);
	is_text(so_far(), "B56 row2 row8*2! C4610 ", "what can never be sent");
	begin(58, 0x4680);
	insert(1, "1|a|x");
	insert(1, "2|a|x");
	insert(1, "3|\xff|x");
	insert(1, "4|a|x");
	commit(0x4680);
	is_text(so_far(), "B58 row5*2 row8 row11! C4690 ", "the same in the middle");
	memset(large, 'x', sizeof large - 1);
	large[sizeof large - 1] = '\0';
	snprintf(row, sizeof row, "2|a|%s", large);
	begin(57, 0x4700);
	insert(1, "1|a|x");
	insert(1, row);
	insert(1, "3|a|x");
	commit(0x4700);
	is_text(so_far(), "B57 row2 row5 row8! C4710 ", "what is large");
	begin(58, 0x4800);
	insert(1, "1|a|x");
	describe(1, "orders", "document");
	insert(1, "2|a|x");
	insert(1, "3|a|x");
	commit(0x4800);
	is_text(so_far(), "B58 row2 other3s row8*2! C4810 ", "other columns");
	known = false;
	begin(59, 0x4900);
	is_text(so_far(), "", "no transaction begins before it is known what the stream takes");
	ok(!capture_stream_go_on(stream), "so none of its changes is read");
	known = true;
	several = false;
	ok(capture_stream_go_on(stream), "as they are when it is");
	insert(1, "1|a|x");
	insert(1, "2|a|x");
	commit(0x4900);
	is_text(so_far(), "B59 row2 row5! C4910 ", "where the stream takes no such message");
	several = true;
	capture.subject = of_rows;
	as_text(true);
	begin(60, 0x4a00);
	insert(1, "1|a|x");
	insert(1, "2|a|x");
	commit(0x4a00);
	is_text(so_far(), "B60 row2 row5! C4A10 ", "where each row has a subject of its own");
	capture.subject = of_tables;
	as_text(false);
	begin(61, 0x4b00);
	insert(1, "1|a|x");
	insert(1, "2|a|x");
	commit(0x4b00);
	is_text(so_far(), "B61 row2 row5! C4B10 ", "and for consumers of another kind");
}

static void no_sense(void)
{
	begin(14, 0xa00);
	insert(1, "1|a|b");
	is_text(broke, "a change of a table that was not described", "what was said over the last connection is void");
	so_far();
	insert(1, "1|a|b");
	is_text(so_far(), "", "nothing is given any more");
	capture_stream_begin(stream, 1);
	begin(14, 0xa00);
	describe(1, "orders", "doc");
	insert(1, "1|a");
	is_text(broke, "a row with other columns than its table", "a row that does not fit");
	capture_stream_begin(stream, 1);
	begin(14, 0xa00);
	commit(0xb00);
	is_text(broke, "a commit of another transaction than the one that began", "another commit");
	capture_stream_begin(stream, 1);
	insert(1, "1|a|b");
	is_text(broke, "a change outside of every transaction", "a change without a transaction");
}

int main(void)
{
	struct capture_stream_handlers handlers = {
		.takes = takes, .give = give, .lets_go = lets_go, .knows = knows, .together = together, .broken = broken
	};

	relations = capture_relations_create(&config, 0);
	maker = capture_maker_create(&config, 0);
	stream = capture_stream_create(relations, maker, &handlers);
	capture_stream_begin(stream, 1);
	order_and_numbers();
	a_new_history();
	ends_for_sure();
	what_is_let_go();
	the_rest();
	what_a_sink_applied();
	tokens();
	signals_that_are_rows();
	what_goes_together();
	whoever_reads_it();
	what_goes_apart();
	what_is_not_taken();
	no_sense();
	capture_stream_free(stream);
	capture_maker_free(maker);
	capture_relations_free(relations);
	return done_testing();
}
