/* From our options to nats.c's. Each connection gets fresh ones, so every file is read again at every connect. */
#include "edge/natsio_login.h"

#include <stdio.h>
#include <string.h>

/* What the library last complained of on this thread, without the place in its sources. */
void natsio_login_error(natsStatus s, char *out, size_t size)
{
	const char *text = nats_GetLastError(NULL), *place;

	if (text == NULL || text[0] == '\0')
		text = natsStatus_GetText(s);
	place = text[0] == '(' ? strstr(text, "): ") : NULL;
	snprintf(out, size, "%s", place != NULL ? place + 3 : text);
}

static bool read_secret(const char *path, char *out, size_t size)
{
	FILE *f = fopen(path, "re");
	bool ok;

	if (f == NULL)
		return false;
	ok = fgets(out, (int)size, f) != NULL;
	fclose(f);
	out[strcspn(out, "\r\n")] = '\0';
	return ok;
}

static natsStatus set_login(natsOptions *opts, const struct natsio_options *o, char *error, size_t size)
{
	char secret[1024] = "";
	natsStatus s = NATS_OK;

	if (o->credentials_file != NULL) {
		s = natsOptions_SetUserCredentialsFromFiles(opts, o->credentials_file, NULL);
	} else if (o->token_file != NULL || o->user != NULL) {
		const char *file = o->token_file != NULL ? o->token_file : o->password_file;

		if (file != NULL && !read_secret(file, secret, sizeof secret)) {
			snprintf(error, size, "cannot read %s", file);
			return NATS_ERR;
		}
		s = o->token_file != NULL ? natsOptions_SetToken(opts, secret)
					  : natsOptions_SetUserInfo(opts, o->user, secret);
		explicit_bzero(secret, sizeof secret);
	}
	if (s != NATS_OK)
		snprintf(error, size, "login: %s", natsStatus_GetText(s));
	return s;
}

static natsStatus set_tls(natsOptions *opts, const struct natsio_options *o, char *error, size_t size)
{
	natsStatus s = NATS_OK;

	if (!o->tls)
		return s;
	s = natsOptions_SetSecure(opts, true);
	if (s == NATS_OK && o->ca_file != NULL)
		s = natsOptions_LoadCATrustedCertificates(opts, o->ca_file);
	if (s == NATS_OK && o->cert_file != NULL)
		s = natsOptions_LoadCertificatesChain(opts, o->cert_file, o->key_file);
	if (s != NATS_OK) {
		char why[256];

		natsio_login_error(s, why, sizeof why);
		snprintf(error, size, "TLS: %s (check nats.tls.ca_file, cert_file, key_file)", why);
	}
	return s;
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

void natsio_shutdown(void)
{
	nats_CloseAndWait(3000);
}
