/* What an event does to a saga: the table of boxhaul.saga_transition() (sql/009_saga.sql, printed in boxhaul-saga.7), written a second
 * time. tests/system/test_saga_table.py compares the two over all combinations. */
#ifndef SIM_SAGA_TABLE_H
#define SIM_SAGA_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#define SAGA_STATES(X) X(running) X(undoing) X(completed) X(undone)
#define SAGA_KINDS(X) X(undoable) X(pivot) X(retriable)
#define SAGA_EVENTS(X)    \
	X(done)           \
	X(refused)        \
	X(error)          \
	X(failed)         \
	X(timeout)        \
	X(repeat)         \
	X(resend)         \
	X(unsent)         \
	X(cancel)         \
	X(retry)          \
	X(undo)           \
	X(resolve_done)   \
	X(resolve_undone) \
	X(resolve_refused)
#define SAGA_ACTIONS(X) \
	X(next)         \
	X(complete)     \
	X(back)         \
	X(undo_this)    \
	X(undone)       \
	X(again)        \
	X(again_stuck)  \
	X(send)         \
	X(wait)         \
	X(wait_stuck)   \
	X(mark)         \
	X(orphan)       \
	X(clear)        \
	X(already)      \
	X(refuse)       \
	X(ignore)

#define AS_STATE(name) SAGA_##name,
enum saga_state { SAGA_STATES(AS_STATE) SAGA_STATE_COUNT };
#undef AS_STATE
#define AS_KIND(name) KIND_##name,
enum saga_kind { SAGA_KINDS(AS_KIND) SAGA_KIND_COUNT };
#undef AS_KIND
#define AS_EVENT(name) EVENT_##name,
enum saga_event { SAGA_EVENTS(AS_EVENT) SAGA_EVENT_COUNT };
#undef AS_EVENT
#define AS_ACTION(name) ACTION_##name,
enum saga_action { SAGA_ACTIONS(AS_ACTION) SAGA_ACTION_COUNT };
#undef AS_ACTION

/* What else the table asks for; what each means stands above the function in SQL. */
struct saga_question {
	enum saga_state state;
	enum saga_kind kind;
	enum saga_event event;
	bool fits, attempts_left, first, last, cancelling, orphan;
};

/* Total: there is an action for each question. */
enum saga_action saga_transition(const struct saga_question *q);

const char *saga_state_name(enum saga_state s);
const char *saga_event_name(enum saga_event e);
const char *saga_action_name(enum saga_action a);

/* Prints the whole table, a line for each question: its nine parts and the action, a tab between two. */
void saga_table_print(void);

#endif
