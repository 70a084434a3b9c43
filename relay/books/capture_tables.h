/* The tables of a capture whose rows are read, by number, as the core names them: those of the configuration's `tables` in order, then those of
 * `inserts_only`. Outbox tables have none. And their states, as the books have them. */
#ifndef BOXHAUL_BOOKS_CAPTURE_TABLES_H
#define BOXHAUL_BOOKS_CAPTURE_TABLES_H

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"
#include "core/capture/capture_types.h"

size_t capture_tables_count(const struct config_capture *c);

/* As the configuration has it. */
const char *capture_tables_name(const struct config_capture *c, size_t table);

/* Whether, and how, its rows that are there already are read, in the words of the books: "keys", "whole", "none". */
const char *capture_tables_snapshot(const struct config_capture *c, size_t table);

/* The same of the capture, as boxhaul.capture_plan() wants it: what is said of all its tables together. */
const char *capture_tables_plan(const struct config_capture *c);

/* The state of a table in the word of the books; and the other way round, where false is a word that is not known. "unproved" is complete: all its
 * rows were stored. */
const char *capture_tables_word(enum capture_table_state state);
bool capture_tables_state_of(const char *word, enum capture_table_state *state);

#endif
