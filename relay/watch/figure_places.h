/* How the samples of a figure are read: for the table (figures.c), and for who reads them (figure_sample.c). A figure says in which
 * structure its value stands, or how several are found, and of which type it is. */
#ifndef BOXHAUL_WATCH_FIGURE_PLACES_H
#define BOXHAUL_WATCH_FIGURE_PLACES_H

enum figure_kind {
	FLAG,         /* bool */
	WHOLE,        /* int64_t; in PROCESS: negative = not known */
	COUNT,        /* uint64_t */
	SMALL,        /* uint32_t */
	SIZE,         /* size_t */
	REAL,         /* double; the same */
	MICROSECONDS, /* int64_t, told in seconds */
	TIMES,        /* struct histogram */
};

/* The structure the value stands in, or how several are found. */
enum figure_place {
	FACTS,
	STATS,
	BACKLOG, /* no sample where the backlog is not known */
	PUBLISHER,
	VERDICT,
	PROCESS,
	STREAM,               /* one for each stream: in its struct stream_state */
	STREAM_QUEUE,         /* one for each stream: its messages in memory */
	STREAM_WIRE,          /* one for each stream: whether its messages go in batches */
	STREAM_LOST,          /* one for each stream: whether what it held is gone */
	WAKEUP_CAUSES,        /* one for each cause, by enum wakeup */
	REASONS,              /* one for each reason of a refusal that occurred */
	STATEMENT,            /* one for each statement on our own tables */
	SUBSCRIPTION,         /* one for each subscription: in its struct inbox_subscription_facts */
	SUBSCRIPTION_BACKLOG, /* one for each whose backlog is known */
	SUBSCRIPTION_SINK,    /* the same, and that is a sink */
	SUBSCRIPTION_PROVED,  /* the same, and all its tables are proved */
	SUBSCRIPTION_STATS,   /* one for each: in the core's struct inbox_stats */
	SUBSCRIPTION_HANDLER, /* one for each that has a handler */
	SUBSCRIPTION_LAG,     /* one for each whose lag is known, in messages */
	SUBSCRIPTION_BEHIND,  /* the same, in seconds */
	SUBSCRIPTION_STOPPED, /* one for each: is it? */
	CAPTURE,              /* one for each capture: in its struct capture_one_facts */
	CAPTURE_WAL,          /* the same, where the server was asked */
	CAPTURE_LAG,          /* the same, where the lag is known */
	CAPTURE_GAP,          /* one for each: is there one? */
	CAPTURE_DIVERGED,     /* the same: has it? */
	CAPTURE_TABLE, /* one for each table of each capture that has a snapshot: in its struct capture_table_facts */
	SAGAS,         /* no sample where their figures are not known */
	SAGAS_HERE,    /* no sample where none are started here */
	SAGAS_OPEN,    /* one for each name and state of those that are open */
	STATE,         /* one for each state of the verdict: 1 for the one that is true */
	INFO,          /* always 1; see info() */
	ASLEEP,
};

#endif
