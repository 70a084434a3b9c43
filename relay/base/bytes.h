#ifndef BOXHAUL_BASE_BYTES_H
#define BOXHAUL_BASE_BYTES_H

#include <stddef.h>
#include <stdint.h>

/* "512 B", "3.4 MB", "120 GB": how people say how much that is; by thousands, as settings take them. Returns `to`. */
const char *bytes_text(uint64_t bytes, char *to, size_t size);

#endif
