/*
 * Hands the cancel table to servers that poll (dbps/cancel.h, cancel/handout.h), on a socket beside
 * the console's, and keeps which processes do: for as long as their connections live.
 */
#ifndef DBPS_DAEMON_HANDOUT_H
#define DBPS_DAEMON_HANDOUT_H

struct dbps_handouts;
struct dbps_kernel;

/**
 * @brief Listen at the console's path with DBPS_CANCEL_SUFFIX. Logs why it cannot.
 * @param ret_handouts Owned by the caller (dbps_handouts_free()).
 */
int dbps_handouts_new(struct dbps_kernel *kernel, const char *console,
		      struct dbps_handouts **ret_handouts);

/**
 * @return Polls readable when a server comes, has mapped, or goes; then call dbps_handouts_run().
 *         -1 for NULL.
 */
int dbps_handouts_fd(const struct dbps_handouts *handouts);
void dbps_handouts_run(struct dbps_handouts *handouts);

/** @brief Hang up on all; they poll on, and see that nothing is pending. NULL is fine. */
void dbps_handouts_free(struct dbps_handouts *handouts);

#endif
