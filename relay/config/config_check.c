/* The checks: of single values where the table has no word for them, and of values against each other. */
#include "config/config_check.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/scrub.h"
#include "config/config_captures.h"
#include "config/config_check_lists.h"
#include "config/config_sagas.h"
#include "config/settings.h"
#include "edge/natsio_options.h"
#include "format/message.h"

enum { TEXT_MAX_BYTES = 512 };

/* Checks of single values that the table cannot express. */

static config_setting_t *find(struct loader *l, const char *path)
{
	return layers_find(&l->layers, path);
}

void config_check_name(struct loader *l)
{
	static const char legal[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
	const char *name = l->c->name;

	if (name == NULL)
		return;
	if (name[0] == '\0' || strlen(name) > 48 || name[strspn(name, legal)] != '\0')
		complaint_at(l, find(l, "name"),
			     "name = \"%s\" is not usable: write up to 48 letters, digits, '.', '_' and '-'", name);
}

static void check_event_source(struct loader *l)
{
	static const char legal[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
				    "-._~:/?#[]@!$&'()*+,;=%";
	const char *source = l->c->event_source;

	if (source != NULL && (strlen(source) > 256 || source[strspn(source, legal)] != '\0'))
		complaint_at(l, find(l, "event_source"),
			     "event_source = \"%s\" is no URI: write up to 256 characters such as "
			     "\"/boxhaul/shop\" or \"https://shop.example/orders\"",
			     source);
}

/* scheme://[user[:password]@]host[:port] */
static bool url_valid(const char *url)
{
	size_t scheme = strncmp(url, "nats://", 7) == 0 ? 7 : strncmp(url, "tls://", 6) == 0 ? 6 : 0;
	const char *at = strrchr(url, '@'), *host = at != NULL ? at + 1 : url + scheme, *colon;
	size_t length = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");

	for (const char *p = url; *p != '\0'; p++)
		if (*p <= ' ' || *p == 0x7f)
			return false;
	if (scheme == 0 || length == 0 || length > strlen(host) || strcspn(host, "/?#") != strlen(host))
		return false;
	colon = host + length;
	if (*colon == '\0')
		return true;
	return *colon == ':' && colon[1] != '\0' && strlen(colon + 1) <= 5 &&
	       colon[1 + strspn(colon + 1, "0123456789")] == '\0' && strtoul(colon + 1, NULL, 10) - 1 < 65535;
}

static void check_urls(struct loader *l)
{
	config_setting_t *node = find(l, "nats.urls");

	for (size_t i = 0; node != NULL && i < l->c->nats.url_count; i++) {
		const char *url = l->c->nats.urls[i];
		char shown[TEXT_MAX_BYTES];

		if (url == NULL || url_valid(url))
			continue;
		scrub(url, shown, sizeof shown);
		complaint_at(l, config_setting_get_elem(node, (unsigned)i),
			     "nats.urls: \"%s\" is no URL: write nats://host:4222 or tls://host:4222", shown);
	}
}

static void check_auth(struct loader *l)
{
	static const char *const ways[] = { "nats.user", "nats.token_file", "nats.credentials_file",
					    "nats.nkey_seed_file" };
	const char *values[] = { l->c->nats.user, l->c->nats.token_file, l->c->nats.credentials_file,
				 l->c->nats.nkey_seed_file };
	size_t first = sizeof ways / sizeof ways[0];

	for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
		if (values[i] == NULL)
			continue;
		if (first < i)
			complaint_at(l, find(l, ways[i]), "%s and %s are two ways to log in: leave one out",
				     ways[first], ways[i]);
		else
			first = i;
	}
	for (size_t i = 0; first < sizeof ways / sizeof ways[0] && i < l->c->nats.url_count; i++)
		if (l->c->nats.urls[i] != NULL && strchr(l->c->nats.urls[i], '@') != NULL)
			complaint_at(l, config_setting_get_elem(find(l, "nats.urls"), (unsigned)i),
				     "nats.urls: the login in the URL would be used instead of %s: leave one out",
				     ways[first]);
	if (l->c->nats.user != NULL && l->c->nats.password_file == NULL)
		complaint_at(l, find(l, "nats.user"), "nats.user needs a password: add password_file = \"/...\";");
	if (l->c->nats.user == NULL && l->c->nats.password_file != NULL)
		complaint_at(l, find(l, "nats.password_file"), "nats.password_file needs a user: add user = \"...\";");
}

enum { PREFIX_MAX_BYTES = 200 };

/* Names of subjects that are published to, and compared with what the server complains of. */
static bool is_subject(const char *text)
{
	return strlen(text) <= PREFIX_MAX_BYTES && message_pattern_valid(text) && strpbrk(text, "*>\"\\") == NULL;
}

static void check_jetstream(struct loader *l)
{
	const char *domain = l->c->nats.jetstream_domain, *prefix = l->c->nats.jetstream_prefix;

	if (domain != NULL && prefix != NULL)
		complaint_at(l, find(l, "nats.jetstream_domain"),
			     "nats.jetstream_domain and nats.jetstream_prefix say the same in two ways: leave one out");
	if (domain != NULL && (!is_subject(domain) || strchr(domain, '.') != NULL))
		complaint_at(l, find(l, "nats.jetstream_domain"),
			     "nats.jetstream_domain = \"%s\" is no domain: write its name alone, such as \"hub\"",
			     domain);
	if (prefix != NULL && !is_subject(prefix))
		complaint_at(l, find(l, "nats.jetstream_prefix"),
			     "nats.jetstream_prefix = \"%s\" is no subject: write it without a dot at its end, such as "
			     "\"JS.orders.API\"",
			     prefix);
}

/* Answers are published to it as messages are: the server's own subjects are none, nor is what a stream takes (config_check_lists). */
static void check_inbox_prefix(struct loader *l)
{
	const char *prefix = l->c->nats.inbox_prefix;

	if (prefix != NULL && (!is_subject(prefix) || prefix[0] == '$' || strlen(prefix) >= NATSIO_INBOX_PREFIX_BYTES))
		complaint_at(
			l, find(l, "nats.inbox_prefix"),
			"nats.inbox_prefix = \"%s\" is no prefix: write a subject of at most %d bytes, without a dot at "
			"its end and with no $ in front, such as \"_INBOX_shop\"",
			prefix, NATSIO_INBOX_PREFIX_BYTES - 1);
}

static void check_tls(struct loader *l)
{
	const char *cert = l->c->nats.tls.cert_file, *key = l->c->nats.tls.key_file;

	if (cert != NULL && key == NULL)
		complaint_at(l, find(l, "nats.tls.cert_file"),
			     "nats.tls.cert_file needs its private key: add key_file = \"/...\";");
	if (cert == NULL && key != NULL)
		complaint_at(l, find(l, "nats.tls.key_file"),
			     "nats.tls.key_file needs its certificate: add cert_file = \"/...\";");
}

/* The broker must still know a message when it is sent again, by us after a timeout or by the next leader. */
static const char *const shorter_than_window[] = { "delivery.ack_timeout", "outbox.lease" };

enum { SHORTER_THAN_WINDOW = sizeof shorter_than_window / sizeof shorter_than_window[0] };

static bool is_shorter(const struct config *c, size_t i, size_t k)
{
	return setting_number(setting_find(shorter_than_window[k]), c) < c->streams[i].duplicate_window_ms;
}

static void describe_window(const struct config *c, size_t i, size_t k, char *why, size_t size)
{
	const struct setting *s = setting_find(shorter_than_window[k]);
	char a[32], b[32];

	snprintf(
		why, size,
		"streams.duplicate_window (%s) must be longer than %s (%s): a message sent again would be stored twice",
		setting_print(s, c->streams[i].duplicate_window_ms, a, sizeof a), s->path,
		setting_print(s, setting_number(s, c), b, sizeof b));
}

static void check_duplicate_window(struct loader *l, size_t i)
{
	config_setting_t *node = config_check_node(l, "streams", i, "duplicate_window");
	char why[TEXT_MAX_BYTES];

	for (size_t k = 0; k < SHORTER_THAN_WINDOW; k++) {
		if (config_setting_get_hook(node) != NULL || is_shorter(l->c, i, k))
			continue;
		describe_window(l->c, i, k, why, sizeof why);
		complaint_at(l, node, "%s", why);
	}
}

/* Settings that must be in order. */

static const struct {
	const char *low, *high;
	bool equal; /* may they be equal? */
	const char *because;
} orders[] = {
	{ "delivery.retry_min", "delivery.retry_max", true, "a pause grows from the one to the other" },
	{ "delivery.window", "delivery.queue", true, "what is in flight is in memory, too" },
	{ "delivery.window_bytes", "delivery.queue_bytes", true, "what is in flight is in memory, too" },
	{ "outbox.max_message_size", "delivery.window_bytes", true, "the largest message would never be sent" },
	{ "outbox.max_message_size", "delivery.queue_bytes", true, "the largest message would never be read" },
	{ "delivery.mark_interval", "outbox.lease", false, "a mark is the sign of life that renews it" },
	{ "delivery.ack_timeout", "health.stall_after", false, "one late acknowledgement is no stall" },
	{ "outbox.sleep_after", "outbox.safety_poll", true, "an idle relay polls less often than a busy one" },
	{ "outbox.gap_grace", "outbox.retention", false, "a gap must be settled before its slot is emptied" },
};

enum { ORDERS = sizeof orders / sizeof orders[0] };

static bool in_order(const struct config *c, size_t i)
{
	uint64_t a = setting_number(setting_find(orders[i].low), c),
		 b = setting_number(setting_find(orders[i].high), c);

	return a < b || (a == b && orders[i].equal);
}

/* low_note, high_note: what there is to say about where a value comes from, or "". */
static void describe_order(const struct config *c, size_t i, const char *low_note, const char *high_note, char *why,
			   size_t size)
{
	const struct setting *low = setting_find(orders[i].low), *high = setting_find(orders[i].high);
	char x[32], y[32];

	snprintf(why, size, "%s (%s%s) must be %s %s (%s%s): %s", low->path, low_note,
		 setting_print(low, setting_number(low, c), x, sizeof x), orders[i].equal ? "at most" : "less than",
		 high->path, high_note, setting_print(high, setting_number(high, c), y, sizeof y), orders[i].because);
}

static void check_order(struct loader *l, size_t i)
{
	config_setting_t *at_low = find(l, orders[i].low), *at_high = find(l, orders[i].high);
	char why[TEXT_MAX_BYTES];

	if ((at_low != NULL && config_setting_get_hook(at_low) != NULL) ||
	    (at_high != NULL && config_setting_get_hook(at_high) != NULL) || in_order(l->c, i))
		return;
	describe_order(l->c, i, at_low == NULL ? "by default " : "", at_high == NULL ? "by default " : "", why,
		       sizeof why);
	/* Named, not marked: another check of the same setting may still have something to say. */
	complaint_near(l, at_low != NULL ? at_low : at_high, "%s", why);
}

bool config_check_fits(const struct config *c, char *why, size_t size)
{
	for (size_t i = 0; i < ORDERS; i++)
		if (!in_order(c, i))
			return describe_order(c, i, "", "", why, size), false;
	for (size_t i = 0; i < c->stream_count; i++)
		for (size_t k = 0; k < SHORTER_THAN_WINDOW; k++)
			if (!is_shorter(c, i, k))
				return describe_window(c, i, k, why, size), false;
	return config_check_lists_fit(c, why, size);
}

void config_check(struct loader *l)
{
	config_check_name(l);
	check_event_source(l);
	check_urls(l);
	check_auth(l);
	check_jetstream(l);
	check_inbox_prefix(l);
	check_tls(l);
	config_check_lists(l);
	config_sagas_check(l);
	config_captures_check(l);
	for (size_t i = 0; i < l->c->stream_count; i++)
		check_duplicate_window(l, i);
	for (size_t i = 0; i < ORDERS; i++)
		check_order(l, i);
}

/* Secrets in a file that everybody can read. */

static bool holds_secret(const char *text)
{
	size_t size = 3 * strlen(text) + 1;
	char *scrubbed = malloc(size);
	bool secret = false;

	if (scrubbed != NULL) {
		scrub(text, scrubbed, size);
		secret = strcmp(text, scrubbed) != 0;
	}
	free(scrubbed);
	return secret;
}

/* The environment of a process is read by more than one should think: a supervisor's status, a crash report, whatever it starts. */
static void check_secret(struct loader *l, config_setting_t *node, const char *key, const char *text)
{
	size_t layer = layers_of(&l->layers, node);

	if (node == NULL || text == NULL || !holds_secret(text))
		return;
	if (layer == LAYER_ENVIRONMENT)
		complaint_at(l, node, "%s holds a password, and an environment keeps no secret: use a password file",
			     key);
	else if (l->layers.each[layer].open)
		complaint_warn(
			l, node,
			"%s holds a password and everybody may read this file: chmod o-r it, or use a password file",
			key);
}

void config_check_secrets(struct loader *l)
{
	config_setting_t *urls = find(l, "nats.urls");

	check_secret(l, find(l, "postgres.conninfo"), "postgres.conninfo", l->c->postgres.conninfo);
	check_secret(l, find(l, "postgres.migrate_conninfo"), "postgres.migrate_conninfo",
		     l->c->postgres.migrate_conninfo);
	check_secret(l, find(l, "postgres.capture_conninfo"), "postgres.capture_conninfo",
		     l->c->postgres.capture_conninfo);
	for (size_t i = 0; urls != NULL && i < l->c->nats.url_count; i++)
		check_secret(l, config_setting_get_elem(urls, (unsigned)i), "nats.urls", l->c->nats.urls[i]);
}

/* The text, before libconfig sees it. libconfig 1.5 wraps numbers that do not fit 32 bits without a word
 * (4294968320 becomes 1024), and takes a quote or a comment that is never closed for the end of the file. */

/* Each skips what begins at p, counts the lines in it and returns what comes behind: NULL if it never ends. */
static const char *skip_string(const char *p, unsigned *line)
{
	for (p++; *p != '\0' && *p != '"'; p++) {
		p += *p == '\\' && p[1] != '\0';
		*line += *p == '\n';
	}
	return *p == '"' ? p + 1 : NULL;
}

static const char *skip_comment(const char *p, unsigned *line)
{
	const char *end = strstr(p + 2, "*/");

	for (; end != NULL && p < end; p++)
		*line += *p == '\n';
	return end != NULL ? end + 2 : NULL;
}

/* A word by itself. What @include would bring in has lines of another file, and nobody looked at its text. */
static const char *skip_word(struct loader *l, const char *p, unsigned line)
{
	size_t n = strcspn(p, " \t\r\n=:;,()[]{}\"#/");

	errno = 0;
	if (*p >= '0' && *p <= '9' && (strtoull(p, NULL, 0) > INT_MAX || errno == ERANGE))
		complaint_on_line(l, line,
				  "the number %.*s is too large: write it as a text with a unit, such as \"1GiB\"",
				  (int)n, p);
	if (n == 8 && strncmp(p, "@include", n) == 0)
		complaint_on_line(
			l, line,
			"@include is not supported: write all settings into this file, and those of all instances into boxhaul.conf beside it");
	return p + (n > 0 ? n : 1);
}

bool config_check_text(struct loader *l, const char *text)
{
	unsigned line = 1;

	for (const char *p = text; *p != '\0';) {
		unsigned begun = line;
		bool quote = *p == '"';

		line += *p == '\n';
		if (quote)
			p = skip_string(p, &line);
		else if (p[0] == '/' && p[1] == '*')
			p = skip_comment(p, &line);
		else if (*p == '#' || (p[0] == '/' && p[1] == '/'))
			p += strcspn(p, "\n");
		else
			p = skip_word(l, p, line);
		if (p == NULL) {
			complaint_on_line(l, begun, "this %s is never closed: add %s", quote ? "quote" : "comment",
					  quote ? "\"" : "*/");
			return false;
		}
	}
	return true;
}
