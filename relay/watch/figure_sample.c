/* The samples of a figure: from where it stands in the facts to a value with its labels. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "books/inbox_ledger.h"
#include "books/ledger.h"
#include "core/refusal.h"
#include "flow/publisher.h"
#include "watch/figure_places.h"
#include "watch/figures.h"

static bool count(struct figure_sample *out, const char *label, int64_t n)
{
	out->label = label;
	out->type = SAMPLE_COUNT;
	out->count = n;
	return true;
}

static bool flag(struct figure_sample *out, const char *label, bool is)
{
	out->label = label;
	out->type = SAMPLE_FLAG;
	out->flag = is;
	return true;
}

static bool real(struct figure_sample *out, const char *label, double n)
{
	out->label = label;
	out->type = SAMPLE_REAL;
	out->real = n;
	return true;
}

static bool value(enum figure_kind kind, const void *at, const char *label, struct figure_sample *out)
{
	switch (kind) {
	case FLAG: return flag(out, label, *(const bool *)at);
	case WHOLE: return count(out, label, *(const int64_t *)at);
	case COUNT: return count(out, label, (int64_t) * (const uint64_t *)at);
	case SMALL: return count(out, label, *(const uint32_t *)at);
	case SIZE: return count(out, label, (int64_t) * (const size_t *)at);
	case REAL: return real(out, label, *(const double *)at);
	case MICROSECONDS: return real(out, label, (double)*(const int64_t *)at / 1e6);
	case TIMES: break;
	}
	out->label = label;
	out->type = SAMPLE_TIMES;
	out->times = at;
	return true;
}

static const char *cause(size_t i)
{
	static const char *const causes[WAKEUPS] = {
		[WAKEUP_OF_POLL] = "poll", [WAKEUP_OF_SAFETY] = "safety_poll", [WAKEUP_OF_NOTIFY] = "notify",
		[WAKEUP_OF_MORE] = "more", [WAKEUP_OF_PROBE] = "probe",
	};

	return causes[i];
}

/* The i-th that occurred. */
static bool refusals(const struct delivery_stats *s, size_t i, struct figure_sample *out)
{
	for (size_t k = 0; k < sizeof s->refusals / sizeof s->refusals[0]; k++) {
		uint32_t reason = s->refusals[k].reason;

		if (s->refusals[k].count == 0 || i-- > 0)
			continue;
		/* Without the server's words: they may differ from message to message, and each would be a series of its own. */
		reasons_sentence(reason, "", out->text, sizeof out->text);
		return count(out, reason == REASON_NONE ? "other" : out->text, (int64_t)s->refusals[k].count);
	}
	return false;
}

/* Of a subscription the structure that the figure stands in; NULL: it is not known. */
static const void *of_subscription(enum figure_place place, const struct inbox_subscription_facts *s)
{
	switch (place) {
	case SUBSCRIPTION_BACKLOG: return s->backlog->known ? s->backlog : NULL;
	case SUBSCRIPTION_SINK: return s->backlog->known && s->backlog->sink ? s->backlog : NULL;
	case SUBSCRIPTION_PROVED:
		return s->backlog->known && s->backlog->sink && s->backlog->proved_us >= 0 ? s->backlog : NULL;
	case SUBSCRIPTION_STATS: return s->stats;
	case SUBSCRIPTION_HANDLER: return s->has_handler ? &s->handler : NULL;
	case SUBSCRIPTION_LAG: return s->lag_known ? s : NULL;
	case SUBSCRIPTION_BEHIND: return s->lag_us >= 0 ? s : NULL;
	default: return s;
	}
}

/* The i-th of those that are known. */
static bool subscription(const struct figure *g, const struct inbox_facts *f, size_t i, struct figure_sample *out)
{
	for (size_t k = 0; f != NULL && k < f->count; k++) {
		const struct inbox_subscription_facts *s = &f->subscription[k];
		const char *base = of_subscription((enum figure_place)g->place, s);

		if (base == NULL || i-- > 0)
			continue;
		return g->place == SUBSCRIPTION_STOPPED
			       ? flag(out, s->name, s->stats->stop != INBOX_STOP_NONE)
			       : value((enum figure_kind)g->kind, base + g->offset, s->name, out);
	}
	return false;
}

/* The i-th table that has a snapshot. Its label is the capture. */
static bool captured_table(const struct figure *g, const struct capture_facts *f, size_t i, struct figure_sample *out)
{
	for (size_t k = 0; k < f->count; k++)
		for (size_t n = 0; n < f->capture[k].table_count; n++) {
			const struct capture_table_facts *t = &f->capture[k].table[n];

			if (t->state[0] == '\0' || i-- > 0)
				continue;
			out->more[0].name = "table";
			out->more[0].value = t->name;
			out->more[1].name = NULL;
			return value((enum figure_kind)g->kind, (const char *)t + g->offset, f->capture[k].name, out);
		}
	return false;
}

static bool is_known(enum figure_place place, const struct capture_one_facts *c)
{
	return place == CAPTURE_WAL ? c->wal_known : place != CAPTURE_LAG || c->lag_us >= 0;
}

/* The i-th of those that are known. */
static bool capture(const struct figure *g, const struct capture_facts *f, size_t i, struct figure_sample *out)
{
	if (f == NULL || g->place == CAPTURE_TABLE)
		return f != NULL && captured_table(g, f, i, out);
	for (size_t k = 0; k < f->count; k++) {
		const struct capture_one_facts *c = &f->capture[k];

		if (!is_known((enum figure_place)g->place, c) || i-- > 0)
			continue;
		return g->place == CAPTURE_DIVERGED ? flag(out, c->name, c->diverged[0] != '\0')
		       : g->place == CAPTURE_GAP
			       ? flag(out, c->name, strcmp(c->state, "gap") == 0)
			       : value((enum figure_kind)g->kind, (const char *)c + g->offset, c->name, out);
	}
	return false;
}

/* The i-th name and state. Its label is the name, for one name may be open in two states. */
static bool open_sagas(const struct saga_figures *f, size_t i, struct figure_sample *out)
{
	if (i >= f->kinds)
		return false;
	out->more[0].name = "state";
	out->more[0].value = f->kind[i].state;
	out->more[1].name = NULL;
	return count(out, f->kind[i].name, (int64_t)f->kind[i].open);
}

/* Of the outbox's session, then of the inbox's. */
static bool statement(const struct facts *f, size_t i, struct figure_sample *out)
{
	size_t of_outbox = f->statements != NULL ? STATEMENTS : 0;

	if (i < of_outbox)
		return count(out, ledger_statement_name((unsigned)i), (int64_t)f->statements[i]);
	i -= of_outbox;
	return f->inbox != NULL && f->inbox->count > 0 && i < INBOX_STATEMENTS &&
	       count(out, inbox_ledger_statement_name((unsigned)i), (int64_t)f->inbox->statements[i]);
}

/* Who the relay is, in labels: alerts and the dashboard join it to the other figures by job and instance, which every scrape adds. Of a
 * server its own number, not its address: relays of one database may have different ways to it, and databases of one name may be on
 * different servers. */
static bool info(const struct facts *f, struct figure_sample *out)
{
	out->text[0] = '\0';
	if (f->server != 0)
		snprintf(out->text, sizeof out->text, "%" PRIu64, f->server);
	out->more[0].name = "database";
	out->more[0].value = f->database;
	out->more[1].name = "server";
	out->more[1].value = out->text;
	out->more[2].name = "version";
	out->more[2].value = PACKAGE_VERSION;
	out->more[3].name = NULL;
	return count(out, f->instance, 1);
}

static bool one_of_many(const struct figure *g, const struct figure_source *s, size_t i, struct figure_sample *out)
{
	const struct facts *f = s->facts;

	switch ((enum figure_place)g->place) {
	case STREAM:
		return i < f->stream_count &&
		       value((enum figure_kind)g->kind, (const char *)&f->stats->stream[i] + g->offset,
			     f->stream[i].name, out);
	case STREAM_QUEUE:
		return f->backlog->known && i < f->stream_count &&
		       count(out, f->stream[i].name, f->backlog->stream[i].messages);
	case STREAM_WIRE:
		return i < f->stream_count && flag(out, f->stream[i].name, f->stats->stream[i].wire == WIRE_BATCHES);
	case STREAM_LOST: return i < f->stream_count && flag(out, f->stream[i].name, f->stream[i].lost_ms != 0);
	case WAKEUP_CAUSES: return i < WAKEUPS && count(out, cause(i), (int64_t)f->stats->wakeups[i]);
	case REASONS: return refusals(f->stats, i, out);
	case STATEMENT: return statement(f, i, out);
	case SUBSCRIPTION:
	case SUBSCRIPTION_BACKLOG:
	case SUBSCRIPTION_SINK:
	case SUBSCRIPTION_PROVED:
	case SUBSCRIPTION_STATS:
	case SUBSCRIPTION_HANDLER:
	case SUBSCRIPTION_LAG:
	case SUBSCRIPTION_BEHIND:
	case SUBSCRIPTION_STOPPED: return subscription(g, f->inbox, i, out);
	case CAPTURE:
	case CAPTURE_WAL:
	case CAPTURE_LAG:
	case CAPTURE_GAP:
	case CAPTURE_DIVERGED:
	case CAPTURE_TABLE: return capture(g, f->capture, i, out);
	case SAGAS_OPEN: return f->inbox != NULL && open_sagas(f->inbox->sagas.figures, i, out);
	case STATE:
		return i < VERDICT_STATES &&
		       flag(out, verdict_state_text((enum verdict_state)i), i == s->verdict->state);
	default: return i == 0 && info(f, out);
	}
}

static const void *base_of(const struct figure *g, const struct figure_source *s)
{
	switch ((enum figure_place)g->place) {
	case FACTS: return s->facts;
	case STATS: return s->facts->stats;
	case BACKLOG: return s->facts->backlog->known ? s->facts->backlog : NULL;
	case PUBLISHER: return s->facts->publisher;
	case VERDICT: return s->verdict;
	case SAGAS:
		return s->facts->inbox != NULL && s->facts->inbox->sagas.figures->known ? s->facts->inbox->sagas.figures
											: NULL;
	case SAGAS_HERE: return s->facts->inbox != NULL && s->facts->inbox->sagas.here ? &s->facts->inbox->sagas : NULL;
	default: return s->process;
	}
}

bool figure_sample(const struct figure *g, const struct figure_source *s, size_t i, struct figure_sample *out)
{
	const char *base;

	out->more[0].name = NULL;
	if (g->label != NULL)
		return one_of_many(g, s, i, out);
	if (i > 0)
		return false;
	if (g->place == ASLEEP)
		return flag(out, NULL, s->facts->stats->pace == PACE_ASLEEP);
	base = base_of(g, s);
	if (base == NULL)
		return false;
	value((enum figure_kind)g->kind, base + g->offset, NULL, out);
	/* The kernel did not tell. */
	return g->place != PROCESS || (out->type == SAMPLE_REAL ? out->real >= 0 : out->count >= 0);
}
