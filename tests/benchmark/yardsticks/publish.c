/* The raw limit: publish --count messages of --bytes from memory, at most --window of them unacknowledged.
 * With --follow yes no more than standard input allows: a total per line, and the end of it ends all. With --chain yes each says which
 * message it expects to be the last of the stream, which is new. On --subjects subjects (4). With --keys N each has the header
 * Boxhaul-Key, too, with the key that its row has.
 *
 * The messages are those that arena.py fills an outbox with: the same payloads on the same subjects, and as their only header
 * (without --keys) a Nats-Msg-Id with a uuid. Each is made as nats.c's manual shows it. The last line has the figures, as JSON. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bare.h"

static const char PADDING[] = "boxhaul ";

static uint64_t dice(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void make_uuid(uint64_t *state, char out[37])
{
	static const char hex[] = "0123456789abcdef", shape[] = "xxxxxxxx-xxxx-4xxx-8xxx-xxxxxxxxxxxx";
	uint64_t bits = 0;

	for (size_t i = 0, left = 0; i < 36; i++) {
		out[i] = shape[i];
		if (shape[i] != 'x')
			continue;
		if (left == 0) {
			bits = dice(state);
			left = 16;
		}
		out[i] = hex[bits & 15];
		bits >>= 4;
		left--;
	}
	out[36] = '\0';
}

/* The number, then the padding from its beginning: what SQL's rpad() gives. The padding moves only when the number gets longer. */
static void make_payload(char *payload, size_t bytes, long number)
{
	char digits[24];
	size_t n = (size_t)snprintf(digits, sizeof digits, "%ld", number);

	memcpy(payload, digits, n < bytes ? n : bytes);
	if (strspn(digits + 1, "0") != n - 1)
		return;
	for (size_t i = n; i < bytes; i++)
		payload[i] = PADDING[(i - n) % (sizeof PADDING - 1)];
}

/* Waits until the next message is allowed; false when none will be any more. */
static bool may_send(struct bare *b, long number, long *allowed)
{
	char line[32];

	bare_settle(b);
	while (number > *allowed && fgets(line, sizeof line, stdin) != NULL)
		*allowed = strtol(line, NULL, 10);
	return number <= *allowed;
}

int main(int argc, char **argv)
{
	long count = bare_number(argc, argv, "count", 100000);
	size_t bytes = (size_t)bare_number(argc, argv, "bytes", 256);
	struct bare *b = bare_open(bare_word(argc, argv, "url", NULL),
				   (unsigned)bare_number(argc, argv, "window", 1024), bare_mode_word(argc, argv));
	const char *prefix = bare_word(argc, argv, "prefix", "bench");
	uint64_t state = (uint64_t)bare_now_us() * 2654435761U | 1;
	long spread = bare_number(argc, argv, "subjects", 4), keys = bare_number(argc, argv, "keys", 0);
	char *payload = malloc(bytes + 1), (*subjects)[64] = calloc((size_t)spread, sizeof *subjects), id[37], key[32];
	int64_t begin = bare_now_us();
	bool follow = strcmp(bare_word(argc, argv, "follow", "no"), "yes") == 0;
	long allowed = follow ? 0 : count, number;

	if (spread < 1)
		bare_die("--subjects", "1 or more");
	if (payload == NULL || subjects == NULL)
		bare_die("messages", "out of memory");
	if (strcmp(bare_word(argc, argv, "chain", "no"), "yes") == 0)
		bare_chain(b, 0);
	for (long i = 0; i < spread; i++)
		snprintf(subjects[i], sizeof subjects[i], "%s.%ld", prefix, i);
	for (number = 1; number <= count; number++) {
		if (number > allowed && !may_send(b, number, &allowed))
			break;
		make_payload(payload, bytes, number);
		make_uuid(&state, id);
		if (keys > 0)
			snprintf(key, sizeof key, "key-%ld", number % keys);
		bare_publish(b, subjects[number % spread], id, keys > 0 ? key : NULL, payload, bytes);
	}
	bare_settle(b);
	printf("{\"count\": %ld, \"seconds\": %.6f, \"cpu_us\": %lld}\n", number - 1,
	       (double)(bare_now_us() - begin) / 1e6, (long long)bare_cpu_us());
	free(payload);
	free(subjects);
	bare_close(b);
	return 0;
}
