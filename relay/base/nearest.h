/* What somebody probably meant by a word that nobody knows. */
#ifndef BOXHAUL_BASE_NEAREST_H
#define BOXHAUL_BASE_NEAREST_H

enum { NEAREST_MAX_BYTES = 64 };

/* The edit distance of two words: insert, delete, replace, swap two neighbours. Longer ones than NEAREST_MAX_BYTES are that far apart. */
unsigned nearest_distance(const char *a, const char *b);

/* From which distance on a word is not meant: long words may have more mistakes. */
unsigned nearest_limit(const char *word);

#endif
