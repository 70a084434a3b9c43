/* The books are asked about the first of those that wait, a piece at a time: they go out about in this order. */
#include "command/redriven.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "books/arrays.h"
#include "command/session.h"
#include "command/wait.h"

enum { PIECE = 1000, LEAST_ROOM = 256 };

static bool append(struct redriven *r, int64_t id)
{
	if (r->count == r->room) {
		size_t room = r->room > 0 ? 2 * r->room : LEAST_ROOM;
		int64_t *more = realloc(r->ids, room * sizeof *more);

		if (more == NULL)
			return false;
		r->ids = more;
		r->room = room;
	}
	r->ids[r->count++] = id;
	return true;
}

void redriven_add(struct redriven *r, const char *ids)
{
	for (const char *p = ids; *p != '\0' && !r->no_memory;)
		if (*p >= '0' && *p <= '9') {
			char *end;

			r->no_memory = !append(r, strtoll(p, &end, 10));
			p = end;
		} else if (strncmp(p, "NULL", 4) == 0) { /* one that is not sent again */
			p += 4;
		} else {
			p++;
		}
}

void redriven_free(struct redriven *r)
{
	free(r->ids);
}

static void count_reason(struct redriven *r, const char *reason)
{
	char text[REDRIVEN_REASON_BYTES];
	size_t i = 0;

	utf8_line(reason, text, sizeof text);
	while (i + 1 < REDRIVEN_REASONS && r->reasons[i].count > 0 && strcmp(r->reasons[i].text, text) != 0)
		i++;
	snprintf(r->reasons[i].text, sizeof r->reasons[i].text, "%s",
		 i + 1 < REDRIVEN_REASONS ? text : "for other reasons");
	r->reasons[i].count++;
}

/* Those of whom something is said, by ascending id as they are, do not wait any more. */
static void take_answers(struct redriven *r, const struct pg_result *answer, size_t asked)
{
	size_t left = 0;
	int row = 0;

	for (size_t i = 0; i < r->count; i++) {
		if (i >= asked || row >= pg_rows(answer) || r->ids[i] != strtoll(pg_text(answer, row, 0), NULL, 10)) {
			r->ids[left++] = r->ids[i];
			continue;
		}
		if (strcmp(pg_text(answer, row, 1), "sent") == 0) {
			r->stored++;
		} else {
			r->dead++;
			count_reason(r, pg_text(answer, row, 2));
		}
		row++;
	}
	r->count = left;
}

/* *moved: something came of some. */
static enum exit_code ask(struct pg_session *s, const struct call *call, struct redriven *r, bool *moved)
{
	size_t n = r->count < PIECE ? r->count : PIECE;
	char *ids = array_of_int8(r->ids, n, 1);
	const char *p[] = { ids };
	const struct pg_result *answer;

	if (ids == NULL) {
		fputs("boxhaul: out of memory\n", stderr);
		return EXIT_FAILED;
	}
	answer = pg_session_run(s, "SELECT id, fate, reason FROM boxhaul.redriven($1)", 1, p);
	free(ids);
	if (pg_error(answer) != NULL)
		return session_failed(call->config, "cannot see what became of them", answer);
	*moved = pg_rows(answer) > 0;
	take_answers(r, answer, n);
	return EXIT_OK;
}

static int by_id(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

static enum exit_code report(const struct redriven *r, const struct call *call, const char *why)
{
	char target[CONFIG_TARGET_BYTES];

	printf("stored %lld, dead again %lld", r->stored, r->dead);
	if (r->count > 0)
		printf(", still waiting %zu", r->count);
	putchar('\n');
	for (size_t i = 0; i < REDRIVEN_REASONS && r->reasons[i].count > 0; i++)
		printf("dead again: %lld: %s\n", r->reasons[i].count, r->reasons[i].text);
	fflush(stdout);
	if (r->dead > 0)
		fprintf(stderr, "boxhaul: `boxhaul dead-letters list %s` shows them\n",
			config_target(call->config, target));
	if (r->no_memory)
		fputs("boxhaul: out of memory: more were redriven than are counted here\n", stderr);
	if (why != NULL)
		fprintf(stderr, "boxhaul: %s\n", why);
	return r->dead > 0 || r->count > 0 || r->no_memory ? EXIT_FAILED : EXIT_OK;
}

/* Why there is nothing to wait for; NULL: it goes on. */
static const char *stopped(struct wait *w, const struct wait_state *state, char *to, size_t size)
{
	char target[CONFIG_TARGET_BYTES];

	if (state->paused)
		snprintf(to, size, "paused %s: nothing is sent until `boxhaul resume %s`", state->who,
			 config_target(w->call->config, target));
	else if (wait_nobody_leads(w, state))
		snprintf(to, size, "nobody leads: whoever does next sends them");
	else
		return NULL;
	return to;
}

enum exit_code redriven_wait(struct pg_session *s, const struct call *call, struct redriven *r)
{
	char what[128], why[WAIT_WHO_BYTES + CONFIG_TARGET_BYTES + 64] = "not all of them were settled in time";
	const char *end = NULL;
	struct wait w = wait_begin(s, call);
	enum exit_code code = EXIT_OK;

	if (r->count > 0)
		qsort(r->ids, r->count, sizeof r->ids[0], by_id);
	while (end == NULL && r->count > 0) {
		struct wait_state state;
		bool moved = false;

		code = ask(s, call, r, &moved);
		if (code == EXIT_OK && !moved)
			code = wait_look(&w, 0, &state);
		if (code != EXIT_OK)
			break;
		snprintf(what, sizeof what, "stored %lld, dead again %lld, still waiting %zu", r->stored, r->dead,
			 r->count);
		if (!moved && (end = stopped(&w, &state, why, sizeof why)) == NULL && !wait_more(&w, &state, what))
			end = why;
	}
	wait_end(&w);
	return code == EXIT_OK ? report(r, call, end) : code;
}
