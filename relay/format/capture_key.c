#include "format/capture_key.h"

#include <string.h>

#include "base/network.h"

char *capture_key_write(char *out, const char *text, size_t bytes)
{
	network_write32(out, (uint32_t)bytes);
	return (char *)mempcpy(out + 4, text, bytes);
}

bool capture_key_next(const char **key, size_t *key_bytes, const char **text, size_t *bytes)
{
	if (*key_bytes < 4)
		return false;
	*bytes = (size_t)network_read(*key, 4);
	if (*bytes > *key_bytes - 4)
		return false;
	*text = *key + 4;
	*key += 4 + *bytes;
	*key_bytes -= 4 + *bytes;
	return true;
}
