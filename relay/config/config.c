/* The values of a configuration: who owns them, and where they came from. */
#include "config/config.h"

#include "format/message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void config_free_texts(char **texts, size_t n)
{
	for (size_t i = 0; texts != NULL && i < n; i++)
		free(texts[i]);
	free(texts);
}

static void free_stream(struct config_stream *s)
{
	free(s->name);
	config_free_texts(s->subjects, s->subject_count);
}

static void free_captures(struct config *c)
{
	for (size_t i = 0; i < c->capture_count; i++) {
		struct config_capture *x = &c->captures[i];

		free(x->name);
		config_free_texts(x->tables, x->table_count);
		config_free_texts(x->inserts_only, x->inserts_only_count);
		config_free_texts(x->skip_applied, x->skip_applied_count);
		config_free_texts(x->sequences, x->sequence_count);
		free_stream(&x->stream);
		free(x->subject);
	}
	free(c->captures);
	for (size_t i = 0; i < c->outbox_table_count; i++) {
		struct config_outbox_table *x = &c->outbox_tables[i];

		free(x->table);
		free(x->mapping.id);
		free(x->mapping.key);
		free(x->mapping.payload);
		free(x->mapping.headers);
		config_free_texts(x->mapping.header_columns, x->mapping.header_column_count);
		free(x->subject);
		free(x->capture);
	}
	free(c->outbox_tables);
	for (size_t i = 0; i < c->messages_count; i++) {
		free(c->messages[i].prefix);
		free(c->messages[i].subject);
		free(c->messages[i].capture);
	}
	free(c->messages);
}

void config_free(struct config *c)
{
	if (c == NULL)
		return;
	for (size_t i = 0; i < c->stream_count; i++)
		free_stream(&c->streams[i]);
	free(c->streams);
	free_captures(c);
	/* Where the file could not be used, those of the sagas were not counted with the others. */
	for (size_t i = 0; i < c->inbox_count || i < c->subscription_count; i++) {
		free(c->subscriptions[i].name);
		free(c->subscriptions[i].stream);
		config_free_texts(c->subscriptions[i].subjects, c->subscriptions[i].subject_count);
		free(c->subscriptions[i].handler);
		free(c->subscriptions[i].tables);
	}
	free(c->subscriptions);
	free(c->sagas.stream);
	free(c->sagas.replies);
	config_free_texts(c->nats.urls, c->nats.url_count);
	free(c->nats.user);
	free(c->nats.password_file);
	free(c->nats.token_file);
	free(c->nats.credentials_file);
	free(c->nats.nkey_seed_file);
	free(c->nats.inbox_prefix);
	free(c->nats.jetstream_domain);
	free(c->nats.jetstream_prefix);
	free(c->nats.tls.ca_file);
	free(c->nats.tls.cert_file);
	free(c->nats.tls.key_file);
	free(c->postgres.conninfo);
	free(c->postgres.password_file);
	free(c->postgres.migrate_conninfo);
	free(c->postgres.capture_conninfo);
	free(c->health.address);
	for (size_t i = 0; i < c->origin_count; i++)
		free(c->origins[i].source);
	free(c->origins);
	free(c->event_source);
	free(c->name);
	free(c->path);
	free(c);
}

const char *config_source(const struct config *c, const struct setting *s, const void *base)
{
	for (size_t i = 0; i < c->origin_count; i++)
		if (c->origins[i].setting == s && c->origins[i].base == base)
			return c->origins[i].source;
	return NULL;
}

size_t config_stream_of(const struct config *c, const char *subject)
{
	for (size_t i = 0; i < c->stream_count; i++)
		for (size_t j = 0; j < c->streams[i].subject_count; j++)
			if (message_subject_matches(c->streams[i].subjects[j], subject))
				return i;
	return c->stream_count;
}

const struct config_capture *config_capture_of(const struct config *c, const char *name)
{
	for (size_t i = 0; i < c->capture_count; i++)
		if (strcmp(c->captures[i].name, name) == 0)
			return &c->captures[i];
	return NULL;
}

char *config_path(const char *name_or_path)
{
	char *path;

	if (strcmp(name_or_path, CONFIG_STDIN) == 0 || strpbrk(name_or_path, "./") != NULL)
		return strdup(name_or_path);
	return asprintf(&path, "/etc/boxhaul/%s.conf", name_or_path) < 0 ? NULL : path;
}

const char *config_target(const struct config *c, char to[static CONFIG_TARGET_BYTES])
{
	char *usual = config_path(c->name);

	if (usual != NULL && strcmp(usual, c->path) == 0)
		snprintf(to, CONFIG_TARGET_BYTES, "%s", c->name);
	else
		snprintf(to, CONFIG_TARGET_BYTES, "-c %s", c->path);
	free(usual);
	return to;
}
