/*
 * dbpsd as a server: its console's connections are sessions as any other's, followed by the taps,
 * and shown only where this server was chosen (`USE dbps`).
 */
#ifndef DBPS_OWN_H
#define DBPS_OWN_H

#include "registry.h"

#define DBPS_OWN_NAME  "dbps"
#define DBPS_OWN_INDEX (UINT32_MAX - 1) /* no other server has it; UINT32_MAX is no server */

/**
 * @brief This daemon as the registry would show it. It has no control link: it polls.
 */
void dbps_own_view(struct dbps_server_view *ret);

#endif
