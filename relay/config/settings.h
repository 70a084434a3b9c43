/* The table of settings (settings.c). The parser, its error messages and the sample file (settings_sample.c) walk it; nothing
 * else knows a setting's name, range or default. What is done with one value stands in setting_value.c and setting_same.c, what
 * with paths in setting_path.c. */
#ifndef BOXHAUL_CONFIG_SETTINGS_H
#define BOXHAUL_CONFIG_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct config;
struct config_subscription;

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
	SETTING_CHOICE, /* one of `words`, or the last of them with a number behind it; the number, 64 bits, at `second` */
	SETTING_TABLES, /* a list of groups that only the database looks into; as JSON, see config_tables.h */
	SETTING_GROUPS, /* a list of groups, all described by the settings below its path. The array of structures of
			  * `element` bytes at `offset`, its length at `second`; `max` of them at most */
};

/* What it takes for a change to count in a relay that runs. */
enum setting_apply {
	APPLY_RESTART, /* memory is laid out by it, or others know of it */
	APPLY_LIVE,
	APPLY_POSTGRES, /* a new session */
	APPLY_NATS,     /* a new connection */
	APPLY_CAPTURE, /* of a capture: it alone begins anew, from its mark; the other captures, outbox and inbox go on */
};

struct setting {
	const char *path; /* "delivery.ack_timeout" */
	enum setting_type type;
	enum setting_apply apply;
	bool required;
	size_t offset; /* in struct config; of a setting below a SETTING_GROUPS: in the structure of one element */
	size_t width;  /* of the number there, in bytes */
	size_t second;
	size_t element;
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

/* Sets everything of struct config (list NULL), or of one element of a list, to its default. */
enum setting_result setting_set_defaults(const struct setting *list, void *base);

/* The list of groups that it describes one element of; NULL: it is one of struct config's own. */
const struct setting *setting_list_of(const struct setting *s);
bool setting_is_top(const struct setting *s);

/* A SETTING_GROUPS of a configuration: how many elements, and one of them. */
size_t setting_count(const struct setting *list, const struct config *c);
void *setting_element(const struct setting *list, const struct config *c, size_t i);

/* The text of a SETTING_STRING or SETTING_FILE; NULL where there is none. */
const char *setting_text(const struct setting *s, const void *base);

/* Is it the same in both? A list of groups stands for all that is below it. */
bool setting_same(const struct setting *s, const void *a, const void *b);

/* Lets `to` have the value of `from`, without a copy: what it points to is shared from then on. Not for
 * SETTING_GROUPS. */
void setting_share(const struct setting *s, void *to, const void *from);

/* Every setting with type, range, default and meaning, as a commented sample file. */
void settings_sample(FILE *out);

/* The number a setting holds, and any number as a person would write it for that setting. */
uint64_t setting_number(const struct setting *s, const void *base);
const char *setting_print(const struct setting *s, uint64_t value, char *out, size_t size);

/* Where a subscription's key stands, in the words of the file and of inbox_define(): "header", "none", "subject:2". Returns
 * `out`. */
enum { SETTING_KEY_BYTES = 32 };
const char *setting_key_rule(const struct config_subscription *s, char out[static SETTING_KEY_BYTES]);

/* The value it holds, as the file would say it; secrets masked; `none` for a text that is not set. */
void setting_write(const struct setting *s, const void *base, FILE *out);

/* What the file must hold for it: "a duration such as \"5s\"". */
const char *setting_wants(const struct setting *s);

#endif
