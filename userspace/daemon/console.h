/*
 * The console: accepts connections on the Unix socket and serves each with one thread, in the MySQL
 * protocol. A slow or silent client holds up nobody; too many get ERROR 1040.
 */
#ifndef DBPS_CONSOLE_H
#define DBPS_CONSOLE_H

struct dbps_daemon;
struct dbps_console;

/**
 * @brief Make the socket (config.socket, its directory too, mode 0666; who may do what is decided
 * by peer credentials) and listen. A stale socket file of a daemon that is gone is replaced, a live
 *        one is -EADDRINUSE.
 * @param ret_console Owned by the caller (dbps_console_free()).
 */
int dbps_console_new(struct dbps_daemon *daemon, struct dbps_console **ret_console);

/** @brief Polls readable when a connection waits; then call dbps_console_accept(). */
int dbps_console_fd(const struct dbps_console *console);
void dbps_console_accept(struct dbps_console *console);

/** @brief End all connections, join their threads, remove the socket. NULL is fine. */
void dbps_console_free(struct dbps_console *console);

#endif
