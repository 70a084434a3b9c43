#include "watch/saga_case.h"

#include <inttypes.h>

#include "base/duration.h"

static bool no_clock(const struct saga_facts *f, const char *target, struct wrong *c)
{
	wrong_say(c, true, "Deadlines of sagas are not taken: %s", f->trouble);
	wrong_advise(c, "`boxhaul check %s` says what is wrong; boxhaul-runbook(7) says what to do: sagas-late",
		     target);
	return f->trouble[0] != '\0';
}

static bool has_stuck(const struct saga_facts *f, const char *target, struct wrong *c)
{
	const struct saga_figures *g = f->figures;
	char age[32];

	wrong_say(c, false, "%" PRIu64 " saga%s stuck; the oldest, %s %s, at step %s for %s: %s", g->stuck,
		  g->stuck == 1 ? " is" : "s are", g->worst_name, g->worst_id, g->worst_step,
		  duration_text((double)g->worst_us / 1e6, age, sizeof age), g->worst_why);
	wrong_advise(
		c,
		"`boxhaul sagas show %s %s` shows what it waits for; boxhaul-runbook(7) says what to do: sagas-stuck",
		target, g->worst_id);
	return g->stuck > 0;
}

/* By the configuration that is read here they are nobody's business, and still somebody has to be told: the group was taken out, or its daemon
 * is not there. */
static bool is_unclocked(const struct saga_facts *f, const char *target, struct wrong *c)
{
	wrong_say(c, false, "%" PRIu64 " saga%s open, and no daemon takes their answers and deadlines", f->unclocked,
		  f->unclocked == 1 ? " is" : "s are");
	wrong_advise(
		c,
		"start the daemon whose configuration has the group sagas, or give it to one of this database, with the stream and the "
		"subject that `boxhaul inbox show %s sagas.replies` shows, and restart it",
		target);
	return f->unclocked > 0;
}

bool saga_case_is(const struct saga_facts *f, const char *target, size_t n, struct wrong *out)
{
	if (n == SAGA_CASE_UNCLOCKED)
		return is_unclocked(f, target, out);
	return f->here && (n == 0 ? no_clock(f, target, out) : has_stuck(f, target, out));
}
