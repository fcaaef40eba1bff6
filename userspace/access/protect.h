/*
 * Sessions that a KILL of many spares: replication, backups, monitoring, and the control link of
 * dbpsd. Named by its id, each of them but the link can be killed.
 */
#ifndef DBPS_PROTECT_H
#define DBPS_PROTECT_H

#include "session/rows.h"

/* Lists as the config has them: patterns with * and ?, commas between. NULL: nobody. */
struct dbps_protect_options {
	const char *users;    /* as the server knows them, in their own case */
	const char *programs; /* program_name of the connection attributes, in any case */
	const char *commands; /* as the processlist says them, in any case */
	const char *proxies;  /* command names of poolers and proxies */
};

/** @brief Say what is protected, once, before there are threads. The texts stay the caller's. */
void dbps_protect_set(const struct dbps_protect_options *options);

/** @return The pooler, the proxy or the followed server that is the session's client; NULL: none.
 */
const char *dbps_proxy(const struct dbps_row *row);

/** @return Why a KILL of many spares this session ("replication user" …), static; NULL: it does
 * not.
 */
const char *dbps_protected(const struct dbps_row *row);

#endif
