/* Every limit of the core, with its unit last in the name. Settings an operator may change are in
 * struct delivery_settings (delivery.h); these are the walls around them. */
#ifndef BOXHAUL_CORE_LIMITS_H
#define BOXHAUL_CORE_LIMITS_H

enum {
	LIMIT_STREAMS = 32,

	/* Ranges of ids that are not settled although later ones are. When they run out the relay reads no
	 * further (and says so) instead of growing. */
	LIMIT_EXCEPTIONS = 65536,
	/* No fewer: so messages that one subject cannot take never fill the memory of the others, as long as anything is read. */
	LIMIT_BLOCKED_LANES = 65536,

	/* One mark: new exceptions above the old position, dead letters (each copies its row), ledger rows for late ids. */
	LIMIT_MARK_NEW_EXCEPTIONS = 4096,
	LIMIT_MARK_DEAD = 512,
	LIMIT_MARK_RESOLVED = 8192, /* half of them for decisions */
	LIMIT_MARK_LATE = 4096,

	LIMIT_NOTES = 64,

	/* Refusals are counted by reason, for so many reasons; the others together. */
	LIMIT_REASONS = 24,

	/* A message that is refused (or not answered) so often in a row stops waiting in memory: its lane is
	 * parked and probed instead. It is never given up. */
	LIMIT_TRIES_IN_MEMORY = 10,
	/* Of the queue this part may back off in memory; whatever else must, is parked at once. */
	LIMIT_BACKOFF_SHARE = 4,
	/* This many unanswered publishes in a row, with no answer between them, and the stream is probed
	 * with single messages. */
	LIMIT_SILENT_PUBLISHES = 2,
	/* So many look-backs in a row that took longer than half the duplicate window: then the last one counts all the same,
	 * for it may be growing faster than it can be read. */
	LIMIT_LOOKBACK_ROUNDS = 3,
	/* So many in a row that were refused, or not answered, and single messages are sent without one. */
	LIMIT_LOOKBACKS_REFUSED = 3,
	LIMIT_LOOKBACKS_UNANSWERED = 10,
	/* The window never shrinks below this when the server says it is too busy. */
	LIMIT_WINDOW_MIN_MESSAGES = 16,
	/* While a batch ends, so many that wait go by themselves where they can; more are worth the next batch. */
	LIMIT_BESIDE_A_BATCH = 8,
};

#endif
