/*
 * Process titles: a backend of PostgreSQL tells in its title whose session it serves and what it
 * does. That is what is known of those that are older than dbps.
 */
#ifndef DBPS_TITLE_H
#define DBPS_TITLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct dbps_kernel;
struct dbps_adoption;
struct dbps_session;

/**
 * @brief Read "postgres: [cluster: ]user database host[(port)] activity" (protocol.md 4.3).
 * @param session Its address, which tells where the names end.
 * @param ret_adoption Filled in on success: names, flags, and a command when something is executed.
 * @return Whether it is such a title, and just one reading of it is possible.
 */
bool dbps_title_parse(const char *title, const struct dbps_session *session,
		      struct dbps_adoption *ret_adoption);

/** @brief Give the sessions of a PostgreSQL that are older than dbps what their titles tell. */
int dbps_title_adopt(struct dbps_kernel *kernel, pid_t server);

#endif
