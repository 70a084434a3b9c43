#include "edge/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

struct notify {
	int fd; /* -1 = nobody listens */
	struct sockaddr_un to;
	socklen_t to_bytes;
	int64_t watchdog_ms;
};

/* "/path", or "@name" of an abstract socket. */
static bool read_address(struct notify *n, const char *name)
{
	size_t bytes = strlen(name);

	if ((name[0] != '/' && name[0] != '@') || bytes < 2 || bytes >= sizeof n->to.sun_path)
		return false;
	n->to.sun_family = AF_UNIX;
	memcpy(n->to.sun_path, name, bytes);
	if (name[0] == '@')
		n->to.sun_path[0] = '\0';
	/* A name in the abstract has no end but its length. */
	n->to_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes + (name[0] == '/'));
	return true;
}

/* 0 = there is none, or it is meant for another process. */
static int64_t read_watchdog(void)
{
	const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");

	if (usec == NULL || (pid != NULL && strtoll(pid, NULL, 10) != (long long)getpid()))
		return 0;
	return strtoll(usec, NULL, 10) / 1000;
}

static void open_socket(struct notify *n, const char *name, char *error, size_t size)
{
	if (!read_address(n, name))
		snprintf(error, size, "NOTIFY_SOCKET is no /path and no @name of a unix socket: %s", name);
	else if ((n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) < 0)
		snprintf(error, size, "no socket to talk to NOTIFY_SOCKET: %s", strerror(errno));
	else
		n->watchdog_ms = read_watchdog();
}

struct notify *notify_open(char *error, size_t size)
{
	struct notify *n = calloc(1, sizeof *n);
	const char *name = getenv("NOTIFY_SOCKET");

	if (n == NULL)
		return NULL;
	n->fd = -1;
	if (name != NULL)
		open_socket(n, name, error, size);
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	return n;
}

void notify_close(struct notify *n)
{
	if (n == NULL)
		return;
	if (n->fd >= 0)
		close(n->fd);
	free(n);
}

bool notify_wanted(const struct notify *n)
{
	return n->fd >= 0;
}

bool notify_say(struct notify *n, const char *lines)
{
	/* By address each time: a supervisor that was restarted has another socket under the same name. */
	return n->fd < 0 ||
	       sendto(n->fd, lines, strlen(lines), MSG_NOSIGNAL, (const struct sockaddr *)&n->to, n->to_bytes) >= 0;
}

int64_t notify_watchdog_ms(const struct notify *n)
{
	return n->watchdog_ms;
}

uint64_t notify_clock_usec(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}
