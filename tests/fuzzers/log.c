/* Any bytes as a message and its values, in both formats. Each is one line, readable for a machine, without a control
 * character in it; and a password in a URL or a connection string does not get through. */
#include "base/log.h"

#include <sys/mman.h>
#include <unistd.h>

#include "base/scrub.h"
#include "base/utf8.h"
#include "fuzz.h"

static const char secret[] = "Gr4ndm0ther";

/* --- one line --- */

static char *write_line(enum log_format format, const char *message, const char *a, const char *b)
{
	static char text[8192];
	static int fd = -1;
	struct log *log;
	ssize_t n;

	if (fd < 0)
		fd = memfd_create("log", MFD_CLOEXEC);
	if (ftruncate(fd, 0) != 0 || lseek(fd, 0, SEEK_SET) != 0)
		abort();
	log = log_create(fd, LOG_LEVEL_INFO, format);
	log_info(log, message, KS("a", a), KI("number", -7), KS("b", b));
	log_free(log);
	n = pread(fd, text, sizeof text - 1, 0);
	promise(n > 0 && n <= 4096, "%zd bytes", n);
	text[n] = '\0';
	return text;
}

static void check_line(const char *line)
{
	size_t n = strlen(line);

	promise(line[n - 1] == '\n' && is_utf8(line, n), "a line: %s", line);
	for (const char *p = line; p < line + n - 1; p++)
		promise(!is_control(p), "byte %d in %s", *p, line);
}

/* What a value looks like when it was read again. */
static char *expected(const char *value)
{
	char scrubbed[1024], *text = calloc(3, sizeof scrubbed);
	size_t n = 0, length;

	scrub(value, scrubbed, sizeof scrubbed);
	for (const char *p = scrubbed; *p != '\0'; p += length) {
		bool valid = (length = utf8_length(p, strlen(p))) > 0;

		length += !valid;
		memcpy(text + n, valid ? p : "\xef\xbf\xbd", valid ? length : 3);
		n += valid ? length : 3;
	}
	return text;
}

static void check_json(const char *line, const char *message, const char *a)
{
	json_t *o = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
	char *want_message = expected(message), *want_a = expected(a);

	promise(json_is_object(o), "no JSON: %s", line);
	promise(json_string_value(json_object_get(o, "ts")) != NULL, "no time: %s", line);
	if (!json_is_true(json_object_get(o, "cut"))) {
		promise(strcmp(json_string_value(json_object_get(o, "msg")), want_message) == 0, "msg: %s", line);
		promise(strcmp(json_string_value(json_object_get(o, "a")), want_a) == 0, "a: %s", line);
		promise(json_integer_value(json_object_get(o, "number")) == -7, "number: %s", line);
	}
	free(want_message);
	free(want_a);
	json_decref(o);
}

/* key=word or key="text", with a space between. */
static void check_logfmt(const char *p)
{
	size_t fields = 0;

	for (; *p != '\n'; p += *p == ' ') {
		size_t key = strspn(p, "abcdefghijklmnopqrstuvwxyz");

		promise(key > 0 && p[key] == '=', "a key: %s", p);
		p += key + 1;
		if (*p == '"') {
			for (p++; *p != '"' && *p != '\n'; p++)
				p += *p == '\\';
			promise(*p++ == '"', "no closing quote");
		} else {
			promise(strcspn(p, " \n\"=") > 0, "no value: %s", p);
			p += strcspn(p, " \n\"=");
		}
		promise(*p == ' ' || *p == '\n', "what comes behind a value: %s", p);
		fields++;
	}
	promise(fields >= 3, "%zu fields", fields);
}

/* --- no secret --- */

/* Nothing in them ends a user's name or a password before its time. */
static bool harmless(const char *before, const char *user)
{
	return strcasestr(before, "password") == NULL && strcasestr(user, "password") == NULL &&
	       user[strcspn(user, "/?# \t\r\n\"'<>@:\\")] == '\0';
}

static void check_scrub(const char *before, const char *user, const char *after)
{
	static const char *const forms[] = { "%s nats://%s:%s@host%s", "%s postgresql://%s:%s@%s",
					     "%s user=%s password=%s %s", "%s user=%s PassWord = '%s'%s",
					     "%s tls://%.0s%s@%s" };
	char out[4096];

	for (size_t i = 0; harmless(before, user) && i < sizeof forms / sizeof forms[0]; i++) {
		char *text = NULL;

#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wformat-nonliteral"
		if (asprintf(&text, forms[i], before, user, secret, after) < 0)
			abort();
#pragma clang diagnostic pop
		scrub(text, out, sizeof out);
		promise(strstr(out, secret) == NULL || strstr(before, secret) != NULL || strstr(user, secret) != NULL ||
				strstr(after, secret) != NULL,
			"%s is shown as %s", text, out);
		free(text);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	char *message = take_text(&in, '\0', NULL), *a = take_text(&in, '\0', NULL), *b = take_text(&in, '\0', NULL);
	const char *line;

	check_line(line = write_line(LOG_LOGFMT, message, a, b));
	check_logfmt(line);
	check_line(line = write_line(LOG_JSON, message, a, b));
	check_json(line, message, a);
	check_scrub(message, a, b);
	free(message);
	free(a);
	free(b);
	return 0;
}
