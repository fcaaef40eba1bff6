/*
 * Enactors: the ways to make a kill come true. Each says whether it can act on a target and acts;
 * none decides the outcome, which is what the kernel side then sees.
 */
#ifndef DBPS_ENACTOR_H
#define DBPS_ENACTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "dbps/kernel.h"
#include "server/registry.h"

struct dbps_kernel;

/* What is to be ended. The cancel entry {cookie, sequence} is armed while enactors act. */
struct dbps_kill_target {
	struct dbps_kernel *kernel;
	struct dbps_registry *registry;
	struct dbps_session session;	       /* as read after arming */
	const struct dbps_server_view *server; /* NULL: not known */
	bool connection;
	bool soft;	      /* as the server is told; nothing else acts */
	uint64_t query_id;    /* of the server, read after the entry was armed; 0: not read */
	uint64_t deadline_ns; /* CLOCK_MONOTONIC; what takes longer gives up */
};

struct dbps_enactor {
	const char *name;     /* as the answer says it */
	const char *describe; /* what it does, and how exact it is: one sentence for doctor */
	bool exact;	      /* cannot meet another statement than the one that was meant */
	bool passing;	      /* what it asked for ends with the kill, done or not */
	bool again;	      /* the server may drop it: act again while the statement executes */
	bool by_link;	      /* over the server's control link */
	bool ends;	      /* what ends the session ends the statement in it, too */

	/** @return Whether it can be tried; if not, ret_why (256 bytes) says why not. */
	bool (*probe)(const struct dbps_kill_target *target, char *ret_why);

	/**
	 * @return 0 when it acted; -EALREADY when the entry was settled before it did; -EAGAIN when
	 * it could not reach the target and the next one shall try; -EINPROGRESS when it acted, but
	 * not on the target as far as it sees, and the next one shall act too; other negative errno
	 * with the reason.
	 */
	int (*act)(const struct dbps_kill_target *target, struct dbps_link_error *ret_error);

	/**
	 * @brief Act on many targets at once. NULL: only one by one.
	 * @param ret_results Of each: 0 when it acted; -ECANCELED when something has begun or ended
	 * in the session since it was judged, and nothing was done; -EAGAIN when `act` shall try.
	 */
	void (*act_many)(const struct dbps_kill_target *const *targets, int *ret_results, size_t n);
};

/* Those that interrupt a statement, and those that end a connection's socket, in the order tried.
 */
extern const struct dbps_enactor *const dbps_interrupters[];
extern const size_t dbps_n_interrupters;
extern const struct dbps_enactor *const dbps_closers[];
extern const size_t dbps_n_closers;

/* Those that end the connection by the server's own hand; for one that executes a statement. */
extern const struct dbps_enactor *const dbps_enders[];
extern const size_t dbps_n_enders;

extern const struct dbps_enactor dbps_cooperative;    /* cooperative.c */
extern const struct dbps_enactor dbps_signal;	      /* signal.c */
extern const struct dbps_enactor dbps_terminate;      /* signal.c */
extern const struct dbps_enactor dbps_signal_checked; /* signal.c */

/** @return The action of its entry in the cancel map. */
static inline uint32_t dbps_kill_action(const struct dbps_kill_target *target)
{
	return target->connection ? DBPS_CANCEL_CONNECTION : DBPS_CANCEL_QUERY;
}

/** @return Milliseconds until the target's deadline, at least 0. */
int dbps_kill_ms_left(const struct dbps_kill_target *target);

/** @return Whether the kernel has settled the target's entry. */
bool dbps_kill_settled(const struct dbps_kill_target *target);

#endif
