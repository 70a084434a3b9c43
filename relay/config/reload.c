/* Reloading the configuration.
 *
 *     file --(a thread)--> fresh --does all of it fit what cannot change?--no--> told, and nothing is changed
 *                                          | yes
 *              each setting that may change: the value is shared with `fresh`, which is kept for its texts
 *                                          |
 *              what was kept before retires, and goes when no thread is at work that may still read it */
#include "config/reload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "config/config_check.h"
#include "config/config_load.h"
#include "config/settings.h"

/* A file that a setting names has other contents, or is another one. */
struct stamp {
	dev_t device;
	ino_t inode;
	off_t bytes;
	struct timespec modified;
};

struct file {
	struct config *config;
	struct stamp *stamps; /* by setting */
	bool kept;            /* a capture has texts of it, and may be gone from later files: it stays for good */
	struct file *next;
};

struct reload {
	struct loop *loop;
	struct log *log;
	struct reload_handlers handlers;
	struct config config; /* the one that counts; its texts belong to `first`, or to `current` */
	struct config_subscription *subscriptions; /* its; their texts stay those of `first` */
	struct config_capture *captures;           /* the same */
	const struct config *first;
	struct file *current; /* what was read last; its config is NULL before the first reload */
	struct file *retired, *kept;
	struct file *fresh; /* being read */
	char *said;         /* what is wrong with it, or to be warned of */
	size_t said_bytes;
	bool again, closed, failed;
	uint64_t count;
	int64_t at_ms;
};

/* --- files --- */

static void file_free(struct file *f)
{
	if (f == NULL)
		return;
	config_free(f->config);
	free(f->stamps);
	free(f);
}

static void free_files(struct file *list)
{
	for (struct file *f = list, *next; f != NULL; f = next) {
		next = f->next;
		file_free(f);
	}
}

static struct file *file_create(void)
{
	struct file *f = calloc(1, sizeof *f);

	if (f != NULL && (f->stamps = calloc(settings_count, sizeof *f->stamps)) != NULL)
		return f;
	file_free(f);
	return NULL;
}

static void stamp_files(struct file *f, const struct config *c)
{
	for (size_t i = 0; i < settings_count; i++) {
		const char *path = settings[i].type == SETTING_FILE ? setting_text(&settings[i], c) : NULL;
		struct stat st;

		if (path != NULL && stat(path, &st) == 0)
			f->stamps[i] = (struct stamp){ st.st_dev, st.st_ino, st.st_size, st.st_mtim };
	}
}

static bool same_stamp(const struct stamp *a, const struct stamp *b)
{
	return a->device == b->device && a->inode == b->inode && a->bytes == b->bytes &&
	       a->modified.tv_sec == b->modified.tv_sec && a->modified.tv_nsec == b->modified.tv_nsec;
}

/* --- what changes --- */

/* The element of `list` in the fresh file that has the name of this one, which is the first setting of each list; NULL: there is
 * none. */
static const void *fresh_element(const struct reload *r, const struct setting *list, const void *element)
{
	const struct setting *name = list;

	while (setting_list_of(name) != list)
		name++;
	for (size_t i = 0; i < setting_count(list, r->fresh->config); i++)
		if (setting_same(name, element, setting_element(list, r->fresh->config, i)))
			return setting_element(list, r->fresh->config, i);
	return NULL;
}

/* A list itself changes if an element comes or goes; what is below it, in an element that stays. */
static bool is_list_changed(const struct reload *r, const struct setting *list, const struct setting *s)
{
	size_t n = setting_count(list, &r->config);

	if (s == list && setting_count(list, r->fresh->config) != n)
		return true;
	for (size_t i = 0; i < n; i++) {
		const void *old = setting_element(list, &r->config, i), *fresh = fresh_element(r, list, old);

		if (s == list ? fresh == NULL : fresh != NULL && !setting_same(s, old, fresh))
			return true;
	}
	return false;
}

static bool is_changed(const struct reload *r, size_t i)
{
	const struct setting *s = &settings[i], *list = s->type == SETTING_GROUPS ? s : setting_list_of(s);

	if (list != NULL)
		return is_list_changed(r, list, s);
	return !setting_same(s, &r->config, r->fresh->config) ||
	       !same_stamp(&r->current->stamps[i], &r->fresh->stamps[i]);
}

/* "delivery.window, log.level": the changed settings that a restart is needed for, or the others. */
static char *list_changes(const struct reload *r, bool restart)
{
	char *text = NULL;
	size_t bytes = 0;
	FILE *out = open_memstream(&text, &bytes);

	if (out == NULL)
		return NULL;
	for (size_t i = 0; i < settings_count; i++)
		if ((settings[i].apply == APPLY_RESTART) == restart && is_changed(r, i))
			fprintf(out, "%s%s", ftell(out) > 0 ? ", " : "", settings[i].path);
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

static bool any_changed(const struct reload *r, enum setting_apply apply)
{
	for (size_t i = 0; i < settings_count; i++)
		if (settings[i].apply == apply && is_changed(r, i))
			return true;
	return false;
}

/* A subscription or capture that stays takes what may change over. Texts are but among what makes a capture begin anew, and that is shared only where it
 * is another: so few files are kept. Returns whether it was. */
static bool merge_element(const struct reload *r, const char *path, void *to)
{
	const struct setting *list = setting_find(path);
	const void *fresh = fresh_element(r, list, to);
	bool anew = false;

	for (size_t i = 0; fresh != NULL && i < settings_count; i++) {
		const struct setting *s = &settings[i];

		if (setting_list_of(s) != list || (s->apply != APPLY_LIVE && s->apply != APPLY_CAPTURE) ||
		    setting_same(s, to, fresh))
			continue;
		setting_share(s, to, fresh);
		anew |= s->apply == APPLY_CAPTURE;
	}
	return anew;
}

/* The subscriptions and captures that it points to are these; `anew`: by capture. */
static struct config merged(const struct reload *r, struct config_subscription *subscriptions,
			    struct config_capture *captures, bool *anew)
{
	struct config c = r->config;

	for (size_t i = 0; i < settings_count; i++)
		if (settings[i].apply != APPLY_RESTART && setting_is_top(&settings[i]))
			setting_share(&settings[i], &c, r->fresh->config);
	for (size_t i = 0; i < c.subscription_count; i++) {
		subscriptions[i] = c.subscriptions[i];
		merge_element(r, "inbox", &subscriptions[i]);
	}
	c.subscriptions = subscriptions;
	for (size_t i = 0; i < c.capture_count; i++) {
		captures[i] = c.captures[i];
		anew[i] = merge_element(r, "capture", &captures[i]);
	}
	c.captures = captures;
	return c;
}

static void retire(struct reload *r, struct file *f)
{
	struct file **list = f->kept ? &r->kept : &r->retired;

	f->next = *list;
	*list = f;
}

/* --- what is told --- */

static void tell_said(struct reload *r, enum log_level level)
{
	for (char *line = r->said, *end; line != NULL && *line != '\0'; line = end) {
		end = line + strcspn(line, "\n");
		if (*end != '\0')
			*end++ = '\0';
		log_each(r->log, level, "configuration", log_fields_(KS("why", line)));
	}
}

static void tell_changes(struct reload *r)
{
	char *now = list_changes(r, false), *restart = list_changes(r, true);

	tell_said(r, LOG_LEVEL_WARN);
	log_each(r->log, LOG_LEVEL_INFO, "configuration reloaded",
		 log_fields_(KS("changed", now != NULL && now[0] != '\0' ? now : "nothing")));
	if (restart != NULL && restart[0] != '\0')
		log_each(r->log, LOG_LEVEL_WARN, "these changes wait for a restart",
			 log_fields_(KS("settings", restart)));
	free(now);
	free(restart);
}

static void tell_failure(struct reload *r)
{
	tell_said(r, LOG_LEVEL_ERROR);
	log_each(r->log, LOG_LEVEL_ERROR, "configuration not reloaded: the old one stays",
		 log_fields_(KS("do", "mend the file, then reload again")));
}

/* --- reading --- */

static void read_work(void *arg)
{
	struct reload *r = arg;
	FILE *said = open_memstream(&r->said, &r->said_bytes);

	if (said == NULL)
		return;
	r->fresh->config = config_load(r->first->path, said);
	if (r->fresh->config != NULL)
		stamp_files(r->fresh, r->fresh->config);
	fclose(said);
}

/* False: what was read cannot count. */
static bool take(struct reload *r, struct reload_changes *changes)
{
	struct config_subscription merging[LIMIT_SUBSCRIPTIONS];
	struct config_capture captures[LIMIT_CAPTURES];
	struct config c;
	char why[512];

	if (r->fresh->config == NULL)
		return false;
	c = merged(r, merging, captures, changes->captures);
	if (!config_check_fits(&c, why, sizeof why)) {
		log_each(r->log, LOG_LEVEL_ERROR, "configuration",
			 log_fields_(KS("why", why), KS("do", "this needs a restart, not a reload")));
		return false;
	}
	changes->postgres = any_changed(r, APPLY_POSTGRES);
	changes->nats = any_changed(r, APPLY_NATS);
	tell_changes(r);
	r->config = c;
	r->config.subscriptions = r->subscriptions;
	if (c.subscription_count > 0)
		memcpy(r->subscriptions, merging, c.subscription_count * sizeof merging[0]);
	r->config.captures = r->captures;
	if (c.capture_count > 0)
		memcpy(r->captures, captures, c.capture_count * sizeof captures[0]);
	for (size_t i = 0; i < c.capture_count; i++)
		r->fresh->kept |= changes->captures[i];
	retire(r, r->current);
	r->current = r->fresh;
	r->fresh = NULL;
	return true;
}

static void read_done(void *arg)
{
	struct reload *r = arg;
	struct reload_changes changes = { .ok = false };

	if (!r->closed) {
		changes.ok = take(r, &changes);
		if (!changes.ok)
			tell_failure(r);
		r->failed = !changes.ok;
		r->count++;
		r->at_ms = loop_now_ms();
	}
	file_free(r->fresh);
	r->fresh = NULL;
	free(r->said);
	r->said = NULL;
	if (r->closed)
		return;
	r->handlers.reloaded(r->handlers.arg, &changes);
	if (r->again)
		reload_begin(r);
}

void reload_begin(struct reload *r)
{
	r->again = r->fresh != NULL; /* the file may have been written again while it was being read */
	if (r->again)
		return;
	r->fresh = file_create();
	if (r->fresh != NULL && loop_offload(r->loop, read_work, read_done, r))
		return;
	file_free(r->fresh);
	r->fresh = NULL;
	r->failed = true;
	log_error(r->log, "configuration not reloaded: out of memory or threads");
	r->handlers.reloaded(r->handlers.arg, &(struct reload_changes){ .ok = false });
}

void reload_tick(struct reload *r)
{
	while (r->retired != NULL && !loop_is_busy(r->loop)) {
		struct file *f = r->retired;

		r->retired = f->next;
		file_free(f);
	}
}

/* --- from start to end --- */

struct reload *reload_create(struct loop *l, const struct config *config, struct log *log,
			     const struct reload_handlers *handlers)
{
	struct reload *r = calloc(1, sizeof *r);

	if (r == NULL)
		return NULL;
	*r = (struct reload){ .loop = l,
			      .log = log,
			      .handlers = *handlers,
			      .config = *config,
			      .first = config,
			      .subscriptions = calloc(config->subscription_count + 1, sizeof r->subscriptions[0]),
			      .captures = calloc(config->capture_count + 1, sizeof r->captures[0]),
			      .current = file_create() };
	if (r->current == NULL || r->subscriptions == NULL || r->captures == NULL) {
		reload_free(r);
		return NULL;
	}
	r->config.subscriptions = r->subscriptions;
	if (config->subscription_count > 0)
		memcpy(r->subscriptions, config->subscriptions,
		       config->subscription_count * sizeof r->subscriptions[0]);
	r->config.captures = r->captures;
	if (config->capture_count > 0)
		memcpy(r->captures, config->captures, config->capture_count * sizeof r->captures[0]);
	stamp_files(r->current, config);
	return r;
}

void reload_close(struct reload *r)
{
	if (r != NULL)
		r->closed = true;
}

void reload_free(struct reload *r)
{
	if (r == NULL)
		return;
	free_files(r->retired);
	free_files(r->kept);
	file_free(r->current);
	free(r->subscriptions);
	free(r->captures);
	free(r);
}

const struct config *reload_config(const struct reload *r)
{
	return &r->config;
}

uint64_t reload_count(const struct reload *r)
{
	return r->count;
}

bool reload_failed(const struct reload *r)
{
	return r->failed;
}

int64_t reload_at_ms(const struct reload *r)
{
	return r->at_ms;
}
