/* The commands that are not the daemon. Each connects for itself, blocks, and writes for people to stdout. */
#ifndef BOXHAUL_COMMAND_COMMANDS_H
#define BOXHAUL_COMMAND_COMMANDS_H

#include "command/command.h"

/* Applies what is missing of the schema, in one transaction, under a lock. */
enum exit_code command_migrate(const struct call *call);

/* Looks at everything `run` needs; each line ok, warn or FAIL with what mends it. */
enum exit_code command_check(const struct call *call);

/* Does it move, and if not, why? */
enum exit_code command_status(const struct call *call);

/* Where one message is, and what will happen to it. */
enum exit_code command_explain(const struct call *call);

/* Every setting, what it is and who says so. */
enum exit_code command_config_show(const struct call *call);

/* Dead letters: look at them; send them again; give them up. */
enum exit_code command_letters_list(const struct call *call);
enum exit_code command_letters_show(const struct call *call);
enum exit_code command_letters_redrive(const struct call *call);
enum exit_code command_letters_discard(const struct call *call);

/* Nothing is sent until resume. pause and drain wait until nothing is on its way; drain lets everything go first that is there. */
enum exit_code command_pause(const struct call *call);
enum exit_code command_resume(const struct call *call);
enum exit_code command_drain(const struct call *call);

/* Is everything that was committed stored? Looks at the outbox and at the streams, and takes nobody's word for it. */
enum exit_code command_reconcile(const struct call *call);

/* Is what a sink has made of captured tables what the source has? */
enum exit_code command_verify(const struct call *call);

/* Sends kept rows again, as new ones. */
enum exit_code command_replay(const struct call *call);

/* The subscriptions: look at them. */
enum exit_code command_inbox_list(const struct call *call);
enum exit_code command_inbox_show(const struct call *call);

/* What an operator decides about one. */
enum exit_code command_inbox_pause(const struct call *call);
enum exit_code command_inbox_resume(const struct call *call);
enum exit_code command_inbox_rewind(const struct call *call);
enum exit_code command_inbox_accept_gap(const struct call *call);
enum exit_code command_inbox_drop(const struct call *call);

/* ... and about one of its rows. */
enum exit_code command_inbox_retry(const struct call *call);
enum exit_code command_inbox_skip(const struct call *call);

/* The dead letters of the inbox: look at them; hand them out again; give them up. */
enum exit_code command_inbox_letters(const struct call *call);
enum exit_code command_inbox_redrive(const struct call *call);
enum exit_code command_inbox_discard(const struct call *call);

/* The sagas that were started in this database, and what kinds of them there are: look at them. */
enum exit_code command_sagas_list(const struct call *call);
enum exit_code command_sagas_definitions(const struct call *call);
enum exit_code command_sagas_show(const struct call *call);

/* What an operator decides about one. */
enum exit_code command_sagas_retry(const struct call *call);
enum exit_code command_sagas_undo(const struct call *call);
enum exit_code command_sagas_resolve(const struct call *call);

/* The captures: what one would do and what is missing for it; how they stand; where a change is. */
enum exit_code command_capture_plan(const struct call *call);
enum exit_code command_capture_status(const struct call *call);
enum exit_code command_capture_explain(const struct call *call);

/* What an operator decides about one. */
enum exit_code command_capture_start(const struct call *call);
enum exit_code command_capture_pause(const struct call *call);
enum exit_code command_capture_resume(const struct call *call);
enum exit_code command_capture_add(const struct call *call);
enum exit_code command_capture_resync(const struct call *call);
enum exit_code command_capture_drop(const struct call *call);

/* The tables of a capture are written in another database from now on. */
enum exit_code command_cutover(const struct call *call);

/* Changes that could not be sent: look at them; give them up. */
enum exit_code command_capture_letters(const struct call *call);
enum exit_code command_capture_redrive(const struct call *call);
enum exit_code command_capture_discard(const struct call *call);
enum exit_code command_capture_give_up(const struct call *call);

#endif
