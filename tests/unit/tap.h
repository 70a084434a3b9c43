/* The Test Anything Protocol: each check prints one line; a failed one says where and what it saw. */
#ifndef BOXHAUL_TAP_H
#define BOXHAUL_TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned tap_count, tap_failed;

/* For an explanation: `diag("line %d", n)` shows beside a failure. */
__attribute__((format(printf, 1, 2), unused)) static void diag(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("# ", stdout);
	vprintf(format, args);
	fputc('\n', stdout);
	va_end(args);
}

__attribute__((format(printf, 4, 5), unused)) static bool tap_ok(bool good, const char *file, int line,
								 const char *format, ...)
{
	va_list args;

	tap_count++;
	tap_failed += !good;
	printf("%sok %u - ", good ? "" : "not ", tap_count);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	if (!good)
		diag("failed at %s:%d", file, line);
	fflush(stdout);
	return good;
}

__attribute__((unused)) static bool tap_number(long long got, long long want, const char *file, int line,
					       const char *what)
{
	bool good = tap_ok(got == want, file, line, "%s", what);

	if (!good)
		diag("     got: %lld\n#    want: %lld", got, want);
	return good;
}

__attribute__((unused)) static bool tap_text(const char *got, const char *want, const char *file, int line,
					     const char *what)
{
	bool good = tap_ok(got != NULL && want != NULL ? strcmp(got, want) == 0 : got == want, file, line, "%s", what);

	if (!good)
		diag("     got: %s\n#    want: %s", got != NULL ? got : "(null)", want != NULL ? want : "(null)");
	return good;
}

__attribute__((unused)) static bool tap_holds(const char *text, const char *part, bool want, const char *file, int line,
					      const char *what)
{
	bool good = tap_ok((strstr(text, part) != NULL) == want, file, line, "%s", what);

	if (!good)
		diag("      in: %s\n# %s: %s", text, want ? "missing" : "  found", part);
	return good;
}

#define ok(good, ...) tap_ok((good), __FILE__, __LINE__, __VA_ARGS__)
#define is_number(got, want, what) tap_number((long long)(got), (long long)(want), __FILE__, __LINE__, (what))
#define is_text(got, want, what) tap_text((got), (want), __FILE__, __LINE__, (what))
#define holds(text, part, what) tap_holds((text), (part), true, __FILE__, __LINE__, (what))
#define lacks(text, part, what) tap_holds((text), (part), false, __FILE__, __LINE__, (what))

/* main() returns it. */
__attribute__((unused)) static int done_testing(void)
{
	printf("1..%u\n", tap_count);
	return tap_failed > 0;
}

#endif
