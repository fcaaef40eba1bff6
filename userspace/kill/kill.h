/*
 * KILL: names a session and the statement it runs, lets an enactor act, and answers with what the
 * kernel then saw. Semantics and error texts: protocol.md 2.3 and 3.1.
 */
#ifndef DBPS_KILL_H
#define DBPS_KILL_H

#include <stdbool.h>
#include <stdint.h>

#include "access/access.h"

struct dbps_audit;
struct dbps_demotions;
struct dbps_drains;
struct dbps_kernel;
struct dbps_registry;

enum dbps_kill_outcome {
	DBPS_KILL_CONFIRMED, /* the kernel saw the statement be interrupted, or the session close */
	DBPS_KILL_MISSED,    /* the statement had ended; nothing else was touched */
	DBPS_KILL_PENDING,   /* not settled within the time waited */
	DBPS_KILL_REFUSED,   /* `error` says why */
};

/* When a connection is closed: at once, or drained: when what it runs, or its transaction, is over.
 */
enum dbps_kill_when { DBPS_KILL_NOW, DBPS_KILL_AFTER_STATEMENT, DBPS_KILL_AFTER_TRANSACTION };

struct dbps_kill_request {
	uint64_t id;		  /* as shown on the whole-host console */
	bool connection;	  /* false: KILL QUERY */
	bool soft;		  /* KILL SOFT of MariaDB: by the server's own hand only */
	enum dbps_kill_when when; /* other than now: a connection's alone */
	int timeout_ms;		  /* how long to wait for the outcome; 2000 by default */
	const struct dbps_caller *caller;
	const char *statement;	  /* the KILL as it was written, for the audit; NULL: none */
	const char *reason;	  /* NULL: none */
	struct dbps_audit *audit; /* NULL: not audited */
	bool (*interrupted)(const void *data); /* asked while it waits; NULL: waits on */
	const void *interrupted_data;
	struct dbps_demotions *demotions; /* what is killed gets its priority back; NULL: none */
	struct dbps_drains *drains; /* where drains go on when they were answered; NULL: nowhere */
};

struct dbps_kill_answer {
	enum dbps_kill_outcome outcome;
	unsigned int error; /* MySQL error code when refused: 1094, 1095, … ; else 0 */
	char sqlstate[6];
	bool interrupted;  /* it no longer waited, as it was told; what was asked for stands */
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

/* One of many: a session as it stood when it was chosen. */
struct dbps_kill_item {
	uint64_t id;			/* as shown on the whole-host console */
	uint64_t cookie;		/* of that session: whoever has the id now is not meant */
	uint64_t sequence;		/* its statement */
	bool executes;			/* whether it ran that statement, or was idle after it */
	struct dbps_kill_answer answer; /* filled in */
};

/**
 * @brief Carry out many kills as one. Each session is judged again at the moment of the act: one
 *        whose cookie, sequence or state is another by then is left alone ("missed: … has changed
 *        since it was chosen").
 * @param request As for one; its id is not looked at. timeout_ms is for all together.
 * @param items Their answers are always filled.
 */
void dbps_kill_many(struct dbps_kernel *kernel, struct dbps_registry *registry,
		    const struct dbps_kill_request *request, struct dbps_kill_item *items,
		    size_t n);

#endif
