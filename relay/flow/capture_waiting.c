#include "flow/capture_waiting.h"

#include <stdlib.h>

struct capture_waiting *capture_waiting_create(const struct capture_event *event, struct capture_parcel *parcel)
{
	struct capture_waiting *w = calloc(1, sizeof *w);

	if (w == NULL) {
		free(parcel);
		return NULL;
	}
	w->event = *event;
	w->parcel = parcel;
	return w;
}

void capture_waiting_free(struct capture_waiting *w)
{
	if (w == NULL)
		return;
	free(w->parcel);
	free(w);
}

void capture_waiting_begin(struct capture_waiting_list *l)
{
	l->first = NULL;
	l->behind = &l->first;
}

void capture_waiting_put(struct capture_waiting_list *l, struct capture_waiting *w)
{
	if (w == NULL)
		return;
	*l->behind = w;
	l->behind = &w->next;
}

struct capture_parcel *capture_waiting_take(struct capture_waiting_list *l, struct capture_event *event)
{
	struct capture_waiting *w = l->first;
	struct capture_parcel *parcel = w->parcel;

	*event = w->event;
	l->first = w->next;
	if (l->first == NULL)
		l->behind = &l->first;
	free(w);
	return parcel;
}

void capture_waiting_drop_all(struct capture_waiting_list *l)
{
	struct capture_event event;

	while (l->first != NULL)
		free(capture_waiting_take(l, &event));
}
