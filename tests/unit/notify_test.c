/* The words to the supervisor: where they go, what is left in the environment, whose watchdog it is. */
#include "edge/notify.h"

#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tap.h"

static char directory[] = "/tmp/boxhaul-notify-XXXXXX";
static char error[256];

static struct notify *open_with(const char *socket_name, const char *usec, const char *pid)
{
	const char *const names[] = { "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID" };
	const char *const values[] = { socket_name, usec, pid };

	for (int i = 0; i < 3; i++)
		if (values[i] == NULL)
			unsetenv(names[i]);
		else
			setenv(names[i], values[i], 1);
	error[0] = '\0';
	return notify_open(error, sizeof error);
}

/* A supervisor's socket; the first byte of an abstract name is '@' here, as in the environment. */
static int listen_at(const char *name)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	memcpy(at.sun_path, name, strlen(name));
	if (name[0] == '@')
		at.sun_path[0] = '\0';
	if (fd < 0 || bind(fd, (const struct sockaddr *)&at,
			   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))) != 0)
		exit(1);
	return fd;
}

static void speaks_to(const char *name)
{
	int fd = listen_at(name);
	struct notify *n = open_with(name, NULL, NULL);
	char heard[64] = "";
	int words = 0;

	ok(n != NULL && notify_wanted(n) && error[0] == '\0', "somebody listens");
	ok(notify_say(n, "READY=1\nSTATUS=x"), "said");
	ok(recv(fd, heard, sizeof heard - 1, 0) > 0, "heard");
	is_text(heard, "READY=1\nSTATUS=x", "one word");
	ok(getenv("NOTIFY_SOCKET") == NULL, "nobody else learns of the socket");
	while (words < 100000 && notify_say(n, "WATCHDOG=1"))
		words++;
	ok(words > 0 && words < 100000, "one that does not read is not waited for");
	while (recv(fd, heard, sizeof heard, MSG_DONTWAIT) > 0)
		;
	ok(notify_say(n, "WATCHDOG=1"), "one that reads again is told again");
	notify_close(n);
	close(fd);
}

static void no_supervisor(void)
{
	static const char *const wrong[] = { "", "relative", "@", "vsock:2:1234" };
	char longest[200];
	struct notify *n = open_with(NULL, "1000000", NULL);

	ok(n != NULL && !notify_wanted(n) && error[0] == '\0', "nobody listens");
	ok(notify_say(n, "READY=1"), "and that is no failure");
	is_number(notify_watchdog_ms(n), 0, "nor does anybody watch");
	notify_close(n);
	memset(longest, 'x', sizeof longest - 1);
	longest[0] = '/';
	longest[sizeof longest - 1] = '\0';
	for (size_t i = 0; i <= sizeof wrong / sizeof wrong[0]; i++) {
		n = open_with(i < sizeof wrong / sizeof wrong[0] ? wrong[i] : longest, "1000000", NULL);
		ok(n != NULL && !notify_wanted(n), "no name of a socket: as if nobody listened");
		holds(error, "NOTIFY_SOCKET", "and it is told");
		notify_close(n);
	}
}

static void watchdog(const char *name)
{
	char pid[32];
	struct notify *n;

	snprintf(pid, sizeof pid, "%ld", (long)getpid());
	n = open_with(name, "30000000", pid);
	is_number(notify_watchdog_ms(n), 30000, "every 30 s");
	ok(getenv("WATCHDOG_USEC") == NULL && getenv("WATCHDOG_PID") == NULL, "and the environment is clean");
	notify_close(n);
	n = open_with(name, "30000000", NULL);
	is_number(notify_watchdog_ms(n), 30000, "nobody in particular is meant");
	notify_close(n);
	n = open_with(name, "30000000", "1");
	is_number(notify_watchdog_ms(n), 0, "another process is meant");
	notify_close(n);
	n = open_with(name, "nonsense", NULL);
	is_number(notify_watchdog_ms(n), 0, "no number");
	notify_close(n);
}

int main(void)
{
	char path[64], abstract[64];

	if (mkdtemp(directory) == NULL)
		return 99;
	snprintf(path, sizeof path, "%s/notify", directory);
	snprintf(abstract, sizeof abstract, "@%s", directory);
	speaks_to(path);
	speaks_to(abstract);
	no_supervisor();
	watchdog(path);
	unlink(path);
	rmdir(directory);
	return done_testing();
}
