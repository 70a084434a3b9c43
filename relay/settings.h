/* The table of settings (settings.c). The parser, its error messages and the sample file (settings_sample.c) walk it; nothing
 * else knows a setting's name, range or default. What is done with one value stands in setting_value.c. */
#ifndef BOXHAUL_SETTINGS_H
#define BOXHAUL_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* In milliseconds; in bytes. */
enum { SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR };
enum { KIB = 1024, MIB = 1024 * KIB };

enum setting_type {
	SETTING_STRING,
	SETTING_FILE,     /* an absolute path; a bare name: in $CREDENTIALS_DIRECTORY */
	SETTING_DURATION, /* milliseconds; "250ms" "5s" "2m" "1h" "1d" */
	SETTING_SIZE,     /* bytes; 65536 "64KB" (thousands) "64KiB" (1024s) */
	SETTING_INTEGER,
	SETTING_BOOL,
	SETTING_WORD,    /* one of `words`, in the order of its enum */
	SETTING_LISTEN,  /* address:port; address at `offset`, port at `second` */
	SETTING_STRINGS, /* a list; its array at `offset`, its length at `second` */
	SETTING_STREAMS, /* the list of stream groups: the settings "streams...." describe one group */
};

/* What it takes for a change to count in a relay that runs. */
enum setting_apply {
	APPLY_RESTART, /* memory is laid out by it, or others know of it */
	APPLY_LIVE,
	APPLY_POSTGRES, /* a new session */
	APPLY_NATS,     /* a new connection */
};

struct setting {
	const char *path; /* "delivery.ack_timeout" */
	enum setting_type type;
	enum setting_apply apply;
	bool required;
	size_t offset; /* in struct config, or in struct config_stream for "streams...." */
	size_t width;  /* of the number there, in bytes */
	size_t second;
	uint64_t min, max;
	const char *const *words; /* NULL-terminated */
	const char *standard;     /* the default, as text; NULL: none */
	const char *example;      /* for the sample file, where there is no default */
	const char *help;
};

extern const struct setting settings[];
extern const size_t settings_count;

/* NULL if there is none of that path. */
const struct setting *setting_find(const char *path);

/* Is there a setting below it? */
bool setting_is_group(const char *path);

/* The last name of a path. */
const char *setting_leaf(const char *path);

/* What somebody probably meant by an unknown path, in `out`; false if nothing is near. */
bool setting_nearest(const char *path, char *out, size_t size);

enum setting_result { SETTING_OK, SETTING_WRONG, SETTING_NO_MEMORY };

/* Stores a value in the structure at base. SETTING_WRONG: `why` says what is wrong and what to do. */
enum setting_result setting_set_text(const struct setting *s, void *base, const char *text, char *why, size_t size);
enum setting_result setting_set_number(const struct setting *s, void *base, uint64_t value, char *why, size_t size);

/* Sets everything below the group ("" for all but streams, "streams" for one stream) to its default. */
enum setting_result setting_set_defaults(const char *group, void *base);

/* Is it one of struct config's own? Else of a stream. */
bool setting_is_top(const struct setting *s);

/* The text of a SETTING_STRING or SETTING_FILE; NULL where there is none. */
const char *setting_text(const struct setting *s, const void *base);

/* Is it the same in both? "streams" stands for all its groups. */
bool setting_same(const struct setting *s, const void *a, const void *b);

/* Lets `to` have the value of `from`, without a copy: what it points to is shared from then on. Not for "streams....". */
void setting_share(const struct setting *s, void *to, const void *from);

/* The number a setting holds, and any number as a person would write it for that setting. */
uint64_t setting_number(const struct setting *s, const void *base);
const char *setting_print(const struct setting *s, uint64_t value, char *out, size_t size);

/* The value it holds, as the file would say it; secrets masked; `none` for a text that is not set. */
void setting_write(const struct setting *s, const void *base, FILE *out);

/* What the file must hold for it: "a duration such as \"5s\"". */
const char *setting_wants(const struct setting *s);

#endif
