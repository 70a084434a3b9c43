/* One GET in HTTP/1.0: the answer ends when the connection does. */
#include "command/port.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { PATIENCE_S = 2, ANSWER_MAX_BYTES = 256 * 1024 };

static const char request[] = "GET /status HTTP/1.0\r\n\r\n";

/* A relay that listens on every address is asked on the loopback. */
static socklen_t address_of(const struct config *config, struct sockaddr_storage *out)
{
	struct sockaddr_in *four = (struct sockaddr_in *)(void *)out;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)(void *)out;

	memset(out, 0, sizeof *out);
	if (inet_pton(AF_INET, config->health.address, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons(config->health.port);
		if (four->sin_addr.s_addr == htonl(INADDR_ANY))
			four->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		return sizeof *four;
	}
	inet_pton(AF_INET6, config->health.address, &six->sin6_addr);
	six->sin6_family = AF_INET6;
	six->sin6_port = htons(config->health.port);
	if (IN6_IS_ADDR_UNSPECIFIED(&six->sin6_addr))
		six->sin6_addr = in6addr_loopback;
	return sizeof *six;
}

/* -1: nobody is there. */
static int connect_to(int family, const struct sockaddr *to, socklen_t bytes)
{
	struct timeval patience = { .tv_sec = PATIENCE_S };
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) == 0 && connect(fd, to, bytes) == 0)
		return fd;
	close(fd);
	return -1;
}

/* Where its unit has it listen: the directory of the file's name, as %i in boxhaul@.service. */
static int connect_to_socket(const struct config *config)
{
	const char *directory = getenv("RUNTIME_DIRECTORY"), *slash = strrchr(config->path, '/');
	const char *base = slash != NULL ? slash + 1 : config->path;
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int n;

	if (directory != NULL)
		n = snprintf(at.sun_path, sizeof at.sun_path, "%s/health.sock", directory);
	else
		n = snprintf(at.sun_path, sizeof at.sun_path, "/run/boxhaul/%.*s/health.sock",
			     (int)(strlen(base) > 5 ? strlen(base) - 5 : 0), base);
	if (n < 0 || (size_t)n >= sizeof at.sun_path)
		return -1;
	return connect_to(AF_UNIX, (const struct sockaddr *)&at, sizeof at);
}

static int connect_to_port(const struct config *config)
{
	struct sockaddr_storage to;
	socklen_t bytes = address_of(config, &to);

	return connect_to(to.ss_family, (const struct sockaddr *)&to, bytes);
}

/* The body of the answer, parsed; NULL if there is none. */
static json_t *read_answer(FILE *answer)
{
	char line[1024];

	if (fgets(line, sizeof line, answer) == NULL || strncmp(line, "HTTP/1.", 7) != 0 ||
	    strncmp(line + 8, " 200", 4) != 0)
		return NULL;
	while (fgets(line, sizeof line, answer) != NULL)
		if (strcmp(line, "\r\n") == 0)
			return json_loadf(answer, JSON_DISABLE_EOF_CHECK, NULL);
	return NULL;
}

static json_t *get(int fd)
{
	FILE *answer = fdopen(fd, "r+e");
	json_t *o = NULL;

	if (answer == NULL) {
		close(fd);
		return NULL;
	}
	if (send(fd, request, strlen(request), MSG_NOSIGNAL) == (ssize_t)strlen(request))
		o = read_answer(answer);
	fclose(answer);
	return o;
}

/* What is said there, if it is said by a relay of this configuration. */
static json_t *ask(int fd, const struct config *config, const char **name, json_t **other)
{
	json_t *o = get(fd);

	*other = NULL;
	*name = json_string_value(json_object_get(o, "instance"));
	if (*name != NULL && strcmp(*name, config->name) == 0)
		return o;
	*other = o;
	return NULL;
}

json_t *port_ask(const struct config *config, char *why, size_t size)
{
	const char *name;
	json_t *o = NULL, *other;
	int fd = connect_to_socket(config);

	if (fd >= 0 && (o = ask(fd, config, &name, &other)) != NULL)
		return o;
	if (fd >= 0)
		json_decref(other);
	if (config->health.port == 0) {
		snprintf(why, size, "health.listen is off");
		return NULL;
	}
	fd = connect_to_port(config);
	if (fd < 0) {
		snprintf(why, size, "no relay answers at %s port %u of this machine", config->health.address,
			 (unsigned)config->health.port);
		return NULL;
	}
	o = ask(fd, config, &name, &other);
	if (o == NULL && name != NULL)
		snprintf(why, size, "at %s port %u another relay answers: %.128s", config->health.address,
			 (unsigned)config->health.port, name);
	else if (o == NULL)
		snprintf(why, size, "what listens at %s port %u gives no status in time", config->health.address,
			 (unsigned)config->health.port);
	json_decref(other);
	return o;
}
