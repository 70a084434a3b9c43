/* The table of the look-back's states: from what is known of a stream, and what happens, to what is known then and what is asked. */
#include "core/send/lookback_step.h"

#include <assert.h>

void lookback_step(struct lookback *l, enum lookback_happening happening)
{
	enum { N = QUESTION_NONE, W = QUESTION_WANTED, SAME = 10 };
	enum { U = LOOKBACK_UNKNOWN, T = LOOKBACK_TAKES, K = LOOKBACK_KNOWN, B = LOOKBACK_BLIND, NEVER_SO = 20 };
	/* BLIND needs no look-back, so it is never NEEDED there. Where a question is WANTED it is asked once more only if none is
	 * under way, but for TRUNCATED and INTERRUPTED: the answer to that one is not awaited any more. */
	static const struct {
		int knowledge[4]; /* from UNKNOWN, TAKES, KNOWN, BLIND */
		int question[4];
	} table[LOOKBACK_HAPPENINGS] = {
		[LOOKBACK_NEEDED] = { { U, T, U, NEVER_SO }, { W, W, W, NEVER_SO } },
		[LOOKBACK_ANSWERED] = { { U, U, K, K }, { N, N, N, N } },
		[LOOKBACK_AGAIN] = { { U, NEVER_SO, K, NEVER_SO }, { W, NEVER_SO, W, NEVER_SO } },
		[LOOKBACK_READ] = { { K, NEVER_SO, K, NEVER_SO }, { N, NEVER_SO, N, NEVER_SO } },
		[LOOKBACK_UNREADABLE] = { { U, B, K, B }, { N, N, N, N } },
		[LOOKBACK_TAKEN] = { { T, T, K, B }, { W, W, SAME, SAME } },
		[LOOKBACK_TRUNCATED] = { { U, T, U, B }, { W, W, W, SAME } },
		[LOOKBACK_INTERRUPTED] = { { U, U, U, U }, { W, W, W, W } },
	};
	int knowledge = table[happening].knowledge[l->knowledge], question = table[happening].question[l->knowledge];

	assert(knowledge != NEVER_SO && question != NEVER_SO);
	if (l->question == QUESTION_ASKED && (happening == LOOKBACK_NEEDED || happening == LOOKBACK_TAKEN))
		question = SAME;
	l->knowledge = (enum knowledge)knowledge;
	if (question != SAME)
		l->question = (enum question)question;
}
