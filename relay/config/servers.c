#include "config/servers.h"

#include "config/settings.h"

struct pg_options servers_postgres(const struct config *c, const char *client)
{
	return (struct pg_options){
		.conninfo = c->postgres.conninfo,
		.password_file = c->postgres.password_file,
		.application_name = client,
	};
}

struct pg_options servers_postgres_owner(const struct config *c, const char *client)
{
	struct pg_options o = servers_postgres(c, client);

	o.conninfo = c->postgres.migrate_conninfo;
	return o;
}

struct pg_options servers_postgres_capture(const struct config *c, const char *client)
{
	struct pg_options o = servers_postgres(c, client);

	o.conninfo = c->postgres.capture_conninfo;
	return o;
}

struct natsio_options servers_nats(const struct config *c, const char *client)
{
	return (struct natsio_options){
		.name = client,
		.urls = (const char *const *)c->nats.urls,
		.url_count = c->nats.url_count,
		.user = c->nats.user,
		.password_file = c->nats.password_file,
		.token_file = c->nats.token_file,
		.credentials_file = c->nats.credentials_file,
		.nkey_seed_file = c->nats.nkey_seed_file,
		.inbox_prefix = c->nats.inbox_prefix,
		.discover = c->nats.discover,
		.tls = c->nats.tls.required,
		.ca_file = c->nats.tls.ca_file,
		.cert_file = c->nats.tls.cert_file,
		.key_file = c->nats.tls.key_file,
	};
}

bool servers_port_is_named(const struct config *c)
{
	const struct setting *listen = setting_find("health.listen");

	/* A relay works with a copy of what was read: the bases of the origins are not its own. */
	for (size_t i = 0; i < c->origin_count; i++)
		if (c->origins[i].setting == listen)
			return true;
	return false;
}
