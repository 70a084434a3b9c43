#include "run/collect.h"

#include "books/schema.h"
#include "run/housekeeping.h"

/* Of an instance without an outbox: what is asked of it is asked of its inbox. */
static void of_inbox(struct facts *f)
{
	const struct inbox_facts *inbox = f->inbox;

	f->postgres_up = inbox->postgres_up;
	f->nats_up = inbox->nats_up;
	f->postgres_why = inbox->postgres_why;
	f->nats_why = inbox->nats_why;
	f->leads = f->stands_by = false;
	for (size_t i = 0; i < inbox->count; i++) {
		const struct inbox_subscription_facts *s = &inbox->subscription[i];

		f->leads |= s->leads;
		f->stands_by |= s->stands_by;
		if (i == 0 || s->leads)
			f->role = s->role;
		if (s->trouble[0] != '\0')
			f->trouble = s->trouble;
	}
	f->stands_by &= !f->leads;
}

/* The same of one that has captures alone, or beside an inbox whose servers are the same. */
static void of_captures(struct facts *f)
{
	const struct capture_facts *captures = f->capture;

	f->postgres_up = captures->postgres_up;
	f->nats_up = captures->nats_up;
	f->postgres_why = captures->postgres_why;
	f->nats_why = captures->nats_why;
	f->leads = f->stands_by = false;
	for (size_t i = 0; i < captures->count; i++) {
		const struct capture_one_facts *c = &captures->capture[i];

		f->leads |= c->leads;
		f->stands_by |= c->stands_by;
		if (i == 0 || c->leads)
			f->role = c->role;
		if (c->trouble[0] != '\0')
			f->trouble = c->trouble;
	}
	f->stands_by &= !f->leads;
}

static int64_t behind(int64_t schema)
{
	return schema != 0 ? schema_version() - schema : 0;
}

void collect(void *relay, struct facts *f)
{
	struct relay *r = relay;
	const struct delivery_stats *s = delivery_stats(r->core);

	inbox_room_facts(r->inbox, &r->inbox_facts);
	capture_room_facts(r->captures, &r->capture_facts);
	*f = (struct facts){
		.instance = r->config->name,
		.target = r->target,
		.database = r->database,
		.server = leader_server(r->leader),
		.schema_behind = behind(r->has_outbox      ? leader_schema(r->leader)
					: r->inbox != NULL ? r->inbox_facts.schema
							   : r->capture_facts.schema),
		.now_ms = loop_now_ms(),
		.started_ms = r->started_ms,
		.stats = s,
		.backlog = backlog_look(r->backlog, s),
		.publisher = publisher_figures(r->publisher),
		.statements = r->pg != NULL ? pg_sent(r->pg) : NULL,
		.inbox = &r->inbox_facts,
		.capture = &r->capture_facts,
		.role = role_text(leader_role(r->leader)),
		.leads = leader_role(r->leader) == ROLE_LEADER,
		.stands_by = leader_role(r->leader) == ROLE_STANDBY,
		.led_by = backlog_leader(r->backlog),
		.epoch = leader_epoch(r->leader),
		.trouble = leader_trouble(r->leader),
		.postgres_up = r->postgres_up,
		.nats_up = r->nats_up,
		.postgres_why = r->postgres_why,
		.nats_why = r->nats_why,
		.nats_url = r->nats_url,
		.paused = s->paused,
		.paused_by = s->paused ? r->paused : "",
		.stream_count = r->config->stream_count,
		.found = stream_scan_found(r->scan),
		.truncations = r->truncations,
		.keyless = r->keyless,
		.cleaning = housekeeping_trouble(r),
		.connects_postgres = r->postgres_connects,
		.connects_nats = r->nats_connects,
		.reloads = reload_count(r->reload),
		.reload_ok = !reload_failed(r->reload),
		.reload_ms = reload_at_ms(r->reload),
	};
	if (!r->has_outbox && r->inbox == NULL)
		of_captures(f);
	else if (!r->has_outbox)
		of_inbox(f);
	else
		r->inbox_facts.sagas.unclocked = f->backlog->unclocked;
	progress_stall(r->progress, s, f->now_ms, f->stall, sizeof f->stall);
	for (uint16_t i = 0; i < r->config->stream_count; i++) {
		f->stream[i].name = r->streams[i];
		if (s->stream[i].blocked)
			reasons_text(r->reasons, REASONS_NO_MESSAGE, i, s->stream[i].reason, f->stream[i].reason,
				     sizeof f->stream[i].reason);
		f->stream[i].lost_ms = stream_scan_lost_ms(r->scan, i);
		if (f->now_ms - f->stream[i].lost_ms >= (int64_t)r->config->retention_ms)
			f->stream[i].lost_ms = 0; /* its rows are kept no longer: nothing of it can be sent again */
		f->stream[i].detail = stream_setup_advice(r->setup, i, s->stream[i].reason);
	}
	reasons_last(r->reasons, r->streams, f->refused, sizeof f->refused);
}