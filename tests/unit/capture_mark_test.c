#include "books/capture_mark.h"

#include <stdlib.h>

#include "core/refusal.h"
#include "format/capture_key.h"
#include "tap.h"

static char orders[] = "public.orders", parts[] = "public.parts", shop[] = "shop";
static char *tables[] = { orders, parts };
static struct config_capture capture = { .name = shop, .tables = tables, .table_count = 2 };
static char key[64];
static size_t key_bytes;

/* A key of two columns. */
static void make_key(const char *first, const char *second)
{
	char *end = capture_key_write(key, first, strlen(first));

	end = capture_key_write(end, second, strlen(second));
	key_bytes = (size_t)(end - key);
}

/* Slot 1: a row with a key. Slot 2: what can never be sent. Slot 3: the same, of which nothing is known. */
static void message_of(void *arg, uint32_t slot, struct capture_mark_message *m)
{
	(void)arg;
	if (slot == 3)
		return;
	*m = (struct capture_mark_message){ .key = key, .key_bytes = key_bytes, .position = "", .tab = "" };
	if (slot == 2)
		*m = (struct capture_mark_message){ .message_id = "8d3c0f8e-0000-4000-8000-000000000001",
						    .subject = "a\xff b",
						    .payload = "p\0q",
						    .payload_bytes = 3,
						    .pairs = "name\0value\0n\xffm\0v\xffv",
						    .pair_count = 2,
						    .position = "0/1.2.3",
						    .tab = "public.orders",
						    .key = key,
						    .key_bytes = key_bytes,
						    .why = "column note" };
}

static char *text_of(const struct capture_mark *mark, const struct capture_mark_told *told, size_t told_count,
		     struct array *payloads)
{
	struct reasons *reasons = reasons_create();
	struct capture_mark_books m = { .capture = &capture,
					.epoch = 5,
					.incarnation = 3,
					.mark = mark,
					.message = message_of,
					.told = told,
					.told_count = told_count,
					.reasons = reasons };
	char *text;

	array_begin(payloads, ARRAY_BYTEA);
	text = capture_mark_text(&m, payloads);
	reasons_free(reasons);
	return text;
}

static void check(const char *what, const char *want, const struct capture_mark *mark,
		  const struct capture_mark_told *told, size_t told_count, uint32_t payload_count)
{
	struct array payloads = { .bytes = NULL };
	char *text = text_of(mark, told, told_count, &payloads);

	tap_text(text, want, __FILE__, __LINE__, what);
	tap_number(payloads.count, payload_count, __FILE__, __LINE__, "payloads");
	free(text);
	array_free(&payloads);
}

int main(void)
{
	struct capture_cursor cursors[] = {
		{ .table = 1,
		  .now = { .state = CAPTURE_TABLE_READING,
			   .reading = 2,
			   .repair_first = 3,
			   .repair_count = 1,
			   .filenode = UINT64_MAX,
			   .rows = 7 },
		  .slot = 1,
		  .top = 1 },
		{ .table = 0,
		  .now = { .state = CAPTURE_TABLE_WAITING },
		  .restart = true,
		  .slot = CAPTURE_NO_SLOT,
		  .top = CAPTURE_NO_SLOT },
	};
	struct capture_repair repair = { .table = 1, .reading = 3, .key = key };
	struct capture_letter letters[] = { { .slot = 2, .ordinal = 41, .reason = DEFECT_COLUMN, .attempts = 1 },
					    { .slot = 3, .ordinal = 42, .reason = DEFECT_MESSAGE_LONG } };
	struct capture_carry carries[] = { { .slot = 2,
					     .ordinal = 43,
					     .lane = UINT64_MAX,
					     .low_water = 9,
					     .attempts = 2,
					     .reason = REASON_SUBJECT_FULL },
					   { .slot = 1, .ordinal = 44, .lane = 5, .low_water = LOW_WATER_UNKNOWN } };
	const struct capture_held held[] = { { 43, DEFECT_MESSAGE_LONG, 2 }, { 44, DEFECT_TRUNCATE, 0 } };
	const int64_t gone[] = { 40, 41 };
	struct capture_mark_told told = { .table = 0, .columns = "[{\"name\":\"id\"}]" };
	struct capture_mark mark = { .end_lsn = UINT64_C(0x13B001260),
				     .commit_time = 849253375684112,
				     .from_ordinal = 40,
				     .ordinal = 42,
				     .low_water = 17 };

	make_key("eu", "7, \xff");
	check("a position",
	      "{\"incarnation\":3,\"from\":40,\"end_lsn\":\"1/3B001260\",\"commit_time\":849253375684112,\"ordinal\":42,\"low_water\":17}",
	      &mark, NULL, 0, 0);
	mark = (struct capture_mark){ .end_lsn = 1, .end = { .sequence = 21, .time_ns = 3, .created_ns = 2 } };
	check("where its stream ends",
	      "{\"incarnation\":3,\"from\":0,\"end_lsn\":\"0/1\",\"ordinal\":0,\"stream_sequence\":21,"
	      "\"stream_time\":3,\"stream_created\":2}",
	      &mark, NULL, 0, 0);
	mark = (struct capture_mark){
		.end_lsn = 1, .low_water = LOW_WATER_UNKNOWN, .cursors = cursors, .cursor_count = 2
	};
	check("cursors: any bytes; back to the start",
	      "{\"incarnation\":3,\"from\":0,\"end_lsn\":\"0/1\",\"ordinal\":0,\"tables\":["
	      "{\"table\":\"public.parts\",\"state\":\"reading\",\"reading\":2,\"repair_first\":3,\"filenode\":-1,\"rows\":7,"
	      "\"cursor\":[\"6575\",\"372c20ff\"],\"top\":[\"6575\",\"372c20ff\"]},"
	      "{\"table\":\"public.orders\",\"state\":\"waiting\",\"reading\":0,\"repair_first\":0,\"filenode\":0,\"rows\":0,"
	      "\"cursor\":null,\"top\":null}]}",
	      &mark, NULL, 0, 0);
	repair.key_bytes = (uint32_t)key_bytes;
	mark = (struct capture_mark){ .end_lsn = 1, .repairs = &repair, .repair_count = 1 };
	check("repairs, and what consumers were told",
	      "{\"incarnation\":3,\"from\":0,\"end_lsn\":\"0/1\",\"ordinal\":0,"
	      "\"told\":[{\"table\":\"public.orders\",\"columns\":[{\"name\":\"id\"}]}],"
	      "\"repairs\":[{\"table\":\"public.parts\",\"reading\":3,\"key\":[\"6575\",\"372c20ff\"]}]}",
	      &mark, &told, 1, 0);
	mark = (struct capture_mark){ .end_lsn = 1, .letters = letters, .letter_count = 2 };
	check("dead letters: nothing in them keeps a mark from being made",
	      "{\"incarnation\":3,\"from\":0,\"end_lsn\":\"0/1\",\"ordinal\":0,\"letters\":["
	      "{\"ordinal\":41,\"attempts\":1,\"reason\":\"a column is not valid UTF-8, or holds nothing that its type writes: column note\",\"message_id\":\"8d3c0f8e-0000-4000-8000-000000000001\","
	      "\"subject\":\"a? b\",\"position\":\"0/1.2.3\",\"tab\":\"public.orders\",\"headers\":{\"name\":\"value\",\"n?m\":\"v?v\"},"
	      "\"key\":\"eu, 7, ?\"},{\"ordinal\":42,\"attempts\":0,\"reason\":\"message is larger than max_message_size or the server's max_payload\"}]}",
	      &mark, NULL, 0, 2);
	mark = (struct capture_mark){
		.end_lsn = 1, .carried_void = true, .carries = carries, .carry_count = 2, .gone = gone, .gone_count = 2
	};
	check("carried: three payloads for each; what is gone",
	      "{\"incarnation\":3,\"from\":0,\"end_lsn\":\"0/1\",\"ordinal\":0,\"carried\":["
	      "{\"ordinal\":43,\"lane\":-1,\"low_water\":9,\"message_id\":\"8d3c0f8e-0000-4000-8000-000000000001\",\"subject\":\"a? b\","
	      "\"bytes\":0,\"wire_bytes\":0,\"position\":\"0/1.2.3\",\"tab\":\"public.orders\",\"key\":\"eu, 7, ?\",\"why\":\"column note\","
	      "\"attempts\":2,\"reason\":\"the stream holds the most messages it may for this subject\"},"
	      "{\"ordinal\":44,\"lane\":5,\"bytes\":0,\"wire_bytes\":0,\"key\":\"eu, 7, ?\",\"attempts\":0}],"
	      "\"gone\":[40,41],\"void\":true}",
	      &mark, NULL, 0, 6);
	mark = (struct capture_mark){ .end_lsn = 1, .held = held, .held_count = 2 };
	check("what holds its key",
	      "{\"incarnation\":3,\"from\":0,\"end_lsn\":\"0/1\",\"ordinal\":0,\"held\":["
	      "{\"ordinal\":43,\"reason\":\"message is larger than max_message_size or the server's max_payload\",\"attempts\":2},"
	      "{\"ordinal\":44,\"reason\":\"the table was emptied by TRUNCATE, which a bucket cannot be told\",\"stops\":true,\"attempts\":0}]}",
	      &mark, NULL, 0, 0);
	return done_testing();
}
