/*
 * Discovery while dbpsd runs: a thread that takes in servers that greet and lets go those that end.
 * Looking at a new server reads much of /proc, which must not keep consoles waiting.
 */
#ifndef DBPS_DISCOVERY_H
#define DBPS_DISCOVERY_H

struct dbps_daemon;
struct dbps_discovery;

/**
 * @brief Find the servers that are there: by name, and those that pins which were taken over know.
 * Then start the thread.
 * @return 0 or a negative errno.
 */
int dbps_discovery_new(struct dbps_daemon *daemon, struct dbps_discovery **ret_discovery);

/** @brief End the thread, which may first finish with one server. NULL is fine. */
void dbps_discovery_free(struct dbps_discovery *discovery);

#endif
