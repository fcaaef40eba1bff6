/*
 * Drains: kills that let a session finish its statement or its transaction, and close it then.
 * Those that are not over when their KILL has to be answered go on here, in one thread.
 */
#ifndef DBPS_DRAIN_H
#define DBPS_DRAIN_H

#include <stddef.h>

#include "kill.h"

struct kill;

/* How many go on at once after they were answered. */
#define DBPS_DRAINS_MAX 1024

/** @brief Make the place for drains; no thread runs before there is one. */
int dbps_drains_new(struct dbps_kernel *kernel, struct dbps_drains **ret_drains);

/** @brief Give up those under way and release. NULL is fine. */
void dbps_drains_free(struct dbps_drains *drains);

static inline bool kill_is_drain(const struct dbps_kill_request *request)
{
	return request->connection && request->when != DBPS_KILL_NOW;
}

/**
 * @brief Carry out the kills that are not answered yet as drains, and answer them.
 * @pre Each was taken (kill_take()), and none is armed.
 */
void kill_drain(struct kill *const *kills, size_t n);

#endif
