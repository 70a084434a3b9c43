/* The name of a table with its schema, as SQL writes it: public.orders, public."Order Lines". */
#ifndef BOXHAUL_FORMAT_SQL_NAME_H
#define BOXHAUL_FORMAT_SQL_NAME_H

#include <stdbool.h>

enum { SQL_NAME_BYTES = 64 }; /* NAMEDATALEN, terminator included */

/* As they stand in the catalogue, without quotes. */
struct sql_name {
	char schema[SQL_NAME_BYTES], table[SQL_NAME_BYTES];
};

/* False: it is no such name. Without quotes only small letters (others would not mean what they say), digits, '_' and '$'. */
bool sql_name_read(const char *text, struct sql_name *name);

bool sql_name_same(const struct sql_name *a, const struct sql_name *b);

#endif
