#include "format/inbox_stream.h"

#include "format/message.h"

/* A position is worth something only where messages stay, under their numbers, until the stream's limits take the oldest away. */
const char *inbox_stream_unfit(const struct stream_info *info)
{
	if (info->mirror) /* it lags behind, and may be made anew with other messages under the numbers that we know */
		return "is a mirror, whose end is not that of the stream it copies: take from its origin, or from a stream that has it "
		       "as a source";
	if (info->retention == RETENTION_WORK_QUEUE)
		return "is a work queue, where a message belongs to one consumer and goes when it was read: take from a stream with "
		       "limits retention that has it as a source";
	if (info->retention == RETENTION_INTEREST)
		return "has interest retention, where messages go when the consumers of today have read them: give it limits "
		       "retention, or take from a stream with limits that has it as a source";
	return NULL;
}

bool inbox_stream_may_hold(const struct stream_info *info, const char *filter)
{
	if (info->sources || info->transforms || info->subject_count == 0)
		return true;
	for (size_t i = 0; i < info->subject_count; i++)
		if (message_patterns_overlap(info->subjects[i], filter))
			return true;
	return false;
}
