#include "format/account_info.h"

#include "format/answer.h"

bool account_info_read(const char *data, size_t bytes, struct account_info *info)
{
	json_t *answer = answer_read(data, bytes), *limits = json_object_get(answer, "limits");
	struct answer_error error;
	bool ok = !answer_error(answer, &error) && json_is_object(limits);

	*info = (struct account_info){ .storage = answer_count(answer, "storage"),
				       .memory = answer_count(answer, "memory"),
				       .max_storage = answer_count(limits, "max_storage"),
				       .max_memory = answer_count(limits, "max_memory") };
	json_decref(answer);
	return ok;
}
