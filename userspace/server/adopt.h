/*
 * Sessions that are older than dbps: whose they are and what they execute is told once by the
 * server's own processlist, matched by address or by the thread that serves them. What does not
 * match stays unknown; nothing is guessed.
 */
#ifndef DBPS_ADOPT_H
#define DBPS_ADOPT_H

#include <stddef.h>
#include <stdint.h>

#include "client.h"
#include "dbps/kernel.h"

/* A row of the server's processlist. Pointers are into the result it was read from. */
struct dbps_server_row {
	uint64_t id;
	const char *user;
	const char *host;    /* "127.0.0.1:4711", "name:4711", "localhost" */
	const char *db;	     /* NULL: none */
	const char *command; /* "Query" */
	const char *text;    /* not terminated; NULL: none */
	size_t text_have;    /* bytes of it */
	uint64_t text_len;   /* bytes of the whole */
	uint64_t age_ns;     /* of the statement, or of the sleep */
	uint32_t tid;	     /* thread that serves it; 0: unknown, or a pool of threads */
	uint32_t inode;	     /* socket that this thread waits for now; 0: none */
};

/** @return Whether a session lacks what a processlist could tell. */
bool dbps_adopt_wants(const struct dbps_session *session);

/**
 * @brief Find the row of each session that wants one.
 *
 * Preconditions, on which exactness rests: every session given existed before the rows were read
 * and still existed after the threads' sockets were; all sessions of the server are given.
 *
 * @param ret_row For each session the index of its row, or -1.
 */
void dbps_adopt_match(const struct dbps_session *const *sessions, size_t n_sessions,
		      const struct dbps_server_row *rows, size_t n_rows, int *ret_row);

/** @return The COM_* byte for a Command of the processlist, -1 when it means none. */
int dbps_adopt_command(const char *command);

/**
 * @brief Ask the server and hand what it tells to the kernel.
 * @param ret_left On success the number of sessions that still lack something.
 * @return 0, also when there is nothing to do; errors as dbps_client_query(), or of the kernel
 * side.
 */
int dbps_adopt(struct dbps_kernel *kernel, pid_t pid, enum dbps_engine engine,
	       struct dbps_client *client, uint64_t deadline_ns, size_t *ret_left,
	       struct dbps_link_error *ret_error);

/** @brief Cookie of the server's session with a connection id. 0 or -ENOENT. */
int dbps_adopt_find_cookie(struct dbps_kernel *kernel, pid_t pid, uint64_t id,
			   uint64_t *ret_cookie);

#endif
