/* Any bytes as what somebody sends to the health port. Each answer is one of HTTP's, the pages are rendered for GET and
 * HEAD of their own names only, and afterwards the port serves as before. */
#include "edge/http.h"

#include "loopback.h"

static unsigned rendered;

static int render(void *arg, FILE *body)
{
	(void)arg;
	rendered++;
	fputs("the page\n", body);
	return 200;
}

static const struct http_page pages[] = { { "/livez", "text/plain", render }, { NULL, NULL, NULL } };

static struct loop *open_port(void)
{
	struct loop *loop = loop_create();
	char error[256] = "";

	if (http_open(loop, "127.0.0.1", 0, pages, NULL, error, sizeof error) == NULL) {
		fprintf(stderr, "%s\n", error);
		abort();
	}
	return loop;
}

/* How often a request for the page may stand in there at most: pipelined ones count, too. */
static unsigned mentions(const uint8_t *data, size_t size)
{
	unsigned n = 0;

	for (size_t i = 0; i + 4 <= size; i++)
		n += memcmp(data + i, "GET", 3) == 0 || memcmp(data + i, "HEAD", 4) == 0;
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct loop *loop;
	static const char sane[] = "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
	char *reply;
	size_t n;

	if (loop == NULL)
		loop = open_port();
	rendered = 0;
	reply = ask(loop, data, size, &n);
	promise(n == 0 || (status_of(reply) >= 100 && status_of(reply) < 600), "an answer that is none: %.40s", reply);
	promise(rendered <= mentions(data, size), "%u pages for %u requests", rendered, mentions(data, size));
	free(reply);
	reply = ask(loop, sane, sizeof sane - 1, NULL);
	promise(status_of(reply) == 200 && strcmp(body_of(reply), "the page\n") == 0, "not served any more: %s", reply);
	free(reply);
	return 0;
}
