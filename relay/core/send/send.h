/* The sender: order, window, refusals, repeats, look-back.
 *
 *     source -- offer --> lanes in memory -- publish --> stream
 *        ^                  |                              |
 *        |       settled, dead, parked        ack, refusal, silence
 *        |                  v                              |
 *        +--- outcomes <----+------------------------------+
 *
 * It knows tickets, not what they mean (outcome.h). It decides no more than what becomes of a message; what the books say of that
 * is the source's matter. The source offers rows, and after each call that may bring outcomes takes them all.
 *
 * What it promises. Of a lane at most one message is in flight (strict), the lowest ticket first; whatever is parked is parked
 * with all of its lane or stream that stands behind it, and nothing newer of that passes before it was offered again (G3).
 * Nothing that may be stored is sent again where its stream might have forgotten it, unless the stream was read (G4). Each ticket
 * that was taken has one outcome: SETTLED, DEAD, HELD or PARKED; after PARKED, and HELD, it is offered again. After DEAD its lane waits
 * until the source says that the letter is on record.
 *
 * What the source must do. It reads in rounds. Each round is one snapshot, in ascending order, with everything in it that is
 * wanted (holding_takes) or new. It never offers a ticket twice that has had no outcome. It asks for no effect that the
 * lead does not allow: the sender knows no lease.
 *
 * This header is all that is known of it outside; each function bears the name of the file that it stands in. */
#ifndef BOXHAUL_CORE_SEND_SEND_H
#define BOXHAUL_CORE_SEND_SEND_H

#include "core/notes.h"
#include "core/send/outcome.h"

struct sender;
struct message; /* one in memory: for memory_oldest() and its kind */

/* NULL when out of memory. Settings, notes and figures are borrowed; those that count are written as things happen. Of the settings those may change that need no other memory; that
 * is told with sending_adjust(). */
struct sender *sender_create(const struct delivery_settings *set, struct notes *notes, struct delivery_stats *stats);
void sender_free(struct sender *s);

/* --- the lead, the clock, the bus --- */

/* Before anything else in a step: the time (which never goes back) and the randomness of its event. */
void sender_clock(struct sender *s, int64_t now_ms, uint32_t random);

/* All that is known is void, and nobody is told. */
void sender_forget(struct sender *s);

/* We lead, and nothing is in memory. By stream the low water that earlier leaders left; one of them may publish until then. */
void sender_begin(struct sender *s, const uint64_t *low_water, int64_t predecessor_until_ms);

/* All that was there when we took the lead has been read: an earlier leader can have sent nothing above this ticket. */
void sender_caught_up(struct sender *s, int64_t last_ticket);

/* Nothing that an earlier leader may have sent is left to be sent: from now on, until another lead. */
void sender_predecessor_settled(struct sender *s);

void sender_bus_up(struct sender *s);
void sender_bus_down(struct sender *s);

/* Answers, while we lead. One that is not awaited any more is ignored. Outcomes follow. */
void sending_acked(struct sender *s, const struct event *ev);
void sending_refused(struct sender *s, const struct event *ev);
void lookback_answered(struct sender *s, const struct event *ev);
void batch_answered(struct sender *s, const struct event *ev);

/* EVENT_WIRE. */
void batch_wire(struct sender *s, const struct event *ev);

/* The settings are others. */
void sending_adjust(struct sender *s);

/* What is overdue: silence becomes a repeat, or holds a stream back. Outcomes follow. */
void sending_timers(struct sender *s);

/* --- outcomes --- */

/* The queue of them, for as long as the sender lives. The source alone takes from it. */
struct outcomes *sender_outcomes(struct sender *s);

/* Dead letters whose lanes wait until they are on record; the oldest so many are, now: their lanes go on. */
size_t memory_unrecorded(const struct sender *s);
void memory_on_record(struct sender *s, size_t dead_letters);

/* So many dead letters the source can take from now on. */
void sender_dead_credit(struct sender *s, size_t dead_letters);

/* --- offers --- */

/* A round of reading begins: what it is answered is offered until the next one. Returns its number, one more than the last. */
uint32_t sender_round(struct sender *s);

struct offer {
	const struct row *row;
	int64_t ticket;
	enum turn turn;
	uint32_t attempts;         /* refusals before */
	scope_id was_parked;       /* what it was parked for; SCOPE_NONE */
	const struct doubt *doubt; /* NULL: none, it was never sent */
};

/* Takes a message, and returns its slot. Or -1: its scope is shut, and PARKED is its outcome. There must be room (memory_resident). */
int32_t sender_offer(struct sender *s, const struct offer *o);

/* Would a ticket that is parked for this scope be taken now: because it probes, or because nothing is held back any more? */
bool holding_takes(struct sender *s, scope_id scope, int64_t ticket);
bool holding_is_probed_by(struct sender *s, scope_id scope, int64_t ticket);
bool holding_any_stream_open(const struct sender *s);

/* No room to hold one more lane back: memory may be full of lanes that cannot be parked. */
bool holding_lanes_are_full(const struct sender *s);

/* --- what is parked --- */

/* Some block is due. Then the source walks through what it has parked, in ascending order, and where a scope wants a probe
 * it names the ticket; it is to be offered by the next round. At the end it says so. Outcomes follow that. */
bool holding_is_due(const struct sender *s);
bool holding_wants_probe(struct sender *s, scope_id scope);
void holding_probe(struct sender *s, scope_id scope, int64_t ticket);
void holding_probes_chosen(struct sender *s);

/* The books say that an earlier leader held this lane back with so many tickets. held_by: the dead letter among them that
 * waits for an operator (or was `decided` about since), else 0. False: there is no room, and nothing is held back. */
bool holding_inherit(struct sender *s, scope_id lane, size_t tickets, int64_t held_by, bool decided);

/* Its dead letter waited for an operator when the books were read. */
bool holding_waited_for_operator(struct sender *s, scope_id scope);

/* The parked tickets from this one on, so many, are gone and will not be offered again. */
void holding_gone(struct sender *s, scope_id scope, int64_t ticket, size_t tickets);

/* Is this the dead letter that holds its lane? Then an operator may redrive it: it probes its lane. Or discard it: its lane opens.
 * Any other parked letter can be withdrawn. Outcomes follow. */
bool holding_is_held_by(struct sender *s, scope_id scope, int64_t ticket);
void holding_redrive(struct sender *s, scope_id scope, int64_t ticket);
void holding_discard(struct sender *s, scope_id scope, int64_t ticket);
void holding_withdraw(struct sender *s, scope_id scope, int64_t ticket);

/* --- what is in memory --- */

size_t memory_resident(const struct sender *s); /* slots that are not free: those to be released, too */
uint64_t memory_resident_bytes(const struct sender *s);
size_t memory_in_flight(const struct sender *s);
bool memory_has_work(const struct sender *s); /* something is or could be in flight */

/* One after the other in the order in which they were offered: NULL to begin, NULL at the end. Not stable across any other call
 * that brings outcomes. */
struct message *memory_oldest(const struct sender *s, const struct message *after);
struct message *memory_find(const struct sender *s, int64_t ticket); /* walks; NULL: not in memory */
int64_t memory_ticket_of(const struct message *m);
enum turn memory_turn_of(const struct message *m);
struct doubt memory_doubt_of(const struct message *m);

/* Its outcome will say this turn. */
void memory_set_turn(struct message *m, enum turn turn);

/* The first that was offered in its turn and is not late, or 0. (Any ticket up to INT64_MAX may be one.) */
int64_t memory_oldest_regular(const struct sender *s);

/* --- streams --- */

/* Whatever is sent to it from now on is stored above this. */
uint64_t lookback_last_known(const struct sender *s, uint16_t stream);

/* It was looked at on this connection, and nothing since says that it must be looked at again. */
bool lookback_is_known(const struct sender *s, uint16_t stream);

/* The low water that earlier leaders left; void since, if the stream has lost its end. */
uint64_t lookback_inherited(const struct sender *s, uint16_t stream);

/* --- owned streams --- */

/* settings.owned. The messages of an owned stream are one sequence, in the order in which they were offered (which is that of tickets, but
 * for what comes late). A window of them is in flight at once, and each names the sequence after which it must stand: the chain. What
 * is stored is a prefix of what was sent. After whatever breaks it (a refusal, silence, a lost connection, an answer that says another
 * sequence) nothing is sent until the stream was looked at; what is found is SETTLED, the rest is numbered anew behind the stream's end, and
 * goes on in the same order. No key or lane of an owned stream is held back alone: what waits stops the stream, and the note NOTE_STREAM_BLOCKED
 * names the message. Poison is a dead letter (OUTCOME_DEAD); what stands behind it goes on when the letter is on record (memory_on_record).
 *
 * settings.owned_stays: nothing of it is PARKED: a stream that takes nothing keeps its messages, and tries the first one again; so
 * the source need not choose probes, and waits while there is no room (memory_resident, memory_resident_bytes).
 *
 * A message of somebody else in it (OUTCOME_FOREIGN, NOTE_FOREIGN): its chain stops (REASON_FOREIGN), unless settings.foreign_passes. And with
 * owned_stays it stops when the stream has lost its end, or is another one (OUTCOME_TRUNCATED, REASON_LOST_END). A stopped one has
 * what is in flight answered, sends nothing, and is never probed. An operator's word lets it go on; also a new lead, which knows nothing of it. */
void chain_go_on(struct sender *s, uint16_t stream);

/* A ticket that was parked is gone, and may have been stored: what is found in its stream cannot be told from somebody else's, until the
 * next look. */
void chain_uncounted(struct sender *s, uint16_t stream);

/* Something of an owned stream waits for a look that is due, and for nothing else. */
bool chain_has_work(const struct sender *s);
bool chain_is_stopped(const struct sender *s, uint16_t stream);

/* --- what is gone from a stream --- */

/* See delivery_witness() and delivery_is_proved(), which are these. */
int32_t proof_witness(const struct sender *s, uint32_t slot, int32_t after);
bool proof_holds(const struct sender *s, uint32_t slot, uint32_t witness, uint64_t horizon);

/* --- effects --- */

bool memory_next_release(struct sender *s, struct effect *f);

/* Only while the lead allows to publish. Whatever it returns, outcomes may follow; *asks is set where messages were found about which
 * a stream must be asked first. */
bool sending_next(struct sender *s, struct effect *f, bool *asks);

/* Something is to be said about a batch: also while nothing may be published, as long as something is in flight. */
bool batch_next(struct sender *s, struct effect *f);

/* Only while the lead allows to look. The stream that is to be read next; lookback_take() is the question. lowest: the lowest
 * low water of what the source has parked that may be stored there, or LOW_WATER_NONE. */
bool lookback_next(struct sender *s, uint16_t *stream);
/* Is a stream to be read, now or later, or being read? Not while the connection is gone. */
bool lookback_is_wanted(const struct sender *s);
void lookback_take(struct sender *s, uint16_t stream, uint64_t lowest, struct effect *f);

/* When sending_timers(), a probe or a question is due; INT64_MAX: never. */
int64_t sender_deadline(const struct sender *s);

/* Fills in those of the figures that say how it is now. */
void sender_stats(const struct sender *s);

/* Asserts every invariant. Slow: for tests. */
void sender_audit(const struct sender *s);

#endif
