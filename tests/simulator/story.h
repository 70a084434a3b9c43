/* The story of a seed: its last lines, kept to be told when it has failed. */
#ifndef SIM_STORY_H
#define SIM_STORY_H

#include <stdarg.h>
#include <stdbool.h>

/* A new one: nothing is in it yet. */
void story_begin(void);

/* Adds a line, with the time in front; a loud one is told at once. */
__attribute__((format(printf, 3, 0))) void story_line(double now_ms, bool loud, const char *format, va_list args);

/* Prints it. */
void story_tell(void);

#endif
