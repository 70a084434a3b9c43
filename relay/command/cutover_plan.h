/* What a cut-over is about: both databases, the capture of the one and the sink of the other, and what stands against it. */
#ifndef BOXHAUL_COMMAND_CUTOVER_PLAN_H
#define BOXHAUL_COMMAND_CUTOVER_PLAN_H

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
	char *sources, *targets;    /* text[]: its tables, there and here, in one order */
	char *mapping;              /* jsonb, as boxhaul.move_sequences_set() wants it */
	char *tables_text;          /* how many */
	char *elsewhere, *here; /* where the tables are written after it, and before; for who is stopped by a fence */
	char *back_streams;     /* text[]: streams of the captures of `to` */
	char token[64];
};

/* Finds capture and sink, and prints what stands against a cut-over, and with --dry-run what would be done. EXIT_OK: nothing does. */
enum exit_code cutover_plan(struct cutover *m);
void cutover_plan_free(struct cutover *m);

/* Tables and their partitions. */
struct cutover_relation {
	char *tab, *oid;
	bool fenced;
};

struct cutover_relations {
	struct cutover_relation *each;
	size_t count;
};

/* Of tables (a text[]). False after saying why. */
bool cutover_relations(const struct cutover_side *side, const char *tables, struct cutover_relations *all);
void cutover_relations_free(struct cutover_relations *all);

#endif
