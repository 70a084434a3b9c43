/* From what the log or a snapshot brings to what is sent: parcels. What they look like is format/capture_event.h's, format/capture_subject.h's and
 * format/outbox_mapping.h's matter; here it is put together with what the core and the books want to know of each. */
#ifndef BOXHAUL_FLOW_CAPTURE_MAKER_H
#define BOXHAUL_FLOW_CAPTURE_MAKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "flow/capture_parcel.h"
#include "flow/capture_relations.h"
#include "format/capture_event.h"
#include "format/capture_verify.h"
#include "format/pgoutput.h"

/* What a server or a stream refuses, beside what can never be sent, it refuses for its size (core/refusal.c). Each takes more than this on the wire, or is none
 * for rows. */
enum {
	CAPTURE_MAKER_NEVER_REFUSED_BYTES = 4096,
	/* So much of the rows or changes that go together is in one message: they are not refused for their company. */
	CAPTURE_MAKER_REST_BYTES = 512,
	CAPTURE_MAKER_TOGETHER_BYTES = CAPTURE_MAKER_NEVER_REFUSED_BYTES - CAPTURE_MAKER_REST_BYTES,
	CAPTURE_MAKER_TOGETHER_MOST = 64, /* changes */
};

/* What makes them. Each of them returns NULL when out of memory. What can never be sent has a defect, and is a dead letter in its turn. */
struct capture_maker;

/* `config` is borrowed, `index` is the capture's in it; of this server. NULL when out of memory. */
struct capture_maker *capture_maker_create(const struct config *config, size_t index);
void capture_maker_free(struct capture_maker *m);

/* The configuration has new values; or it is another server. The database's name is borrowed. */
void capture_maker_configure(struct capture_maker *m, uint64_t system, const char *database);

/* A row of what was read, as a value for each column of the shape; and of which reading. */
struct capture_read_row {
	const struct capture_shape *shape;
	const struct pgoutput_value *values;
	const char *snapshot;
	uint64_t reading;
	uint64_t
		nth; /* of a table that is read whole: a number that no other row of it has, in any reading; else 0, and the key tells */
	uint32_t table;
	const char *tab;
};

/* That the rows of a table begin, with its columns where they are known (`shape`, or NULL), or are all there. Of one that is read whole, too: the reading, and `nth` as of a row. */
struct capture_read_control {
	const struct capture_shape *shape;
	const char *snapshot;
	const char *history; /* of the table; NULL: it has none */
	uint64_t reading, nth;
	uint32_t table;
	const char *tab;
	bool end;
};

/* Of the stream: an insert, update, delete of a captured table (of an update in a bucket that moves to another key `half` is the delete that
 * goes before it); a truncate; its columns; a row of an outbox table. */
struct capture_parcel *capture_maker_change(struct capture_maker *m, const struct capture_place *place,
					    const struct capture_relation *x, const struct pgoutput_message *message);
struct capture_parcel *capture_maker_half(struct capture_maker *m, const struct capture_place *place,
					  const struct capture_relation *x, const struct pgoutput_message *message);
struct capture_parcel *capture_maker_truncate(struct capture_maker *m, const struct capture_place *place,
					      const struct capture_relation *x);
struct capture_parcel *capture_maker_columns(struct capture_maker *m, const struct capture_place *place,
					     const struct capture_relation *x);
struct capture_parcel *capture_maker_outbox(struct capture_maker *m, const struct capture_place *place,
					    const struct capture_relation *x, const struct pgoutput_message *message);

/* May this change stand in one message with others of its transaction (flow/capture_together.h)? Of its table the log itself says which columns are the key (so not with REPLICA IDENTITY
 * FULL: there it is what somebody has found in the catalogue, sooner or later), it keeps its key, is no defect, and its subject is that of its table. Of one that goes with those before it, its part alone: to make a message of it, too, is
 * much of the work. How much it takes there. And the message of several of one table, of which the name alone counts, at the place of the last one. */
bool capture_maker_goes_together(const struct capture_maker *m, const struct capture_relation *x,
				 const struct pgoutput_message *message, const struct capture_parcel *p);
struct capture_parcel *capture_maker_part(struct capture_maker *m, const struct capture_relation *x,
					  const struct pgoutput_message *message);
size_t capture_maker_bytes_of_change(const struct capture_parcel *p);
struct capture_parcel *capture_maker_changes(struct capture_maker *m, const struct capture_place *place,
					     const struct capture_shape *of,
					     const struct capture_parcel *const *changes, size_t count);

/* May it never be stored? (Then for its size, which is above that of CAPTURE_MAKER_NEVER_REFUSED_BYTES, or for a defect.) And what says, behind it, that its transaction ends. */
bool capture_maker_may_be_refused(const struct capture_parcel *p);
struct capture_parcel *capture_maker_end(struct capture_maker *m, const struct capture_place *place);

/* Do consumers of this kind know such a message? Those of a bucket know rows alone. */
bool capture_maker_tells(const struct capture_maker *m, enum capture_op op);

/* Has this change two halves? */
bool capture_maker_moves(struct capture_maker *m, const struct capture_relation *x,
			 const struct pgoutput_message *message);

/* A logical message: is it one of ours; and what it is sent as. */
bool capture_maker_wants(const struct capture_maker *m, const struct pgoutput_message *message);
struct capture_parcel *capture_maker_message(struct capture_maker *m, const struct capture_place *place,
					     const struct pgoutput_message *message);

/* A logical message of boxhaul's own in a transaction. A token of a move (sql/013_move.sql), which sinks are told: is it one for this capture; and what it is
 * sent as. And is it the mark of a sink whose transactions are left out? */
bool capture_maker_is_token(const struct capture_maker *m, const struct pgoutput_message *message);
struct capture_parcel *capture_maker_token(struct capture_maker *m, const struct capture_place *place,
					   const struct pgoutput_message *message);
bool capture_maker_skips(const struct capture_maker *m, const struct pgoutput_message *message);

/* Of the snapshot. Where rows may go together it may be no message yet (parcel->snapshot): then, of such a row, the message that it is by itself. */
struct capture_parcel *capture_maker_row(struct capture_maker *m, const struct capture_read_row *row);
struct capture_parcel *capture_maker_alone(struct capture_maker *m, const struct capture_parcel *row);

/* Several rows of one window in one message, each of which was made as above and is no defect: their shape, snapshot, reading and table (`of`; its values do not count). Who reads a table of its own
 * stream alone wants that: a row as text in the order of the commits. */
bool capture_maker_puts_together(const struct config_capture *c);
struct capture_parcel *capture_maker_rows(struct capture_maker *m, const struct capture_read_row *of,
					  const struct capture_parcel *const *rows, size_t count);

struct capture_parcel *capture_maker_control(struct capture_maker *m, const struct capture_read_control *control);

/* Of a verify pass: a row, by its hash, or whole (`hash` is NULL), or that there is none (`absent`: of its values the key alone counts); the rows of a window,
 * which were made so; that the pass begins, or ends. What a pass reads is told apart by its own id. */
struct capture_parcel *capture_maker_verify(struct capture_maker *m, const struct capture_verify *v,
					    const struct capture_read_row *row, const char *hash, bool absent);
struct capture_parcel *capture_maker_window(struct capture_maker *m, const struct capture_verify *v, uint32_t table,
					    const char *tab, const struct capture_parcel *const *rows, size_t count);
struct capture_parcel *capture_maker_pass(struct capture_maker *m, const struct capture_verify *v, uint32_t table,
					  const char *tab, bool end);

/* What the core wants to know of a parcel; of one of the log, with its number in the transaction. */
struct capture_row capture_maker_row_of(const struct capture_parcel *p);
struct capture_event capture_maker_event_of(const struct capture_parcel *p, enum capture_change_kind kind,
					    uint32_t index);

#endif
