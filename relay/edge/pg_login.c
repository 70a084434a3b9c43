/* Logging in: what libpq is told, its password file, and what is said where it fails. */
#include "edge/pg_login.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/secret.h"
#include "edge/pg_answer.h"
#include "edge/pg_hosts.h"
#include "edge/pg_pooler.h"

/* A host with an @ inside, a port with letters: half of a password that should have been escaped. */
static bool sensible(const PQconninfoOption *o)
{
	if (o->val == NULL || o->val[0] == '\0')
		return true;
	if (strcmp(o->keyword, "host") == 0)
		return strchr(o->val + 1, '@') == NULL;
	if (strcmp(o->keyword, "port") == 0)
		return o->val[strspn(o->val, "0123456789,")] == '\0';
	return true;
}

/* libpq quotes what it does not understand in a connection string, and that may well be a secret. */
static bool understood(const char *conninfo)
{
	bool name = strchr(conninfo, '=') == NULL && strstr(conninfo, "://") == NULL;
	PQconninfoOption *parsed = name ? NULL : PQconninfoParse(conninfo, NULL);
	bool ok = name || parsed != NULL;

	for (const PQconninfoOption *o = parsed; ok && o != NULL && o->keyword != NULL; o++)
		ok = sensible(o);
	PQconninfoFree(parsed);
	return ok;
}

/* A password file as libpq takes it. It ignores one that a group may read, with a word on stderr, and systemd hands
 * credentials over like that; so it gets a copy that is ours alone, after a look by our own rule. */
struct passfile {
	int fd;
	char path[32]; /* "/proc/self/fd/..." */
};

/* -1: an error of errno. */
static int private_copy(const char *text)
{
	ssize_t n = (ssize_t)strlen(text);
	int fd = memfd_create("boxhaul-passfile", MFD_CLOEXEC);

	if (fd >= 0 && fchmod(fd, S_IRUSR | S_IWUSR) == 0 && write(fd, text, (size_t)n) == n)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static bool passfile_open(struct passfile *p, const char *password_file, char **why)
{
	char error[512];
	char *text = secret_read(password_file, error, sizeof error);

	p->fd = text != NULL ? private_copy(text) : -1;
	if (text != NULL && p->fd < 0)
		snprintf(error, sizeof error, "cannot hand %s on to libpq: %s", password_file, strerror(errno));
	secret_free(text);
	if (p->fd < 0)
		*why = strdup(error);
	snprintf(p->path, sizeof p->path, "/proc/self/fd/%d", p->fd);
	return p->fd >= 0;
}

/* A password file of the connection string or of libpq's defaults that is not looked at: stderr alone is told. */
static void find_ignored(PGconn *c, char *out, size_t size)
{
	PQconninfoOption *used = PQconnectionNeedsPassword(c) ? PQconninfo(c) : NULL;
	struct stat st;

	for (const PQconninfoOption *u = used; u != NULL && u->keyword != NULL; u++)
		if (strcmp(u->keyword, "passfile") == 0 && u->val != NULL && stat(u->val, &st) == 0 &&
		    (st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
			snprintf(out, size, ": libpq ignores %s, which others may read: chmod 0600 it", u->val);
	PQconninfoFree(used);
}

/* libpq's words on one line, with our copy of the password file under the name that the operator knows. */
static char *explain(PGconn *c, const struct pg_options *o, const struct passfile *p)
{
	char words[512], ignored[512] = "";
	const char *copy;
	char *said;

	pg_answer_one_line(PQerrorMessage(c), words, sizeof words);
	find_ignored(c, ignored, sizeof ignored);
	if (p->fd >= 0 && (copy = strstr(words, p->path)) != NULL)
		return asprintf(&said, "%.*s%s%s", (int)(copy - words), words, o->password_file,
				copy + strlen(p->path)) < 0
			       ? NULL
			       : said;
	return asprintf(&said, "%s%s", words, ignored) < 0 ? NULL : said;
}

/* What a login, a database or a server may have set otherwise and changes the meaning of what we write: strings, dates, and
 * whether we may write at all. How long a statement may take is ours to say, and first of all: a role's limit, meant for its
 * application, would end this very statement. */
static const char language[] = "SET statement_timeout = 0;"
			       " SELECT pg_catalog.set_config('standard_conforming_strings', 'on', false),"
			       " pg_catalog.set_config('DateStyle', 'ISO, YMD', false),"
			       " pg_catalog.set_config('IntervalStyle', 'postgres', false),"
			       " pg_catalog.set_config('default_transaction_read_only', 'off', false)";

/* How values are written, in a session whose values are compared with those of another one, and go out as they are. What ALTER DATABASE or
 * ALTER ROLE has set would else decide it: both the walsender and who reads rows beside it need the same. Each reads back what it writes, and
 * numbers lose no digit. A database that does not know in which encoding its texts are (SQL_ASCII) gives their bytes: asked for UTF-8 it would
 * end the stream at the first value that is none, for good; so that value alone becomes a dead letter. */
static const char pinned_text[] =
	"SELECT pg_catalog.set_config('DateStyle', 'ISO, YMD', false),"
	" pg_catalog.set_config('IntervalStyle', 'iso_8601', false),"
	" pg_catalog.set_config('TimeZone', 'UTC', false),"
	" pg_catalog.set_config('extra_float_digits', '3', false),"
	" pg_catalog.set_config('bytea_output', 'hex', false),"
	" pg_catalog.set_config('lc_monetary', 'C', false),"
	" pg_catalog.set_config('client_encoding', CASE pg_catalog.current_setting('server_encoding')"
	" WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END, false),"
	" pg_catalog.set_config('search_path', '', false)";

/* False with *why set. */
static bool set_up(PGconn *c, const char *sql, char **why)
{
	PGresult *r = PQexec(c, sql);
	bool ok = PQresultStatus(r) == PGRES_TUPLES_OK;

	if (!ok)
		*why = pg_answer_line_of(PQerrorMessage(c));
	PQclear(r);
	return ok;
}

static PGconn *log_in(const struct pg_options *o, const struct pg_hosts *hosts, char **why)
{
	const char *keys[] = { "connect_timeout",
			       "keepalives_idle",
			       "keepalives_interval",
			       "keepalives_count",
			       "tcp_user_timeout",
			       "client_encoding",
			       "application_name",
			       "dbname",
			       "host",
			       "hostaddr",
			       "port",
			       "replication",
			       "passfile",
			       NULL };
	struct passfile passfile = { .fd = -1 };
	const char *values[] = { o->turn_alone ? "2" : "5",
				 "5",
				 "2",
				 "3",
				 "10000",
				 "UTF8",
				 o->application_name,
				 o->conninfo,
				 hosts->host,
				 hosts->hostaddr,
				 hosts->port,
				 o->replication ? "database" : NULL,
				 passfile.path,
				 NULL };
	const char *objection;
	PGconn *c;

	if (!understood(o->conninfo)) {
		*why = strdup(
			"the connection string is not understood: quote or escape spaces, quotes, @, : and / in it");
		return NULL;
	}
	if (o->password_file == NULL)
		keys[12] = NULL;
	else if (!passfile_open(&passfile, o->password_file, why))
		return NULL;
	/* What stands before dbname is a default: the connection string wins; over that what stands behind it. NULL is not given. */
	c = PQconnectdbParams(keys, values, 1);
	if (PQstatus(c) != CONNECTION_OK) {
		*why = explain(c, o, &passfile); /* looks at the copy: another thread must not get its number before */
		PQfinish(c);
		c = NULL;
	} else if ((objection = pg_pooler_objection(c, keys, values)) != NULL) {
		*why = strdup(objection);
		PQfinish(c);
		c = NULL;
	} else if (!set_up(c, language, why) || (o->pinned_text && !set_up(c, pinned_text, why))) {
		PQfinish(c);
		c = NULL;
	}
	if (passfile.fd >= 0)
		close(passfile.fd);
	return c;
}

PGconn *pg_login(const struct pg_options *o, char **why)
{
	struct pg_hosts hosts = pg_hosts_turned(o->conninfo, o->turn, o->turn_alone);
	PGconn *c = log_in(o, &hosts, why);

	pg_hosts_free(&hosts);
	return c;
}
