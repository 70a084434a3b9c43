#include "flow/inbox_pace.h"

#include <stdlib.h>
#include <string.h>

enum { CALL_LONG_MS = 500, PAUSE_MIN_MS = 10, PAUSE_MAX_MS = 3000 };

void inbox_pace_took(struct inbox_pace *p, uint64_t rows, int64_t ms, uint32_t timeout_ms)
{
	if (ms > CALL_LONG_MS || ms > (int64_t)timeout_ms / 4)
		p->rows = p->rows > 1 ? p->rows / 2 : 1;
	else if (rows >= p->rows && ms < CALL_LONG_MS / 4 && ms < (int64_t)timeout_ms / 16)
		p->rows = p->rows * 2 < INBOX_PACE_ROWS ? p->rows * 2 : INBOX_PACE_ROWS;
}

bool inbox_pace_is_timeout(const char *sqlstate, int64_t ms, uint32_t timeout_ms)
{
	return strcmp(sqlstate, "57014") == 0 && ms >= (int64_t)timeout_ms * 9 / 10;
}

void inbox_pace_too_long(struct inbox_pace *p)
{
	p->rows = 1;
}

void inbox_pace_succeeded(struct inbox_pace *p)
{
	p->pause_ms = p->not_before_ms = 0;
}

void inbox_pace_in_vain(struct inbox_pace *p, int64_t now_ms)
{
	int64_t longer = p->pause_ms * 2;

	p->pause_ms = longer < PAUSE_MIN_MS ? PAUSE_MIN_MS : longer < PAUSE_MAX_MS ? longer : PAUSE_MAX_MS;
	p->not_before_ms = now_ms + p->pause_ms / 2 + random() % (p->pause_ms / 2 + 1);
}
