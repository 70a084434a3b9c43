/* One line a figure: name, type, where it shows, where it stands, help. */
#include "watch/figures.h"

#include <string.h>

#include "flow/publisher.h"
#include "watch/figure_places.h"

#define KIND_OF(x)                        \
	_Generic((x), bool                \
		 : FLAG, int64_t          \
		 : WHOLE, uint64_t        \
		 : COUNT, uint32_t        \
		 : SMALL, double          \
		 : REAL, struct histogram \
		 : TIMES)
#define IN(where, type, member) \
	.place = (where), .kind = KIND_OF(((type *)NULL)->member), .offset = offsetof(type, member)
#define OF_FACTS(member) IN(FACTS, struct facts, member)
#define OF_STATS(member) IN(STATS, struct delivery_stats, member)
#define OF_BACKLOG(member) IN(BACKLOG, struct backlog_figures, member)
#define OF_PUBLISHER(member) IN(PUBLISHER, struct publisher_figures, member)
#define OF_VERDICT(member) IN(VERDICT, struct verdict, member)
#define OF_PROCESS(member) IN(PROCESS, struct process_figures, member)
#define OF_STREAM(member) .label = "stream", IN(STREAM, struct stream_state, member)
#define OF_SUBSCRIPTION(member) .label = "subscription", IN(SUBSCRIPTION, struct inbox_subscription_facts, member)
#define OF_SUBSCRIPTION_STATS(member) .label = "subscription", IN(SUBSCRIPTION_STATS, struct inbox_stats, member)
#define OF_SUBSCRIPTION_SINK(member) .label = "subscription", IN(SUBSCRIPTION_SINK, struct inbox_backlog, member)
#define OF_SUBSCRIPTION_BACKLOG(member) .label = "subscription", IN(SUBSCRIPTION_BACKLOG, struct inbox_backlog, member)
#define OF_SUBSCRIPTION_HANDLER(member) \
	.label = "subscription", IN(SUBSCRIPTION_HANDLER, struct inbox_workers_figures, member)
#define OF_SUBSCRIPTION_LAG(member) \
	.label = "subscription", IN(SUBSCRIPTION_LAG, struct inbox_subscription_facts, member)
#define OF_CAPTURE(member) .label = "capture", IN(CAPTURE, struct capture_one_facts, member)
#define OF_CAPTURE_WAL(member) .label = "capture", IN(CAPTURE_WAL, struct capture_one_facts, member)
#define OF_CAPTURE_LAG(member) .label = "capture", IN(CAPTURE_LAG, struct capture_one_facts, member)
#define OF_CAPTURE_TABLE(member) .label = "capture", IN(CAPTURE_TABLE, struct capture_table_facts, member)
#define OF_SAGAS(member) IN(SAGAS, struct saga_figures, member)
#define SAGA_TIME(member) .place = SAGAS, .kind = MICROSECONDS, .offset = offsetof(struct saga_figures, member)
#define AGE(member) .place = BACKLOG, .kind = MICROSECONDS, .offset = offsetof(struct backlog_figures, member)
#define EACH(what, where) .label = (what), .place = (where)

#define GAUGE(n, s, h, ...) { .name = (n), .type = FIGURE_GAUGE, .shown = (s), .help = (h), __VA_ARGS__ },
#define COUNTER(n, s, h, ...) { .name = (n), .type = FIGURE_COUNTER, .shown = (s), .help = (h), __VA_ARGS__ },
#define HISTOGRAM(n, s, h, ...) { .name = (n), .type = FIGURE_HISTOGRAM, .shown = (s), .help = (h), __VA_ARGS__ },

enum { NOWHERE = 0, STATUS = IN_STATUS, LOG_TOO = IN_STATUS | IN_LOG };

/* clang-format off */
const struct figure figures[] = {
	GAUGE("boxhaul_info", NOWHERE, "Always 1; its labels tell which relay this is: name of the instance, database, server (PostgreSQL's system_identifier; empty until it is known), and version of boxhaul.", EACH("name", INFO))
	GAUGE("boxhaul_state", NOWHERE, "1 for the state the relay is in, 0 for the others; the same words as on its page and in boxhaul status.", EACH("state", STATE))
	GAUGE("boxhaul_ready", STATUS, "1 if /readyz answers 200: the relay delivers, stands by, or is paused.", OF_VERDICT(ready))
	GAUGE("boxhaul_leader", STATUS, "1 if this relay leads, which means that it is the one that sends.", OF_FACTS(leads))
	GAUGE("boxhaul_standby", STATUS, "1 if this relay stands by while another one leads.", OF_FACTS(stands_by))
	GAUGE("boxhaul_schema_behind", STATUS, "How many versions the schema is behind the program: boxhaul migrate makes it 0. Less than 0 if the schema is that of a newer boxhaul.", OF_FACTS(schema_behind))
	GAUGE("boxhaul_postgres_up", NOWHERE, "1 while the relay is connected to PostgreSQL.", OF_FACTS(postgres_up))
	GAUGE("boxhaul_nats_up", NOWHERE, "1 while the relay is connected to NATS.", OF_FACTS(nats_up))
	COUNTER("boxhaul_postgres_connects_total", STATUS, "Sessions opened with PostgreSQL.", OF_FACTS(connects_postgres))
	COUNTER("boxhaul_nats_connects_total", STATUS, "Connections opened to NATS.", OF_FACTS(connects_nats))
	GAUGE("boxhaul_config_last_reload_successful", STATUS, "0 if the last reload of the configuration was refused and the one before it still counts.", OF_FACTS(reload_ok))

	GAUGE("boxhaul_lag_seconds", STATUS, "How long the oldest message that could be sent has been waiting; 0 if none waits; without those held back. Leader only.", AGE(oldest_us))
	GAUGE("boxhaul_oldest_unsent_seconds", STATUS, "How long the oldest message that is not sent has been waiting, those held back included; 0 if there is none. Leader only.", AGE(oldest_any_us))
	GAUGE("boxhaul_backlog_messages", STATUS, "Messages that wait to be sent: those in memory, the ids above the highest one read, and about so many rows as have come into view among the missing ids. Leader only.", OF_BACKLOG(messages))
	GAUGE("boxhaul_unrouted_messages", STATUS, "Messages held because no stream of the configuration takes their subject. Leader only.", OF_STATS(unrouted))
	GAUGE("boxhaul_dead_letters", STATUS, "Dead letters that stand in the table now; counted up to 10000. Leader only.", OF_BACKLOG(dead_letters))
	GAUGE("boxhaul_dead_letters_held", STATUS, "Dead letters that hold back their key until somebody redrives or discards them; counted up to 10000. Leader only.", OF_BACKLOG(held_letters))

	COUNTER("boxhaul_rows_total", STATUS, "Rows read from the outbox.", OF_STATS(rows))
	COUNTER("boxhaul_publishes_total", STATUS, "Messages sent to JetStream, repeats included.", OF_STATS(published))
	COUNTER("boxhaul_publish_payload_bytes_total", STATUS, "Bytes of payload sent to JetStream, repeats included.", OF_PUBLISHER(payload_bytes))
	COUNTER("boxhaul_keyless_total", STATUS, "Messages that were read and go without the header Boxhaul-Key, because it would make them too large.", OF_FACTS(keyless))
	COUNTER("boxhaul_acks_total", LOG_TOO, "Messages that JetStream acknowledged as stored.", OF_STATS(acked))
	COUNTER("boxhaul_duplicates_total", LOG_TOO, "Acknowledgements that said the message had been stored before.", OF_STATS(duplicates))
	HISTOGRAM("boxhaul_ack_seconds", NOWHERE, "Time from the sending of a message to its acknowledgement.", OF_PUBLISHER(ack))
	HISTOGRAM("boxhaul_delivery_seconds", NOWHERE, "Time from the insertion of a row (created_at) to the acknowledgement of its message.", OF_PUBLISHER(delivery))
	COUNTER("boxhaul_refusals_total", LOG_TOO, "Messages that JetStream refused, by the reason it gave.", EACH("reason", REASONS))
	COUNTER("boxhaul_ack_timeouts_total", STATUS, "Messages that JetStream did not answer in time (delivery.ack_timeout).", OF_STATS(timeouts))
	COUNTER("boxhaul_retries_total", STATUS, "Messages that were due to be sent again, after a refusal or a timeout.", OF_STATS(retries))
	COUNTER("boxhaul_dead_letters_total", LOG_TOO, "Messages that were given up and moved to boxhaul.dead_letter.", OF_STATS(dead))
	COUNTER("boxhaul_parked_total", STATUS, "Messages held back because their stream or their key could not be sent to.", OF_STATS(parked))
	COUNTER("boxhaul_voided_ids_total", STATUS, "Ids without a row, because the transaction that drew them was rolled back.", OF_STATS(voided))
	COUNTER("boxhaul_vanished_ids_total", STATUS, "Rows that were deleted from the outbox before they were sent: 0, unless somebody deletes rows by hand.", OF_STATS(vanished))
	COUNTER("boxhaul_stale_replies_total", STATUS, "Answers of JetStream that came too late to matter.", OF_STATS(stale_replies))
	COUNTER("boxhaul_lookbacks_total", STATUS, "Look-backs: times the relay read the end of a stream to find out which messages are stored there already.", OF_STATS(lookbacks))

	COUNTER("boxhaul_wakeups_total", LOG_TOO, "Times the relay asked the outbox for rows, by what caused it.", EACH("source", WAKEUP_CAUSES))
	COUNTER("boxhaul_notifications_total", STATUS, "Notifications received from PostgreSQL.", OF_STATS(notifications))
	COUNTER("boxhaul_postgres_statements_total", STATUS, "Statements sent to PostgreSQL, by name; each is a transaction of its own.", EACH("statement", STATEMENT))
	COUNTER("boxhaul_marks_total", LOG_TOO, "Transactions that recorded progress in the database.", OF_STATS(marks))
	COUNTER("boxhaul_slot_truncations_total", STATUS, "Partitions of the outbox that were emptied after their rows had been sent.", OF_FACTS(truncations))
	GAUGE("boxhaul_position", LOG_TOO, "The id up to which every message is settled, except for those in the exceptions.", OF_STATS(position))
	GAUGE("boxhaul_read_id", LOG_TOO, "The highest id read from the outbox.", OF_STATS(read))
	GAUGE("boxhaul_asleep", STATUS, "1 while the relay does not poll, but waits for a notification.", .place = ASLEEP)
	GAUGE("boxhaul_paused", STATUS, "1 while an operator's pause stands and nothing is sent.", OF_STATS(paused))

	GAUGE("boxhaul_queue_messages", LOG_TOO, "Messages in the relay's memory.", OF_STATS(resident))
	GAUGE("boxhaul_queue_bytes", STATUS, "Bytes of memory that the messages in the relay's memory take.", OF_STATS(resident_bytes))
	GAUGE("boxhaul_in_flight_messages", LOG_TOO, "Messages that are sent and not yet acknowledged.", OF_STATS(in_flight))
	GAUGE("boxhaul_backing_off_messages", STATUS, "Messages that wait for their time to be sent again.", OF_STATS(backing_off))
	GAUGE("boxhaul_asking_messages", STATUS, "Messages that wait until the relay has read which messages their stream holds already.", OF_STATS(asking))
	GAUGE("boxhaul_found_messages", STATUS, "Message ids that were read from the ends of the streams and are remembered, others' included; at most 131072.", OF_FACTS(found))
	GAUGE("boxhaul_window_messages", STATUS, "Messages that may be in flight now.", OF_STATS(window))
	GAUGE("boxhaul_exceptions", LOG_TOO, "Ranges of ids at or below the position or the highest id read that are not settled; at most 65536.", OF_STATS(exceptions))
	GAUGE("boxhaul_missing_ranges", STATUS, "Ranges of ids that are not visible: their transactions are open or were rolled back.", OF_STATS(missing))
	GAUGE("boxhaul_parked_ranges", STATUS, "Ranges of ids that are held back because their stream or key cannot be sent to.", OF_STATS(parked_ranges))
	GAUGE("boxhaul_blocked_lanes", STATUS, "Keys whose messages are held back.", OF_STATS(blocked_lanes))
	GAUGE("boxhaul_full", STATUS, "1 while the relay reads nothing new, because it cannot remember any more exceptions.", OF_STATS(full))

	GAUGE("boxhaul_stream_blocked", STATUS, "1 while the stream takes no messages.", OF_STREAM(blocked))
	GAUGE("boxhaul_stream_lost", STATUS, "1 if the stream was made anew, or has lost its end, since the relay leads, and rows are still kept that can be sent again; boxhaul reconcile lists what is missing.", EACH("stream", STREAM_LOST))
	COUNTER("boxhaul_stream_acks_total", STATUS, "Messages that JetStream acknowledged as stored, by stream.", OF_STREAM(acked))
	GAUGE("boxhaul_stream_sequence", STATUS, "The highest sequence in the stream that was acknowledged to this relay.", OF_STREAM(sequence))
	COUNTER("boxhaul_stream_chain_broken_total", STATUS, "Owned streams: times the chain of expected sequences was broken, and begun again behind what the stream holds.", OF_STREAM(broken))
	COUNTER("boxhaul_stream_foreign_total", STATUS, "Owned streams: messages of somebody else that were met.", OF_STREAM(foreign))
	GAUGE("boxhaul_stream_queue_messages", STATUS, "Messages in the relay's memory, by stream. Leader only.", EACH("stream", STREAM_QUEUE))

	GAUGE("boxhaul_stream_batched", STATUS, "1 while messages go to the stream in batches (streams.send), 0 while they go one by one.", EACH("stream", STREAM_WIRE))
	COUNTER("boxhaul_stream_batches_total", STATUS, "Batches that were begun, by stream.", OF_STREAM(batches))
	COUNTER("boxhaul_stream_batches_unclean_total", STATUS, "Batches that ended without the server's word on all of their messages (an election, a lost connection, silence): the rest of them is settled one by one before another begins.", OF_STREAM(unclean))
	COUNTER("boxhaul_stream_batch_settled_total", STATUS, "Messages of such batches that were settled one by one.", OF_STREAM(settled))
	GAUGE("boxhaul_stream_batch_uncertain_messages", STATUS, "Messages of such batches that are not settled yet.", OF_STREAM(uncertain))

	GAUGE("boxhaul_inbox_leader", STATUS, "1 if this relay takes the subscription's messages.", OF_SUBSCRIPTION(leads))
	GAUGE("boxhaul_inbox_stopped", STATUS, "1 while nothing is taken until somebody decides: a gap, a stream that was truncated or made anew, or one that cannot be read.", EACH("subscription", SUBSCRIPTION_STOPPED))
	GAUGE("boxhaul_inbox_paused", STATUS, "1 while an operator's pause stands and nothing is taken or handed out.", OF_SUBSCRIPTION(paused))
	GAUGE("boxhaul_inbox_position", STATUS, "The sequence of the stream up to which everything that matched is taken.", OF_SUBSCRIPTION_STATS(position))
	GAUGE("boxhaul_inbox_lag_messages", STATUS, "Messages that stand in the stream, or are on their way, and are not taken yet. Leader only.", OF_SUBSCRIPTION_LAG(lag_messages))
	GAUGE("boxhaul_inbox_lag_seconds", STATUS, "How long ago all that had come to the stream was taken: 0 while a consumer works and none waits. It grows while nothing is taken, whatever the reason: stopped, paused, no database, no JetStream. Leader only.", .label = "subscription", .place = SUBSCRIPTION_BEHIND, .kind = MICROSECONDS, .offset = offsetof(struct inbox_subscription_facts, lag_us))
	COUNTER("boxhaul_inbox_taken_total", LOG_TOO, "Messages that were taken into the database.", OF_SUBSCRIPTION(taken))
	COUNTER("boxhaul_inbox_left_out_total", STATUS, "Messages that were left out, because their id was known.", OF_SUBSCRIPTION(left_out))
	COUNTER("boxhaul_inbox_untakable_total", STATUS, "Messages that could not be stored and became dead letters at once.", OF_SUBSCRIPTION(dead))
	COUNTER("boxhaul_inbox_lost_total", STATUS, "Sequences that left the stream before they were taken, and that were passed over; not all need have been messages of the subscription.", OF_SUBSCRIPTION(lost))
	COUNTER("boxhaul_inbox_consumers_total", STATUS, "Consumers that were made in JetStream; each doubt makes another one.", OF_SUBSCRIPTION_STATS(consumers))
	COUNTER("boxhaul_inbox_rewinds_total", STATUS, "Times the position went back, because the stream had lost its end.", OF_SUBSCRIPTION_STATS(rewinds))
	GAUGE("boxhaul_inbox_waiting", STATUS, "Messages that are taken and not handled. Leader only.", OF_SUBSCRIPTION_BACKLOG(waiting))
	GAUGE("boxhaul_inbox_oldest_unhandled_seconds", STATUS, "How long ago the oldest message that is not handled was taken; 0 if there is none. Leader only.", .label = "subscription", .place = SUBSCRIPTION_BACKLOG, .kind = MICROSECONDS, .offset = offsetof(struct inbox_backlog, oldest_us))
	GAUGE("boxhaul_inbox_parked", STATUS, "Messages that failed, and those of their keys behind them. Leader only.", OF_SUBSCRIPTION_BACKLOG(parked))
	GAUGE("boxhaul_inbox_held", STATUS, "Messages that failed max_attempts times, and hold their key until somebody retries or skips them. Leader only.", OF_SUBSCRIPTION_BACKLOG(held))
	GAUGE("boxhaul_inbox_standing_lanes", STATUS, "Lanes whose first message is handed out again and again, and neither done nor failed. Leader only.", OF_SUBSCRIPTION_BACKLOG(standing))
	GAUGE("boxhaul_inbox_dead_letters", STATUS, "Dead letters of the inbox that stand in the table now. Leader only.", OF_SUBSCRIPTION_BACKLOG(dead_letters))
	COUNTER("boxhaul_inbox_handled_total", LOG_TOO, "Messages that the handler in the database handled, called by this relay.", OF_SUBSCRIPTION_HANDLER(handled))
	COUNTER("boxhaul_inbox_failed_total", STATUS, "Calls for a message that the handler in the database ended with an error, or did not end in time.", OF_SUBSCRIPTION_HANDLER(failed))
	COUNTER("boxhaul_inbox_repeated_calls_total", STATUS, "Calls of the handler in the database that a conflict or an outage ended; they are no attempts.", OF_SUBSCRIPTION_HANDLER(repeated))
	GAUGE("boxhaul_inbox_handler_sessions", STATUS, "Sessions that call the handler in the database.", OF_SUBSCRIPTION_HANDLER(sessions))

	GAUGE("boxhaul_inbox_sink_applied", STATUS, "Changes and rows of a capture that took effect in tables of this database, since the subscription began. Leader only.", OF_SUBSCRIPTION_SINK(applied))
	GAUGE("boxhaul_inbox_sink_incomplete_tables", STATUS, "Tables of a sink of which not all rows have come yet. Leader only.", OF_SUBSCRIPTION_SINK(incomplete))
	GAUGE("boxhaul_inbox_sink_missing", STATUS, "Updates of complete tables that found no row: the tables are not what the source has. Leader only.", OF_SUBSCRIPTION_SINK(missing))

	GAUGE("boxhaul_inbox_sink_different", STATUS, "Rows of a sink's tables that verify passes have found to differ from the source, and no later pass has proved to be equal; counted up to 10,000. Leader only.", OF_SUBSCRIPTION_SINK(different))
	GAUGE("boxhaul_inbox_sink_unproved_tables", STATUS, "Tables of a sink that no verify pass has proved: none has ended, or the last one has found differences that are still open, or could not compare, or the table is not complete. Leader only.", OF_SUBSCRIPTION_SINK(unproved))
	GAUGE("boxhaul_inbox_sink_proved_seconds", STATUS, "How long ago the verify passes began that prove the tables of a sink: of each table the last one, of these the oldest. It is not there while a table is unproved. Leader only.", .label = "subscription", .place = SUBSCRIPTION_PROVED, .kind = MICROSECONDS, .offset = offsetof(struct inbox_backlog, proved_us))

	GAUGE("boxhaul_capture_leader", STATUS, "1 if this relay reads the capture's log.", OF_CAPTURE(leads))
	GAUGE("boxhaul_capture_gap", STATUS, "1 while nothing is read until somebody decides: the replication slot is gone, lost, or another one, the server is another one, or the stream lost its end.", EACH("capture", CAPTURE_GAP))
	GAUGE("boxhaul_capture_diverged", STATUS, "1 while copies of its tables may have changes that a promotion took back; also until it was looked whether there are any.", EACH("capture", CAPTURE_DIVERGED))
	GAUGE("boxhaul_capture_paused", STATUS, "1 while an operator's pause stands: the log is kept, and not read.", OF_CAPTURE(paused))
	GAUGE("boxhaul_capture_blocked", STATUS, "1 while the stream takes no messages, so that the log is not read.", OF_CAPTURE(blocked))
	GAUGE("boxhaul_capture_lag_bytes", STATUS, "Bytes of the server's log that are written and not confirmed by the capture. Leader only.", OF_CAPTURE_WAL(lag_bytes))
	GAUGE("boxhaul_capture_lag_seconds", STATUS, "How long ago the oldest transaction was committed that was received and is not stored whole; 0 if all are. Leader only.", .label = "capture", .place = CAPTURE_LAG, .kind = MICROSECONDS, .offset = offsetof(struct capture_one_facts, lag_us))
	GAUGE("boxhaul_capture_lag_commits", STATUS, "Transactions that were received and are not stored whole. Leader only.", OF_CAPTURE_LAG(lag_commits))
	GAUGE("boxhaul_capture_retained_bytes", STATUS, "Bytes of its log that the server keeps for the capture's replication slot. Leader only.", OF_CAPTURE_WAL(retained_bytes))
	GAUGE("boxhaul_capture_budget_bytes", STATUS, "wal_budget of the capture; 0 if it has none. Leader only.", OF_CAPTURE_WAL(budget_bytes))
	GAUGE("boxhaul_capture_safe_bytes", STATUS, "Bytes of log after which the server takes the replication slot away (max_slot_wal_keep_size); 0 if it never does. Leader only.", OF_CAPTURE_WAL(safe_bytes))
	GAUGE("boxhaul_capture_confirmed_lsn", STATUS, "The position up to which the server may forget its log, as a number.", OF_CAPTURE(confirmed))
	COUNTER("boxhaul_capture_commits_total", STATUS, "Transactions with captured changes that were read from the log.", OF_CAPTURE(commits))
	COUNTER("boxhaul_capture_changes_total", LOG_TOO, "Changes that were read from the log.", OF_CAPTURE(changes))
	COUNTER("boxhaul_capture_read_bytes_total", STATUS, "Bytes that the server sent of its log.", OF_CAPTURE(bytes))
	COUNTER("boxhaul_capture_stored_total", LOG_TOO, "Messages of the capture that JetStream acknowledged as stored.", OF_CAPTURE(stored))
	COUNTER("boxhaul_capture_snapshot_rows_total", STATUS, "Rows that were there before the capture, read in chunks and stored.", OF_CAPTURE(snapshot_rows))
	COUNTER("boxhaul_capture_chunks_total", STATUS, "Chunks of such rows that were read.", OF_CAPTURE(chunks))
	COUNTER("boxhaul_capture_void_chunks_total", STATUS, "Chunks that were read again, because a commit could not be seen yet or the columns had changed.", OF_CAPTURE(void_chunks))
	GAUGE("boxhaul_capture_repairs", STATUS, "Chunks of rows that are still to be read again, because a change came without a value that it had left as it was.", OF_CAPTURE(repairs))
	COUNTER("boxhaul_capture_left_out_total", STATUS, "Logical messages of a configured prefix that were left out, because they were emitted outside of transactions.", OF_CAPTURE(left_out))
	COUNTER("boxhaul_capture_chain_broken_total", STATUS, "Commit order: times the chain of expected sequences was broken, and begun again behind what the stream holds.", OF_CAPTURE(chain_broken))
	COUNTER("boxhaul_capture_foreign_total", STATUS, "Commit order: messages of somebody else that were met in the stream.", OF_CAPTURE(foreign))
	COUNTER("boxhaul_capture_dead_total", STATUS, "Changes that were given up and became dead letters.", OF_CAPTURE(dead))
	GAUGE("boxhaul_capture_dead_letters", STATUS, "Dead letters of the capture that stand in the table now. Leader only.", OF_CAPTURE_WAL(dead_letters))
	GAUGE("boxhaul_capture_carried", STATUS, "Changes that wait for their key, kept with the books. Leader only.", OF_CAPTURE_WAL(carried))
	GAUGE("boxhaul_capture_held", STATUS, "Dead letters of the capture that hold back what follows with the same key until somebody redrives or discards them. Leader only.", OF_CAPTURE_WAL(held))
	GAUGE("boxhaul_capture_unfinished_tables", STATUS, "Tables whose rows from before the capture are not all stored.", .label = "capture", .place = CAPTURE, .kind = SIZE, .offset = offsetof(struct capture_one_facts, unfinished))
	GAUGE("boxhaul_capture_verifying_tables", STATUS, "Tables over which a verify pass is under way.", .label = "capture", .place = CAPTURE, .kind = SIZE, .offset = offsetof(struct capture_one_facts, verifying))
	GAUGE("boxhaul_capture_table_rows", NOWHERE, "Rows of the table's snapshot, or of the verify pass over it that is under way or was last, that are stored so far, by table.", OF_CAPTURE_TABLE(rows))
	GAUGE("boxhaul_capture_table_estimate_rows", NOWHERE, "About so many rows the table's snapshot, or the verify pass over it, has in all, by table; 0 if nobody knows.", OF_CAPTURE_TABLE(estimate))

	GAUGE("boxhaul_saga_clock", STATUS, "1 while this relay takes the deadlines of the sagas that are started in its database.", IN(SAGAS_HERE, struct saga_facts, runs))
	GAUGE("boxhaul_saga_open", NOWHERE, "Sagas that have not ended, by name and state. Leader only.", EACH("saga", SAGAS_OPEN))
	GAUGE("boxhaul_saga_stuck", STATUS, "Sagas that do not end without somebody: attempts are used up and the answer is not to be done without, or an answer tells of a history that is lost. Leader only.", OF_SAGAS(stuck))
	GAUGE("boxhaul_saga_oldest_open_seconds", STATUS, "How long ago the oldest saga that has not ended was started; 0 if there is none. Leader only.", SAGA_TIME(oldest_us))
	COUNTER("boxhaul_saga_timeouts_total", STATUS, "Deadlines of sagas that passed without an answer. Leader only.", OF_SAGAS(timeouts))
	GAUGE("boxhaul_saga_late_seconds", STATUS, "How late the last deadline was that was taken. Leader only.", SAGA_TIME(late_us))

	COUNTER("process_cpu_seconds_total", NOWHERE, "User and system CPU time spent, in seconds.", OF_PROCESS(cpu_seconds))
	GAUGE("process_start_time_seconds", NOWHERE, "When the process was started, in seconds since 1970.", OF_PROCESS(start_seconds))
	GAUGE("process_resident_memory_bytes", NOWHERE, "Resident memory in bytes.", OF_PROCESS(resident_bytes))
	GAUGE("process_virtual_memory_bytes", NOWHERE, "Virtual memory in bytes.", OF_PROCESS(virtual_bytes))
	GAUGE("process_open_fds", NOWHERE, "File descriptors that are open.", OF_PROCESS(open_fds))
	GAUGE("process_max_fds", NOWHERE, "File descriptors that may be open.", OF_PROCESS(max_fds))
};
/* clang-format on */
const size_t figures_count = sizeof figures / sizeof figures[0];

const char *figure_key(const struct figure *figure)
{
	static const char *const prefixes[] = { "boxhaul_stream_", "boxhaul_inbox_", "boxhaul_capture_",
						"boxhaul_saga_", "boxhaul_" };

	for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
		if (strncmp(figure->name, prefixes[i], strlen(prefixes[i])) == 0)
			return figure->name + strlen(prefixes[i]);
	return figure->name;
}
