#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "base/scrub.h"
#include "base/utf8.h"
#include "tap.h"

/* The clock is the test's: this definition stands before libc's. */
static struct timespec boot = { .tv_sec = 1000 }, real = { .tv_sec = 1769860800, .tv_nsec = 7999999 };

int clock_gettime(clockid_t id, struct timespec *out)
{
	if (id != CLOCK_BOOTTIME && id != CLOCK_REALTIME)
		return (int)syscall(SYS_clock_gettime, id, out);
	*out = id == CLOCK_REALTIME ? real : boot;
	return 0;
}

/* A log that ends in a pipe, and what came out of it. */
struct bench {
	struct log *log;
	int in, out;
	char text[70000];
};

static struct bench bench(enum log_level level, enum log_format format)
{
	struct bench b = { .in = -1 };
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) != 0)
		abort();
	b.in = fds[0];
	b.out = fds[1];
	fcntl(b.in, F_SETFL, O_NONBLOCK);
	b.log = log_create(b.out, level, format);
	return b;
}

static const char *take(struct bench *b)
{
	size_t n = 0;
	ssize_t got;

	while ((got = read(b->in, b->text + n, sizeof b->text - 1 - n)) > 0)
		n += (size_t)got;
	b->text[n] = '\0';
	return b->text;
}

static void done(struct bench *b)
{
	log_free(b->log);
	if (b->in >= 0)
		close(b->in);
	close(b->out);
}

static void logfmt(void)
{
	struct bench b = bench(LOG_LEVEL_INFO, LOG_LOGFMT);

	log_info(b.log, "stream is open again", KS("stream", "ORDERS"), KI("n", -5), KU("u", UINT64_MAX));
	is_text(take(&b),
		"ts=2026-01-31T12:00:00.007Z level=info msg=\"stream is open again\" stream=ORDERS n=-5 "
		"u=18446744073709551615\n",
		"a line of logfmt");
	log_warn(b.log, "x", KS("a", NULL), KS("b", ""), KS("c", "a b"), KS("d", "a=b"), KS("e", "say \"hi\""),
		 KS("f", "a\\b"));
	holds(take(&b), "level=warn msg=\"x\" a=\"\" b=\"\" c=\"a b\" d=\"a=b\" e=\"say \\\"hi\\\"\" f=\"a\\\\b\"\n",
	      "what needs quotes has them");
	log_error(b.log, "y",
		  KS("a", "1\n2\r3\t4\x01\x7f"
			  "5\x1b[0m"),
		  KS("c1", "\xc2\x9b"
			   "2J"),
		  KS("u", "gr\xc3\xb6\xc3\x9f"
			  "e"));
	holds(take(&b),
	      "a=\"1\\n2\\r3\\t4\\u0001\\u007f5\\u001b[0m\" c1=\"\\u009b2J\" u=\"gr\xc3\xb6\xc3\x9f"
	      "e\"\n",
	      "control characters are escaped, others are not");
	log_error(b.log, "a name that turns",
		  KS("turns", "a\xe2\x80\xae"
			      "b\xd8\x9c\xe2\x81\xa6\xe2\x80\xa6"));
	holds(take(&b), "turns=\"a\\u202eb\\u061c\\u2066\xe2\x80\xa6\"\n", "what turns the direction is seen");
	log_error(b.log, "z", KS("bad", "a\xff\xc3"), KI("min", INT64_MIN));
	holds(take(&b), "bad=\"a\xef\xbf\xbd\xef\xbf\xbd\" min=-9223372036854775808\n", "what is no UTF-8 is replaced");
	log_error(b.log, "a message\nwith a newline");
	holds(take(&b), "msg=\"a message\\nwith a newline\"\n", "one event is one line");
	done(&b);
}

static void levels(void)
{
	struct bench b = bench(LOG_LEVEL_WARN, LOG_LOGFMT);

	log_info(b.log, "i");
	log_debug(b.log, "d");
	is_text(take(&b), "", "nothing below the level");
	log_error(b.log, "e");
	log_warn(b.log, "w");
	take(&b);
	holds(b.text, "level=error msg=\"e\"\n", "an error");
	holds(b.text, "level=warn msg=\"w\"\n", "a warning");
	log_set(b.log, LOG_LEVEL_DEBUG, LOG_JSON);
	log_debug(b.log, "d");
	is_text(take(&b), "{\"ts\":\"2026-01-31T12:00:00.007Z\",\"level\":\"debug\",\"msg\":\"d\"}\n",
		"level and format change");
	done(&b);
}

static void json(void)
{
	struct bench b = bench(LOG_LEVEL_INFO, LOG_JSON);
	json_t *line;

	log_error(b.log, "a \"quoted\"\nmessage \xff", KS("s", "\x01\\\t\"\x7f\xc2\x85 \xe2\x82\xac"), KI("i", -1),
		  KU("u", 7), KS("n", NULL));
	take(&b);
	is_number(strcspn(b.text, "\n"), strlen(b.text) - 1, "one line");
	line = json_loads(b.text, 0, NULL);
	ok(line != NULL, "a JSON object");
	is_text(json_string_value(json_object_get(line, "level")), "error", "level");
	is_text(json_string_value(json_object_get(line, "msg")), "a \"quoted\"\nmessage \xef\xbf\xbd", "msg");
	is_text(json_string_value(json_object_get(line, "s")), "\x01\\\t\"\x7f\xc2\x85 \xe2\x82\xac",
		"a string comes back");
	is_number(json_integer_value(json_object_get(line, "i")), -1, "a number");
	is_number(json_integer_value(json_object_get(line, "u")), 7, "an unsigned number");
	is_text(json_string_value(json_object_get(line, "n")), "", "NULL is empty");
	json_decref(line);
	done(&b);
}

/* Nothing a caller passes makes a line of more than a page, or a broken one. */
static void long_lines(void)
{
	struct bench b = bench(LOG_LEVEL_INFO, LOG_JSON);
	char plain[5000], ugly[5000];
	json_t *line;

	memset(plain, 'x', sizeof plain - 1);
	memset(ugly, 1, sizeof ugly - 1);
	plain[sizeof plain - 1] = ugly[sizeof ugly - 1] = '\0';
	log_error(b.log, "long", KS("a", plain), KS("b", plain), KS("c", plain), KS("d", plain), KS("e", ugly),
		  KI("last", 1));
	take(&b);
	ok(strlen(b.text) <= 4096, "%zu bytes are no more than a page", strlen(b.text));
	line = json_loads(b.text, 0, NULL);
	ok(line != NULL, "still a JSON object");
	is_number(json_string_length(json_object_get(line, "a")), 1023, "a long value is cut");
	ok(json_object_get(line, "e") == NULL, "a field for which there is no room is left out");
	ok(json_is_true(json_object_get(line, "cut")), "and the line says so");
	is_number(json_integer_value(json_object_get(line, "last")), 1, "a later one that fits is there");
	json_decref(line);
	log_error(b.log, ugly, KI("n", 1));
	take(&b);
	ok(strlen(b.text) <= 4096, "a message of escapes: %zu bytes", strlen(b.text));
	line = json_loads(b.text, 0, NULL);
	ok(line != NULL && json_is_true(json_object_get(line, "cut")), "still a JSON object, cut");
	json_decref(line);
	done(&b);
}

static void collapsing(void)
{
	struct bench b = bench(LOG_LEVEL_INFO, LOG_LOGFMT);

	for (int i = 0; i < 5; i++)
		log_warn(b.log, "no connection", KI("try", i));
	log_error(b.log, "no connection");
	log_warn(b.log, "something else");
	take(&b);
	holds(b.text, "level=warn msg=\"no connection\" try=0\n", "the first goes out");
	lacks(b.text, "try=1", "the others do not");
	holds(b.text, "level=error msg=\"no connection\"\n", "another level is another message");
	holds(b.text, "msg=\"something else\"\n", "another message, too");
	log_tick(b.log);
	boot.tv_sec += 9;
	log_warn(b.log, "no connection", KI("try", 5));
	log_tick(b.log);
	is_text(take(&b), "", "nine seconds later: nothing");
	boot.tv_sec += 1;
	log_warn(b.log, "no connection", KI("try", 6));
	holds(take(&b), "level=warn msg=\"no connection\" try=6 repeated=5\n",
	      "the next one after ten brings the count");
	log_warn(b.log, "no connection", KI("try", 7));
	boot.tv_sec += 10;
	log_tick(b.log);
	holds(take(&b), "level=warn msg=\"no connection\" repeated=1\n", "or a tick does");
	log_tick(b.log);
	is_text(take(&b), "", "once");
	log_warn(b.log, "no connection", KI("try", 8));
	holds(take(&b), "try=8\n", "and then it is new again, without a count");
	log_warn(b.log, "no connection", KI("try", 9));
	log_free(b.log);
	holds(take(&b), "repeated=1\n", "the end tells what is left");
	b.log = NULL;
	done(&b);
}

/* Behind the line that says that all is well stands nothing that says that it is not. */
static void told_before_it_is_over(void)
{
	struct bench b = bench(LOG_LEVEL_INFO, LOG_LOGFMT);
	const char *count, *over;

	for (int i = 0; i < 4; i++)
		log_error(b.log, "not connected");
	take(&b);
	log_warn(b.log, "not yet");
	lacks(take(&b), "repeated", "a warning ends nothing");
	log_info(b.log, "connected");
	take(&b);
	count = strstr(b.text, "msg=\"not connected\" repeated=3\n");
	over = strstr(b.text, "msg=\"connected\"\n");
	ok(count != NULL && over != NULL && count < over, "what was counted is told before the line that ends it");
	log_error(b.log, "not connected", KI("try", 5));
	holds(take(&b), "not connected\" try=5\n", "if it comes again, that is told at once");
	boot.tv_sec += 10;
	log_tick(b.log);
	is_text(take(&b), "", "and nothing late");
	done(&b);
}

static void many_messages(void)
{
	struct bench b = bench(LOG_LEVEL_INFO, LOG_LOGFMT);
	char message[32];

	log_info(b.log, "first");
	log_info(b.log, "first");
	boot.tv_sec++;
	for (int i = 0; i < 64; i++) {
		snprintf(message, sizeof message, "message %d", i);
		log_info(b.log, message);
	}
	take(&b);
	holds(b.text, "msg=\"first\" repeated=1\n", "an entry that makes room tells its count");
	holds(b.text, "msg=\"message 63\"\n", "nothing is lost");
	done(&b);
}

static void journal(void)
{
	struct bench b = bench(LOG_LEVEL_DEBUG, LOG_LOGFMT);
	char stream[64];
	struct stat st;

	if (fstat(b.out, &st) != 0)
		abort();
	snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_free(b.log);
	b.log = log_create(b.out, LOG_LEVEL_DEBUG, LOG_LOGFMT);
	log_error(b.log, "e");
	log_warn(b.log, "w");
	log_info(b.log, "i");
	log_debug(b.log, "d");
	is_text(take(&b),
		"<3>level=error msg=\"e\"\n<4>level=warn msg=\"w\"\n<6>level=info msg=\"i\"\n<7>level=debug "
		"msg=\"d\"\n",
		"journald gets priorities and no time");
	log_set(b.log, LOG_LEVEL_INFO, LOG_JSON);
	log_info(b.log, "j");
	is_text(take(&b), "<6>{\"level\":\"info\",\"msg\":\"j\"}\n", "JSON, too");
	setenv("JOURNAL_STREAM", "1:2", 1);
	log_free(b.log);
	b.log = log_create(b.out, LOG_LEVEL_INFO, LOG_LOGFMT);
	log_info(b.log, "i");
	holds(take(&b), "ts=", "another stream than journald's gets a time");
	unsetenv("JOURNAL_STREAM");
	done(&b);
}

static void errno_is_kept(void)
{
	struct log *log = log_create(-1, LOG_LEVEL_INFO, LOG_LOGFMT);
	struct bench b = bench(LOG_LEVEL_INFO, LOG_LOGFMT);

	errno = EINPROGRESS;
	log_error(log, "to nowhere");
	is_number(errno, EINPROGRESS, "errno outlives a bad descriptor");
	close(b.in);
	b.in = -1;
	log_error(b.log, "to nobody");
	log_error(b.log, "to nobody");
	log_tick(b.log);
	is_number(errno, EINPROGRESS, "and a closed pipe");
	log_free(log);
	done(&b);
}

static size_t lines(const char *text)
{
	size_t n = 0;

	for (; *text != '\0'; text++)
		n += *text == '\n';
	return n;
}

/* Nobody reads: a pipe takes 64 KB, blocking or not. */
static void full_pipe(bool blocking)
{
	struct bench b = bench(LOG_LEVEL_INFO, LOG_LOGFMT);
	char message[32];
	size_t whole;

	if (!blocking)
		fcntl(b.out, F_SETFL, O_NONBLOCK);
	alarm(20);
	for (int i = 0; i < 3000; i++) {
		snprintf(message, sizeof message, "message %d", i);
		log_info(b.log, message);
	}
	alarm(0);
	take(&b);
	whole = lines(b.text);
	ok(whole > 500 && whole < 3000, "%zu of 3000 lines went into a %s pipe", whole,
	   blocking ? "blocking" : "non-blocking");
	log_info(b.log, "the reader is back");
	holds(take(&b), "msg=\"the reader is back\" dropped=", "the next line counts those that were dropped");
	log_info(b.log, "all is well");
	lacks(take(&b), "dropped", "once");
	done(&b);
}

static void full_socket(void)
{
	struct bench b = { .in = -1 };
	char message[32];
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
		abort();
	b.in = fds[0];
	b.out = fds[1];
	fcntl(b.in, F_SETFL, O_NONBLOCK);
	b.log = log_create(b.out, LOG_LEVEL_INFO, LOG_LOGFMT);
	alarm(20);
	for (int i = 0; i < 20000; i++) {
		snprintf(message, sizeof message, "message %d", i);
		log_info(b.log, message);
	}
	alarm(0);
	while (strlen(take(&b)) > 0)
		;
	log_info(b.log, "the reader is back");
	holds(take(&b), "msg=\"the reader is back\" dropped=", "a blocking socket does not block, either");
	close(b.in);
	b.in = -1;
	log_info(b.log, "the reader is gone");
	ok(true, "and a closed one does not kill");
	done(&b);
}

static void scrubs_to(const char *text, const char *want)
{
	char out[512];

	scrub(text, out, sizeof out);
	is_text(out, want, want);
}

static void scrubbing(void)
{
	char tiny[8];

	scrubs_to("", "");
	scrubs_to("nothing to hide: a=b, x@y", "nothing to hide: a=b, x@y");
	scrubs_to("nats://u:secret@host:4222", "nats://u:***@host:4222");
	scrubs_to("nats://token@host", "nats://***@host");
	scrubs_to("tls://token@host", "tls://***@host");
	scrubs_to("tls://token@a:b@host", "tls://***@host");
	scrubs_to("nats://host:4222", "nats://host:4222");
	scrubs_to("nats://a:b@h1:4222,nats://c:d@h2:4222", "nats://a:***@h1:4222,nats://c:***@h2:4222");
	scrubs_to("postgresql://u:p%40ss@h/db?sslmode=require", "postgresql://u:***@h/db?sslmode=require");
	scrubs_to("postgresql://u:p@ss@h/db", "postgresql://u:***@h/db");
	scrubs_to("postgresql://u@h/db", "postgresql://u@h/db");
	scrubs_to("postgresql:///db?user=u&password=secret", "postgresql:///db?user=u&password=***");
	scrubs_to("host=h password=secret user=u", "host=h password=*** user=u");
	scrubs_to("password = 'se cr\\'et' user=u", "password = '***' user=u");
	scrubs_to("password=se\\ cret user=u", "password=*** user=u");
	scrubs_to("PassWord=x", "PassWord=***");
	scrubs_to("sslpassword=x y", "sslpassword=*** y");
	scrubs_to("password='never closed", "password='***");
	scrubs_to("password=", "password=");
	scrubs_to("password='' user=u", "password='' user=u");
	scrubs_to("password authentication failed for user \"u\"", "password authentication failed for user \"u\"");
	scrubs_to("could not connect to nats://u:s@h: refused", "could not connect to nats://u:***@h: refused");
	scrub("password=secret", tiny, sizeof tiny);
	is_text(tiny, "passwor", "it fits the buffer");
	scrub("abc", tiny, 1);
	is_text(tiny, "", "of one byte, too");
}

static void lines_are_scrubbed(void)
{
	struct bench b = bench(LOG_LEVEL_INFO, LOG_LOGFMT);

	log_error(b.log, "cannot connect: password=hunter2", KS("url", "nats://u:hunter2@h"));
	take(&b);
	lacks(b.text, "hunter2", "no secret in a line");
	holds(b.text, "url=nats://u:***@h", "the rest is there");
	done(&b);
}

/* What commands and the port say of it is what the log says. */
static void lines_of_others(void)
{
	static const char bad[] = "1\n2\r3\t4\x01\x7f 5\x1b[0m \xc2\x9b"
				  "2J a\xe2\x80\xae"
				  "b\xd8\x9c\xe2\x81\xa6 \xff gr\xc3\xb6\xc3\x9f"
				  "e";
	static const char good[] =
		"1\\n2\\r3\\t4\\u0001\\u007f 5\\u001b[0m \\u009b2J a\\u202eb\\u061c\\u2066 \xef\xbf\xbd gr\xc3\xb6\xc3\x9f"
		"e";
	struct bench b = bench(LOG_LEVEL_INFO, LOG_LOGFMT);
	char line[256], small[8];

	is_text(utf8_line(bad, line, sizeof line), good, "a line of what others say");
	is_text(utf8_line("abcd\xe2\x80\xae", small, sizeof small), "abcd", "no half of an escape");
	is_text(utf8_line("abcde\xc3\xb6", small, sizeof small), "abcde\xc3\xb6", "as much as fits");
	is_text(utf8_line("abcdef\xc3\xb6", small, sizeof small), "abcdef", "no half of a character");
	log_error(b.log, "x", KS("v", bad));
	take(&b);
	holds(b.text, good, "the log says the same");
	done(&b);
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	unsetenv("JOURNAL_STREAM");
	logfmt();
	levels();
	json();
	long_lines();
	collapsing();
	told_before_it_is_over();
	many_messages();
	journal();
	errno_is_kept();
	full_pipe(true);
	full_pipe(false);
	full_socket();
	scrubbing();
	lines_are_scrubbed();
	lines_of_others();
	return done_testing();
}
