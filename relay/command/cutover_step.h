/* A step of a cut-over: how it ends, how it is told, and what it asks the databases. */
#ifndef BOXHAUL_COMMAND_CUTOVER_STEP_H
#define BOXHAUL_COMMAND_CUTOVER_STEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "command/command.h"
#include "edge/pg_session.h"

enum { CUTOVER_TEXT_BYTES = 1024 };

/* A database: its session, as who owns the tables, and the command as it would be said of it alone. */
struct cutover_side {
	struct call call;
	struct pg_session *session;
};

struct cutover {
	struct cutover_side from, to;
	int64_t begun_ms, limit_ms; /* by loop_now_ms(); how long it may take until it is decided */
	char *capture;              /* of `from` */
	char *subscription;         /* the sink of `to` */
	bool begun;                 /* a move is under way already, and gone on with */
	char *said; /* text[]: the tables of the sink, or of the move that has begun, as messages name those of the source */
	char *sources,
		*targets; /* text[]: there and here, as SQL writes them, in the same order; targets: as far as the sink applies them */
	char *left;             /* of `said` what the sink does not apply any more; "": none */
	char *mapping;          /* jsonb, as boxhaul.move_sequences_set() wants it */
	char *tables_text;      /* how many */
	char *elsewhere, *here; /* where the tables are written after it, and before; for who is stopped by a fence */
	char *sequences;        /* text[]: that no default names */
	char *back_streams;     /* text[]: streams of the captures of `to` */
	char token[64];
};

/* How a step ends: done; the target has decided, one way or the other; it cannot go on, and what was begun is to be taken back; or nobody knows
 * more, and it is to be said again. */
enum step { STEP_DONE, STEP_OPEN, STEP_GIVEN_UP, STEP_TAKE_BACK, STEP_UNKNOWN };

/* A line with its time. */
void cutover_tell(struct cutover *m, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A line of what stands for or against it; returns `good`. mend: what to do, where it is not. */
bool cutover_judge(bool good, const char *what, const char *mend);

bool cutover_is_over(const struct cutover *m);

/* Did somebody interrupt it? Says so: what was begun is to be taken back, for a fence that is left stops the clients. */
bool cutover_is_interrupted(void);

/* A statement that failed, said on stderr. Is the session gone? Then nobody knows more; else what was begun is taken back. */
enum step cutover_failed(const struct cutover_side *side, const char *what, const struct pg_result *r);

/* Of statements: what is said where one fails, and where --timeout ends it. */
struct cutover_words {
	const char *failed, *late;
};

/* A statement in a transaction that is open: it gets what is left of --timeout, for nobody may write meanwhile. STEP_DONE: *r is its result. */
enum step cutover_run(const struct cutover *m, const struct cutover_words *words, const struct cutover_side *side,
		      const char *sql, int count, const char *const *p, const struct pg_result **r);

/* A statement without an answer. */
enum step cutover_say(const struct cutover_words *words, const struct cutover_side *side, const char *sql);

/* One statement that answers with one text, malloc'ed; NULL: it failed, and said so. */
char *cutover_ask(const struct cutover_side *side, const char *sql, int count, const char *const *p);

#endif
