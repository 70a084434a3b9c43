/* libmicrohttpd in external-poll mode: its epoll descriptor is one watcher of our loop. Limits on connections, memory and
 * time keep whatever comes in from disturbing the relay.
 *
 * And whatever comes in must not keep those out who have a question. Everybody gets REQUEST_MS for it, however slowly he
 * drips; and when the house is nearly full, whoever has waited longest without asking anything goes: who asks at once is
 * answered long before it is his turn. */
#include "edge/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ev.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	CONNECTIONS = 64,
	NEARLY_FULL = 48, /* one turn takes at most ten more */
	MEMORY_BYTES = 8192,
	SILENCE_S = 5,
	REQUEST_MS = 10000,
	LOOK_MS = 1000,
	BACKLOG = 128
};

struct guest {
	struct MHD_Connection *connection; /* NULL = free */
	int64_t since_ms;                  /* when it came, or was last answered */
	bool cut;
};

struct http {
	struct loop *loop;
	struct MHD_Daemon *daemon;
	const struct http_page *pages;
	void *arg;
	ev_io readable;
	struct loop_timer *timer;
	bool exhausted; /* no descriptor was left for a connection */
	struct guest guests[CONNECTIONS];
};

static enum MHD_Result respond(struct MHD_Connection *c, int status, const char *type, char *body, size_t bytes)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(bytes, body, MHD_RESPMEM_MUST_FREE);
	enum MHD_Result result;

	if (r == NULL) {
		free(body);
		return MHD_NO;
	}
	MHD_add_response_header(r, "Content-Type", type);
	MHD_add_response_header(r, "Cache-Control", "no-store");
	MHD_add_response_header(
		r, "Content-Security-Policy",
		"default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; "
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
	MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
	MHD_add_response_header(r, "Referrer-Policy", "no-referrer");
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(r, "Allow", "GET, HEAD");
	result = MHD_queue_response(c, (unsigned)status, r);
	MHD_destroy_response(r);
	return result;
}

static void cut(struct guest *g)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(g->connection, MHD_CONNECTION_INFO_CONNECTION_FD);

	if (info != NULL)
		shutdown(info->connect_fd, SHUT_RDWR); /* libmicrohttpd sees the end, and closes */
	g->cut = true;
}

/* How many are there, and who has waited longest? NULL = nobody who is not cut already. */
static size_t count_guests(struct http *h, struct guest **longest)
{
	size_t n = 0;

	*longest = NULL;
	for (size_t i = 0; i < CONNECTIONS; i++) {
		struct guest *g = &h->guests[i];

		if (g->connection == NULL || g->cut)
			continue;
		n++;
		if (*longest == NULL || g->since_ms < (*longest)->since_ms)
			*longest = g;
	}
	return n;
}

static void greet(struct http *h, struct MHD_Connection *c, void **context)
{
	struct guest *longest, *g = h->guests;

	if (count_guests(h, &longest) >= NEARLY_FULL)
		cut(longest);
	while (g < h->guests + CONNECTIONS && g->connection != NULL)
		g++;
	if (g == h->guests + CONNECTIONS)
		return; /* it has no more than this itself */
	*g = (struct guest){ .connection = c, .since_ms = loop_now_ms() };
	*context = g;
}

static void on_guest(void *arg, struct MHD_Connection *c, void **context, enum MHD_ConnectionNotificationCode code)
{
	struct guest *g = *context;

	if (code == MHD_CONNECTION_NOTIFY_STARTED)
		greet(arg, c, context);
	else if (g != NULL)
		g->connection = NULL;
}

static void was_answered(struct MHD_Connection *c)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct guest *g = info != NULL ? info->socket_context : NULL;

	if (g != NULL)
		g->since_ms = loop_now_ms();
}

static void cut_the_slow(struct http *h)
{
	for (size_t i = 0; i < CONNECTIONS; i++) {
		struct guest *g = &h->guests[i];

		if (g->connection != NULL && !g->cut && loop_now_ms() - g->since_ms > REQUEST_MS)
			cut(g);
	}
}

static enum MHD_Result answer(void *arg, struct MHD_Connection *c, const char *url, const char *method,
			      const char *version, const char *upload, size_t *upload_size, void **state)
{
	struct http *h = arg;
	const struct http_page *p = h->pages;
	const char *type = "text/plain; charset=utf-8";
	bool may = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
	char *body = NULL;
	size_t bytes = 0;
	FILE *f;
	int status;

	(void)version;
	(void)upload;
	/* What comes behind the headers is not looked at, and where we do not even answer well it is not read. */
	if (may && (*state == NULL || *upload_size > 0)) {
		*state = h;
		*upload_size = 0;
		return MHD_YES;
	}
	f = open_memstream(&body, &bytes);
	if (f == NULL)
		return MHD_NO;
	while (p->path != NULL && strcmp(p->path, url) != 0)
		p++;
	if (!may) {
		status = MHD_HTTP_METHOD_NOT_ALLOWED;
		fputs("only GET and HEAD\n", f);
	} else if (p->path == NULL) {
		status = MHD_HTTP_NOT_FOUND;
		fputs("no such page; there are:", f);
		for (const struct http_page *q = h->pages; q->path != NULL; q++)
			fprintf(f, " %s", q->path);
		fputs("\n", f);
	} else {
		type = p->content_type;
		status = p->render(h->arg, f);
	}
	if (fclose(f) != 0) {
		free(body);
		return MHD_NO;
	}
	was_answered(c);
	return respond(c, status, type, body, bytes);
}

/* A daemon that cannot take a connection stays readable, and one that stopped listening for that reason listens again
 * only when it is run: so it is left alone for a while then, and in any case looked at now and again. */
static void run(struct http *h)
{
	MHD_UNSIGNED_LONG_LONG wait_ms = LOOK_MS;

	h->exhausted = false;
	cut_the_slow(h);
	MHD_run(h->daemon);
	if (h->exhausted)
		ev_io_stop(loop_ev(h->loop), &h->readable);
	else
		ev_io_start(loop_ev(h->loop), &h->readable);
	if (h->exhausted || MHD_get_timeout(h->daemon, &wait_ms) != MHD_YES || wait_ms > LOOK_MS)
		wait_ms = LOOK_MS;
	loop_timer_at(h->timer, loop_now_ms() + (int64_t)wait_ms);
}

static void on_readable(struct ev_loop *ev, ev_io *w, int revents)
{
	(void)ev;
	(void)revents;
	run(w->data);
}

static void on_timer(void *arg)
{
	run(arg);
}

static void on_complaint(void *arg, const char *format, va_list args)
{
	struct http *h = arg;

	(void)args;
	if (strstr(format, "resource limit") != NULL)
		h->exhausted = true;
}

/* No name of a page needs unescaping, and %00 is not the end of one. */
static size_t as_it_is(void *arg, struct MHD_Connection *c, char *text)
{
	(void)arg;
	(void)c;
	return strlen(text);
}

/* A socket of our own: newer libraries forget why they could not have one. -1 with errno. */
static int listen_on(const char *address, uint16_t port)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	bool six = inet_pton(AF_INET6, address, &v6.sin6_addr) == 1;
	const struct sockaddr *at = six ? (const struct sockaddr *)&v6 : (const struct sockaddr *)&v4;
	int fd, yes = 1, why;

	if (!six && inet_pton(AF_INET, address, &v4.sin_addr) != 1) {
		errno = EINVAL;
		return -1;
	}
	fd = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0 &&
	    (!six || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes) == 0) &&
	    bind(fd, at, six ? sizeof v6 : sizeof v4) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	why = errno;
	if (fd >= 0)
		close(fd);
	errno = why;
	return -1;
}

static struct MHD_Daemon *start(struct http *h, const char *address, uint16_t port)
{
	int fd = listen_on(address, port);

	if (fd < 0)
		return NULL;
	errno = 0; /* should it fail, the socket is the library's already, and we end */
	return MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_ERROR_LOG, port, NULL, NULL, answer, h,
				MHD_OPTION_EXTERNAL_LOGGER, on_complaint, h, MHD_OPTION_LISTEN_SOCKET, fd,
				MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS, MHD_OPTION_NOTIFY_CONNECTION,
				on_guest, h, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)SILENCE_S,
				MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY_BYTES, MHD_OPTION_UNESCAPE_CALLBACK,
				as_it_is, h, MHD_OPTION_END);
}

struct http *http_open(struct loop *l, const char *address, uint16_t port, const struct http_page *pages, void *arg,
		       char *error, size_t error_size)
{
	struct http *h = calloc(1, sizeof *h);
	const union MHD_DaemonInfo *info;

	if (h == NULL)
		return NULL;
	h->loop = l;
	h->pages = pages;
	h->arg = arg;
	h->timer = loop_timer(l, on_timer, h);
	if (h->timer == NULL) {
		free(h);
		return NULL;
	}
	h->daemon = start(h, address, port);
	if (h->daemon == NULL) {
		snprintf(error, error_size, "cannot listen on %s port %u: %s", address, port,
			 errno != 0 ? strerror(errno) : "unknown error");
		free(h);
		return NULL;
	}
	info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	ev_io_init(&h->readable, on_readable, info->epoll_fd, EV_READ);
	h->readable.data = h;
	ev_io_start(loop_ev(l), &h->readable);
	return h;
}

void http_close(struct http *h)
{
	if (h == NULL)
		return;
	ev_io_stop(loop_ev(h->loop), &h->readable);
	loop_timer_at(h->timer, INT64_MAX);
	MHD_stop_daemon(h->daemon);
	free(h);
}
