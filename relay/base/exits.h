/* Exit codes: the whole list. Documented in boxhaul(8) and by `boxhaul help`. */
#ifndef BOXHAUL_BASE_EXITS_H
#define BOXHAUL_BASE_EXITS_H

enum exit_code {
	EXIT_OK = 0,
	EXIT_FAILED = 1,      /* the command did not succeed, or `check` found something to mend */
	EXIT_USAGE = 2,       /* unknown command or option */
	EXIT_CONFIG = 3,      /* the configuration is wrong: starting again will not help */
	EXIT_UNREACHABLE = 4, /* the database or NATS cannot be reached */
	EXIT_UNDRAINED = 5,   /* run: asked to stop a second time, or not everything in flight was answered in time;
				 nothing is lost: the next start sends it again under the same message id */
	EXIT_LAGGING = 6,     /* status --max-lag: the oldest message waits longer */
};

#endif
