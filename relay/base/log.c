/* The log.
 *
 *     ts=2026-01-31T12:00:00.000Z level=warn msg="stream is full" stream=ORDERS parked=12 repeated=3
 *     {"ts":"2026-01-31T12:00:00.000Z","level":"warn","msg":"stream is full","stream":"ORDERS","parked":12,"repeated":3}
 *
 * A line is built whole in a buffer of one page and handed over in one write: a pipe that polls writable takes a page
 * without blocking, so the loop never waits for whoever reads the log. A field for which there is no
 * room is left out, and the line says so (cut=true).
 *
 * The daemon ignores SIGPIPE; a log nobody reads any more is then an error of write(), and no matter.
 */
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/scrub.h"
#include "base/utf8.h"

enum {
	LINE_MAX_BYTES = 4096,
	LINE_RESERVE_BYTES = 80, /* for cut, repeated, dropped and the end */
	TEXT_MAX_BYTES = 1024,   /* of a message or value, before it is escaped */
	RECENT_MAX = 64,         /* messages whose repetitions are counted */
	RECENT_TEXT_BYTES = 128,
	COLLAPSE_MS = 10000,
	WAIT_MS = 100, /* for a reader that is a little behind; none once it has lost a line */
};

/* A message that went out less than COLLAPSE_MS ago. Free: message[0] == 0. */
struct recent {
	int64_t since_ms;
	uint64_t repeated;
	enum log_level level;
	char message[RECENT_TEXT_BYTES];
};

struct log {
	int fd;
	enum log_level level;
	enum log_format format;
	bool journal; /* fd is journald's: it wants priorities and has its own clock */
	bool torn;    /* the last line was cut off in the middle: begin with a newline */
	uint64_t dropped;
	struct recent recent[RECENT_MAX];
};

struct line {
	char text[LINE_MAX_BYTES];
	size_t n, limit;
	bool full;
	enum log_format format;
	bool empty; /* no field yet */
};

static const char *const level_names[] = { "error", "warn", "info", "debug" };
static const char *const priorities[] = { "<3>", "<4>", "<6>", "<7>" };

/* Building a line. */

static void put(struct line *l, const char *text, size_t n)
{
	if (l->full || n > l->limit - l->n) {
		l->full = true;
		return;
	}
	memcpy(l->text + l->n, text, n);
	l->n += n;
}

static void put_text(struct line *l, const char *text)
{
	put(l, text, strlen(text));
}

/* Whatever would end the line, mislead a reader, move a terminal's cursor or be no UTF-8. C1 controls are two bytes, c2 80 to c2 9f. */
static void put_escaped(struct line *l, const char *text)
{
	for (size_t n = strlen(text), length; n > 0; text += length, n -= length) {
		char piece[1 + UTF8_SHOWN_BYTES] = "\\";

		length = utf8_show(text, n, piece + 1);
		/* All of an escape or nothing: half of one would take the quote that ends the line. */
		put_text(l, text[0] == '"' || text[0] == '\\' ? piece : piece + 1);
	}
}

static bool plain(const char *text)
{
	for (const char *p = text; *p != '\0'; p++)
		if (*p <= ' ' || *p > '~' || *p == '"' || *p == '=' || *p == '\\')
			return false;
	return text[0] != '\0';
}

static void put_key(struct line *l, const char *key)
{
	const char *quote = l->format == LOG_JSON ? "\"" : "";

	if (!l->empty)
		put_text(l, l->format == LOG_JSON ? "," : " ");
	put_text(l, quote);
	put_text(l, key);
	put_text(l, quote);
	put_text(l, l->format == LOG_JSON ? ":" : "=");
	l->empty = false;
}

static void put_string(struct line *l, const char *value, bool quoted)
{
	char scrubbed[TEXT_MAX_BYTES];

	scrub(value != NULL ? value : "", scrubbed, sizeof scrubbed);
	if (l->format == LOG_LOGFMT && !quoted && plain(scrubbed)) {
		put_text(l, scrubbed);
		return;
	}
	put_text(l, "\"");
	put_escaped(l, scrubbed);
	put_text(l, "\"");
}

static void put_field(struct line *l, const struct log_field *f)
{
	char number[24];

	put_key(l, f->key);
	switch (f->type) {
	case LOG_STRING: put_string(l, f->s, false); return;
	case LOG_INT: snprintf(number, sizeof number, "%lld", (long long)f->i); break;
	case LOG_UINT: snprintf(number, sizeof number, "%llu", (unsigned long long)f->u); break;
	}
	put_text(l, number);
}

/* All of a field or nothing. */
static bool try_field(struct line *l, const struct log_field *f)
{
	size_t before = l->n;
	bool cut;

	put_field(l, f);
	cut = l->full;
	if (cut)
		l->n = before;
	l->full = false;
	return !cut;
}

static void put_time(struct line *l)
{
	char text[32], with_ms[40];
	struct timespec now;
	struct tm utc;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(with_ms, sizeof with_ms, "%s.%03dZ", text, (int)(now.tv_nsec / 1000000));
	try_field(l, &KS("ts", with_ms));
}

static void build(const struct log *log, struct line *l, enum log_level level, const char *message, size_t n,
		  const struct log_field *fields, uint64_t repeated)
{
	bool cut = false;

	*l = (struct line){ .limit = LINE_MAX_BYTES - LINE_RESERVE_BYTES, .format = log->format, .empty = true };
	if (log->torn)
		put_text(l, "\n");
	if (log->journal)
		put_text(l, priorities[level]);
	if (l->format == LOG_JSON)
		put_text(l, "{");
	if (!log->journal)
		put_time(l);
	put_field(l, &KS("level", level_names[level]));
	put_key(l, "msg");
	put_string(l, message, true);
	if (l->full) { /* a message that is nothing but escapes: end it where it is */
		l->full = false;
		l->limit++;
		put_text(l, "\"");
		cut = true;
	}
	for (size_t i = 0; i < n; i++)
		cut |= !try_field(l, &fields[i]);
	l->limit = LINE_MAX_BYTES;
	if (cut)
		put_text(l, l->format == LOG_JSON ? ",\"cut\":true" : " cut=true");
	if (repeated > 0)
		put_field(l, &KU("repeated", repeated));
	if (log->dropped > 0)
		put_field(l, &KU("dropped", log->dropped));
	put_text(l, l->format == LOG_JSON ? "}\n" : "\n");
}

/* Handing it over. */

static bool writable(const struct log *log)
{
	struct pollfd p = { .fd = log->fd, .events = POLLOUT };

	return poll(&p, 1, log->dropped > 0 ? 0 : WAIT_MS) == 1 && (p.revents & POLLOUT) != 0;
}

static ssize_t hand_over(int fd, const char *text, size_t n)
{
	ssize_t done = send(fd, text, n, MSG_DONTWAIT | MSG_NOSIGNAL);

	return done < 0 && errno == ENOTSOCK ? write(fd, text, n) : done;
}

static void write_line(struct log *log, const char *text, size_t n)
{
	size_t at = 0;

	while (at < n && writable(log)) {
		ssize_t done = hand_over(log->fd, text + at, n - at);

		if (done > 0)
			at += (size_t)done;
		else if (done == 0 || errno != EINTR)
			break;
	}
	if (at == n) {
		log->torn = false;
		log->dropped = 0;
		return;
	}
	log->dropped++;
	log->torn = log->torn ? at != 1 : at > 0;
}

static void emit(struct log *log, enum log_level level, const char *message, size_t n, const struct log_field *fields,
		 uint64_t repeated)
{
	struct line line;

	build(log, &line, level, message, n, fields, repeated);
	write_line(log, line.text, line.n);
}

/* Collapsing. */

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Forgets an entry; its repetitions are told first. */
static void retire(struct log *log, struct recent *r)
{
	if (r->repeated > 0)
		emit(log, r->level, r->message, 0, NULL, r->repeated);
	r->message[0] = '\0';
	r->repeated = 0;
}

static struct recent *find(struct log *log, enum log_level level, const char *message)
{
	for (struct recent *r = log->recent; r < log->recent + RECENT_MAX; r++)
		if (r->level == level && r->message[0] != '\0' &&
		    strncmp(r->message, message, sizeof r->message - 1) == 0)
			return r;
	return NULL;
}

static struct recent *oldest(struct log *log)
{
	struct recent *best = log->recent;

	for (struct recent *r = log->recent; r < log->recent + RECENT_MAX; r++) {
		if (r->message[0] == '\0')
			return r;
		if (r->since_ms < best->since_ms)
			best = r;
	}
	return best;
}

/* What was counted of errors and warnings is told before a line that may say that they are over; if they come again, that is
 * told at once. A line of info is written once in COLLAPSE_MS, so no flood of lines comes of it. */
static void tell_before(struct log *log, enum log_level level)
{
	for (struct recent *r = log->recent; level == LOG_LEVEL_INFO && r < log->recent + RECENT_MAX; r++)
		if (r->repeated > 0 && r->level < LOG_LEVEL_INFO)
			retire(log, r);
}

void log_each(struct log *log, enum log_level level, const char *message, size_t n, const struct log_field *fields)
{
	int saved = errno;

	if (level <= log->level) {
		tell_before(log, level);
		emit(log, level, message, n, fields, 0);
	}
	errno = saved;
}

void log_write(struct log *log, enum log_level level, const char *message, size_t n, const struct log_field *fields)
{
	int saved = errno;
	int64_t now = now_ms();
	uint64_t repeated = 0;
	struct recent *r;

	if (level > log->level)
		return;
	r = find(log, level, message);
	if (r != NULL && now - r->since_ms < COLLAPSE_MS) {
		r->repeated++;
		return;
	}
	tell_before(log, level);
	if (r != NULL) {
		repeated = r->repeated;
	} else {
		r = oldest(log);
		retire(log, r);
	}
	*r = (struct recent){ .since_ms = now, .level = level };
	snprintf(r->message, sizeof r->message, "%s", message);
	emit(log, level, message, n, fields, repeated);
	errno = saved;
}

void log_tick(struct log *log)
{
	int saved = errno;
	int64_t now = now_ms();

	for (struct recent *r = log->recent; r < log->recent + RECENT_MAX; r++)
		if (r->message[0] != '\0' && now - r->since_ms >= COLLAPSE_MS)
			retire(log, r);
	errno = saved;
}

/* Life. */

static bool is_journal(int fd)
{
	const char *stream = getenv("JOURNAL_STREAM");
	char ours[64];
	struct stat st;

	if (stream == NULL || fstat(fd, &st) != 0)
		return false;
	snprintf(ours, sizeof ours, "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	return strcmp(stream, ours) == 0;
}

struct log *log_create(int fd, enum log_level level, enum log_format format)
{
	struct log *log = calloc(1, sizeof *log);

	if (log == NULL)
		return NULL;
	log->fd = fd;
	log->journal = is_journal(fd);
	log_set(log, level, format);
	return log;
}

void log_set(struct log *log, enum log_level level, enum log_format format)
{
	log->level = level;
	log->format = format;
}

void log_free(struct log *log)
{
	if (log == NULL)
		return;
	for (struct recent *r = log->recent; r < log->recent + RECENT_MAX; r++)
		retire(log, r);
	free(log);
}
