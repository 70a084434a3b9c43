/* A length of time as a person says it. */
#ifndef BOXHAUL_BASE_DURATION_H
#define BOXHAUL_BASE_DURATION_H

#include <stddef.h>

/* In the unit a person would choose: "0.4 s", "90 s", "3 min", "5 h", "3 days". Less than none is none. Returns `to`. */
const char *duration_text(double seconds, char *to, size_t size);

#endif
