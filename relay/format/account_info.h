/* What JetStream answers to INFO: how much room an account has, and has used. */
#ifndef BOXHAUL_FORMAT_ACCOUNT_INFO_H
#define BOXHAUL_FORMAT_ACCOUNT_INFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct account_info {
	uint64_t storage, memory;         /* bytes that are used */
	uint64_t max_storage, max_memory; /* 0 = without a limit, or by replicas */
};

/* Reads an answer; false where it is none, or an error. */
bool account_info_read(const char *data, size_t bytes, struct account_info *info);

#endif
