/* What a command prints: for a person at a terminal, or for a file that wants no colours. */
#ifndef BOXHAUL_COMMAND_OUT_H
#define BOXHAUL_COMMAND_OUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum ink { INK_PLAIN, INK_GOOD, INK_WARN, INK_BAD, INK_DIM, INK_BOLD };

struct out {
	FILE *file;
	bool terminal; /* a person reads it: a line may be drawn over, a progress bar makes sense */
	bool colour;   /* terminal, and neither NO_COLOR nor TERM=dumb says no */
};

struct out out_open(FILE *file);

__attribute__((format(printf, 3, 4))) void out_print(const struct out *o, enum ink ink, const char *format, ...);

/* Draws a page over the one before it, without a moment in which there is none; on anything but a terminal, behind it. */
void out_redraw(const struct out *o, const char *page);

/* An array of JSON, one element after the other, each already JSON; and its end, also where there was none. */
void out_element(const struct out *o, bool first, const char *json);
void out_end(const struct out *o, bool empty);

/* A whole value, on one line. */
void out_json(const struct out *o, const json_t *value);

/* False if it could not all be written (a full disk, a pipe without a reader). */
bool out_flush(const struct out *o);

#endif
