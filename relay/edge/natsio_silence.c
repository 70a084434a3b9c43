#include "edge/natsio_silence.h"

#include <stddef.h>

enum {
	SILENCE_MS =
		15000, /* twice that without any reply, and the connection is made anew; then twice as long, up to */
	SILENCE_MAX_MS = 480000,
};

static void on_timer(void *arg)
{
	struct natsio_silence *s = arg;

	s->armed = false;
	if (s->replies != s->replies_then) {
		s->periods = 0;
		return;
	}
	if (++s->periods < 2) {
		natsio_silence_asked(s);
		return;
	}
	s->pause_ms = s->pause_ms * 2 < SILENCE_MAX_MS ? s->pause_ms * 2 : SILENCE_MAX_MS;
	s->broken(s->arg);
}

bool natsio_silence_open(struct natsio_silence *s, struct loop *l, void (*broken)(void *arg), void *arg)
{
	*s = (struct natsio_silence){
		.timer = loop_timer(l, on_timer, s), .pause_ms = SILENCE_MS, .broken = broken, .arg = arg
	};
	return s->timer != NULL;
}

void natsio_silence_asked(struct natsio_silence *s)
{
	if (s->armed)
		return;
	s->armed = true;
	s->replies_then = s->replies;
	loop_timer_at(s->timer, loop_now_ms() + s->pause_ms);
}

void natsio_silence_heard(struct natsio_silence *s)
{
	s->replies++;
	s->pause_ms = SILENCE_MS;
}

void natsio_silence_anew(struct natsio_silence *s)
{
	s->armed = false;
	s->periods = 0;
	loop_timer_at(s->timer, INT64_MAX);
}
