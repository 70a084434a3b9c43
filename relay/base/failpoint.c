/* One point is armed in a process, or none. It acts once, and tells so on stderr before it does. */
#include "base/failpoint.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum action { UNREAD, OFF, KILL, STALL, ERROR };

/* What has happened there, and what has not. */
static const struct {
	const char *name, *meaning;
} points[FAILPOINT_COUNT] = {
#define POINT(name, meaning) [FAILPOINT_##name] = { #name, meaning }
	POINT(lock_taken, "the leader's lock is taken, the lead is not"),
	POINT(lead_taken, "the epoch is raised, the exceptions are not read"),
	POINT(exceptions_loaded, "the exceptions are read, the core does not know them"),
	POINT(bus_connected, "NATS is connected, the inbox is not subscribed to"),
	POINT(lookback_asked, "a stream is asked what it holds, and has not answered"),
	POINT(lookback_answered, "what it holds is known, the core does not know it"),
	POINT(fetch_sent, "a fetch is sent, not answered"),
	POINT(rows_received, "rows are received, the core does not know them"),
	POINT(publishing, "a message is due, not handed over"),
	POINT(handed_over, "a message is in the connection's buffer, not written"),
	POINT(written, "messages are written to the socket"),
	POINT(ack_received, "an answer is received, the core does not know it"),
	POINT(lease_renewed, "the database has answered, the lease is not longer yet"),
	POINT(marking, "a mark is due, not sent"),
	POINT(mark_sent, "a mark is sent, not answered"),
	POINT(mark_answered, "a mark is answered, the core does not know it"),
	POINT(sleep_flagged, "producers are told to notify, the fence is not known"),
	POINT(sleep_fenced, "the fence is known, the core does not know it"),
	POINT(clean_sent, "a cleaning is sent, not answered"),
	POINT(slot_emptied, "a slot is truncated, the relay does not know it"),
	POINT(drained, "everything in flight is marked, the lead is not resigned"),
	POINT(resigned, "the lead is resigned, the process has not ended"),
	POINT(inbox_lead_taken, "a subscription's epoch is raised, its books are not read"),
	POINT(inbox_pulling, "messages are to be asked for, and are not"),
	POINT(inbox_received, "a message of a stream is received, the core does not know it"),
	POINT(inbox_moving, "messages are to be taken, the statement is not sent"),
	POINT(inbox_move_sent, "the statement that takes them is sent, not answered"),
	POINT(inbox_moved, "it is answered, the core does not know it"),
	POINT(inbox_handling, "a call of a handler is sent, not answered"),
	POINT(inbox_handled, "it is answered, the relay does not know it"),
	POINT(saga_ticking, "a call that takes deadlines of sagas is sent, not answered"),
	POINT(saga_ticked, "it is answered, the relay does not know it"),
	POINT(move_expected, "the target expects a move, nothing is fenced"),
	POINT(move_fencing, "a relation of the source is fenced, the next one is not"),
	POINT(move_fenced, "all is fenced and the token is in the log, the sink has not passed it"),
	POINT(move_arrived, "the sink has passed the token, nothing is compared"),
	POINT(move_proved, "both databases are equal, the sequences are not set"),
	POINT(move_sequenced, "the sequences are set, the target is not open"),
	POINT(move_opened, "the target is open, the source does not know it"),
	POINT(move_given_up, "the target has given the move up, the source is fenced"),
#undef POINT
};

static const char *const actions[] = { [KILL] = "kill", [STALL] = "stall", [ERROR] = "error" };

static struct {
	enum action action;
	enum failpoint point;
	unsigned long passes; /* until it acts */
} armed;

/* A test that arms nothing for want of a letter would pass. */
static void refuse(const char *text)
{
	fprintf(stderr, "boxhaul: BOXHAUL_FAILPOINT=%s: want NAME=kill|stall|error[@N]\n", text);
	abort();
}

static bool is_word(const char *text, size_t n, const char *word)
{
	return strlen(word) == n && strncmp(text, word, n) == 0;
}

static void arm(const char *text)
{
	size_t name = strcspn(text, "="), word = text[name] == '=' ? strcspn(text + name + 1, "@") : 0;
	const char *what = text + name + 1, *number = what + word;
	char *end = NULL;

	armed.point = 0;
	while (armed.point < FAILPOINT_COUNT && !is_word(text, name, points[armed.point].name))
		armed.point++;
	for (armed.action = KILL; armed.action <= ERROR && !is_word(what, word, actions[armed.action]);)
		armed.action++;
	if (word == 0 || armed.point == FAILPOINT_COUNT || armed.action > ERROR)
		refuse(text);
	armed.passes = 1;
	if (*number == '@')
		armed.passes = strtoul(number + 1, &end, 10);
	if (armed.passes == 0 || (end != NULL && *end != '\0'))
		refuse(text);
}

static void read_environment(void)
{
	const char *text = getenv("BOXHAUL_FAILPOINT");

	armed.action = OFF;
	if (text != NULL)
		arm(text);
}

bool failpoint(enum failpoint point)
{
	enum action action;

	if (armed.action == UNREAD)
		read_environment();
	if (armed.action == OFF || point != armed.point || --armed.passes > 0)
		return false;
	action = armed.action;
	armed.action = OFF;
	fprintf(stderr, "level=warn msg=failpoint name=%s action=%s\n", points[point].name, actions[action]);
	if (action == KILL)
		raise(SIGKILL);
	if (action == STALL)
		raise(SIGSTOP);
	return action == ERROR;
}

void failpoint_list(FILE *out)
{
	for (size_t i = 0; i < FAILPOINT_COUNT; i++)
		fprintf(out, "%-18s %s\n", points[i].name, points[i].meaning);
}
