/* A ring of lines. */
#include "story.h"

#include <stdio.h>
#include <string.h>

enum { LINES = 80, WIDTH = 200 };

static char ring[LINES][WIDTH];
static size_t next;

void story_begin(void)
{
	next = 0;
	memset(ring, 0, sizeof ring);
}

void story_line(double now_ms, bool loud, const char *format, va_list args)
{
	char *line = ring[next++ % LINES];
	int n = snprintf(line, WIDTH, "%11.3f  ", now_ms);

	vsnprintf(line + n, WIDTH - (size_t)n, format, args);
	if (loud)
		puts(line);
}

void story_tell(void)
{
	for (size_t i = 0; i < LINES; i++)
		if (ring[(next + i) % LINES][0] != '\0')
			puts(ring[(next + i) % LINES]);
}
