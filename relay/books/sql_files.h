/* The files of sql/, built into the program: `boxhaul migrate` needs nothing but itself. sql_files.c is made
 * from them by the build. */
#ifndef BOXHAUL_BOOKS_SQL_FILES_H
#define BOXHAUL_BOOKS_SQL_FILES_H

#include <stddef.h>

struct sql_file {
	int version;      /* 2 */
	const char *name; /* "outbox", of sql/002_outbox.sql; the last one has none */
	const char *text;
	int serves; /* the oldest version that gets along with this one (sql/001_schema.sql); 0: none but itself */
};

/* Ascending by version. */
extern const struct sql_file sql_files[];

#endif
