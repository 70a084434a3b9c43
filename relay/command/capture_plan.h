/* What a capture needs, and whether it is there: boxhaul.capture_plan(), for `capture plan`, `capture start` and `check`. */
#ifndef BOXHAUL_COMMAND_CAPTURE_PLAN_H
#define BOXHAUL_COMMAND_CAPTURE_PLAN_H

#include "command/command.h"
#include "edge/pg_session.h"

enum { CAPTURE_PLAN_LOGIN_BYTES = 128, CAPTURE_PLAN_WHY_BYTES = 512 };

/* Who reads the log: may it log in, and as a walsender? */
struct capture_plan_login {
	char name[CAPTURE_PLAN_LOGIN_BYTES]; /* "" = it cannot log in */
	char why[CAPTURE_PLAN_WHY_BYTES];    /* why it cannot log in, or not as a walsender; "" = it can */
};
void capture_plan_look_login(const struct call *call, struct capture_plan_login *login);

/* One line of the plan. verdict: "ok", "note", "todo", "warn" or "FAIL"; mend and statement may be "". */
struct capture_plan_line {
	const char *about, *verdict, *what, *mend, *statement;
};

/* The plan of a capture of the configuration, line by line. EXIT_OK, or it has said why there is none. */
typedef void capture_plan_tell(void *arg, const struct capture_plan_line *line);
enum exit_code capture_plan_ask(struct pg_session *s, const struct config *config, const struct config_capture *capture,
				const struct capture_plan_login *login, capture_plan_tell *tell, void *arg);

/* What `capture start` does first: prints what has to be mended, and does what is to do as the owner. EXIT_OK: all is there. */
enum exit_code capture_plan_carry_out(struct pg_session *s, const struct call *call,
				      const struct config_capture *capture);

#endif
