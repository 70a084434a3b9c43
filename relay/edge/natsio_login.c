/* From our options to nats.c's. Each connection gets fresh ones, so every file is read again at every connect. */
#include "edge/natsio_login.h"

#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/secret.h"
#include "edge/loop.h"
#include "edge/nkey.h"

/* What the library last complained of on this thread, without the place in its sources. */
static void library_words(natsStatus s, char *out, size_t size)
{
	const char *text = nats_GetLastError(NULL), *place;

	if (text == NULL || text[0] == '\0')
		text = natsStatus_GetText(s);
	place = text[0] == '(' ? strstr(text, "): ") : NULL;
	snprintf(out, size, "%s", place != NULL ? place + 3 : text);
}

/* How we introduced ourselves; names and paths, no secret. */
static void describe_login(const struct natsio_options *o, char *out, size_t size)
{
	if (o->credentials_file != NULL)
		snprintf(out, size, "with credentials_file %s", o->credentials_file);
	else if (o->nkey_seed_file != NULL)
		snprintf(out, size, "with nkey_seed_file %s", o->nkey_seed_file);
	else if (o->token_file != NULL)
		snprintf(out, size, "with token_file %s", o->token_file);
	else if (o->user != NULL)
		snprintf(out, size, "as user %s with password_file %s", o->user, o->password_file);
	else
		snprintf(out, size, "with no login but what nats.urls hold");
}

/* Why connecting failed: the library's words, and what they are about. */
static void explain(const struct natsio_options *o, natsStatus s, char *out, size_t size)
{
	char words[256], login[256];

	library_words(s, words, sizeof words);
	describe_login(o, login, sizeof login);
	if (s == NATS_CONNECTION_AUTH_FAILED)
		snprintf(out, size, "%s: the server refused us %s", words, login);
	else if (s == NATS_CONNECTION_CLOSED || s == NATS_IO_ERROR || s == NATS_PROTOCOL_ERROR)
		snprintf(out, size, "%s: the server closed the connection while we logged in%s; its log says why",
			 words,
			 !o->tls                ? ""
			 : o->cert_file != NULL ? ", perhaps it does not accept nats.tls.cert_file"
						: ", perhaps it wants a certificate (nats.tls.cert_file)");
	else if (s == NATS_SECURE_CONNECTION_WANTED)
		snprintf(out, size, "%s: the server does no TLS, and nothing is sent without", words);
	else
		snprintf(out, size, "%s", words);
}

/* Each way to log in sets its part of opts, or says why it cannot. */

static natsStatus set_failed(natsStatus s, char *error, size_t size)
{
	if (s != NATS_OK)
		snprintf(error, size, "login: %s", natsStatus_GetText(s));
	return s;
}

/* nats.c pastes passwords into its JSON as they are: a quote would end them there. Free with forget(). */
static char *in_json(const char *text)
{
	json_t *value = json_string(text);
	char *quoted = value != NULL ? json_dumps(value, JSON_ENCODE_ANY) : NULL;

	json_decref(value);
	if (quoted != NULL) {
		size_t n = strlen(quoted);

		memmove(quoted, quoted + 1, n - 2);
		memset(quoted + n - 2, 0, 2);
	}
	return quoted;
}

static void forget(char *text)
{
	if (text != NULL)
		explicit_bzero(text, strlen(text));
	free(text);
}

/* The first line of a file, as nats.c wants it. */
static char *secret_in_json(const char *path, char *error, size_t size)
{
	char *secret = secret_line(path, error, size), *quoted;

	if (secret == NULL)
		return NULL;
	quoted = in_json(secret);
	secret_free(secret);
	if (quoted == NULL)
		snprintf(error, size, "the first line of %s is no UTF-8", path);
	return quoted;
}

static natsStatus set_user(natsOptions *opts, const struct natsio_options *o, char *error, size_t size)
{
	char *password = secret_in_json(o->password_file, error, size), *user;
	natsStatus s;

	if (password == NULL)
		return NATS_ERR;
	user = in_json(o->user);
	s = set_failed(user != NULL ? natsOptions_SetUserInfo(opts, user, password) : NATS_INVALID_ARG, error, size);
	free(user);
	forget(password);
	return s;
}

static natsStatus set_token(natsOptions *opts, const struct natsio_options *o, char *error, size_t size)
{
	char *token = secret_in_json(o->token_file, error, size);
	natsStatus s;

	if (token == NULL)
		return NATS_ERR;
	s = set_failed(natsOptions_SetToken(opts, token), error, size);
	forget(token);
	return s;
}

/* nats.c reads the file itself, when it logs in. From one without headers it would send the whole, seed and all, to the
 * server for the JWT. */
static natsStatus set_credentials(natsOptions *opts, const struct natsio_options *o, char *error, size_t size)
{
	char *text = secret_read(o->credentials_file, error, size);
	bool whole = text != NULL && strstr(text, "BEGIN NATS USER JWT") != NULL &&
		     strstr(text, "BEGIN USER NKEY SEED") != NULL;

	secret_free(text);
	if (text != NULL && !whole)
		snprintf(error, size, "%s holds no JWT with its seed: make it with `nsc generate creds`",
			 o->credentials_file);
	if (!whole)
		return NATS_ERR;
	return set_failed(natsOptions_SetUserCredentialsFromFiles(opts, o->credentials_file, NULL), error, size);
}

static natsStatus set_nkey(natsOptions *opts, const struct natsio_options *o, char *error, size_t size)
{
	char *text = secret_read(o->nkey_seed_file, error, size), *seed;
	char public[NKEY_PUBLIC_CHARS + 1];
	bool ok;

	if (text == NULL)
		return NATS_ERR;
	/* nats.c finds it the same way: the seed may stand between comments or headers. */
	seed = strncmp(text, "SU", 2) == 0 ? text : strstr(text, "\nSU");
	ok = seed != NULL && nkey_public(seed + (seed[0] == '\n'), public);
	secret_free(text);
	if (!ok) {
		snprintf(error, size, "%s holds no seed of a user (SU...), or a damaged one", o->nkey_seed_file);
		return NATS_ERR;
	}
	return set_failed(natsOptions_SetNKeyFromSeed(opts, public, o->nkey_seed_file), error, size);
}

static natsStatus set_login(natsOptions *opts, const struct natsio_options *o, char *error, size_t size)
{
	if (o->credentials_file != NULL)
		return set_credentials(opts, o, error, size);
	if (o->nkey_seed_file != NULL)
		return set_nkey(opts, o, error, size);
	if (o->token_file != NULL)
		return set_token(opts, o, error, size);
	if (o->user != NULL)
		return set_user(opts, o, error, size);
	return NATS_OK; /* none, or what the URLs say */
}

static natsStatus set_tls(natsOptions *opts, const struct natsio_options *o, char *error, size_t size)
{
	natsStatus s = NATS_OK;

	if (!o->tls)
		return s;
	if (o->key_file != NULL && !secret_check(o->key_file, error, size))
		return NATS_ERR;
	s = natsOptions_SetSecure(opts, true);
	if (s == NATS_OK && o->ca_file != NULL)
		s = natsOptions_LoadCATrustedCertificates(opts, o->ca_file);
	if (s == NATS_OK && o->cert_file != NULL)
		s = natsOptions_LoadCertificatesChain(opts, o->cert_file, o->key_file);
	if (s != NATS_OK) {
		char why[256];

		library_words(s, why, sizeof why);
		snprintf(error, size, "TLS: %s (check nats.tls.ca_file, cert_file, key_file)", why);
	}
	return s;
}

const char *natsio_inbox_prefix(const struct natsio_options *o)
{
	return o->inbox_prefix != NULL ? o->inbox_prefix : "_INBOX";
}

/* Common to the daemon's connection and to `check`. */
natsOptions *natsio_login_options(const struct natsio_options *o, char *error, size_t size)
{
	natsOptions *opts = NULL;
	natsStatus s = natsOptions_Create(&opts);

	if (s == NATS_OK)
		s = natsOptions_SetServers(opts,
					   (const char **)(uintptr_t)o->urls /* NOLINT: only the const is cast away */,
					   (int)o->url_count);
	if (s == NATS_OK)
		s = natsOptions_SetName(opts, o->name);
	if (s == NATS_OK)
		s = natsOptions_SetTimeout(opts, NATSIO_CONNECT_TIMEOUT_MS);
	if (s == NATS_OK)
		s = natsOptions_SetAllowReconnect(opts, false);
	if (s == NATS_OK)
		s = natsOptions_SetIgnoreDiscoveredServers(opts, !o->discover);
	if (s != NATS_OK)
		snprintf(error, size, "%s", natsStatus_GetText(s));
	else if ((s = set_login(opts, o, error, size)) == NATS_OK)
		s = set_tls(opts, o, error, size);
	if (s == NATS_OK)
		return opts;
	natsOptions_Destroy(opts);
	return NULL;
}

/* --- connecting --- */

#ifndef sigev_notify_thread_id /* glibc before 2.38 */
#define sigev_notify_thread_id _sigev_un._tid
#endif

static void on_alarm(int signal)
{
	(void)signal; /* that it came is all: the system call it meets ends */
}

/* nats.c before 3.11 waits for the end of a TLS handshake without a limit: a server that stops in the middle of one would
 * keep us for ever, and a SIGTERM too. From then on this thread is woken out of whatever it waits in. */
static bool set_alarm(timer_t *timer, int64_t ms)
{
	struct sigaction action = { .sa_handler = on_alarm }; /* no SA_RESTART */
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM };
	struct itimerspec at = { .it_value = { .tv_sec = ms / 1000 }, .it_interval = { .tv_sec = 1 } };

	event.sigev_notify_thread_id = gettid();
	if (sigaction(SIGALRM, &action, NULL) != 0 || timer_create(CLOCK_BOOTTIME, &event, timer) != 0)
		return false;
	return timer_settime(*timer, 0, &at, NULL) == 0;
}

natsConnection *natsio_login_connect(const struct natsio_options *o, natsOptions *opts, char *error, size_t size)
{
	int64_t limit_ms = NATSIO_CONNECT_TIMEOUT_MS * ((int64_t)o->url_count + 1);
	int64_t began_ms = loop_now_ms();
	natsConnection *nc = NULL;
	timer_t timer;
	bool alarmed = set_alarm(&timer, limit_ms);
	natsStatus s = natsConnection_Connect(&nc, opts);

	if (alarmed)
		timer_delete(timer);
	if (s != NATS_OK && loop_now_ms() - began_ms >= limit_ms)
		snprintf(error, size, "the server did not let us in for %d s: it stopped in the middle of the login",
			 (int)(limit_ms / 1000));
	else if (s != NATS_OK)
		explain(o, s, error, size);
	return nc;
}

void natsio_shutdown(void)
{
	nats_CloseAndWait(3000);
}
