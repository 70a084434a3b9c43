/* Failover: a standby becomes the database.
 *
 *     falls behind              takes over
 *          |------ lost ------------|
 *     -----+------------------------X          the old server: all this was seen, read, sent, marked
 *          +------------------------+------>   the new one: goes on from here
 *
 * What replication keeps is a prefix of the log. So rows, books, sequence and transactions all go back to one and the same
 * moment; what was running then is aborted, what was prepared then is prepared again even if it was committed
 * since. The sequence is logged 32 values ahead and goes on behind those: the ids of lost rows are handed out again. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "host.h"
#include "load.h"
#include "world.h"

enum { LOGGED_AHEAD = 32 };

static struct exception_row *copy_of_exceptions(const struct pg *pg)
{
	struct exception_row *copy = malloc((pg->exceptions + 1) * sizeof *copy);

	if (copy == NULL)
		abort();
	if (pg->exceptions > 0)
		memcpy(copy, pg->exception, pg->exceptions * sizeof *copy);
	return copy;
}

void standby_falls_behind(struct sim *s)
{
	if (s->standby != NULL)
		return;
	s->standby = malloc(sizeof *s->standby);
	if (s->standby == NULL)
		abort();
	*s->standby = s->pg;
	s->standby->exception = copy_of_exceptions(&s->pg);
	s->standby->exceptions_size = s->pg.exceptions + 1;
	trace(s, "pg      the standby falls behind at id %lld", (long long)s->pg.last_id);
}

void standby_catches_up(struct sim *s)
{
	if (s->standby != NULL)
		free(s->standby->exception);
	free(s->standby);
	s->standby = NULL;
}

/* What the world remembers of a message, and the new server does not. */
static void keep_truth(struct fact *now, const struct fact *lost, bool known)
{
	struct fact was = *now;
	bool committed = lost->fate == FATE_COMMITTED;

	*now = *lost;
	if (known) {
		now->fate = was.fate;
		now->next_of_tx = was.next_of_tx;
		now->rolled_back = was.rolled_back;
		now->inserted = was.inserted;
		now->truncated = was.truncated;
		now->deleted = was.deleted;
		now->dead = was.dead;
		now->held = was.held;
		now->decision = was.decision;
		now->given_up = was.given_up;
	} else {
		now->fate = committed ? FATE_LOST : FATE_VOID;
		now->dead = now->held = now->given_up = false;
		now->decision = UNDECIDED;
	}
	now->undone |= committed && now->fate != FATE_COMMITTED;
}

static void go_back(struct sim *s, struct pg *to)
{
	const struct pg *lost = &s->pg;

	for (int64_t m = 1; m <= lost->messages; m++)
		keep_truth(&to->fact[m], &lost->fact[m], m <= to->messages);
	for (uint32_t t = to->txs; t < lost->txs; t++)
		to->tx[t] = (struct tx){ .state = TX_ABORTED };
	to->messages = lost->messages;
	to->txs = lost->txs;
	free(s->pg.exception);
	s->pg = *to;
}

void standby_takes_over(struct sim *s)
{
	struct pg *to = s->standby;
	int64_t was = s->pg.last_id;

	sessions_end_all(s);
	s->standby = NULL;
	go_back(s, to);
	free(to);
	s->pg.lock_owner = 0;
	s->pg.timeline++;
	s->pg.quiet = false; /* who led on the server that is gone may have been told to go on */
	s->pg.first_session = session_newest() + 1;
	if (s->pg.last_id + LOGGED_AHEAD < MAX_IDS - 1)
		s->pg.last_id += prng_between(&s->dice, 0, LOGGED_AHEAD);
	trace(s, "pg      FAILOVER: id %lld, was %lld; position %lld", (long long)s->pg.last_id, (long long)was,
	      (long long)s->pg.position);
	for (size_t i = s->pg.running_count; i-- > 0;)
		if (s->pg.tx[s->pg.running[i]].state <= TX_PREPARING)
			tx_abort(s, s->pg.running[i]);
	check_failed_over(s);
	load_restart(s);
	load_prepared_again(s);
	for (int64_t m = 1; m <= s->pg.messages && s->pg.dead > 0; m++)
		if (s->pg.fact[m].dead && s->pg.fact[m].held && s->pg.fact[m].decision == UNDECIDED)
			hosts_ask_operator(s, m);
}
