/* A cut-over asks for proof: before the fence, that a verify pass over each table has found it equal, or has set it right; behind it, that nothing differs. */
#ifndef BOXHAUL_COMMAND_CUTOVER_PROOF_H
#define BOXHAUL_COMMAND_CUTOVER_PROOF_H

#include "command/cutover_step.h"

/* Prints which tables have no green verify pass, and with what command they get one; *good: each has, or --unverified is said. EXIT_OK, or after
 * saying why: what is proved cannot be seen. */
enum exit_code cutover_proof_look(struct cutover *m, bool *good);

/* The last verify, with the fence closed and all applied (sql/013_move.sql: the last verify). STEP_DONE: both databases are equal; keys that differ are printed, stand in
 * boxhaul.verify_difference of the target, and end in STEP_TAKE_BACK. */
enum step cutover_prove(struct cutover *m);

#endif
