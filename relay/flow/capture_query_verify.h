/* The statements of a verify pass over one captured table. */
#ifndef BOXHAUL_FLOW_CAPTURE_QUERY_VERIFY_H
#define BOXHAUL_FLOW_CAPTURE_QUERY_VERIFY_H

#include "books/capture_ledger.h"
#include "flow/capture_query.h"

/* The next rows of a verify pass, as those of capture_query_rows(); its columns alone, and the key; where hashes are sent the key alone. Behind the two that
 * only the last row has comes one more: the hash; or "absent", there is no row with this key (its columns are the key that was asked for). NULL: out of
 * memory, or *why says what is wrong with the pass. */
char *capture_query_verify(const struct capture_query *q, const struct capture_ledger_pass *pass,
			   const struct capture_range *range, uint32_t rows, uint32_t bytes, const char **why);

/* The largest key that a pass about some keys asks for; as capture_query_top(). */
char *capture_query_verify_top(const struct capture_query *q, const struct capture_ledger_pass *pass);

#endif
