/* The log: one line per event on stderr, logfmt or JSON. Never a payload, never a secret: every value
 * goes through scrub(), which masks passwords in URLs and connection strings.
 *
 *     log_info(log, "stream is open again", KS("stream", name), KI("parked", n));
 *
 * The same message with the same level more than once within ten seconds is collapsed: the first goes out, the
 * rest are counted, and the count goes out with the next line or by log_tick(). Counts of errors and warnings go out before
 * the next line of level info: that line may say that all is well again, and nothing older stands behind it.
 */
#ifndef BOXHAUL_BASE_LOG_H
#define BOXHAUL_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format { LOG_LOGFMT, LOG_JSON };

struct log;

struct log_field {
	const char *key;
	enum { LOG_STRING, LOG_INT, LOG_UINT } type;
	union {
		const char *s; /* NULL is written as "" */
		int64_t i;
		uint64_t u;
	};
};

#define KS(k, v) ((struct log_field){ .key = (k), .type = LOG_STRING, .s = (v) })
#define KI(k, v) ((struct log_field){ .key = (k), .type = LOG_INT, .i = (v) })
#define KU(k, v) ((struct log_field){ .key = (k), .type = LOG_UINT, .u = (v) })

/* fd is borrowed (2 in the daemon). Puts "<N>" priorities before each line when fd is journald's stream
 * (JOURNAL_STREAM, see sd-daemon(3)). NULL when out of memory. */
struct log *log_create(int fd, enum log_level level, enum log_format format);
void log_free(struct log *log);
void log_set(struct log *log, enum log_level level, enum log_format format);

/* Writes one line; never fails and never blocks for good: a line the descriptor does not take is counted and
 * dropped. Preserves errno. */
void log_write(struct log *log, enum log_level level, const char *message, size_t n, const struct log_field *fields);

/* The same for lines that are never collapsed: figures. */
void log_each(struct log *log, enum log_level level, const char *message, size_t n, const struct log_field *fields);

/* Flushes counts of collapsed lines whose ten seconds are over. Call it about once a second. */
void log_tick(struct log *log);

#define log_fields_(...)                                                                               \
	(sizeof((struct log_field[]){ __VA_ARGS__ }) / sizeof(struct log_field)), (struct log_field[]) \
	{                                                                                              \
		__VA_ARGS__                                                                            \
	}
#define log_error(log, message, ...) log_write((log), LOG_LEVEL_ERROR, (message), log_fields_(__VA_ARGS__))
#define log_warn(log, message, ...) log_write((log), LOG_LEVEL_WARN, (message), log_fields_(__VA_ARGS__))
#define log_info(log, message, ...) log_write((log), LOG_LEVEL_INFO, (message), log_fields_(__VA_ARGS__))
#define log_figures(log, message, ...) log_each((log), LOG_LEVEL_INFO, (message), log_fields_(__VA_ARGS__))
#define log_debug(log, message, ...) log_write((log), LOG_LEVEL_DEBUG, (message), log_fields_(__VA_ARGS__))

#endif
