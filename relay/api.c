#include "api.h"

#include <stdio.h>
#include <string.h>

bool api_request(struct natsio *io, enum api_kind kind, const char *verb, const char *name, uint16_t stream,
		 uint32_t number, const char *body)
{
	char subject[512];
	uint64_t token = (uint64_t)(number % API_NUMBERS) << 40 | (uint64_t)kind << 32 | stream;

	snprintf(subject, sizeof subject, "$JS.API.STREAM.%s.%s", verb, name);
	return natsio_send(
		io,
		&(struct natsio_message){
			.subject = subject, .payload = body, .bytes = strlen(body), .token = token, .request = true });
}
