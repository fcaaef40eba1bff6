/*
 * Session rows: a snapshot made readable. Ids, servers, hosts and texts are resolved here once, for
 * everything that shows or kills sessions.
 */
#ifndef DBPS_ROWS_H
#define DBPS_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dbps/kernel.h"

struct dbps_kernel;
struct dbps_place;
struct dbps_registry;
struct dbps_clients;
struct dbps_rows;

#define DBPS_SERVER_NAME_MAX 64

struct dbps_row {
	const struct dbps_session *session;    /* into dbps_rows.data */
	const struct dbps_thread_look *thread; /* the same; UNKNOWN when it was not looked at */
	uint64_t id;	  /* unique over all servers of the host, see dbps_row_id() */
	uint64_t now_ns;  /* CLOCK_MONOTONIC when the record was copied */
	uint32_t server;  /* index in the registry; UINT32_MAX when the server is not known (yet) */
	uint8_t engine;	  /* enum dbps_engine (server/registry.h) */
	uint8_t peer;	  /* enum dbps_peer */
	uint64_t peer_ns; /* when a peer that is not there was last heard of; 0: unknown */
	bool own;	  /* a session of dbpsd itself: its control link */
	bool info_cut;	  /* `info` is not the whole text */
	char server_name[DBPS_SERVER_NAME_MAX];
	char local_address[48]; /* of the server's end; "" over Unix sockets */
	char host[80];		/* as servers print it: "127.0.0.1:4711", "::1:4711", "localhost" */
	char *info; /* what runs, masked and trimmed, not terminated; NULL: nothing or unknown */
	size_t info_len;   /* bytes of it */
	size_t info_whole; /* bytes of the whole text, before masking */
	const char *
		why_no_info; /* of a running statement without text, or encrypted: why; else NULL */
	struct dbps_rows *all; /* those of the same snapshot */
	char *owned; /* text that was made for `info`; NULL: it points into the snapshot */
};

struct dbps_rows {
	size_t n;
	struct dbps_row *row; /* sorted by id */
	void *data;	      /* the snapshot that the rows point into */
	struct dbps_kernel *kernel;
	struct dbps_registry *registry;
	struct dbps_clients *clients; /* client.h; NULL: nobody has asked yet */
	bool clients_failed;
};

/* What a snapshot has besides the sessions themselves; without it it is cheaper. */
enum dbps_rows_want {
	DBPS_ROWS_TEXT = 1,    /* `info` */
	DBPS_ROWS_THREADS = 2, /* `thread`; dbps_rows_read() only */
};

/**
 * @brief Take a snapshot and make rows of it.
 * @param cookie One session only, or 0 for all.
 * @param want enum dbps_rows_want.
 * @param ret_rows On success owned by the caller (dbps_rows_free()); untouched on failure.
 * @return 0 or a negative errno.
 */
int dbps_rows_read(struct dbps_kernel *kernel, struct dbps_registry *registry, uint64_t cookie,
		   unsigned int want, struct dbps_rows **ret_rows);

/** @brief The same for the one session that has or had this place, at once. */
int dbps_rows_read_at(struct dbps_kernel *kernel, struct dbps_registry *registry,
		      const struct dbps_place *place, unsigned int want,
		      struct dbps_rows **ret_rows);

/** @brief Release rows. NULL is fine. */
void dbps_rows_free(struct dbps_rows *rows);

/** @return The row with this id, or NULL. */
const struct dbps_row *dbps_rows_find(const struct dbps_rows *rows, uint64_t id);

/*
 * The id of the whole-host console: the first server's ids are plain, those of server n are
 * n << 32 | id. A session whose id is unknown gets DBPS_ID_UNKNOWN | cookie. The console's own
 * connections have plain ids too, from DBPS_ID_CONSOLE on, so that a client's ^C, which knows the
 * id that it was greeted with, ends its own statement and no other's; a session of the first server
 * with so high an id is shown as one whose id is unknown.
 */
#define DBPS_ID_UNKNOWN (1ULL << 52)
#define DBPS_ID_CONSOLE 0xf0000000u
uint64_t dbps_row_id(const struct dbps_session *session, uint32_t server);

/* Each Unix socket client is "localhost"; the user of a login that is not over yet is this one. */
#define DBPS_USER_UNAUTHENTICATED "unauthenticated user"

/*
 * The words of the processlist, as the session's engine says them (protocol.md 1.6, 2.2). NULL when
 * nothing was seen of a session: it is older than dbps, or encrypted.
 */
const char *dbps_row_command(const struct dbps_row *row); /* "Query", "Sleep", … */
const char *dbps_row_state(const struct dbps_row *row);	  /* "INIT", "SLEEP", "ACTIVE", … */
const char *dbps_row_phase(const struct dbps_row *row);	  /* "executing", "sending rows", … */

/** @return Age of the statement, or time since its end when asleep; UINT64_MAX when unknown. */
uint64_t dbps_row_time_ns(const struct dbps_row *row);

/* A part of a name: not terminated, nothing when len is 0. */
struct dbps_name {
	const char *start;
	size_t len;
};

struct dbps_login {
	struct dbps_name user, tenant, cluster;
};

/**
 * @return The parts of its login, into the row's session. OceanBase's are `user@tenant#cluster`
 *         (protocol.md 2.4); others have no more than a user.
 */
struct dbps_login dbps_row_login(const struct dbps_row *row);

/** @return Whether the session has not logged in yet. */
bool dbps_row_logs_in(const struct dbps_row *row);

/**
 * @return What the thread of the statement does or waits for, static: "cpu", "runnable", "futex",
 * "disk", … (the column's help has all); NULL when it was not looked at.
 */
const char *dbps_row_wait(const struct dbps_row *row);

/** @return How the client went, for a session that executes though it has; else NULL. */
const char *dbps_row_orphan(const struct dbps_row *row);

#endif
