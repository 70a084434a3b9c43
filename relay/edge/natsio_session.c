#include "edge/natsio_session.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/natsio_login.h"

struct natsio_session {
	natsConnection *nc;
	jsCtx *js;
	natsInbox *inbox; /* of questions, and what listens there */
	natsSubscription *answers;
	natsMsg *answer; /* the last one */
};

/* Whoever asked learns it from the answer, or from none. Left to itself the library (3.10) writes to stderr. */
static void say_nothing(natsConnection *nc, natsSubscription *sub, natsStatus status, void *arg)
{
	(void)nc, (void)sub, (void)status, (void)arg;
}

struct natsio_session *natsio_session_open(const struct natsio_options *options, char *error, size_t size)
{
	struct natsio_session *s = calloc(1, sizeof *s);
	natsOptions *opts = s != NULL ? natsio_login_options(options, error, size) : NULL;
	natsStatus status = opts != NULL ? natsOptions_SetErrorHandler(opts, say_nothing, NULL) : NATS_ERR;

	if (status == NATS_OK)
		s->nc = natsio_login_connect(options, opts, error, size);
	natsOptions_Destroy(opts);
	if (s != NULL && s->nc != NULL && natsConnection_JetStream(&s->js, s->nc, NULL) == NATS_OK)
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
	natsInbox_Destroy(s->inbox);
	jsCtx_Destroy(s->js);
	natsConnection_Destroy(s->nc);
	free(s);
}

int64_t natsio_session_max_payload(const struct natsio_session *s)
{
	return natsConnection_GetMaxPayload(s->nc);
}

static void copy_info(struct natsio_stream_info *out, const jsStreamInfo *in)
{
	const jsStreamConfig *c = in->Config;

	*out = (struct natsio_stream_info){
		.exists = true,
		.no_ack = c->NoAck,
		.sealed = c->Sealed,
		.mirror = c->Mirror != NULL,
		.discard_new = c->Discard == js_DiscardNew,
		.file_storage = c->Storage == js_FileStorage,
		.retention = c->Retention == js_LimitsPolicy     ? 0
			     : c->Retention == js_InterestPolicy ? 1
								 : 2,
		.max_msg_size = c->MaxMsgSize,
		.max_bytes = c->MaxBytes,
		.max_messages = c->MaxMsgs,
		.duplicate_window_ms = c->Duplicates / 1000000,
		.messages = (int64_t)in->State.Msgs,
		.replicas = c->Replicas,
	};
	out->subjects = calloc((size_t)c->SubjectsLen + 1, sizeof *out->subjects);
	for (int i = 0; out->subjects != NULL && i < c->SubjectsLen; i++)
		if ((out->subjects[out->subject_count] = strdup(c->Subjects[i])) != NULL)
			out->subject_count++;
}

bool natsio_session_stream(struct natsio_session *s, const char *name, struct natsio_stream_info *info, char *error,
			   size_t size)
{
	jsStreamInfo *si = NULL;
	jsErrCode code = 0;
	natsStatus status = js_GetStreamInfo(&si, s->js, name, NULL, &code);

	*info = (struct natsio_stream_info){ .exists = false };
	if (status == NATS_OK) {
		copy_info(info, si);
		jsStreamInfo_Destroy(si);
		return true;
	}
	if (status == NATS_NOT_FOUND)
		return true;
	if (status == NATS_NO_RESPONDERS)
		snprintf(error, size, "nobody answers for JetStream: enable it in the server's configuration");
	else if (status == NATS_TIMEOUT)
		snprintf(error, size,
			 "no answer: let this login publish to $JS.API.STREAM.INFO.%s and subscribe to _INBOX.>", name);
	else if (code == JSNotEnabledForAccountErr)
		snprintf(error, size,
			 "JetStream is off for this login's account: add jetstream: enabled to the account");
	else
		natsio_login_words(status, error, size);
	return false;
}

bool natsio_session_may_read(struct natsio_session *s, const char *name)
{
	natsMsg *answer = NULL;
	char subject[256];
	natsStatus status;

	/* Any answer will do: there is no message 0. */
	snprintf(subject, sizeof subject, "$JS.API.STREAM.MSG.GET.%s", name);
	status = natsConnection_RequestString(&answer, s->nc, subject, "{\"seq\":0}", NATSIO_CONNECT_TIMEOUT_MS);
	natsMsg_Destroy(answer);
	return status == NATS_OK;
}

void natsio_stream_info_free(struct natsio_stream_info *info)
{
	for (size_t i = 0; i < info->subject_count; i++)
		free(info->subjects[i]);
	free(info->subjects);
	*info = (struct natsio_stream_info){ .exists = false };
}

/* --- questions --- */

static bool listen_for_answers(struct natsio_session *s)
{
	char subject[256];

	if (s->answers != NULL)
		return true;
	if (s->inbox == NULL && natsInbox_Create(&s->inbox) != NATS_OK)
		return false;
	snprintf(subject, sizeof subject, "%s.*", s->inbox);
	return natsConnection_SubscribeSync(&s->answers, s->nc, subject) == NATS_OK;
}

bool natsio_session_ask(struct natsio_session *s, const char *subject, const char *body, uint64_t token)
{
	char reply[256];

	if (!listen_for_answers(s))
		return false;
	snprintf(reply, sizeof reply, "%s.%" PRIu64, s->inbox, token);
	return natsConnection_PublishRequestString(s->nc, subject, reply, body) == NATS_OK;
}

bool natsio_session_answer(struct natsio_session *s, int64_t timeout_ms, struct natsio_answer *answer)
{
	const char *dot;

	natsMsg_Destroy(s->answer);
	s->answer = NULL;
	if (s->answers == NULL || natsSubscription_NextMsg(&s->answer, s->answers, timeout_ms) != NATS_OK)
		return false;
	dot = strrchr(natsMsg_GetSubject(s->answer), '.');
	*answer = (struct natsio_answer){
		.token = dot != NULL ? strtoull(dot + 1, NULL, 10) : 0,
		.no_responders = natsMsg_IsNoResponders(s->answer),
		.data = natsMsg_GetData(s->answer),
		.bytes = (size_t)natsMsg_GetDataLength(s->answer),
	};
	return true;
}
