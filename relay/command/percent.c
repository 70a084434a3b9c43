#include "command/percent.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/duration.h"
#include "edge/loop.h"

enum { DRAW_MS = 200, TELL_MS = 10000, LINE_BYTES = 256 };

struct percent percent_begin(const char *what, uint64_t total)
{
	int64_t now = loop_now_ms();

	return (struct percent){
		.out = out_open(stderr), .what = what, .total = total, .begun_ms = now, .told_ms = now
	};
}

const char *percent_text(const struct percent *p, uint64_t done, double seconds, char *to, size_t size)
{
	double rate = seconds > 0 ? (double)done / seconds : 0;
	char share[64] = "", left[64] = "", time[32];

	if (p->total >= done && p->total > 0)
		snprintf(share, sizeof share, " of %" PRIu64 " (%.0f %%)", p->total,
			 100.0 * (double)done / (double)p->total);
	if (p->total >= done && p->total > 0 && rate > 0)
		snprintf(left, sizeof left, ", %s left",
			 duration_text((double)(p->total - done) / rate, time, sizeof time));
	snprintf(to, size, "%s: %" PRIu64 "%s, %.0f a second%s", p->what, done, share, rate, left);
	return to;
}

void percent_at(struct percent *p, uint64_t done)
{
	int64_t now = loop_now_ms();
	char text[LINE_BYTES];

	if (now - p->told_ms < (p->out.terminal ? DRAW_MS : TELL_MS))
		return;
	p->told_ms = now;
	percent_text(p, done, (double)(now - p->begun_ms) / 1000, text, sizeof text);
	fprintf(stderr, p->out.terminal ? "\r%s\033[K" : "boxhaul: %s\n", text);
	p->drawn = p->out.terminal;
}

void percent_end(struct percent *p)
{
	if (p->drawn)
		fputs("\r\033[K", stderr);
	p->drawn = false;
}
