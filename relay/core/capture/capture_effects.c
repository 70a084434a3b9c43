/* Nothing is decided here but what goes first. */
#include "core/capture/capture_effects.h"

#include "core/capture/capture_log.h"
#include "core/capture/capture_mutant.h"
#include "core/capture/capture_piece.h"
#include "core/capture/capture_questions.h"
#include "core/capture/capture_sending.h"
#include "core/capture/capture_walks.h"

static bool next_release(struct capture *c, struct capture_effect *f)
{
	struct effect e;

	while (memory_next_release(c->send, &e))
		capture_sending_released(c, e.release.slot);
	if (!capture_rows_next_release(&c->rows, &f->release.slot))
		return false;
	f->kind = CAPTURE_EFFECT_RELEASE;
	return true;
}

static bool next_note(struct capture *c, struct capture_effect *f)
{
	if (capture_walks_next_note(&c->reading, f))
		return true;
	if (c->lost_end && !c->lost_end_told) {
		c->lost_end_told = true;
		f->kind = CAPTURE_EFFECT_LOST_END;
		f->lost = c->marking.end.lost;
		return true;
	}
	if (!notes_wait(&c->notes))
		return false;
	f->kind = CAPTURE_EFFECT_COMMON;
	f->common.kind = EFFECT_NOTE;
	f->common.note = notes_take(&c->notes);
	return true;
}

static bool next_end(struct capture *c, struct capture_effect *f)
{
	return capture_marking_next_end(&c->marking, c->now_ms, lookback_last_known(c->send, 0),
					lookback_is_known(c->send, 0) ? c->now_ms + c->set.send.ack_timeout_ms : 0, f);
}

static bool next_mark(struct capture *c, struct capture_effect *f)
{
	struct level fresh = capture_sending_level(c);

	if (c->lost_end)
		return false;
	if (capture_marking_may(&c->marking, c->now_ms))
		capture_carried_take(&c->carried, c->now_ms, fresh.sequence[0]);
	if (c->set.in_commit_order && next_end(c, f))
		return true;
	return capture_marking_next(&c->marking, c->now_ms, &fresh, f);
}

/* Also while nothing is to be sent: the look that counts comes behind the lease of an earlier leader, and needs ours. It tells what a promotion has lost. */
int64_t capture_effects_renew_at(const struct capture *c)
{
	bool works = memory_has_work(c->send) || chain_has_work(c->send) || lookback_is_wanted(c->send);

	return works && !c->marking.under_way ? lead_renew_at(&c->lead) : INT64_MAX;
}

static bool next_renew(struct capture *c, struct capture_effect *f)
{
	if (c->now_ms < capture_effects_renew_at(c))
		return false;
	lead_renewing(&c->lead);
	f->kind = CAPTURE_EFFECT_COMMON;
	f->common.kind = EFFECT_RENEW;
	return true;
}

static bool next_question(struct capture *c, struct capture_effect *f)
{
	return lead_may_read(&c->lead) && !c->lost_end &&
	       capture_questions_next(&c->reading, !c->log.open, c->log.stream == STREAM_UP, f);
}

static bool next_fetch(struct capture *c, struct capture_effect *f)
{
	if (!lead_may_read(&c->lead) || c->lost_end)
		return false;
	f->fetch.count = capture_carried_fetch(&c->carried, c->send);
	f->fetch.ordinals = c->carried.fetch;
	f->kind = CAPTURE_EFFECT_FETCH;
	return f->fetch.count > 0;
}

static bool next_lookback(struct capture *c, struct capture_effect *f)
{
	uint16_t stream;

	if (!lead_may_look(&c->lead, c->now_ms) || !lookback_next(c->send, &stream))
		return false;
	f->kind = CAPTURE_EFFECT_COMMON;
	lookback_take(c->send, stream, capture_carried_lowest(&c->carried), &f->common);
	f->common.lookback.marked = c->set.in_commit_order ? capture_end_looks(&c->marking.end) : 0;
	return true;
}

static bool next_publish(struct capture *c, struct capture_effect *f)
{
	bool asks = false;

	if (!lead_may_publish(&c->lead, c->now_ms) || c->lost_end || c->now_ms < c->publish_at)
		return false;
	f->kind = CAPTURE_EFFECT_COMMON;
	if (sending_next(c->send, &f->common, &asks)) {
		capture_sending_publish(c, &f->common);
		capture_sending_outcomes(c);
		return true;
	}
	/* It found messages about which the stream must be asked first; or dead letters. */
	capture_sending_outcomes(c);
	return (asks && next_lookback(c, f)) || next_release(c, f) || next_note(c, f) || next_mark(c, f);
}

static bool is_under_way(const struct capture *c)
{
	return lead_is_held(&c->lead) && !c->lost_end &&
	       (memory_in_flight(c->send) > 0 || c->marking.under_way || capture_marking_wanted(&c->marking));
}

static bool next_quiet(struct capture *c, struct capture_effect *f)
{
	f->kind = CAPTURE_EFFECT_COMMON;
	if (lead_may_be_quiet(&c->lead, c->now_ms) && !is_under_way(c)) {
		f->common.kind = EFFECT_QUIET;
		f->common.quiet.operator_pause = c->lead.operator_pause;
		lead_said_quiet(&c->lead);
		return true;
	}
	if (lead_may_be_drained(&c->lead) && !is_under_way(c)) {
		f->common.kind = EFFECT_DRAINED;
		lead_said_drained(&c->lead);
		return true;
	}
	return false;
}

bool capture_effects_next(struct capture *c, struct capture_effect *f)
{
	if (next_release(c, f) || next_note(c, f))
		return true;
	if (lead_is_held(&c->lead) &&
	    (next_mark(c, f) || capture_marking_next_confirm(&c->marking, f) || capture_log_next(c, f) ||
	     capture_piece_next(&c->reading, f) || next_question(c, f) || next_fetch(c, f) || next_renew(c, f) ||
	     next_lookback(c, f) || next_publish(c, f)))
		return true;
	return next_quiet(c, f);
}
