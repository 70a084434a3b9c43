#include "flow/cuts.h"

#include <string.h>

enum { SILENT_ENDS = 2, ALONE_SAID = 2, ALONE_SILENT = 3, ANSWERS_MIN = 16 };

/* What nats-server says (-ERR) before it ends the connection for what it was sent. */
static const char *about_a_message(const char *why)
{
	static const char *const words[] = {
		"maximum control line exceeded", "maximum payload violation",
		"unknown protocol operation",    "parser error",
		"invalid publish subject",       "message header size exceeds maximum",
	};

	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		if (strcasestr(why, words[i]) != NULL)
			return words[i];
	return "";
}

void cuts_sent(struct cuts *c, int64_t id, uint64_t token)
{
	c->id = id;
	c->token = token;
}

void cuts_answered(struct cuts *c, uint64_t token)
{
	c->silent = 0;
	if (token == c->token)
		c->token = 0;
	if (c->alone && --c->left == 0)
		c->alone = false;
}

static void begin_alone(struct cuts *c, uint32_t in_flight)
{
	c->alone = true;
	c->left = in_flight > ANSWERS_MIN ? in_flight : ANSWERS_MIN;
	c->times = 0;
}

/* Once more it was this one that was under way alone. True: often enough. */
static bool suspect_again(struct cuts *c, unsigned enough)
{
	c->times = c->times > 0 && c->suspect == c->id ? c->times + 1 : 1;
	c->suspect = c->id;
	if (c->times < enough)
		return false;
	c->times = 0;
	return true;
}

enum reason cuts_happened(struct cuts *c, const char *why, uint32_t in_flight, const char **words)
{
	bool said;

	*words = about_a_message(why);
	said = (*words)[0] != '\0';
	if (in_flight == 0 || c->token == 0)
		return REASON_NONE;
	if (c->alone && in_flight == 1)
		return !suspect_again(c, said ? ALONE_SAID : ALONE_SILENT) ? REASON_NONE
		       : said                                              ? REASON_CUT_FOR_IT
									   : REASON_CUT;
	if (said || ++c->silent >= SILENT_ENDS)
		begin_alone(c, in_flight);
	return REASON_NONE;
}
