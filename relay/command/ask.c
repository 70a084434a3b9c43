#include "command/ask.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum exit_code ask(const struct call *call, const char *format, ...)
{
	char answer[16] = "";
	va_list args;

	if (call->given[OPTION_YES])
		return EXIT_OK;
	if (!isatty(STDIN_FILENO)) {
		fprintf(stderr, "boxhaul: %s asks first, and stdin is no terminal: say --yes\n", call->command->words);
		return EXIT_USAGE;
	}
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputs(" [y/N] ", stderr);
	if (fgets(answer, sizeof answer, stdin) != NULL) {
		answer[strcspn(answer, "\n")] = '\0';
		if (strcasecmp(answer, "y") == 0 || strcasecmp(answer, "yes") == 0)
			return EXIT_OK;
	}
	fputs("boxhaul: nothing was done\n", stderr);
	return EXIT_FAILED;
}
