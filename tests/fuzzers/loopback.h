/* The health port from outside: real sockets on the loopback, and the loop that serves them turned by hand. */
#ifndef BOXHAUL_FUZZ_LOOPBACK_H
#define BOXHAUL_FUZZ_LOOPBACK_H

#include <arpa/inet.h>
#include <errno.h>
#include <ev.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "edge/loop.h"
#include "fuzz.h"

/* Where we listen: the port was the kernel's choice. */
static struct sockaddr_in listening(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET };

	for (int fd = 3; fd < 64; fd++) {
		int listens = 0;

		if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &(socklen_t){ sizeof listens }) == 0 &&
		    listens && getsockname(fd, (struct sockaddr *)&at, &(socklen_t){ sizeof at }) == 0)
			return at;
	}
	abort();
}

struct reply {
	char *text;
	size_t bytes, room;
};

/* What has come in; -1: nothing has, and the connection is still open. */
static ssize_t receive(int fd, struct reply *r)
{
	ssize_t got;

	if (r->room - r->bytes < 2 && (r->text = realloc(r->text, r->room = 2 * r->room + 65536)) == NULL)
		abort();
	got = recv(fd, r->text + r->bytes, r->room - 1 - r->bytes, MSG_DONTWAIT);
	if (got > 0)
		r->bytes += (size_t)got;
	r->text[r->bytes] = '\0';
	return got < 0 && errno != EAGAIN ? 0 : got;
}

/* A connection that the server ends first keeps its pair of addresses for a minute. So that a fast run never comes to the
 * end of an address's 28,000 ports, each 10,000 connections come from another address of the loopback's. */
static int connected(const struct sockaddr_in *to)
{
	static uint32_t connections;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in from = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK + connections++ / 10000 % 65536) };

	if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){ 1 }, sizeof(int)) != 0 ||
	    bind(fd, (struct sockaddr *)&from, sizeof from) != 0 ||
	    (connect(fd, (const struct sockaddr *)to, sizeof *to) != 0 &&
	     errno != EINTR)) /* the fuzzer's clock; it goes on */
		abort();
	return fd;
}

/* Sends a request on a connection of its own, hears all that is said, hangs up and returns what came, terminated. */
static char *ask(struct loop *loop, const void *request, size_t n, size_t *bytes)
{
	static struct sockaddr_in at;
	struct linger reset = { .l_onoff = 1 }; /* leaves no port behind in TIME_WAIT */
	struct reply r = { .room = 0 };
	ssize_t got = -1;
	int fd;

	if (at.sin_port == 0)
		at = listening();
	fd = connected(&at);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
	if (send(fd, request, n, MSG_NOSIGNAL) != (ssize_t)n)
		abort();
	for (int silent = 0; got != 0 && silent<4; silent = got> 0 ? 0 : silent + 1) {
		ev_run(loop_ev(loop), EVRUN_NOWAIT);
		got = receive(fd, &r);
	}
	/* Only now: libmicrohttpd does not see the end of a connection that comes in the same packet as a request before
	 * its time limit. */
	shutdown(fd, SHUT_WR);
	while (got != 0) {
		ev_run(loop_ev(loop), EVRUN_ONCE);
		got = receive(fd, &r);
	}
	close(fd);
	ev_run(loop_ev(loop), EVRUN_NOWAIT);
	if (bytes != NULL)
		*bytes = r.bytes;
	return r.text;
}

/* The body of a reply, 0 bytes if it has none. */
__attribute__((unused)) static const char *body_of(const char *reply)
{
	const char *end = strstr(reply, "\r\n\r\n");

	return end != NULL ? end + 4 : reply + strlen(reply);
}

__attribute__((unused)) static int status_of(const char *reply)
{
	return strncmp(reply, "HTTP/1.", 7) == 0 && strlen(reply) > 12 ? (int)strtol(reply + 9, NULL, 10) : 0;
}

#endif
