/* By which wire a stream is sent to, and why. Two wires: ordinary publishes, each with an answer of its own, and fast ingest: batches
 * of messages that the server stores in their order, without a hole. */
#ifndef BOXHAUL_CORE_WIRE_H
#define BOXHAUL_CORE_WIRE_H

enum wire_why {
	WIRE_UNKNOWN, /* one by one: the stream was not looked at on this connection yet, or does not answer */
	WIRE_BATCH,   /* by batches */

	/* One by one, for what was found out of the stream and its server: */
	WIRE_SET,       /* send = "single" */
	WIRE_NOT_THERE, /* the stream is not there, or does not take what is configured */
	WIRE_OLD,       /* the server that leads it is older than 2.14 */
	WIRE_OFF,       /* its allow_batched is off */
	WIRE_COUNTERS,  /* it takes only counters */
	WIRE_MIRROR,    /* it takes nothing */
	WIRE_DENIED,    /* this login may not subscribe to what is answered to batches */

	/* One by one for a while, for what was answered to a batch: */
	WIRE_SINGLE_ACKS, /* each of its messages was answered by itself: the server knows nothing of batches */
	WIRE_REFUSED,     /* the stream wants no batches any more, or does not know those that it was sent */
	WIRE_BUSY,        /* too many batches are open */
	WIRE_LAST = WIRE_BUSY,
};

#endif
