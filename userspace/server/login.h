/*
 * How a control link gets to its server: which of the server's sockets, as which user, and what
 * makes sure that it is the server that answers there.
 */
#ifndef DBPS_LOGIN_H
#define DBPS_LOGIN_H

#include "link.h"

struct dbps_client;

struct dbps_login {
	pid_t pid; /* the server's */
	char name[64];
	uint16_t greeted_port; /* where the kernel saw it greet, 0: unknown */
	struct dbps_listeners listeners;
	char *user;
	char *option_file; /* NULL: none */
	int stop_fd;	   /* polls readable when all is called off; not owned */
};

/**
 * @brief Copy what it takes; all of `to` is zero before.
 * @return 0; -ENOMEM, after which dbps_login_done() is due as well.
 */
int dbps_login_init(struct dbps_login *to, const struct dbps_registry_options *options,
		    const struct dbps_link_target *target, int stop_fd);
void dbps_login_done(struct dbps_login *to);

/**
 * @brief Try each way, from a thread in the network namespace of the server.
 * @param ret_client On success the caller's (dbps_client_close()); untouched on failure.
 * @param text As whom over which socket it was; on failure the last way, and why not.
 * @return 0; -ECANCELED by stop_fd; another negative errno, of the last way.
 */
int dbps_login_open(const struct dbps_login *to, struct dbps_client **ret_client, char *text,
		    size_t size);

#endif
