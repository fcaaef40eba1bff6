/*
 * The registry of database servers on this host: found by the kernel's first greeting or by their
 * listeners, named, numbered, followed until their process ends. Each has a control link.
 */
#ifndef DBPS_REGISTRY_H
#define DBPS_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct dbps_kernel;
struct dbps_registry;
struct dbps_link;

enum dbps_engine {
	DBPS_ENGINE_UNKNOWN,
	DBPS_ENGINE_MARIADB,
	DBPS_ENGINE_MYSQL,
	DBPS_ENGINE_OCEANBASE,
	DBPS_ENGINE_TIDB,
	DBPS_ENGINE_SPHINX,
	DBPS_ENGINE_POSTGRES,
	DBPS_ENGINE_PGBOUNCER,
	DBPS_ENGINE_PROXY, /* passes on what servers send, greetings and ids, too */
	DBPS_ENGINE_DBPS   /* our own console */
};

/* How the control link of a server stands. */
enum dbps_link_state { DBPS_LINK_NONE, DBPS_LINK_OPENING, DBPS_LINK_UP, DBPS_LINK_DOWN };

/* One server as seen at one moment: a copy, nothing in it is owned by the registry. */
struct dbps_server_view {
	uint32_t index; /* part of the ids; a restarted server of the same name keeps it */
	pid_t pid;	/* 0: gone */
	enum dbps_engine engine;
	char name[64];	     /* "mariadb-3306" */
	char version[64];    /* "10.11.19-MariaDB-0+deb12u1" without "5.5.5-"; "" unknown */
	char addresses[512]; /* "0.0.0.0:3306 [::]:3306 /run/mysqld/mysqld.sock" */
	char container[64];  /* that it runs in, when dbpsd does not; "": none that is known */
	uint32_t netns;
	enum dbps_link_state link;
	char link_text[256];  /* "root over /run/mysqld/mysqld.sock", or why it is down */
	uint64_t link_id;     /* the server's connection id of the link, 0: none */
	uint64_t link_cookie; /* socket cookie of the server's end when known, else 0 */
	bool tls_read;	      /* its encrypted sessions are followed in clear text */
	bool tls_unread;      /* but of some no plaintext was met */
	char tls_text[256];   /* "libssl.so.3", or why not */
};

struct dbps_registry_options {
	const char *link_user;	      /* NULL: root */
	const char *link_option_file; /* NULL: none; my.cnf format, groups [client] and [dbps-NAME]
					 or [dbps] */
	bool link_enabled;
};

/**
 * @brief Make the registry and start looking for servers.
 * @param ret_registry Owned by the caller (dbps_registry_free()).
 */
int dbps_registry_new(struct dbps_kernel *kernel, const struct dbps_registry_options *options,
		      struct dbps_registry **ret_registry);

/** @brief Close all links, stop their threads, release. NULL is fine. */
void dbps_registry_free(struct dbps_registry *registry);

/**
 * @brief Look through /proc for servers that run already: processes that listen and are known
 *        database servers by name. Joins their sessions and opens their links.
 */
int dbps_registry_scan(struct dbps_registry *registry);

/** @brief A process has greeted (DBPS_EVENT_SERVER): find out about it. */
int dbps_registry_greeted(struct dbps_registry *registry, pid_t tgid);

/**
 * @brief A descriptor that polls readable when a server's process has ended; then call
 *        dbps_registry_reap(). Owned by the registry. Nothing wakes while nothing ends.
 */
int dbps_registry_fd(const struct dbps_registry *registry);
void dbps_registry_reap(struct dbps_registry *registry);

/**
 * @brief All servers that are there.
 * @param ret_views Owned by the caller (free()).
 */
int dbps_registry_list(struct dbps_registry *registry, struct dbps_server_view **ret_views,
		       size_t *ret_n);

/** @brief One server by process id, index or name; this daemon too (own.h). 0 or -ENOENT. */
int dbps_registry_by_pid(struct dbps_registry *registry, pid_t pid, struct dbps_server_view *ret);
int dbps_registry_by_index(struct dbps_registry *registry, uint32_t index,
			   struct dbps_server_view *ret);
int dbps_registry_by_name(struct dbps_registry *registry, const char *name,
			  struct dbps_server_view *ret);

/*
 * The control link of a server, used by kills. Each call takes the link for its time and gives up
 * after timeout_ms. Errors: -ENOTCONN nothing was sent for want of a link (why in ret_error);
 * -ETIMEDOUT it was sent and not answered in time; -EIO with the server's own error in ret_error.
 */
struct dbps_link_error {
	unsigned int code; /* MySQL error code, 0: none */
	char text[256];
};

/** @brief See that the server answers over its link. */
int dbps_link_ping(struct dbps_registry *registry, uint32_t server, int timeout_ms,
		   struct dbps_link_error *ret_error);

/**
 * @brief QUERY_ID of what connection `id` runs now (MariaDB).
 * @param ret_killed Whether a kill has reached it already (Command is "Killed").
 * @return 0; -ENOENT: no such connection.
 */
int dbps_link_query_id(struct dbps_registry *registry, uint32_t server, uint64_t id, int timeout_ms,
		       uint64_t *ret_query_id, bool *ret_killed, struct dbps_link_error *ret_error);

/* How many connections are asked for at once. */
#define DBPS_LINK_IDS_MAX 256

/**
 * @brief The same of many connections in one question, which the server answers as fast as of one.
 * @param n At most DBPS_LINK_IDS_MAX.
 * @param ret_query_ids Of each; 0 for one that is not there, or that a kill has reached already.
 */
int dbps_link_query_ids(struct dbps_registry *registry, uint32_t server, const uint64_t *ids,
			size_t n, int timeout_ms, uint64_t *ret_query_ids,
			struct dbps_link_error *ret_error);

/**
 * @brief The connection that runs the statement with this QUERY_ID now (MariaDB).
 * @return 0; -ENOENT: none does.
 */
int dbps_link_find_query(struct dbps_registry *registry, uint32_t server, uint64_t query_id,
			 int timeout_ms, uint64_t *ret_id, struct dbps_link_error *ret_error);

/**
 * @brief The server's own KILL.
 * @param what "QUERY" or "CONNECTION" of a connection id; "QUERY ID" of a query id (MariaDB); or
 * one of these behind "SOFT " (MariaDB).
 * @return 0; -ESRCH when there is no such connection, or no statement has this query id any more.
 */
int dbps_link_kill(struct dbps_registry *registry, uint32_t server, const char *what, uint64_t id,
		   int timeout_ms, struct dbps_link_error *ret_error);

/**
 * @brief Ask the server once more about sessions older than dbps, e.g. when one of unknown id is to
 * be killed. The link does so by itself when it is opened.
 */
int dbps_link_adopt(struct dbps_registry *registry, uint32_t server, int timeout_ms,
		    struct dbps_link_error *ret_error);

/* What a server says of how many it serves, and how. */
struct dbps_server_limits {
	uint32_t max_connections; /* 0: unknown */
	uint16_t uncounted_port;  /* whose connections do not count: extra_port, admin_port; 0: none
				   */
	bool thread_per_connection; /* false: otherwise, or unknown */
	uint32_t connected;	    /* connections just now, by its own count; 0: unknown */
};

/**
 * @brief The limits of a server as it has them now; those it had when its link was opened, if it
 *        does not answer in time.
 * @return 0; as the other uses of the link when neither is known.
 */
int dbps_link_limits(struct dbps_registry *registry, uint32_t server, int timeout_ms,
		     struct dbps_server_limits *ret_limits, struct dbps_link_error *ret_error);

const char *dbps_engine_name(enum dbps_engine engine); /* "mariadb"; "unknown" */

#endif
