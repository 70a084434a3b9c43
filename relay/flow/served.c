#include "flow/served.h"

#include <inttypes.h>
#include <stdio.h>

enum { SYSTEM = SCHEMA_COLUMN_COUNT + 1, TIMELINE };

static void tell_promotion(const struct served *s, int64_t timeline)
{
	log_warn(s->log,
		 s->config->stream_count > 0
			 ? "another server was promoted: messages of transactions that it missed may be in the stream"
			 : "another server was promoted: what it missed is taken again",
		 KI("timeline", timeline), KI("before", s->timeline));
}

enum served_verdict served_judge(struct served *s, const struct pg_result *ready, char what[static SCHEMA_TEXT_BYTES],
				 char mend[static SCHEMA_TEXT_BYTES], struct served_place *place)
{
	char target[CONFIG_TARGET_BYTES];
	enum schema_readiness readiness = schema_readiness(ready, config_target(s->config, target), what, mend);
	struct served_place here;

	if (readiness != SCHEMA_READY)
		return readiness == SCHEMA_IN_RECOVERY ? SERVED_ELSEWHERE : SERVED_NOT_READY;
	here = (struct served_place){ .system = pg_int8(ready, 0, SYSTEM), .timeline = pg_int8(ready, 0, TIMELINE) };
	if (s->system != 0 && (here.system != s->system || here.timeline < s->timeline)) {
		snprintf(what, SCHEMA_TEXT_BYTES,
			 "%s: timeline %" PRId64 " of system %" PRIu64 ", but timeline %" PRId64 " of %" PRIu64
			 " was served before",
			 here.system != s->system ? "another server" : "an older history of this database",
			 here.timeline, (uint64_t)here.system, s->timeline, (uint64_t)s->system);
		snprintf(mend, SCHEMA_TEXT_BYTES,
			 "stop the old primary; if it is meant to be served, restart the relay");
		return SERVED_ELSEWHERE;
	}
	if (s->system != 0 && here.timeline > s->timeline)
		tell_promotion(s, here.timeline);
	s->system = here.system;
	s->timeline = here.timeline;
	*place = here;
	return SERVED_READY;
}

const char *served_is_past(const struct served *s, const struct served_place *place)
{
	return place->timeline != 0 && place->timeline < s->timeline
		       ? "an older history of this database: another server was promoted meanwhile"
		       : NULL;
}
