#include "base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool for_us_alone(const struct stat *st)
{
	mode_t others = st->st_uid == 0 ? S_IWGRP | S_IXGRP | S_IRWXO : S_IRWXG | S_IRWXO;

	return (st->st_mode & others) == 0;
}

/* -1 after an error. Not blocking: a pipe without a writer must not hold anybody up. */
static int open_checked(const char *path, char *error, size_t size)
{
	int fd = path[0] == '/' ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
	struct stat st;

	if (path[0] != '/')
		snprintf(
			error, size,
			"%s is looked for in $CREDENTIALS_DIRECTORY, which is not set: systemd sets it for a unit with "
			"LoadCredential=%s:...; elsewhere name the whole path",
			path, path);
	else if (fd < 0 || fstat(fd, &st) != 0)
		snprintf(error, size, "cannot read %s: %s", path, strerror(errno));
	else if (!S_ISREG(st.st_mode))
		snprintf(error, size, "%s is no regular file", path);
	else if (!for_us_alone(&st))
		snprintf(error, size,
			 "others may read %s (mode %04o), so it is not used: chmod %s it (of a Kubernetes secret: "
			 "defaultMode: 0440, and fsGroup)",
			 path, (unsigned)(st.st_mode & 07777), st.st_uid == 0 ? "0640" : "0600");
	else
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

bool secret_check(const char *path, char *error, size_t size)
{
	int fd = open_checked(path, error, size);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* -1: an error of errno. */
static ssize_t read_whole(int fd, char *out, size_t room)
{
	size_t n = 0;
	ssize_t got;

	do {
		got = read(fd, out + n, room - n);
		n += got > 0 ? (size_t)got : 0;
	} while (n < room && (got > 0 || (got < 0 && errno == EINTR)));
	return got < 0 ? -1 : (ssize_t)n;
}

char *secret_read(const char *path, char *error, size_t size)
{
	int fd = open_checked(path, error, size);
	char *secret = fd >= 0 ? calloc(1, SECRET_MAX_BYTES + 1) : NULL;
	bool ok = false;
	ssize_t n;

	if (fd < 0)
		return NULL;
	n = secret != NULL ? read_whole(fd, secret, SECRET_MAX_BYTES) : -1;
	if (n < 0)
		snprintf(error, size, "cannot read %s: %s", path, strerror(errno));
	else if (n == SECRET_MAX_BYTES)
		snprintf(error, size, "%s is too large for a secret", path);
	else if (strlen(secret) != (size_t)n)
		snprintf(error, size, "%s holds a NUL byte: this is no text", path);
	else
		ok = true;
	close(fd);
	if (ok)
		return secret;
	secret_free(secret);
	return NULL;
}

char *secret_line(const char *path, char *error, size_t size)
{
	char *secret = secret_read(path, error, size);

	if (secret == NULL)
		return NULL;
	secret[strcspn(secret, "\r\n")] = '\0';
	if (secret[0] != '\0')
		return secret;
	snprintf(error, size, "the first line of %s is empty", path);
	secret_free(secret);
	return NULL;
}

void secret_free(char *secret)
{
	if (secret != NULL)
		explicit_bzero(secret, SECRET_MAX_BYTES);
	free(secret);
}
