/* `boxhaul cutover`: the tables of a capture are written in another database from now on. What makes it safe stands in sql/013_move.sql; here the steps are
 * asked for in their order and told. Each is in the books of one of the two databases when it is done, so whoever says it again goes on where
 * the last one ended, however that was: nothing is remembered here. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/plural.h"
#include "command/commands.h"
#include "command/cutover_plan.h"
#include "command/cutover_proof.h"
#include "command/cutover_relations.h"
#include "command/interrupt.h"
#include "command/line.h"
#include "command/session.h"
#include "config/config_load.h"
#include "edge/loop.h"

enum { PAUSE_US = 50000, STANDARD_TIMEOUT_MS = 30000, UNFENCE_TRIES = 600 };

/* A lock that was not to be had in time, or only in a circle. */
static bool is_locked(const struct pg_result *r)
{
	return strcmp(pg_sqlstate(r), "55P03") == 0 || strcmp(pg_sqlstate(r), "40P01") == 0;
}

/* Who is waited for, when that is not who was told before. */
static void tell_whom(struct cutover *m, const char *table, const char *whom, char told[static CUTOVER_TEXT_BYTES])
{
	if (whom == NULL || whom[0] == '\0' || strcmp(whom, told) == 0)
		return;
	snprintf(told, CUTOVER_TEXT_BYTES, "%s", whom);
	cutover_tell(m, "table %s waits for %s", table, whom);
}

/* --- fences --- */

/* Each relation in a transaction of its own, for who has one and waits for the next one deadlocks with writers. */
static enum step fence_one(struct cutover *m, const struct cutover_side *side, const struct cutover_relation *x,
			   const char *elsewhere, const char *token)
{
	const char *p[] = { x->oid, x->tab, elsewhere, token };
	char told[CUTOVER_TEXT_BYTES] = "";
	enum exit_code code;

	for (;;) {
		const struct pg_result *r =
			pg_session_run(side->session, "SELECT boxhaul.fence_relation($1, $2, $3, $4::uuid)", 4, p);

		if (pg_error(r) == NULL)
			return STEP_DONE;
		if (!is_locked(r))
			return cutover_failed(side, "cannot fence a table", r);
		tell_whom(m, x->tab,
			  session_value(side->session, &side->call, "SELECT boxhaul.fence_holders($1)", 1, p, &code),
			  told);
		if (cutover_is_interrupted())
			return STEP_TAKE_BACK;
		if (cutover_is_over(m)) {
			fprintf(stderr, "boxhaul: the writers of %s did not end within --timeout\n", x->tab);
			return STEP_TAKE_BACK;
		}
		usleep(PAUSE_US);
	}
}

static enum step fence_all(struct cutover *m, const struct cutover_side *side, const char *tables,
			   const char *elsewhere, const char *token)
{
	struct cutover_relations all;
	enum step step = STEP_DONE;

	if (!cutover_relations(side, tables, &all))
		return STEP_UNKNOWN;
	for (size_t i = 0; i < all.count && step == STEP_DONE; i++) {
		if (all.each[i].fenced && token == NULL)
			continue;
		step = fence_one(m, side, &all.each[i], elsewhere, token);
		if (step == STEP_DONE && FAILPOINT(move_fencing))
			step = STEP_TAKE_BACK;
	}
	cutover_relations_free(&all);
	return step;
}

/* Of a move that was given up, at the source. */
static enum exit_code unfence_all(struct cutover *m)
{
	struct cutover_relations all;
	enum exit_code code = EXIT_OK;

	if (!cutover_relations(&m->from, m->sources, &all))
		return EXIT_UNREACHABLE;
	for (size_t i = 0; i < all.count && code == EXIT_OK; i++) {
		const char *p[] = { all.each[i].oid };
		const struct pg_result *r = NULL;

		for (int n = 0; all.each[i].fenced && n < UNFENCE_TRIES; n++, usleep(PAUSE_US)) {
			r = pg_session_run(m->from.session, "SELECT boxhaul.unfence_relation($1)", 1, p);
			if (pg_error(r) == NULL || !is_locked(r))
				break;
		}
		if (r != NULL && pg_error(r) != NULL)
			code = session_failed(m->from.call.config, "cannot take a fence back", r);
	}
	cutover_relations_free(&all);
	return code;
}

/* --- steps --- */

static enum step decided(const char *state)
{
	return state == NULL                    ? STEP_UNKNOWN
	       : strcmp(state, "open") == 0     ? STEP_OPEN
	       : strcmp(state, "given_up") == 0 ? STEP_GIVEN_UP
						: STEP_DONE;
}

/* The target knows the token before anything is fenced: from then on it can decide. */
static enum step expect(struct cutover *m)
{
	const char *begin[] = { m->capture, m->elsewhere, m->sources };
	char *token = cutover_ask(&m->from, "SELECT boxhaul.move_begin($1, $2, $3)", 3, begin), *state;
	const char *p[] = { m->token, m->subscription, m->targets };
	enum step step;

	if (token == NULL)
		return STEP_UNKNOWN;
	snprintf(m->token, sizeof m->token, "%s", token);
	free(token);
	state = cutover_ask(&m->to, "SELECT boxhaul.move_expect($1, $2, $3)", 3, p);
	step = decided(state);
	free(state);
	/* Its tables should have been fenced since they were made: what somebody else has written there is a difference. */
	if (step == STEP_DONE)
		step = fence_all(m, &m->to, m->targets, m->here, NULL);
	if (step == STEP_DONE)
		cutover_tell(m, "move %s: the target expects it", m->token);
	return step == STEP_DONE && FAILPOINT(move_expected) ? STEP_TAKE_BACK : step;
}

static enum step fence(struct cutover *m)
{
	const char *p[] = { m->token };
	enum step step = fence_all(m, &m->from, m->sources, m->elsewhere, m->token);
	char *why;

	if (step != STEP_DONE)
		return step;
	why = cutover_ask(&m->from, "SELECT boxhaul.move_fenced($1)", 1, p);
	if (why == NULL)
		return STEP_UNKNOWN;
	if (why[0] != '\0') {
		fprintf(stderr, "boxhaul: %s\n", why);
		step = STEP_TAKE_BACK;
	} else {
		cutover_tell(
			m,
			"fenced: nobody writes the %s table%s, and nobody is under way who did; the token is in the log",
			m->tables_text, plural(strtoll(m->tables_text, NULL, 10)));
	}
	free(why);
	return step == STEP_DONE && FAILPOINT(move_fenced) ? STEP_TAKE_BACK : step;
}

static const char standbys_behind[] =
	"SELECT string_agg(s.standby, ', ') FROM boxhaul.move_source m, boxhaul.move_standbys(m.fenced_lsn) s"
	" WHERE m.token = $1 AND s.behind IS DISTINCT FROM false";

/* A standby without the fence, promoted, would take writes. */
static enum step wait_for_standbys(struct cutover *m)
{
	const char *p[] = { m->token };
	bool told = false;

	while (!m->from.call.given[OPTION_ANY_STANDBY]) {
		char *behind = cutover_ask(&m->from, standbys_behind, 1, p);
		bool none = behind != NULL && behind[0] == '\0', unknown = behind == NULL;

		if (!none && !unknown && !told)
			cutover_tell(m, "waits for standbys that have not the fence: %s", behind);
		if (!none && !unknown && cutover_is_over(m))
			fprintf(stderr,
				"boxhaul: a promotion of %s would take the fence away: bring it up to date, or say --any-standby\n",
				behind);
		free(behind);
		told = true;
		if (unknown || none)
			return unknown ? STEP_UNKNOWN : STEP_DONE;
		if (cutover_is_over(m) || cutover_is_interrupted())
			return STEP_TAKE_BACK;
		usleep(PAUSE_US);
	}
	return STEP_DONE;
}

/* Where a table is read anew the token does not count (013: sink_token()). */
static const char not_complete[] =
	"SELECT string_agg(t.source, ', ' ORDER BY t.source) FROM boxhaul.move_target m JOIN boxhaul.sink_table t"
	" ON t.subscription = m.subscription AND t.target = ANY (m.tables) WHERE m.token = $1 AND t.state <> 'complete'";

static enum step wait_for_token(struct cutover *m)
{
	const char *p[] = { m->token };

	for (;;) {
		char *state = cutover_ask(
			&m->to,
			"SELECT CASE WHEN m.state = 'waiting' AND m.arrived_at IS NOT NULL THEN 'arrived' ELSE m.state END"
			" FROM boxhaul.move_target m WHERE m.token = $1",
			1, p);
		bool arrived = state != NULL && strcmp(state, "arrived") == 0;
		enum step step = decided(state);

		free(state);
		if (arrived)
			cutover_tell(m, "the sink has passed the token: all that was written is there");
		if (arrived && FAILPOINT(move_arrived))
			return STEP_TAKE_BACK;
		if (arrived || step != STEP_DONE)
			return step;
		if (cutover_is_interrupted())
			return STEP_TAKE_BACK;
		if (cutover_is_over(m)) {
			char *why = cutover_ask(&m->to, not_complete, 1, p);

			fprintf(stderr, "boxhaul: the token did not come through the stream within --timeout%s%s\n",
				why != NULL && why[0] != '\0' ? "; tables that are read anew: " : "",
				why != NULL ? why : "");
			free(why);
			return STEP_TAKE_BACK;
		}
		usleep(PAUSE_US);
	}
}

static enum step prove(struct cutover *m)
{
	enum step step = cutover_prove(m);

	return step == STEP_DONE && FAILPOINT(move_proved) ? STEP_TAKE_BACK : step;
}

static const struct cutover_words sequences_words = { "cannot set the sequences",
						      "the sequences were not set within --timeout" };

static enum step copy_sequences(struct cutover *m)
{
	const char *p[] = { m->sources, m->sequences }, *set[] = { m->mapping, NULL };
	const struct pg_result *r;
	char *found = NULL;
	enum step step = cutover_run(m, &sequences_words, &m->from, "SELECT boxhaul.move_sequences($1, $2)", 2, p, &r);

	if (step == STEP_DONE)
		set[1] = found = strdup(pg_text(r, 0, 0));
	if (step == STEP_DONE)
		step = found == NULL
			       ? STEP_TAKE_BACK
			       : cutover_run(
					 m, &sequences_words, &m->to,
					 "SELECT s.sequence, s.stands FROM boxhaul.move_sequences_set($1::jsonb, $2::jsonb) s",
					 2, set, &r);
	free(found);
	for (int i = 0; step == STEP_DONE && i < pg_rows(r); i++)
		cutover_tell(m, "sequence %s stands at %s", pg_text(r, i, 0), pg_text(r, i, 1));
	return step;
}

/* Nobody may write meanwhile, and a session that holds a sequence, or a highest value that no index has, would make it long: it is bound by --timeout, too. */
static enum step set_sequences(struct cutover *m)
{
	enum step step = cutover_say(&sequences_words, &m->from, "BEGIN"), ended;

	if (step == STEP_DONE)
		step = cutover_say(&sequences_words, &m->to, "BEGIN");
	if (step == STEP_DONE)
		step = copy_sequences(m);
	ended = cutover_say(&sequences_words, &m->to, step == STEP_DONE ? "COMMIT" : "ROLLBACK");
	if (ended == STEP_DONE)
		ended = cutover_say(&sequences_words, &m->from, "ROLLBACK");
	if (step == STEP_DONE)
		step = ended;
	return step == STEP_DONE && FAILPOINT(move_sequenced) ? STEP_TAKE_BACK : step;
}

/* Where the connection ends here, nobody but the target knows. */
static enum step open_target(struct cutover *m)
{
	const char *p[] = { m->token };

	for (;;) {
		const struct pg_result *r = pg_session_run(m->to.session, "SELECT boxhaul.move_open($1)", 1, p);

		if (pg_error(r) == NULL)
			return decided(pg_text(r, 0, 0));
		if (!is_locked(r))
			return cutover_failed(&m->to, "cannot open the target", r);
		if (cutover_is_interrupted())
			return STEP_TAKE_BACK;
		if (cutover_is_over(m)) {
			fprintf(stderr, "boxhaul: the target's tables are locked by others\n");
			return STEP_TAKE_BACK;
		}
		usleep(PAUSE_US);
	}
}

/* --- the ends --- */

/* In one transaction: a sink follows only where the tables are not written, and which they are is told by how the move has ended (boxhaul.move_guard()). */
static const char end_and_follow[] = "SELECT boxhaul.move_follow($3) FROM boxhaul.move_end($1, $2)";

static enum exit_code end_open(struct cutover *m)
{
	const char *p[] = { m->token, "moved", m->back_streams };
	char *back;

	cutover_tell(m, "open: the target takes the writes; send the clients there");
	if (FAILPOINT(move_opened))
		return EXIT_FAILED;
	back = cutover_ask(&m->from, end_and_follow, 3, p);
	if (back == NULL) {
		fprintf(stderr,
			"boxhaul: the target is open, and the source stays fenced; say the same again to end it\n");
		return EXIT_UNREACHABLE;
	}
	if (back[0] != '\0')
		cutover_tell(m, "the way back is kept: %s applies what the target writes", back);
	else
		cutover_tell(m,
			     "there is no way back: no paused sink here takes the changes of a capture of the target");
	free(back);
	cutover_tell(m, "done");
	return EXIT_OK;
}

/* The source's fence goes only here: the target has said that it will never open for this token. */
static enum exit_code end_given_up(struct cutover *m)
{
	const char *p[] = { m->token, "given_up" };
	char *done;
	enum exit_code code;

	if (FAILPOINT(move_given_up))
		return EXIT_FAILED;
	done = cutover_ask(&m->from, "SELECT boxhaul.move_end($1, $2)", 2, p);
	code = done != NULL ? unfence_all(m) : EXIT_UNREACHABLE;
	free(done);
	if (code == EXIT_OK)
		cutover_tell(m, "taken back: the source takes the writes as before");
	return code == EXIT_OK ? EXIT_FAILED : code;
}

static enum exit_code finish(struct cutover *m, enum step step)
{
	const char *p[] = { m->token, m->subscription };

	if (step == STEP_TAKE_BACK) {
		char *state = cutover_ask(&m->to, "SELECT boxhaul.move_give_up($1, $2)", 2, p);

		step = decided(state);
		free(state);
	}
	switch (step) {
	case STEP_OPEN: return end_open(m);
	case STEP_GIVEN_UP: return end_given_up(m);
	default:
		fprintf(stderr,
			"boxhaul: it is not known how this ended: nothing is lost, and two databases never take writes; say the same "
			"again, and it goes on or is taken back\n");
		return EXIT_UNREACHABLE;
	}
}

static enum exit_code move(struct cutover *m)
{
	static enum step (*const steps[])(struct cutover * m) = { fence, wait_for_standbys, wait_for_token,
								  prove, set_sequences,     open_target };
	enum step step;

	interrupt_hold();
	step = expect(m);
	if (step == STEP_DONE && m->left[0] != '\0')
		fprintf(stderr, "boxhaul: tables of the move that the sink does not apply any more: %s\n", m->left);
	if (step == STEP_DONE && (m->left[0] != '\0' || m->from.call.given[OPTION_GIVE_UP]))
		step = STEP_TAKE_BACK;
	for (size_t i = 0; i < sizeof steps / sizeof *steps && step == STEP_DONE; i++)
		step = cutover_is_interrupted() ? STEP_TAKE_BACK : steps[i](m);
	return finish(m, step);
}

/* --- the command --- */

static enum exit_code with_sides(struct cutover *m)
{
	const struct call *call = &m->from.call;
	enum exit_code code = cutover_plan(m);

	m->begun_ms = loop_now_ms();
	m->limit_ms = call->given[OPTION_TIMEOUT] ? (int64_t)call->number[OPTION_TIMEOUT] : STANDARD_TIMEOUT_MS;
	if (code == EXIT_OK && !call->given[OPTION_DRY_RUN])
		code = move(m);
	return code;
}

static enum exit_code with_sessions(struct cutover *m)
{
	enum exit_code code = EXIT_UNREACHABLE;

	m->from.session = session_open(&m->from.call, LOGIN_OWNER);
	m->to.session = m->from.session != NULL ? session_open(&m->to.call, LOGIN_OWNER) : NULL;
	if (m->to.session != NULL)
		code = session_schema(m->from.session, m->from.call.config);
	if (code == EXIT_OK)
		code = session_schema(m->to.session, m->to.call.config);
	if (code == EXIT_OK)
		code = with_sides(m);
	cutover_plan_free(m);
	pg_session_close(m->to.session);
	pg_session_close(m->from.session);
	return code;
}

enum exit_code command_cutover(const struct call *call)
{
	struct cutover m = { .from.call = *call, .to.call = *call };
	struct config *other;
	char *path;
	enum exit_code code = EXIT_CONFIG;

	if (!call->given[OPTION_TO])
		return line_wrong("cutover: to which database? Say --to, and its configuration");
	path = config_path(call->text[OPTION_TO]);
	other = path != NULL ? config_load(path, stderr) : NULL;
	if (other != NULL) {
		(call->given[OPTION_BACK] ? &m.from : &m.to)->call.config = other;
		code = with_sessions(&m);
	}
	config_free(other);
	free(path);
	return code;
}
