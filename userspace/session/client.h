/*
 * The client processes of a snapshot's sessions, found when somebody asks for the first of them:
 * who holds the other end of each socket, when it is on this host. What cannot be told for sure is
 * not told: a process that has gone, or whose number is another's by now, is none.
 */
#ifndef DBPS_SESSION_CLIENT_H
#define DBPS_SESSION_CLIENT_H

#include "access/owner.h"
#include "rows.h"
#include "server/cgroup.h"

struct dbps_client_process {
	uint32_t pid;
	uint64_t start_ns; /* CLOCK_BOOTTIME */
	char command[16];  /* as the kernel has it */
	char exe[256];	   /* path in its own mount namespace, cut; "": not known */
	char cgroup[DBPS_CGROUP_MAX];
	char unit[128];			   /* "": none */
	char container[128];		   /* "": none */
	char server[DBPS_SERVER_NAME_MAX]; /* the followed server that it is; "": none */
};

/** @return The process of the session's client; NULL: not on this host, gone, or not known. */
const struct dbps_client_process *dbps_row_client(const struct dbps_row *row);

/** @return What is known of the client's end without its process. Over TCP as dbps_row_client(). */
struct dbps_owner dbps_row_owner(const struct dbps_row *row);

/** @brief Release what was found for rows. NULL is fine. */
struct dbps_clients;
void dbps_clients_free(struct dbps_clients *clients);

#endif
