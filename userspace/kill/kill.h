/*
 * KILL: names a session and the statement it runs, lets an enactor act, and answers with what the
 * kernel then saw. Semantics and error texts: protocol.md 2.3 and 3.1.
 */
#ifndef DBPS_KILL_H
#define DBPS_KILL_H

#include <stdint.h>

#include "access/access.h"

struct dbps_kernel;
struct dbps_registry;

enum dbps_kill_outcome {
	DBPS_KILL_CONFIRMED, /* the kernel saw the statement be interrupted, or the session close */
	DBPS_KILL_MISSED,    /* the statement had ended; nothing else was touched */
	DBPS_KILL_PENDING,   /* not settled within the time waited */
	DBPS_KILL_REFUSED,   /* `error` says why */
};

struct dbps_kill_request {
	uint64_t id;	 /* as shown */
	bool connection; /* false: KILL QUERY */
	int timeout_ms;	 /* how long to wait for the outcome; 2000 by default */
	const struct dbps_caller *caller;
};

struct dbps_kill_answer {
	enum dbps_kill_outcome outcome;
	unsigned int error; /* MySQL error code when refused: 1094, 1095, … ; else 0 */
	char sqlstate[6];
	double elapsed_ms; /* from the request to the outcome */
	/*
	 * One sentence for the info field, the warning or the error, e.g.
	 * "confirmed: statement 3 interrupted after 1.4 ms (control link)".
	 */
	char text[384];
};

/** @brief Carry out one kill. Blocks up to timeout_ms. Always fills ret_answer. */
void dbps_kill(struct dbps_kernel *kernel, struct dbps_registry *registry,
	       const struct dbps_kill_request *request, struct dbps_kill_answer *ret_answer);

#endif
