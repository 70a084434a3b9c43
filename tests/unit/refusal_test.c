#include "core/refusal.h"

#include "tap.h"

static void own_reasons(void)
{
	for (uint32_t r = 1; r <= REASON_LAST; r++) {
		bool defect = r <= DEFECT_LAST, known = defect || r >= REASON_NO_REPLY;

		if (!known) {
			is_text(refusal_text(r), "error of the server", "a number nobody uses has no text of its own");
			continue;
		}
		ok(strcmp(refusal_text(r), "error of the server") != 0, "reason %u has a text: %s", r, refusal_text(r));
		if (defect)
			is_number(refusal_verdict(r, 0), VERDICT_POISON, "and a defect of a row is poison");
		else
			ok(refusal_verdict(r, 0) != VERDICT_SUSPECT, "and a verdict");
	}
}

static void verdicts(void)
{
	static const struct {
		uint32_t reason, status;
		enum refusal_verdict want;
		const char *why;
	} table[] = {
		{ REASON_NO_REPLY, 0, VERDICT_UNKNOWN, "silence: it may be stored" },
		{ REASON_DUPLICATE_SEQ_0, 0, VERDICT_UNKNOWN, "a duplicate of what is only proposed" },
		{ REASON_GARBAGE, 0, VERDICT_UNKNOWN, "an answer that says nothing" },
		{ REASON_NO_STREAM, 503, VERDICT_STREAM, "no stream" },
		{ REASON_WRONG_STREAM, 0, VERDICT_STREAM, "another stream took it" },
		{ REASON_STREAM_FULL, 503, VERDICT_STREAM, "a full stream" },
		{ REASON_SUBJECT_FULL, 503, VERDICT_LANE, "a full subject stops its lane only" },
		{ REASON_STORE_TOO_LARGE, 503, VERDICT_POISON, "too large for the store" },
		{ REASON_NOT_PERMITTED, 0, VERDICT_LANE, "a missing right is an operator's matter, not poison" },
		{ 10054, 400, VERDICT_POISON, "too large for the stream" },
		{ 10077, 503, VERDICT_STREAM, "store failed" },
		{ 10158, 409, VERDICT_RETRY, "the same id is in process" },
		{ 10167, 429, VERDICT_RETRY, "too busy" },
		{ 10071, 400, VERDICT_LANE, "wrong last sequence" },
		{ 19999, 500, VERDICT_RETRY, "unknown, the server's trouble" },
		{ 19999, 503, VERDICT_RETRY, "unknown, the server's trouble" },
		{ 19999, 408, VERDICT_RETRY, "unknown, a timeout" },
		{ 19999, 409, VERDICT_RETRY, "unknown, a conflict" },
		{ 19999, 429, VERDICT_RETRY, "unknown, too busy" },
		{ 19999, 400, VERDICT_SUSPECT, "unknown, our fault: never dropped" },
		{ 19999, 0, VERDICT_SUSPECT, "unknown without a status" },
		{ 0, 0, VERDICT_SUSPECT, "no reason at all" },
		{ UINT32_MAX, UINT32_MAX, VERDICT_RETRY, "the largest numbers" },
	};

	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
		is_number(refusal_verdict(table[i].reason, table[i].status), table[i].want, table[i].why);
}

/* An error code that turns a message into a dead letter must be one that was thought about. */
static void nothing_unknown_is_poison(void)
{
	unsigned poison = 0, nameless = 0;

	for (uint32_t code = 10000; code < 12000; code++) {
		for (uint32_t status = 0; status < 600; status += 25) {
			if (refusal_verdict(code, status) != VERDICT_POISON)
				continue;
			poison++;
			nameless += strcmp(refusal_text(code), "error of the server") == 0;
		}
	}
	ok(poison > 0, "some codes are poison");
	is_number(nameless, 0, "none of them is unknown");
}

static void busy(void)
{
	ok(refusal_means_busy(10167), "10167 asks for a smaller window");
	ok(!refusal_means_busy(10077) && !refusal_means_busy(REASON_NONE), "others do not");
}

int main(void)
{
	own_reasons();
	verdicts();
	nothing_unknown_is_poison();
	busy();
	return done_testing();
}
