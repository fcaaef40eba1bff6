/*
 * One connection to a database server as its client: every call has a deadline and can be called
 * off through a descriptor. A thin layer over libmariadb's non-blocking calls; not thread-safe.
 */
#ifndef DBPS_CLIENT_H
#define DBPS_CLIENT_H

#include <mysql.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "registry.h"

struct dbps_client;

struct dbps_client_target {
	const char *socket;	 /* path of a Unix socket, or NULL: */
	const char *host;	 /* numeric address */
	unsigned int port;	 /* host order */
	const char *user;	 /* NULL: as the option file says */
	const char *option_file; /* NULL: no password, nothing is read */
	const char *group;	 /* of the option file, besides [client] */
	uid_t uid;		 /* as whom a Unix socket is connected to; 0: as who runs */
};

/** @return CLOCK_MONOTONIC in nanoseconds. */
uint64_t dbps_clock_ns(void);

/**
 * @brief Connect and log in.
 * @param stop_fd Polls readable when every call shall give up; stays the caller's.
 * @param deadline_ns CLOCK_MONOTONIC.
 * @param ret_client Owned by the caller (dbps_client_close()); untouched on failure.
 * @param ret_error Filled on failure.
 * @return 0; -ETIMEDOUT; -ECANCELED by stop_fd; -EIO with the error of the server or the library.
 */
int dbps_client_open(const struct dbps_client_target *target, int stop_fd, uint64_t deadline_ns,
		     struct dbps_client **ret_client, struct dbps_link_error *ret_error);

/** @brief Take leave of the server and release. NULL is fine. Does not block. */
void dbps_client_close(struct dbps_client *client);

/**
 * @brief Run one statement.
 *
 * When the deadline passes the statement is left as it is, and the connection stays good: the next
 * call takes in and drops the late answer first. So a server that hangs for a while does not cost
 * the link, which could not be opened anew when all connections are taken.
 *
 * @param ret_result Owned by the caller (mysql_free_result()); NULL for statements without rows,
 * and the pointer itself may be NULL when they are not wanted. Untouched on failure.
 * @return 0; -ETIMEDOUT; -ECANCELED; -ENOTCONN when the connection broke; -EIO for an error of the
 *         server, after which the connection is still good.
 */
int dbps_client_query(struct dbps_client *client, const char *sql, uint64_t deadline_ns,
		      MYSQL_RES **ret_result, struct dbps_link_error *ret_error);

/** @brief See that the server answers. Errors as dbps_client_query(). */
int dbps_client_ping(struct dbps_client *client, uint64_t deadline_ns,
		     struct dbps_link_error *ret_error);

/** @return Whether the connection is of no use any more. */
bool dbps_client_lost(const struct dbps_client *client);

int dbps_client_fd(const struct dbps_client *client);
uint64_t dbps_client_id(const struct dbps_client *client);	   /* the server's connection id */
const char *dbps_client_version(const struct dbps_client *client); /* without "5.5.5-" */
const char *dbps_client_user(const struct dbps_client *client);

#endif
