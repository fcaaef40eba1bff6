/*
 * One kill under way, as its steps hand it on: find and authorise (kill.c), arm and judge, act,
 * wait, answer (answer.c). Kills of many and drains are made of the same steps.
 */
#ifndef DBPS_KILL_ONE_H
#define DBPS_KILL_ONE_H

#include "audit.h"
#include "dbps/kernel.h"
#include "enactor.h"
#include "kill.h"
#include "server/registry.h"
#include "session/rows.h"

/* MySQL error codes (protocol.md 3.1). */
enum {
	ER_NO_SUCH_THREAD = 1094,
	ER_KILL_DENIED = 1095,
	ER_UNKNOWN = 1105,
	ER_QUERY_INTERRUPTED = 1317,
	ER_CONNECTION_KILLED = 1927,
};

struct kill {
	const struct dbps_kill_request *request;
	const struct dbps_kill_item *item; /* what was chosen; NULL: only an id was given */
	struct dbps_kill_answer *answer;
	uint64_t id; /* as shown */
	struct dbps_kill_target target;
	const struct dbps_row *row; /* as found; NULL: there was none */
	bool seen; /* the caller saw this session, before its client may have been cut off */
	uint64_t begin_ns;
	const struct dbps_audit_record *record; /* made already, as nothing else of it is kept */
	uint64_t audit_number;			/* 0: nothing of it is in the audit yet */
	uint64_t audit_us;			/* when it was asked for, there */
	bool armed;
	bool answered;
	bool drained;	   /* the drain writes the audit */
	char acted[96];	   /* names of the enactors that acted */
	bool inexact;	   /* the last of them could have met a later statement */
	bool passing;	   /* what the last of them asked for ends with this kill */
	bool again;	   /* they may have to act again */
	uint64_t sent_ns;  /* just before the last one acted */
	uint64_t acted_ns; /* when the last one had acted */
	uint64_t
		last_begun; /* newest statement that had begun then, after the one meant; 0: none */
	struct dbps_cancel cancel; /* as settled, or as it stands */
};

/* --- steps, kill.c --- */

void kill_begin(struct kill *kill, struct dbps_kernel *kernel, struct dbps_registry *registry,
		const struct dbps_kill_request *request, struct dbps_kill_answer *answer);

/**
 * @brief Take the session of a row over, NULL when there is none.
 * @param server Its server, NULL when it is not known. Both stay until the kill has ended.
 * @return Whether it may be killed; else it is answered.
 */
bool kill_take(struct kill *kill, const struct dbps_row *row,
	       const struct dbps_server_view *server);

/** @return Whether it still is as it was when it was chosen; else it is answered. */
bool kill_as_chosen(struct kill *kill, const struct dbps_session *now);

/** @return Whether a KILL QUERY has something to end; else it is answered. */
bool kill_has_statement(struct kill *kill);

/** @return Whether the session, read after arming, is to be acted upon; else it is answered. */
bool kill_judge(struct kill *kill, const struct dbps_session *now);

/* What became of acting: as dbps_enactor.act, -EAGAIN for nobody tried. */
struct kill_errors {
	int socket, server;
	struct dbps_link_error socket_error, server_error;
};

/**
 * @brief Let the enactors act, without waiting for the outcome: on the socket first, then by the
 * server's own hand, which may take until the deadline.
 */
void kill_act_socket(struct kill *kill, struct kill_errors *errors);

/** @return What closes the socket and can do so for many at once; NULL: it goes one by one. */
const struct dbps_enactor *kill_closer_of_many(const struct kill *kill);
/** @brief Before, and after it has acted on many: r as its act_many gave it for this one. */
void kill_close_begun(struct kill *kill, struct kill_errors *errors);
void kill_close_ended(struct kill *kill, struct kill_errors *errors,
		      const struct dbps_enactor *closer, int r);

void kill_act_server(struct kill *kill, struct kill_errors *errors);

/** @return Whether something acted, or nothing had to; else it is answered. */
bool kill_reached(struct kill *kill, const struct kill_errors *errors);

/** @return Whether it was settled within this time; then kill->cancel says how. */
bool kill_wait(struct kill *kill, int timeout_ms);

/** @return Whether who asked for it wants to wait no longer. */
bool kill_interrupted(const struct dbps_kill_request *request);

/** @brief It is still not settled: take the session as it is now, NULL when it is gone. */
void kill_look(struct kill *kill, struct kill_errors *errors, const struct dbps_session *now);

/** @brief Answer for what was seen. */
void kill_conclude(struct kill *kill, const struct kill_errors *errors);

/* The audit's lines: when it is about to act, and when it is answered. */
void kill_make_record(const struct kill *kill, struct dbps_audit_record *ret_record);
void kill_audit_begun(struct kill *kill);
void kill_audit_ended(struct kill *kill);

/** @brief Give the entry back, write the audit. Once for each kill, answered by then. */
void kill_end(struct kill *kill);

/* --- sentences, answer.c --- */

void kill_answer(struct kill *kill, enum dbps_kill_outcome outcome, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void kill_refuse(struct kill *kill, unsigned int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

void kill_answer_settled(struct kill *kill);
void kill_answer_pending(struct kill *kill, const struct kill_errors *errors);
void kill_answer_unreached(struct kill *kill, const struct kill_errors *errors);
void kill_answer_not_armed(struct kill *kill, int r);
/** @brief The statement was over when the session was read after arming. */
void kill_answer_over(struct kill *kill);

/** @return Whether a statement that ends with this error was interrupted. */
static inline bool kill_is_interruption(unsigned int error)
{
	return error == ER_QUERY_INTERRUPTED || error == ER_CONNECTION_KILLED ||
	       error == DBPS_SQLSTATE_CANCELED || error == DBPS_SQLSTATE_TERMINATED;
}

#endif
