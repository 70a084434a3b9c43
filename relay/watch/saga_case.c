#include "watch/saga_case.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/duration.h"

static bool no_clock(const struct saga_facts *f, const char *target, struct saga_case *c)
{
	c->stalled = true;
	snprintf(c->what, sizeof c->what, "Deadlines of sagas are not taken: %s", f->trouble);
	snprintf(c->mend, sizeof c->mend,
		 "`boxhaul check %s` says what is wrong; boxhaul-runbook(7) says what to do: sagas-late", target);
	return f->trouble[0] != '\0';
}

static bool has_stuck(const struct saga_facts *f, const char *target, struct saga_case *c)
{
	const struct saga_figures *g = f->figures;
	char age[32];

	c->stalled = false;
	snprintf(c->what, sizeof c->what, "%" PRIu64 " saga%s stuck; the oldest, %s %s, at step %s for %s: %s",
		 g->stuck, g->stuck == 1 ? " is" : "s are", g->worst_name, g->worst_id, g->worst_step,
		 duration_text((double)g->worst_us / 1e6, age, sizeof age), g->worst_why);
	snprintf(c->mend, sizeof c->mend,
		 "`boxhaul sagas show %s %s` shows what it waits for; boxhaul-runbook(7) says what to do: sagas-stuck",
		 target, g->worst_id);
	return g->stuck > 0;
}

/* By the configuration that is read here they are nobody's business, and still somebody has to be told: the group was taken out, or its daemon
 * is not there. */
static bool is_unclocked(const struct saga_facts *f, const char *target, struct saga_case *c)
{
	c->stalled = false;
	snprintf(c->what, sizeof c->what, "%" PRIu64 " saga%s open, and no daemon takes their answers and deadlines",
		 f->unclocked, f->unclocked == 1 ? " is" : "s are");
	snprintf(
		c->mend, sizeof c->mend,
		"start the daemon whose configuration has the group sagas, or give it to one of this database, with the stream and the "
		"subject that `boxhaul inbox show %s sagas.replies` shows, and restart it",
		target);
	return f->unclocked > 0;
}

bool saga_case_is(const struct saga_facts *f, const char *target, size_t n, struct saga_case *out)
{
	if (n == SAGA_CASE_UNCLOCKED)
		return is_unclocked(f, target, out);
	return f->here && (n == 0 ? no_clock(f, target, out) : has_stuck(f, target, out));
}
