/* Can a subscription read this stream by position? Asked by the relay, which stops where it cannot, and by `boxhaul check`. */
#ifndef BOXHAUL_FORMAT_INBOX_STREAM_H
#define BOXHAUL_FORMAT_INBOX_STREAM_H

#include "format/stream_info.h"

/* Why not, as it goes on behind "stream NAME"; NULL: it can. */
const char *inbox_stream_unfit(const struct stream_info *info);

/* Whether any subject that the filter takes can be in the stream. */
bool inbox_stream_may_hold(const struct stream_info *info, const char *filter);

#endif
