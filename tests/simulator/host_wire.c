/* From the core's hand to the socket: what was handed over is written a moment later, if the socket takes it.
 *
 *     core --effect--> handed over --write--> on the wire: nothing calls it back
 *                          |
 *                          +-- too late (delivery_send_deadline, by_ms), session gone, killed: dropped with the connection
 *
 * The process may stand still at any point of it: between two effects, or with half of them written. */
#include "check.h"
#include "host.h"
#include "world.h"

void wire_hand_over(struct sim *s, struct host *h, const struct hand *x)
{
	demand(s, h->handed < MAX_HANDED, "the simulator has too little room for what is handed over");
	h->hand[h->handed++] = *x;
}

void wire_drop(struct host *h)
{
	h->handed = h->written = 0;
}

static void on_writable(struct sim *s, const struct happening *happening)
{
	struct host *h = s->host[happening->a];

	if (h->life != happening->b)
		return;
	if (host_is_away(s, h))
		later(s, h->paused_until - s->now, on_writable, happening->a, happening->b, 0, 0);
	else
		wire_write(s, h);
}

void wire_write(struct sim *s, struct host *h)
{
	while (h->written < h->handed) {
		const struct hand *x = &h->hand[h->written];

		if (h->socket_full_until > s->now) {
			later(s, h->socket_full_until - s->now, on_writable, h->index, h->life, 0, 0);
			return;
		}
		if ((x->message != 0 || x->batch != 0) && (now_ms(s) >= h->send_deadline_ms || now_ms(s) >= x->by_ms)) {
			trace(s, "host %u  would write too late: drops the connection", h->index);
			wire_drop(h);
			host_bus_lost(s, h, true);
			return;
		}
		if (x->batch != 0) {
			if (x->message != 0)
				check_written(s, h, x->message);
			js_publish_in_batch(s, h->conn, x);
		} else if (x->message != 0) {
			check_written(s, h, x->message);
			js_publish(s, h->conn, x->message, x->token, &x->testimony);
		} else {
			js_lookback(s, h->conn, x->stream, x->serial);
		}
		h->written++;
		if (h->written < h->handed && mishap(s, s->plan.chance.freeze)) {
			host_freeze(s, h);
			later(s, h->paused_until - s->now, on_writable, h->index, h->life, 0, 0);
			return;
		}
	}
	wire_drop(h);
}

void host_freeze(struct sim *s, struct host *h)
{
	int64_t lease = (int64_t)s->plan.settings.lease_ms * MS;

	host_pause(s, h,
		   prng_below(&s->dice, 2) == 0 ? prng_spread(&s->dice, 10 * MS, lease)
						: prng_between(&s->dice, lease, 2 * lease));
	/* Its session may die meanwhile, and the lead may go. */
	if (h->session != 0 && prng_below(&s->dice, 4) != 0)
		session_end(s, h->session);
}
