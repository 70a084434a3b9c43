/* What is known of a capture, for those who tell of it. */
#include <stdio.h>

#include "base/process.h"
#include "books/reasons.h"
#include "run/capture_room_state.h"

enum { ASK_AGAIN_MS = 5000, SECOND_MS = 1000, TABLES_MS = 10000 };

/* By the server's clock, which is the one that wrote the times of commits. */
static int64_t lag_us(const struct capture_one *c, const struct capture_stats *s)
{
	int64_t lag;

	if (!c->led)
		return -1;
	if (s->ordinal == s->marked_ordinal && s->send->resident == 0)
		return 0;
	lag = pg_walsender_server_us(c->walsender) - (s->settled_time != 0 ? s->settled_time : s->received_time);
	return lag > 0 ? lag : 0;
}

/* What a burst took would stay with us (run/tick.c). */
static void give_back(struct capture_one *c, const struct capture_stats *s)
{
	uint64_t since = s->send->bytes_published - c->given_back_at;

	if (s->send->resident > 0 || (!c->forgot && since < c->room->config->delivery.queue_bytes / 4))
		return;
	c->forgot = false;
	c->given_back_at = s->send->bytes_published;
	process_give_back();
}

/* How fast rows that were there come, table by table. A walk that began again has no rate yet. */
static void take_rates(struct capture_one *c, int64_t now)
{
	double seconds = (double)(now - c->tables_ms) / 1000;

	for (uint32_t i = 0; i < c->table_count; i++) {
		struct capture_room_table *t = &c->tables[i];
		uint64_t rows = capture_table_at(c->core, i)->rows;

		t->rate = rows >= t->rows_before ? (double)(rows - t->rows_before) / seconds : -1;
		t->rows_before = rows;
	}
	c->tables_ms = now;
}

void capture_collect_tick(struct capture_one *c, int64_t now)
{
	const struct capture_stats *s = capture_look(c->core);
	bool blocked = s->send->stream[0].blocked;

	if (now - c->second_ms >= SECOND_MS) {
		c->rate = s->send->acked - c->acked_before;
		c->acked_before = s->send->acked;
		c->second_ms = now;
	}
	if (c->led && now - c->tables_ms >= TABLES_MS)
		take_rates(c, now);
	if (!blocked)
		c->blocked_ms = 0;
	else if (c->blocked_ms == 0)
		c->blocked_ms = now;
	if (blocked && c->nats_up && now - c->asked_ms >= ASK_AGAIN_MS) {
		c->asked_ms = now;
		stream_setup_ask(c->setup, 0);
	}
	if (!s->send->found_is_sought && c->former_timeline == 0)
		c->forgot |= stream_scan_forget(c->scan);
	give_back(c, s);
}

/* --- tables --- */

/* A verify pass is under way: its rows are all stored. */
static bool is_verified(const struct capture_table *t)
{
	return t->pass != 0 && t->state != CAPTURE_TABLE_COMPLETE;
}

static const char *state_of(const struct capture_one *c, uint32_t i)
{
	static const char *const words[] = {
		[CAPTURE_TABLE_WAITING] = "waiting", [CAPTURE_TABLE_READING] = "reading",
		[CAPTURE_TABLE_READ] = "reading",    [CAPTURE_TABLE_COMPLETE] = "complete",
		[CAPTURE_TABLE_REFUSED] = "refused",
	};

	if (!c->led)
		return "";
	if (is_verified(capture_table_at(c->core, i)))
		return "verifying";
	return c->tables[i].unproved ? "unproved" : words[capture_table_at(c->core, i)->state];
}

/* What the books refuse they refuse for one reason (010: capture_may_add()); the rest is what reading them has met. */
static const char *reason_of(const struct capture_one *c, uint32_t i)
{
	return c->led && capture_table_at(c->core, i)->state == CAPTURE_TABLE_REFUSED
		       ? "this release of PostgreSQL loses changes of a table that is added to a capture"
		       : capture_chunk_trouble(c->chunk, i);
}

static void collect_tables(struct capture_one *c, struct capture_one_facts *f)
{
	f->table = c->table_facts;
	f->table_count = c->table_count;
	for (uint32_t i = 0; i < c->table_count; i++) {
		const struct capture_table *t = capture_table_at(c->core, i);
		int64_t estimate = capture_chunk_estimate(c->chunk, i);

		c->table_facts[i] = (struct capture_table_facts){
			.name = capture_relations_name(c->relations, i),
			.state = state_of(c, i),
			.reason = reason_of(c, i),
			.rows = t->rows,
			.whole = t->whole,
			.estimate = (uint64_t)(estimate > 0 ? estimate : c->tables[i].estimate),
			.rate = c->led ? c->tables[i].rate : -1,
		};
		f->verifying += c->led && is_verified(t);
		f->unfinished += c->led && t->state != CAPTURE_TABLE_COMPLETE && !is_verified(t);
	}
}

/* --- who is waited for --- */

static void collect_waits(struct capture_one *c, const struct capture_leader_state *lead, const struct capture_stats *s,
			  struct capture_one_facts *f)
{
	int64_t now = loop_now_ms();

	f->waits_for = f->waits_what = "";
	if (lead->of_slot.waits_for[0] != '\0') {
		f->waits_for = lead->of_slot.waits_for;
		f->waits_what = "the replication slot";
		f->waits_us = (now - lead->of_slot.waits_since_ms) * 1000;
	} else if (c->led && (s->reader == CAPTURE_READER_BARRIER || s->reader == CAPTURE_READER_LIMBO)) {
		snprintf(c->waits_for, sizeof c->waits_for, "%s", capture_chunk_waits_for(c->chunk));
		if (c->waits_for[0] == '\0' && s->reader == CAPTURE_READER_LIMBO)
			snprintf(c->waits_for, sizeof c->waits_for, "a commit that is not visible yet");
		f->waits_for = c->waits_for;
		f->waits_what = s->reader == CAPTURE_READER_BARRIER ? "the first chunk" : "a chunk";
		f->waits_us = c->waits_since_ms != 0 ? (now - c->waits_since_ms) * 1000 : 0;
	}
	if (f->waits_for[0] == '\0')
		c->waits_since_ms = 0;
	else if (c->waits_since_ms == 0)
		c->waits_since_ms = now;
}

/* --- all of it --- */

static void collect_stream(struct capture_one *c, const struct capture_leader_state *lead,
			   const struct capture_stats *s, struct capture_one_facts *f)
{
	f->streams = c->streams;
	f->broken = lead->of_slot.live && !c->streams ? c->stream_why : "";
	f->failed = c->mark_why;
	f->blocked = s->send->stream[0].blocked;
	f->blocked_why = "";
	if (f->blocked) {
		reasons_text(c->reasons, REASONS_NO_MESSAGE, 0, s->send->stream[0].reason, c->blocked_why,
			     sizeof c->blocked_why);
		f->blocked_why = c->blocked_why;
		f->blocked_us = c->blocked_ms != 0 ? (loop_now_ms() - c->blocked_ms) * 1000 : 0;
	}
}

void capture_collect(struct capture_one *c, struct capture_one_facts *f)
{
	const struct config_capture *conf = capture_room_config(c);
	struct capture_leader_state lead = capture_leader_look(c->leader);
	const struct capture_ledger_look *look = lead.of_slot.look;
	const struct capture_stats *s = capture_look(c->core);
	const struct pg_walsender_figures *wire = pg_walsender_figures(c->walsender);

	*f = (struct capture_one_facts){
		.name = conf->name,
		.stream = conf->stream.name,
		.slot = c->slot,
		.role = role_text(lead.role),
		.leads = lead.role == ROLE_LEADER,
		.stands_by = lead.role == ROLE_STANDBY,
		.epoch = lead.epoch,
		.trouble = lead.trouble[0] != '\0' ? lead.trouble : lead.of_slot.trouble,
		.state = lead.of_slot.known ? capture_ledger_state_word(look->state) : "",
		.reason = look->reason,
		.detail = look->detail[0] != '\0' ? look->detail : lead.of_slot.differs,
		.diverged = look->diverged,
		.paused = look->pause != 0,
		.paused_by = look->paused,
		.wal_known = lead.of_slot.known,
		.lag_bytes = (uint64_t)(look->lag > 0 ? look->lag : 0),
		.retained_bytes = (uint64_t)(look->retained > 0 ? look->retained : 0),
		.safe_bytes = (uint64_t)(look->spare > 0 ? look->spare : 0),
		.budget_bytes = conf->wal_budget,
		.lets_go = conf->on_budget == CONFIG_BUDGET_LET_GO,
		.lag_us = lag_us(c, s),
		.lag_commits = s->open_commits,
		.confirmed = s->confirmed_lsn,
		.commits = s->commits,
		.changes = s->changes,
		.bytes = wire->bytes,
		.stored = s->send->acked,
		.rate = c->rate,
		.snapshot_rows = s->rows_read,
		.chunks = s->chunks,
		.void_chunks = s->chunks_void,
		.repairs = s->repairs,
		.left_out = capture_stream_left_out(c->stream),
		.chain_broken = s->send->stream[0].broken,
		.foreign = s->send->stream[0].foreign,
		.dead = s->send->dead,
		.dead_letters = look->letters,
		.carried = s->carried,
		.held = s->held,
		.carried_full = s->carried_full,
	};
	collect_stream(c, &lead, s, f);
	collect_waits(c, &lead, s, f);
	collect_tables(c, f);
}
