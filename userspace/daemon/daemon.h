/*
 * The daemon's parts, as those who answer requests reach them. Made once at start, in this order,
 * released in the reverse; the pointers do not change in between.
 */
#ifndef DBPS_DAEMON_H
#define DBPS_DAEMON_H

#include "access/access.h"
#include "config/config.h"

struct dbps_audit;
struct dbps_drains;
struct dbps_demotions;
struct dbps_kernel;
struct dbps_registry;

struct dbps_daemon {
	struct dbps_config config;
	struct dbps_kernel *kernel;
	struct dbps_registry *registry;
	struct dbps_access_options access;
	struct dbps_audit *audit;
	struct dbps_drains *drains;
	struct dbps_demotions *demotions;
};

#endif
