/* The checks of captures, and of the outbox tables and messages that they send. */
#include <stdio.h>
#include <string.h>

#include "config/config_captures.h"
#include "config/config_check_lists.h"
#include "format/capture_subject.h"
#include "format/emitted.h"
#include "format/sql_name.h"

/* "boxhaul_", the name, "_" and ten digits of the incarnation are the name of a slot, of which PostgreSQL takes 63 bytes. */
enum { CAPTURE_NAME_MAX = 40, WHY_BYTES = 512 };

static bool same(const char *a, const char *b)
{
	return a != NULL && b != NULL && strcmp(a, b) == 0;
}

/* --- names --- */

static void check_name(struct loader *l, size_t i)
{
	static const char legal[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
	const char *name = l->c->captures[i].name;

	if (name == NULL)
		return;
	if (name[0] == '\0' || strlen(name) > CAPTURE_NAME_MAX || name[strspn(name, legal)] != '\0')
		complaint_at(l, config_check_node(l, "capture", i, "name"),
			     "capture.name = \"%s\" is not usable: write up to %d small letters, digits and '_'", name,
			     CAPTURE_NAME_MAX);
	for (size_t k = 0; k < i; k++)
		if (same(l->c->captures[k].name, name)) {
			complaint_at(l, config_check_node(l, "capture", i, "name"),
				     "capture.name = \"%s\" stands twice (line %u): each capture has a name of its own",
				     name, layers_line_of(config_check_node(l, "capture", k, "name")));
			return;
		}
}

/* False: a complaint, or it was no text. */
static bool check_table(struct loader *l, config_setting_t *node, const char *path, const char *text,
			struct sql_name *name)
{
	if (text == NULL || sql_name_read(text, name))
		return text != NULL;
	complaint_at(l, node,
		     "%s: \"%s\" is no table with its schema: write \"schema.table\", and names that are not in small "
		     "letters as \"schema.\\\"Table\\\"\"",
		     path, text);
	return false;
}

/* Is it in the list, before the element `end`? */
static bool stands_in(char *const *tables, size_t end, const struct sql_name *name)
{
	for (size_t j = 0; j < end; j++) {
		struct sql_name other;

		if (tables[j] != NULL && sql_name_read(tables[j], &other) && sql_name_same(name, &other))
			return true;
	}
	return false;
}

static void check_tables(struct loader *l, size_t i, const char *member)
{
	const struct config_capture *c = &l->c->captures[i];
	bool second = strcmp(member, "inserts_only") == 0;
	char *const *tables = second ? c->inserts_only : c->tables;
	size_t n = second ? c->inserts_only_count : c->table_count;
	char path[64];

	snprintf(path, sizeof path, "capture.%s", member);
	for (size_t j = 0; j < n; j++) {
		config_setting_t *node =
			config_setting_get_elem(config_check_node(l, "capture", i, member), (unsigned)j);
		struct sql_name name;

		if (check_table(l, node, path, tables[j], &name) &&
		    (stands_in(tables, j, &name) || (second && stands_in(c->tables, c->table_count, &name))))
			complaint_at(l, node, "%s: \"%s\" stands twice in this capture: leave one out", path,
				     tables[j]);
	}
}

/* --- a capture --- */

static void complain_of_overlap(struct loader *l, config_setting_t *node, const char *path, const char *pattern,
				const char *takes, const char *stream)
{
	complaint_at(
		l, node,
		"%s: \"%s\" overlaps \"%s\" of the stream %s: a subject may belong to one stream only; choose another "
		"subject",
		path, pattern, takes, stream != NULL ? stream : "?");
}

/* A subject goes to one stream, and answers to this relay to none. `stream` is what it is sent to. */
static void check_overlap(struct loader *l, config_setting_t *node, const char *path, const char *pattern,
			  const char *stream)
{
	if (config_check_takes_answers(l, pattern))
		complaint_at(l, node,
			     "%s: \"%s\" are subjects of the answers to this relay: choose others, or another "
			     "nats.inbox_prefix than \"%s\"",
			     path, pattern, l->c->nats.inbox_prefix);
	for (size_t k = 0; k < l->c->stream_count; k++)
		for (size_t j = 0; j < l->c->streams[k].subject_count; j++) {
			const char *takes = l->c->streams[k].subjects[j];

			if (takes == NULL || !message_pattern_valid(takes) || same(l->c->streams[k].name, stream) ||
			    !message_patterns_overlap(takes, pattern))
				continue;
			complain_of_overlap(l, node, path, pattern, takes, l->c->streams[k].name);
			return;
		}
}

/* All that the rows of a capture are sent to matches it. False: it cannot be said, or is a bucket's, which nobody else's can overlap. */
static bool pattern_of(const struct config_capture *c, char pattern[static MESSAGE_SUBJECT_MAX_BYTES + 1])
{
	char why[WHY_BYTES];

	if (c->stream.name == NULL || c->subject == NULL || c->target == CAPTURE_TARGET_KV ||
	    c->table_count + c->inserts_only_count == 0 || !capture_subject_check(c->subject, NULL, why, sizeof why))
		return false;
	capture_subject_pattern(c->subject, c->name, pattern);
	return true;
}

/* From the streams of the captures before it: JetStream makes only one of those whose subjects overlap. */
static void check_apart(struct loader *l, size_t i)
{
	const struct config_capture *c = &l->c->captures[i], *other;
	char ours[MESSAGE_SUBJECT_MAX_BYTES + 1], theirs[MESSAGE_SUBJECT_MAX_BYTES + 1];

	for (size_t k = 0; k < i; k++) {
		other = &l->c->captures[k];
		if (!pattern_of(c, ours) || !pattern_of(other, theirs) || same(c->stream.name, other->stream.name) ||
		    same(c->name, other->name) || !message_patterns_overlap(ours, theirs))
			continue;
		complain_of_overlap(l, config_check_node(l, "capture", i, "subject"), "capture.subject", ours, theirs,
				    other->stream.name);
		return;
	}
}

/* What stands for a row in a subject; everything else is a column, of which nobody knows here. */
static void check_subject(struct loader *l, size_t i)
{
	const struct config_capture *c = &l->c->captures[i];
	char pattern[MESSAGE_SUBJECT_MAX_BYTES + 1], why[WHY_BYTES];

	if (c->subject == NULL || c->target == CAPTURE_TARGET_KV)
		return;
	if (!capture_subject_check(c->subject, NULL, why, sizeof why))
		complaint_at(l, config_check_node(l, "capture", i, "subject"), "capture.subject = \"%s\" %s",
			     c->subject, why);
	else if (c->table_count + c->inserts_only_count > 0) {
		capture_subject_pattern(c->subject, c->name, pattern);
		check_overlap(l, config_check_node(l, "capture", i, "subject"), "capture.subject", pattern,
			      c->stream.name);
	}
}

static bool is_set(struct loader *l, size_t i, const char *member)
{
	return config_check_node(l, "capture", i, member) != config_check_node(l, "capture", i, NULL);
}

/* Of two tables of one name the rows would stand under the same keys. */
static void check_bucket_tables(struct loader *l, size_t i)
{
	const struct config_capture *c = &l->c->captures[i];

	for (size_t j = 0; j < c->table_count; j++)
		for (size_t k = 0; k < j; k++) {
			struct sql_name a, b;

			if (c->tables[j] == NULL || c->tables[k] == NULL || !sql_name_read(c->tables[j], &a) ||
			    !sql_name_read(c->tables[k], &b) || strcmp(a.table, b.table) != 0 || sql_name_same(&a, &b))
				continue;
			complaint_at(
				l, config_check_node(l, "capture", i, "tables"),
				"capture.tables: %s and %s have the same keys in one bucket: give each a capture of its own",
				c->tables[k], c->tables[j]);
			return;
		}
}

static void check_bucket(struct loader *l, size_t i)
{
	const struct config_capture *c = &l->c->captures[i];

	if (c->target != CAPTURE_TARGET_KV)
		return;
	if (c->stream.name != NULL &&
	    (strncmp(c->stream.name, CONFIG_BUCKET_STREAM, sizeof CONFIG_BUCKET_STREAM - 1) != 0 ||
	     c->stream.name[sizeof CONFIG_BUCKET_STREAM - 1] == '\0'))
		complaint_at(
			l, config_check_node(l, "capture", i, "stream"),
			"capture.stream = \"%s\" is no bucket's: with target = \"kv\" write \"KV_\" and the bucket's "
			"name",
			c->stream.name);
	if (is_set(l, i, "subject"))
		complaint_at(l, config_check_node(l, "capture", i, "subject"),
			     "capture.subject is not for target = \"kv\", where the keys are TABLE.KEY: leave it out");
	if (c->stream.create)
		complaint_at(l, config_check_node(l, "capture", i, "create"),
			     "capture.create is not for target = \"kv\": make the bucket with `nats kv add`");
	if (c->inserts_only_count > 0)
		complaint_at(
			l, config_check_node(l, "capture", i, "inserts_only"),
			"capture.inserts_only is not for target = \"kv\": such tables have no key to put a row under");
	check_bucket_tables(l, i);
}

static bool is_used(const struct config *c, const struct config_capture *capture)
{
	bool used = capture->table_count + capture->inserts_only_count > 0;

	for (size_t i = 0; i < c->outbox_table_count; i++)
		used |= c->outbox_tables[i].source == OUTBOX_SOURCE_WAL &&
			config_captures_find(c, c->outbox_tables[i].capture) == capture;
	for (size_t i = 0; i < c->messages_count; i++)
		used |= config_captures_find(c, c->messages[i].capture) == capture;
	return used;
}

/* Who owns a stream is its only publisher. */
static void check_owner(struct loader *l, size_t i)
{
	const struct config_capture *c = &l->c->captures[i];
	config_setting_t *node = config_check_node(l, "capture", i, "stream");

	for (size_t k = 0; k < i; k++)
		if (same(l->c->captures[k].stream.name, c->stream.name) &&
		    (c->order == CONFIG_ORDER_COMMIT || l->c->captures[k].order == CONFIG_ORDER_COMMIT))
			complaint_at(
				l, node,
				"capture.stream = \"%s\" is another capture's, too (line %u): with order = \"commit\" "
				"each has a stream of its own",
				c->stream.name, layers_line_of(config_check_node(l, "capture", k, "stream")));
	for (size_t k = 0; k < l->c->stream_count; k++)
		if (same(l->c->streams[k].name, c->stream.name) && c->order == CONFIG_ORDER_COMMIT)
			complaint_at(
				l, node,
				"capture.stream = \"%s\" is the outbox's, too (line %u): with order = \"commit\" nobody else "
				"publishes to it; name another stream",
				c->stream.name, layers_line_of(config_check_node(l, "streams", k, "name")));
}

/* A row that is read may be older than a change that is left out, and would stand behind it at the other end, for good. */
static void check_skip(struct loader *l, size_t i)
{
	const struct config_capture *c = &l->c->captures[i];

	if (c->skip_applied_count > 0 && c->snapshot != CONFIG_SNAPSHOT_NONE)
		complaint_at(l, config_check_node(l, "capture", i, "skip_applied"),
			     "capture.skip_applied leaves changes out, so rows must not be read beside them: set "
			     "snapshot = \"none\"");
}

/* What was sent before its rows begin must not come behind that message: by key it may. */
static void check_whole(struct loader *l, size_t i)
{
	const struct config_capture *c = &l->c->captures[i];

	if (c->snapshot == CONFIG_SNAPSHOT_WHOLE && c->order == CONFIG_ORDER_KEY)
		complaint_at(
			l, config_check_node(l, "capture", i, "snapshot"),
			"capture.snapshot = \"whole\" needs the order of commits, in which alone it is known what a row without a key "
			"stands behind: set order = \"commit\", or snapshot = \"keys\"");
}

/* As of an owned stream (config_check_lists.c). */
static void check_poison(struct loader *l, size_t i)
{
	const struct config_capture *c = &l->c->captures[i];

	if (c->poison == POISON_HOLD && c->order == CONFIG_ORDER_COMMIT)
		complaint_at(
			l, config_check_node(l, "capture", i, "poison"),
			"capture.poison: stream %s is to be in one order, and poison = \"hold\" would stop all of it behind one "
			"dead letter: use \"skip\", or order = \"key\"",
			c->stream.name != NULL ? c->stream.name : "?");
}

static void check_capture(struct loader *l, size_t i)
{
	const struct config_capture *c = &l->c->captures[i];

	check_name(l, i);
	if (c->stream.name != NULL && !config_check_is_stream_name(c->stream.name))
		complaint_at(
			l, config_check_node(l, "capture", i, "stream"),
			"capture.stream = \"%s\" is no stream name: write printable characters without spaces and . * > / \\",
			c->stream.name);
	check_tables(l, i, "tables");
	check_tables(l, i, "inserts_only");
	check_subject(l, i);
	check_apart(l, i);
	check_bucket(l, i);
	check_owner(l, i);
	check_skip(l, i);
	check_whole(l, i);
	check_poison(l, i);
	if (!is_used(l->c, c))
		complaint_at(l, config_check_node(l, "capture", i, NULL),
			     "this group of capture has nothing to capture: add tables = [ \"schema.table\" ]; or say "
			     "capture = \"%s\"; in outbox_tables or messages",
			     c->name != NULL ? c->name : "...");
}

/* --- outbox tables and messages --- */

/* Whose they are. */
static void check_whose(struct loader *l, const char *list, size_t i, const char *name)
{
	const struct config_capture *of = config_captures_find(l->c, name);

	if (of != NULL && of->target == CAPTURE_TARGET_KV)
		complaint_at(
			l, config_check_node(l, list, i, "capture"),
			"%s: the capture \"%s\" has target = \"kv\", which holds rows of tables only: name another",
			list, of->name);
	if (of != NULL)
		return;
	if (name != NULL)
		complaint_at(l, config_check_node(l, list, i, "capture"),
			     "%s.capture = \"%s\" is no capture: name one of those in capture = ( ... );", list, name);
	else if (l->c->capture_count == 0)
		complaint_at(
			l, config_check_node(l, list, i, NULL),
			"%s needs a capture that sends them: add capture = ( { name = \"...\"; stream = \"...\"; } );",
			list);
	else
		complaint_at(l, config_check_node(l, list, i, NULL),
			     "this group of %s does not say which capture sends them: add capture = \"...\";", list);
}

static void check_outbox_subject(struct loader *l, size_t i)
{
	const struct config_outbox_table *t = &l->c->outbox_tables[i];
	const char *subject = config_captures_outbox_subject(t);
	const struct config_capture *of = config_captures_find(l->c, t->capture);
	char pattern[MESSAGE_SUBJECT_MAX_BYTES + 1], why[WHY_BYTES];

	if (subject == NULL)
		complaint_at(l, config_check_node(l, "outbox_tables", i, NULL),
			     "this group of outbox_tables has no subject, and its preset knows none: add subject = "
			     "\"orders.{COLUMN}\";");
	else if (!capture_subject_check(subject, NULL, why, sizeof why))
		complaint_at(l, config_check_node(l, "outbox_tables", i, "subject"),
			     "outbox_tables.subject = \"%s\" %s", subject, why);
	else if (of != NULL && t->source == OUTBOX_SOURCE_WAL) {
		capture_subject_pattern(subject, NULL, pattern);
		check_overlap(l, config_check_node(l, "outbox_tables", i, "subject"), "outbox_tables.subject", pattern,
			      of->stream.name);
	}
}

/* A trigger's rows go where every row of the outbox goes. */
static void check_trigger(struct loader *l, size_t i)
{
	const struct config_outbox_table *t = &l->c->outbox_tables[i];
	char pattern[MESSAGE_SUBJECT_MAX_BYTES + 1], why[WHY_BYTES];

	if (t->capture != NULL)
		complaint_at(
			l, config_check_node(l, "outbox_tables", i, "capture"),
			"outbox_tables.capture is not for source = \"trigger\", which sends by the outbox: leave it out");
	if (config_captures_outbox_subject(t) == NULL ||
	    !capture_subject_check(config_captures_outbox_subject(t), NULL, why, sizeof why))
		return;
	capture_subject_pattern(config_captures_outbox_subject(t), NULL, pattern);
	for (size_t k = 0; k < l->c->stream_count; k++)
		for (size_t j = 0; j < l->c->streams[k].subject_count; j++) {
			const char *takes = l->c->streams[k].subjects[j];

			if (takes != NULL && message_pattern_valid(takes) && message_patterns_overlap(takes, pattern))
				return;
		}
	complaint_at(
		l, config_check_node(l, "outbox_tables", i, "subject"),
		"outbox_tables: no stream takes the subjects \"%s\" of this table: with source = \"trigger\" they go by "
		"the outbox; add them to one of streams",
		pattern);
}

static void check_outbox_table(struct loader *l, size_t i)
{
	const struct config_outbox_table *t = &l->c->outbox_tables[i];
	config_setting_t *node = config_check_node(l, "outbox_tables", i, "table");
	const struct config_capture *of = config_captures_find(l->c, t->capture);
	struct sql_name name, other;

	if (t->mapping.preset == OUTBOX_PRESET_NONE && t->mapping.payload == NULL)
		complaint_at(l, config_check_node(l, "outbox_tables", i, NULL),
			     "this group of outbox_tables has no payload: add payload = \"COLUMN\"; or a preset");
	check_outbox_subject(l, i);
	if (t->source == OUTBOX_SOURCE_WAL)
		check_whose(l, "outbox_tables", i, t->capture);
	else
		check_trigger(l, i);
	if (!check_table(l, node, "outbox_tables.table", t->table, &name))
		return;
	for (size_t k = 0; k < i; k++)
		if (l->c->outbox_tables[k].table != NULL && sql_name_read(l->c->outbox_tables[k].table, &other) &&
		    sql_name_same(&name, &other))
			complaint_at(l, node, "outbox_tables.table = \"%s\" stands twice (line %u): leave one out",
				     t->table, layers_line_of(config_check_node(l, "outbox_tables", k, "table")));
	if (t->source == OUTBOX_SOURCE_WAL && of != NULL &&
	    (stands_in(of->tables, of->table_count, &name) ||
	     stands_in(of->inserts_only, of->inserts_only_count, &name)))
		complaint_at(l, node, "outbox_tables.table = \"%s\" is one of capture.tables, too: leave one out",
			     t->table);
}

static bool is_part_of_prefix(const char *name, size_t n)
{
	static const char *const parts[] = { "prefix", "name", "key" };

	for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
		if (strlen(parts[i]) == n && memcmp(parts[i], name, n) == 0)
			return true;
	return false;
}

static void check_messages_subject(struct loader *l, size_t i)
{
	const struct config_messages *m = &l->c->messages[i];
	config_setting_t *node = config_check_node(l, "messages", i, "subject");
	bool emitted = same(m->prefix, EMITTED_PREFIX);
	const struct config_capture *of = config_captures_find(l->c, m->capture);
	char pattern[MESSAGE_SUBJECT_MAX_BYTES + 1], why[WHY_BYTES];

	if (m->subject == NULL)
		return;
	if (emitted && (!message_pattern_valid(m->subject) || strchr(m->subject, '{') != NULL || m->subject[0] == '$' ||
			m->subject[0] == '>' || m->subject[0] == '*'))
		complaint_at(
			l, node,
			"messages.subject = \"%s\" is no pattern of subjects: those of boxhaul.emit() are in its calls; "
			"write which may be, such as \"orders.>\"",
			m->subject);
	else if (!emitted && !capture_subject_check(m->subject, is_part_of_prefix, why, sizeof why))
		complaint_at(l, node, "messages.subject = \"%s\" %s", m->subject, why);
	else if (of != NULL && m->prefix != NULL) {
		config_captures_messages_pattern(m, pattern);
		check_overlap(l, node, "messages.subject", pattern, of->stream.name);
	}
}

static void check_messages(struct loader *l, size_t i)
{
	const char *prefix = l->c->messages[i].prefix;
	config_setting_t *node = config_check_node(l, "messages", i, "prefix");

	if (prefix != NULL && (prefix[0] == '\0' || strchr(prefix, '/') != NULL || strlen(prefix) > SQL_NAME_BYTES ||
			       strncmp(prefix, EMITTED_PREFIX ".", sizeof EMITTED_PREFIX) == 0))
		complaint_at(
			l, node,
			"messages.prefix = \"%s\" is not usable: write up to %d bytes without a slash, and none of boxhaul's "
			"own (%s....)",
			prefix, SQL_NAME_BYTES, EMITTED_PREFIX);
	for (size_t k = 0; k < i; k++)
		if (same(l->c->messages[k].prefix, prefix))
			complaint_at(l, node, "messages.prefix = \"%s\" stands twice (line %u): leave one out", prefix,
				     layers_line_of(config_check_node(l, "messages", k, "prefix")));
	check_messages_subject(l, i);
	check_whose(l, "messages", i, l->c->messages[i].capture);
}

void config_captures_check(struct loader *l)
{
	for (size_t i = 0; i < l->c->capture_count; i++)
		check_capture(l, i);
	for (size_t i = 0; i < l->c->outbox_table_count; i++)
		check_outbox_table(l, i);
	for (size_t i = 0; i < l->c->messages_count; i++)
		check_messages(l, i);
}
