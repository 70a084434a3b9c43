/* Between the rows in memory and the sender: what is offered, and what became of it. */
#ifndef BOXHAUL_CORE_CAPTURE_CAPTURE_SENDING_H
#define BOXHAUL_CORE_CAPTURE_CAPTURE_SENDING_H

#include "core/capture/capture_state.h"

/* We lead. */
void capture_sending_begin(struct capture *c, const struct capture_event *ev);

/* Takes the sender's outcomes. To be called whenever there may be some. */
void capture_sending_outcomes(struct capture *c);

/* What was carried is here again. */
void capture_sending_fetched(struct capture *c, struct capture_event *ev);

/* Some block is due: names the probes among what is parked, in memory or carried. */
void capture_sending_probes(struct capture *c);

/* Offers what there is room for. */
void capture_sending_offer(struct capture *c);

/* So many letters are on record. */
void capture_sending_on_record(struct capture *c, size_t letters);

/* Notices when nothing more can come, or is left, that an earlier leader may have sent. To be called at the end of each step. */
void capture_sending_heritage(struct capture *c);

/* Low water as it is now. */
struct level capture_sending_level(const struct capture *c);

/* A slot of the sender is free: the capture's slot in it is not its any more. */
void capture_sending_released(struct capture *c, uint32_t sender_slot);

/* The sender wants to publish from one of its slots: names ours. */
void capture_sending_publish(const struct capture *c, struct effect *f);

/* Is anything sought that was found in the stream? */
bool capture_sending_seeks(const struct capture *c);

#endif
