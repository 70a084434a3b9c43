/* The files of relay/watch/page/, built into the program. page_files.c is made from them by the build. */
#ifndef BOXHAUL_WATCH_PAGE_FILES_H
#define BOXHAUL_WATCH_PAGE_FILES_H

#include <stddef.h>

struct page_file {
	const char *name; /* "page.css"; the last one has none */
	const char *text;
};

extern const struct page_file page_files[];

#endif
