/*
 * RESERVE: which sessions are dropped so that a full server has connections free. It only chooses,
 * from one snapshot; the drops are kills like any other, and judge each session again.
 */
#ifndef DBPS_RESERVE_H
#define DBPS_RESERVE_H

#include "server/registry.h"
#include "session/rows.h"

/* Why a session of the server is not dropped. */
enum dbps_reserve_kept {
	DBPS_RESERVE_EXECUTES,	/* or reads a request, or logs in */
	DBPS_RESERVE_PROTECTED, /* dbps_protected() */
	DBPS_RESERVE_UNSEEN,	/* encrypted, or older than dbps: whether it is idle is not known */
	DBPS_RESERVE_KEPT_N,
};

struct dbps_reserve_plan {
	uint32_t max;	 /* connections that the server serves */
	uint32_t in_use; /* of them */
	size_t wanted;	 /* sessions to be dropped, so that enough are free */
	/* Those that can be, in the order in which they are: outside of a transaction first, then
	 * where that is not known, then inside of one; of each the longest idle first. */
	const struct dbps_row **candidates;
	size_t n_candidates;
	size_t kept[DBPS_RESERVE_KEPT_N];
};

/**
 * @brief Choose.
 * @param limits Of the server; its max_connections is known.
 * @param connections To be free.
 * @param ret_plan Release with dbps_reserve_plan_done(); points into the rows.
 * @return 0 or -ENOMEM.
 */
int dbps_reserve_plan(const struct dbps_rows *rows, uint32_t server,
		      const struct dbps_server_limits *limits, size_t connections,
		      struct dbps_reserve_plan *ret_plan);
void dbps_reserve_plan_done(struct dbps_reserve_plan *plan);

/** @return "idle", "idle, transaction unknown" or "idle in transaction" of a candidate. */
const char *dbps_reserve_word(const struct dbps_row *row);

#endif
