/*
 * The control link of one server: a connection that is opened when the server is found and kept, so
 * that KILL works when the server takes no more logins. One thread per link opens it, sleeps until
 * it breaks and opens it anew; kills use it in between.
 */
#ifndef DBPS_LINK_H
#define DBPS_LINK_H

#include "process.h"
#include "registry.h"

struct dbps_kernel;
struct dbps_link;

/* What a link is opened to. */
struct dbps_link_target {
	pid_t pid;
	enum dbps_engine engine;
	char name[64];
	uint16_t greeted_port; /* where the kernel saw it greet, 0: unknown */
	const struct dbps_listeners *listeners;
};

/**
 * @brief Start the link's thread, which opens the link.
 * @param ret_link One reference, the caller's (dbps_link_unref()).
 */
int dbps_link_new(struct dbps_kernel *kernel, const struct dbps_registry_options *options,
		  const struct dbps_link_target *target, struct dbps_link **ret_link);

/** @brief Call off what is under way and join the thread. Further uses get -ENOTCONN. */
void dbps_link_stop(struct dbps_link *link);

struct dbps_link *dbps_link_ref(struct dbps_link *link);
/** @brief Release a reference; the last one stops the link. NULL is fine. */
void dbps_link_unref(struct dbps_link *link);

/** @brief Fill in link, link_text, link_id, link_cookie, and version and engine if it knows them.
 */
void dbps_link_view(struct dbps_link *link, struct dbps_server_view *view);

/*
 * Uses: each takes the link for its time and gives up after timeout_ms; contracts are those of the
 * functions in registry.h with the same names.
 */
int dbps_link_use_ping(struct dbps_link *link, int timeout_ms, struct dbps_link_error *ret_error);
int dbps_link_use_query_id(struct dbps_link *link, uint64_t id, int timeout_ms,
			   uint64_t *ret_query_id, bool *ret_killed,
			   struct dbps_link_error *ret_error);
int dbps_link_use_find_query(struct dbps_link *link, uint64_t query_id, int timeout_ms,
			     uint64_t *ret_id, struct dbps_link_error *ret_error);
int dbps_link_use_query_ids(struct dbps_link *link, const uint64_t *ids, size_t n, int timeout_ms,
			    uint64_t *ret_query_ids, struct dbps_link_error *ret_error);
int dbps_link_use_kill(struct dbps_link *link, const char *what, uint64_t id, int timeout_ms,
		       struct dbps_link_error *ret_error);
int dbps_link_use_limits(struct dbps_link *link, int timeout_ms,
			 struct dbps_server_limits *ret_limits, struct dbps_link_error *ret_error);
int dbps_link_use_adopt(struct dbps_link *link, int timeout_ms, struct dbps_link_error *ret_error);

#endif
