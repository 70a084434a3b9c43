#include "core/capture/capture_marking.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/capture/capture_mutant.h"
#include "core/capture/capture_repairs.h"
#include "core/capture/capture_walks.h"

bool capture_marking_create(struct capture_marking *m, const struct capture_settings *set, struct capture_rows *rows,
			    struct capture_reading *reading, struct capture_carried *carried)
{
	*m = (struct capture_marking){ .set = set, .rows = rows, .reading = reading, .carried = carried };
	m->repair = calloc(reading->most_repairs, sizeof *m->repair);
	return commits_create(&m->commits, set->most_commits != 0 ? set->most_commits : LIMIT_CAPTURE_COMMITS) &&
	       m->repair != NULL;
}

void capture_marking_destroy(struct capture_marking *m)
{
	commits_destroy(&m->commits);
	free(m->repair);
}

void capture_marking_forget(struct capture_marking *m)
{
	m->under_way = false;
	m->letter_count = 0;
	m->confirmed = m->told = m->behind = 0;
	m->uncopied = m->uncopied_last = (struct capture_uncopied){ .lsn = 0 };
}

/* Two are enough: of those between the last one says it all. */
static void may_confirm(struct capture_marking *m, uint64_t lsn, uint64_t behind)
{
	if (MUTANT(confirm_uncopied))
		behind = 0;
	if (behind > m->behind)
		m->behind = behind;
	if (behind == 0)
		m->confirmed = lsn > m->confirmed ? lsn : m->confirmed;
	else
		*(m->uncopied.lsn == 0 ? &m->uncopied : &m->uncopied_last) = (struct capture_uncopied){ lsn, behind };
}

void capture_marking_begin(struct capture_marking *m, struct commit books, uint64_t behind,
			   const struct stream_end *end, const struct level *first)
{
	capture_end_begin(&m->end, end);
	commits_begin(&m->commits, books);
	m->marked = books;
	may_confirm(m, books.end_lsn, behind);
	m->next_ms = 0;
	low_water_begin(&m->low_water, first);
}

/* --- what is to be put on record --- */

void capture_marking_letter(struct capture_marking *m, const struct outcome *o, uint32_t slot)
{
	assert(m->letter_count < LIMIT_CAPTURE_LETTERS);
	m->letter[m->letter_count++] = (struct capture_letter){
		.slot = slot,
		.ordinal = o->ticket,
		.reason = o->reason,
		.attempts = o->attempts,
	};
}

size_t capture_marking_letter_room(const struct capture_marking *m)
{
	return LIMIT_CAPTURE_LETTERS - m->letter_count;
}

/* Answers come in any order: it is the settled prefix that counts, and of it the whole commits. */
void capture_marking_settle(struct capture_marking *m)
{
	int64_t settled = MUTANT(prefix_of_last) ? m->rows->unoffered - 1 : capture_rows_settled(m->rows);
	int64_t limit = capture_walks_limit(m->reading);

	commits_settle(&m->commits, settled < limit ? settled : limit);
}

void capture_marking_reach(struct capture_marking *m)
{
	int64_t settled = capture_rows_settled(m->rows);

	if (m->carried->held > 0 && settled <= capture_walks_limit(m->reading) &&
	    capture_carried_between(m->carried, m->commits.settled.ordinal, settled) && !MUTANT(carried_unreached))
		commits_reach(&m->commits, settled);
}

/* What is carried behind the position the next leader lets go of, for the log brings it again. It does not bring a row of a chunk, once a step says that the row is
 * stored: so no step is taken over anything that is carried behind the position. */
static bool has_step(const struct capture_marking *m, size_t index, int64_t position)
{
	const struct capture_step *s = capture_walks_step_at(m->reading, index, capture_rows_settled(m->rows));

	return s != NULL && (!capture_carried_between(m->carried, position, s->ordinal) || MUTANT(step_over_carried));
}

static void count_steps(struct capture_marking *m)
{
	m->steps = 0;
	while (has_step(m, m->steps, m->to.ordinal))
		m->steps++;
}

bool capture_marking_wanted(const struct capture_marking *m)
{
	return m->commits.settled.ordinal > m->marked.ordinal || m->letter_count > 0 || m->reading->repair_count > 0 ||
	       capture_carried_want_mark(m->carried) || has_step(m, 0, m->commits.settled.ordinal) ||
	       (MUTANT(idle_marks) && m->commits.settled.end_lsn > m->marked.end_lsn);
}

/* The mark goes to what is settled now. */
static void fix(struct capture_marking *m)
{
	m->to = m->commits.settled;
	count_steps(m);
}

static void take_cursors(struct capture_marking *m)
{
	if (MUTANT(steps_of_later))
		count_steps(m);
	m->mark.cursors = m->cursor;
	m->mark.cursor_count = capture_walks_cursors(m->reading, m->steps, m->cursor);
}

/* All that are known, whatever position the mark goes to: so none is ever passed. */
static void take_repairs(struct capture_marking *m)
{
	m->mark.repairs = m->repair;
	m->mark.repair_count = MUTANT(repair_unmarked) ? 0 : m->reading->repair_count;
	if (m->mark.repair_count > 0)
		memcpy(m->repair, m->reading->repair, m->mark.repair_count * sizeof *m->repair);
}

static void take_letters(struct capture_marking *m)
{
	m->mark.letters = m->sent_letter;
	m->mark.letter_count = MUTANT(letter_unmarked) ? 0 : m->letter_count;
	if (m->mark.letter_count > 0)
		memcpy(m->sent_letter, m->letter, m->mark.letter_count * sizeof *m->letter);
}

bool capture_marking_may(const struct capture_marking *m, int64_t now_ms)
{
	return !m->under_way && now_ms >= m->next_ms;
}

/* The mark goes no further than what is settled when this is asked: that is stored at or below the end, and what is settled meanwhile may not be. That holds
 * for its position and for the steps of readings, which say that rows are stored, too; and which count on a position that is not older than they. */
bool capture_marking_next_end(struct capture_marking *m, int64_t now_ms, uint64_t last, int64_t ask_until_ms,
			      struct capture_effect *f)
{
	capture_marking_settle(m);
	if (m->end.state == END_ASKED && now_ms >= m->end.by_ms)
		capture_end_interrupted(&m->end);
	if (m->end.state != END_OPEN || !capture_marking_may(m, now_ms) || !capture_marking_wanted(m))
		return false;
	fix(m);
	if (!capture_end_asks(&m->end, last, ask_until_ms))
		return false;
	f->kind = CAPTURE_EFFECT_END;
	f->end.sequence = last;
	return true;
}

static void take_end(struct capture_marking *m)
{
	if (!m->set->in_commit_order || MUTANT(end_of_later))
		fix(m);
	m->mark.end = m->set->in_commit_order ? capture_end_take(&m->end) : (struct stream_end){ .sequence = 0 };
}

bool capture_marking_next(struct capture_marking *m, int64_t now_ms, const struct level *fresh,
			  struct capture_effect *f)
{
	capture_marking_settle(m);
	if (!capture_marking_may(m, now_ms) || !capture_marking_wanted(m) ||
	    (m->set->in_commit_order && m->end.state != END_TOLD))
		return false;
	m->under_way = true;
	m->next_ms = now_ms + m->set->send.mark_interval_ms;
	take_end(m);
	take_cursors(m);
	take_repairs(m);
	take_letters(m);
	capture_carried_mark(m->carried, &m->mark);
	if (m->to.ordinal >= m->low_water.next.read)
		low_water_raise(&m->low_water, m->to.ordinal, fresh);
	m->mark.end_lsn = m->to.end_lsn;
	m->mark.commit_time = m->to.time;
	m->mark.from_ordinal = m->marked.ordinal;
	m->mark.ordinal = m->to.ordinal;
	m->mark.low_water = MUTANT(low_water_of_now) ? fresh->sequence[0] : m->low_water.in_use.sequence[0];
	if (MUTANT(confirm_early))
		m->confirmed = m->to.end_lsn;
	f->kind = CAPTURE_EFFECT_MARK;
	f->mark = &m->mark;
	return true;
}

size_t capture_marking_marked(struct capture_marking *m, uint64_t behind)
{
	size_t letters = m->mark.letter_count;

	if (!m->under_way)
		return SIZE_MAX;
	m->under_way = false;
	m->marked = m->to;
	may_confirm(m, m->to.end_lsn, behind);
	capture_carried_marked(m->carried, &m->mark);
	capture_walks_marked(m->reading, m->steps);
	if (MUTANT(repair_unmarked))
		m->mark.repair_count = m->reading->repair_count;
	capture_repairs_marked(m->reading, m->mark.repair_count);
	if (MUTANT(letter_unmarked))
		letters = m->letter_count;
	for (size_t i = 0; i < letters; i++)
		capture_rows_drop(m->rows, m->letter[i].slot);
	m->letter_count -= letters;
	memmove(m->letter, m->letter + letters, m->letter_count * sizeof *m->letter);
	return letters;
}

/* --- what is confirmed --- */

void capture_marking_came(struct capture_marking *m, uint64_t lsn)
{
	while (m->uncopied.lsn != 0 && lsn >= m->uncopied.behind) {
		m->confirmed = m->uncopied.lsn > m->confirmed ? m->uncopied.lsn : m->confirmed;
		m->uncopied = m->uncopied_last;
		m->uncopied_last.lsn = 0;
	}
}

void capture_marking_idle(struct capture_marking *m, uint64_t lsn)
{
	if (lsn > m->confirmed && lsn >= m->behind)
		m->confirmed = lsn;
}

bool capture_marking_next_confirm(struct capture_marking *m, struct capture_effect *f)
{
	if (m->confirmed <= m->told)
		return false;
	m->told = m->confirmed;
	f->kind = CAPTURE_EFFECT_CONFIRM;
	f->confirm.lsn = m->told;
	return true;
}

int64_t capture_marking_deadline(const struct capture_marking *m)
{
	int64_t carry = capture_carried_due_at(m->carried);

	if (m->under_way)
		return INT64_MAX;
	if (m->end.state == END_ASKED)
		return m->end.by_ms;
	if (capture_marking_wanted(m))
		return m->next_ms;
	return carry > m->next_ms ? carry : m->next_ms;
}
