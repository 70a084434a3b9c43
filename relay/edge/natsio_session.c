#include "edge/natsio_session.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/natsio_login.h"

struct natsio_session {
	natsConnection *nc;
	const char *inbox_prefix;                   /* borrowed */
	char inbox[NATSIO_INBOX_PREFIX_BYTES + 64]; /* of requests, and what listens there */
	natsSubscription *answers;
	natsMsg *answer; /* the last one */
	uint64_t token;  /* the last one that was given out */
};

/* A command learns it from the answer, or from none. Left to itself the library (3.10) writes to stderr. */
static void on_error(natsConnection *nc, natsSubscription *sub, natsStatus status, void *arg)
{
	(void)nc, (void)sub, (void)status, (void)arg;
}

struct natsio_session *natsio_session_open(const struct natsio_options *options, char *error, size_t size)
{
	struct natsio_session *s = calloc(1, sizeof *s);
	natsOptions *opts = s != NULL ? natsio_login_options(options, error, size) : NULL;
	natsStatus status = opts != NULL ? natsOptions_SetErrorHandler(opts, on_error, NULL) : NATS_ERR;

	if (status == NATS_OK) {
		s->inbox_prefix = natsio_inbox_prefix(options);
		s->nc = natsio_login_connect(options, opts, error, size);
	}
	natsOptions_Destroy(opts);
	if (s != NULL && s->nc != NULL)
		return s;
	natsio_session_close(s);
	return NULL;
}

void natsio_session_close(struct natsio_session *s)
{
	if (s == NULL)
		return;
	natsMsg_Destroy(s->answer);
	natsSubscription_Destroy(s->answers);
	natsConnection_Destroy(s->nc);
	free(s);
}

int64_t natsio_session_max_payload(const struct natsio_session *s)
{
	return natsConnection_GetMaxPayload(s->nc);
}

int natsio_session_servers(const struct natsio_session *s)
{
	char **servers;
	int count;

	if (natsConnection_GetServers(s->nc, &servers, &count) != NATS_OK)
		return 0;
	for (int i = 0; i < count; i++)
		free(servers[i]);
	free(servers);
	return count;
}

/* --- requests --- */

static bool listen_for_answers(struct natsio_session *s)
{
	char subject[256];
	natsInbox *made;

	if (s->answers != NULL)
		return true;
	if (natsInbox_Create(&made) != NATS_OK)
		return false;
	/* It makes one of _INBOX, whatever a connection says. */
	snprintf(s->inbox, sizeof s->inbox, "%s%s", s->inbox_prefix, strchr(made, '.'));
	natsInbox_Destroy(made);
	/* Of as many tokens as the relay's: what a login may subscribe to may depend on it, and `check` is to meet the same. (A
	 * session lives for one command. Where the server drops its inbox meanwhile, the command says that no answer came.) */
	snprintf(subject, sizeof subject, "%s.c.*", s->inbox);
	return natsConnection_SubscribeSync(&s->answers, s->nc, subject) == NATS_OK;
}

uint64_t natsio_session_token(struct natsio_session *s)
{
	return ++s->token;
}

bool natsio_session_ask(struct natsio_session *s, const char *subject, const char *body, uint64_t token)
{
	char reply[256];

	if (!listen_for_answers(s))
		return false;
	snprintf(reply, sizeof reply, "%s.c.%" PRIu64, s->inbox, token);
	return natsConnection_PublishRequestString(s->nc, subject, reply, body) == NATS_OK;
}

bool natsio_session_answer(struct natsio_session *s, int64_t timeout_ms, struct natsio_answer *answer)
{
	natsStatus status;
	const char *dot;

	natsMsg_Destroy(s->answer);
	s->answer = NULL;
	*answer = (struct natsio_answer){ .token = 0 };
	status = s->answers != NULL ? natsSubscription_NextMsg(&s->answer, s->answers, timeout_ms) : NATS_ERR;
	answer->no_responders = status == NATS_NO_RESPONDERS;
	if (status != NATS_OK)
		return answer->no_responders;
	dot = strrchr(natsMsg_GetSubject(s->answer), '.');
	answer->token = dot != NULL ? strtoull(dot + 1, NULL, 10) : 0;
	answer->data = natsMsg_GetData(s->answer);
	answer->bytes = (size_t)natsMsg_GetDataLength(s->answer);
	return true;
}
