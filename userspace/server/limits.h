/*
 * A server's limits of connections, asked over a connection of its own.
 */
#ifndef DBPS_LIMITS_H
#define DBPS_LIMITS_H

#include "registry.h"

struct dbps_client;

/**
 * @param deadline_ns CLOCK_MONOTONIC, of each of two queries.
 * @return 0; -ENODATA when it does not tell max_connections; else as dbps_client_query().
 */
int dbps_limits_read(struct dbps_client *client, uint64_t deadline_ns,
		     struct dbps_server_limits *ret_limits, struct dbps_link_error *ret_error);

#endif
