/* The capture's core: what a source database's log says goes into a stream, whole and in order, and the rows that were there before
 * between it, each at the place where it belongs.
 *
 * A pure state machine, one for each capture. Events go in (with the time and the randomness inside them), effects come out as
 * data. It does no I/O, reads no clock, draws no random number and allocates nothing after capture_create().
 *
 *     capture_step(c, &event);
 *     while (capture_next(c, &effect))
 *             carry out the effect;
 *     take from the walsender while capture_takes(c)
 *     sleep until capture_deadline(c) or the next event
 *
 * Inside are the lead (core/lead.h), the sender (core/send/send.h) and what is a capture's own: the ring of commit boundaries
 * (commits.h), what is in memory between log and sender (backlog.h), and the reader of rows (chunk.h, snapshot_xids.h).
 * What holds, and why: README.md beside this file.
 *
 * The owner's side. Payloads: each row that the core takes gets a slot, 0 .. capture_slots()-1; whatever the owner keeps under
 * it (body, subject, headers, id, key) stays as it is until CAPTURE_EFFECT_RELEASE of it. A slot may be released after its message
 * was published, because a cursor, a repair or a dead letter still needs it.
 * Questions (DRAW, HORIZON, CHUNK, CHUNK_END) go to the reader session, one at a time; each has one answer, or CHUNK_FAILED.
 * After CAPTURE_EVENT_LEADING and EVENT_DEPOSED no answer to an older question, control or mark is given any more. */
#ifndef BOXHAUL_CORE_CAPTURE_CAPTURE_H
#define BOXHAUL_CORE_CAPTURE_CAPTURE_H

#include "core/capture/capture_types.h"

struct capture;

/* NULL when out of memory. Settings are copied; they must be in range (capture_types.h). */
struct capture *capture_create(const struct capture_settings *settings);
void capture_free(struct capture *c);

/* How many slots there are. */
uint32_t capture_slots(const struct capture_settings *settings);

/* Writes the slots of the event's rows into them; nothing else of it is touched. */
void capture_step(struct capture *c, struct capture_event *event);

/* The next thing to do, or false. Asking for a publish is sending it: its ack timeout runs from then. */
bool capture_next(struct capture *c, struct capture_effect *effect);

/* May the next BEGIN, CHANGE, COMMIT or POSITION be given? To be asked before each of them, after all effects: it changes with
 * every step. While it says no, the walsender's socket is not read (status updates go on). Descriptions of tables and types
 * are the owner's, and may be taken at any time. */
bool capture_takes(const struct capture *c);

/* Will a change of this table in the transaction under way, which is a row, be let go? Who marks the last message of a transaction has to know before it is
 * given, for something else stands at its end then. (One that is given is let go all the same.) */
bool capture_lets_go(const struct capture *c, uint32_t table);

/* Whatever was taken for sending, and is still not sent, must not leave the process later than this. */
int64_t capture_send_deadline(const struct capture *c);

/* When a tick is needed at the latest; INT64_MAX for never. */
int64_t capture_deadline(const struct capture *c);

const struct capture_stats *capture_look(struct capture *c);

/* A table as it stands in memory (its rows of now may not be marked yet). */
const struct capture_table *capture_table_at(const struct capture *c, uint32_t table);

/* May a pass with this number begin over the table? Not while its rows are being read, for a snapshot or another pass: later then. Nor if it is
 * known already, or nobody leads. */
bool capture_may_verify(const struct capture *c, uint32_t table, uint64_t pass);

/* The name of a state of the reader, in lower case, for log and status. */
const char *capture_reader_name(enum capture_reader_state state);

/* Asserts every invariant of the data structures. Slow: for tests. */
void capture_audit(const struct capture *c);

#endif
