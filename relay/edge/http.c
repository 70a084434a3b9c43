/* libmicrohttpd in external-poll mode: its epoll descriptor is one watcher of our loop. Limits on connections, memory and
 * time keep whatever comes in from disturbing the relay.
 *
 * Idle and slow connections must not keep others out. Each has REQUEST_MS for a request, however slowly its bytes come. When
 * nearly all connections are taken, a new one ends the one that has been idle for longest; a client that sends its request at
 * once is answered long before that. */
#include "edge/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ev.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
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

/* A connection. */
struct connection {
	struct MHD_Connection *mhd; /* NULL = free */
	int64_t idle_since_ms;      /* when it was made, or last answered */
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
	struct connection connections[CONNECTIONS];
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

static void cut(struct connection *c)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(c->mhd, MHD_CONNECTION_INFO_CONNECTION_FD);

	if (info != NULL)
		shutdown(info->connect_fd, SHUT_RDWR); /* libmicrohttpd sees the end, and closes */
	c->cut = true;
}

/* How many are open, and which has been idle for longest? NULL = none that is not cut already. */
static size_t count_open(struct http *h, struct connection **longest_idle)
{
	size_t n = 0;

	*longest_idle = NULL;
	for (size_t i = 0; i < CONNECTIONS; i++) {
		struct connection *c = &h->connections[i];

		if (c->mhd == NULL || c->cut)
			continue;
		n++;
		if (*longest_idle == NULL || c->idle_since_ms < (*longest_idle)->idle_since_ms)
			*longest_idle = c;
	}
	return n;
}

static void add_connection(struct http *h, struct MHD_Connection *mhd, void **context)
{
	struct connection *longest_idle, *c = h->connections;

	if (count_open(h, &longest_idle) >= NEARLY_FULL)
		cut(longest_idle);
	while (c < h->connections + CONNECTIONS && c->mhd != NULL)
		c++;
	if (c == h->connections + CONNECTIONS)
		return; /* it has no more than this itself */
	*c = (struct connection){ .mhd = mhd, .idle_since_ms = loop_now_ms() };
	*context = c;
}

static void on_connection(void *arg, struct MHD_Connection *mhd, void **context,
			  enum MHD_ConnectionNotificationCode code)
{
	struct connection *c = *context;

	if (code == MHD_CONNECTION_NOTIFY_STARTED)
		add_connection(arg, mhd, context);
	else if (c != NULL)
		c->mhd = NULL;
}

static void was_answered(struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct connection *c = info != NULL ? info->socket_context : NULL;

	if (c != NULL)
		c->idle_since_ms = loop_now_ms();
}

static void cut_slow_connections(struct http *h)
{
	for (size_t i = 0; i < CONNECTIONS; i++) {
		struct connection *c = &h->connections[i];

		if (c->mhd != NULL && !c->cut && loop_now_ms() - c->idle_since_ms > REQUEST_MS)
			cut(c);
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
	cut_slow_connections(h);
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

/* -1, with the errno that was. */
static int give_up(int fd, int why)
{
	if (fd >= 0)
		close(fd);
	errno = why;
	return -1;
}

/* A socket of our own: newer libraries forget why they could not have one. -1 with errno. */
static int listen_on(const char *address, uint16_t port)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	bool six = inet_pton(AF_INET6, address, &v6.sin6_addr) == 1;
	const struct sockaddr *at = six ? (const struct sockaddr *)&v6 : (const struct sockaddr *)&v4;
	int fd, yes = 1;

	if (!six && inet_pton(AF_INET, address, &v4.sin_addr) != 1)
		return give_up(-1, EINVAL);
	fd = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0 &&
	    (!six || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes) == 0) &&
	    bind(fd, at, six ? sizeof v6 : sizeof v4) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	return give_up(fd, errno);
}

/* A socket in the file system. What a relay that was killed has left there is taken away; where one listens, it is taken. */
static int listen_at(const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), why = ENAMETOOLONG;

	if (fd >= 0 && strlen(path) < sizeof at.sun_path) {
		snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
		if (connect(fd, (const struct sockaddr *)&at, sizeof at) != 0 && errno == ECONNREFUSED)
			unlink(path);
		if (bind(fd, (const struct sockaddr *)&at, sizeof at) == 0 && listen(fd, BACKLOG) == 0)
			return fd;
		why = errno;
	}
	return give_up(fd, why);
}

static struct MHD_Daemon *start(struct http *h, const char *address, uint16_t port)
{
	int fd = address[0] == '/' ? listen_at(address) : listen_on(address, port);

	if (fd < 0)
		return NULL;
	errno = 0; /* should it fail, the socket is the library's already, and we end */
	return MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_ERROR_LOG, port, NULL, NULL, answer, h,
				MHD_OPTION_EXTERNAL_LOGGER, on_complaint, h, MHD_OPTION_LISTEN_SOCKET, fd,
				MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS, MHD_OPTION_NOTIFY_CONNECTION,
				on_connection, h, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)SILENCE_S,
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
		const char *why = errno != 0 ? strerror(errno) : "unknown error";

		if (address[0] == '/')
			snprintf(error, error_size, "cannot listen on %s: %s", address, why);
		else
			snprintf(error, error_size, "cannot listen on %s port %u: %s", address, port, why);
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
