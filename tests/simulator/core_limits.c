/* Compiled with each core: the limits that it was built with. */
#include "core.h"

extern const struct core_limits core_limits;
const struct core_limits core_limits = { .exceptions = LIMIT_EXCEPTIONS, .notes = LIMIT_NOTES };
