/* Verify passes, as `boxhaul verify` asks for them in the source's database and finds what came of them in the target's. */
#ifndef BOXHAUL_COMMAND_VERIFY_PASS_H
#define BOXHAUL_COMMAND_VERIFY_PASS_H

#include "base/hex.h"
#include "command/out.h"
#include "command/session.h"

/* What may be wrong with the columns of a table, as a cut-over says it, too. */
#define VERIFY_UNKNOWN "the source has columns of which the copy has not been told: %s"
#define VERIFY_UNSENT "columns are generated at the source, and never sent: %s"
#define VERIFY_UNSENT_MEND "make them GENERATED in the target, too, or name in columns those that are wanted"

/* A table of a sink. */
struct verify_table {
	char capture[64], subscription[64], tab[160]; /* as messages name it */
	char named[320];                              /* as the configuration of the capture names it, which is SQL */
	char *columns;                                /* that go into it, as the text of an array; "" = all */
	bool hashes;                                  /* they are here as there; else rows are sent whole */
	char pass[UUID_CHARACTERS + 1];               /* the one that is under way, or was last */
	char full[UUID_CHARACTERS + 1];               /* the one over the whole table: what it found stands under it */
	int64_t rows, ranges, found;                  /* of that */
	int64_t left;                                 /* what still differs */
	char from[48], to[48];                        /* what it says was so at some time between, of each row */
	char why[512];                                /* it proves nothing; "" = it does */
	char kept[512];                               /* what a repair could not set right; "" = nothing of the kind */
};

struct verify {
	const struct call *call;
	struct call to; /* of the target */
	struct pg_session *source, *target;
	struct out out;             /* where progress goes */
	struct verify_table *table; /* owned by the command */
	size_t count;
	int64_t until_ms;    /* --timeout; 0: no end */
	int64_t settled_ms;  /* until then a table is waited for that is all but complete */
	char sink_told[512]; /* why the sink stands still, as it was told last */
};

/* Each of these has said on stderr why, where it does not return EXIT_OK. */

/* The tables that sinks of the target make of the captures of the source's configuration; with --table, that one. */
enum exit_code verify_find(struct verify *v);

/* A pass over each, and its end. Of a table that cannot be verified `why` says so, and the others are. */
enum exit_code verify_all(struct verify *v);

/* What differs is read once more, row by row, and set right; and once more, to prove it. */
enum exit_code verify_repair(struct verify *v);

/* The source learns which tables are proved: one whose contents had changed outside the log is complete again. */
enum exit_code verify_settle(struct verify *v);

void verify_free(struct verify *v);

/* What differed of a table: kind, key as JSON, when it was repaired ("" = it is not). Of the session of the target, until it is used again. */
const struct pg_result *verify_keys(struct verify *v, const struct verify_table *t, int most);

#endif
