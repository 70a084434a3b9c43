#include "flow/role.h"

#include <stdio.h>
#include <unistd.h>

const char *role_text(enum role role)
{
	static const char *const texts[] = {
		[ROLE_DISCONNECTED] = "disconnected",
		[ROLE_STARTING] = "starting",
		[ROLE_STANDBY] = "standby",
		[ROLE_LEADER] = "leader",
	};

	return texts[role];
}

void role_holder(const char *instance, char out[ROLE_HOLDER_BYTES])
{
	char host[128] = "?";

	gethostname(host, sizeof host - 1);
	snprintf(out, ROLE_HOLDER_BYTES, "%s on %s, process %ld", instance, host, (long)getpid());
}
