/*
 * What /proc tells of one process: its executable, its namespaces, the sockets it listens on, what
 * a thread of it waits for. Process ids are those of the pid namespace of the daemon's /proc.
 */
#ifndef DBPS_PROCESS_H
#define DBPS_PROCESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>

#include "dbps/session.h"

/* A listening stream socket. */
struct dbps_listener {
	uint8_t family;	  /* enum dbps_family */
	uint16_t port;	  /* host order; 0 for a Unix socket */
	uint32_t inode;	  /* of the socket file */
	uint8_t addr[16]; /* network order; IPv4 in the first 4 bytes */
	char path[sizeof(((struct sockaddr_un *)0)->sun_path) +
		  1]; /* as bound; "@name": abstract */
};

struct dbps_listeners {
	size_t n;
	struct dbps_listener *at; /* TCP by port first, then Unix by path */
};

/** @brief Release what is inside. Empty is fine. */
void dbps_listeners_done(struct dbps_listeners *listeners);

/**
 * @brief Parse a line of /proc/net/tcp or tcp6 (Documentation/networking/proc_net_tcp.rst).
 * @return Whether it is a listening socket; *ret is written only then.
 */
bool dbps_listener_parse_tcp(const char *line, bool v6, struct dbps_listener *ret);

/** @brief The same for a line of /proc/net/unix: a stream socket with __SO_ACCEPTCON. */
bool dbps_listener_parse_unix(const char *line, struct dbps_listener *ret);

/**
 * @brief The stream sockets that a process listens on: those of its own network namespace of which
 * it holds a descriptor.
 * @param ret_listeners Release with dbps_listeners_done(). Empty when it listens on nothing.
 * @return 0; -ENOENT or -ESRCH when the process is gone; other negative errno.
 */
int dbps_process_listeners(pid_t pid, struct dbps_listeners *ret_listeners);

/** @brief Write "0.0.0.0:3306 [::]:3306 /run/m.sock" to a buffer, cut where it ends. */
void dbps_listeners_format(const struct dbps_listeners *listeners, char *buf, size_t size);

/**
 * @brief Base name of the executable; without the right to read it, the command name.
 * @return 0; -ENOENT or -ESRCH when the process is gone or has no executable (a kernel thread).
 */
int dbps_process_name(pid_t pid, char *ret_name, size_t size);

/** @brief Inode of a namespace ("net", "mnt"); pid 0: of the calling thread. */
int dbps_process_namespace(pid_t pid, const char *name, uint32_t *ret_inode);

/**
 * @return The user of this host who is root in the process's user namespace; 0 when that is root
 * himself, nobody is, or it cannot be told.
 */
uid_t dbps_process_root(pid_t pid);

/** @return Whether the process is stopped by a signal or a debugger (state T or t). */
bool dbps_process_stopped(pid_t pid);

/**
 * @brief The descriptor of a process that refers to a socket.
 * @return The descriptor's number in that process; -ENOENT when it has none; other negative errno.
 */
int dbps_process_socket_fd(pid_t pid, uint32_t inode);

/**
 * @brief A copy of a process's descriptor (pidfd_getfd(2)), if it is of the socket with this
 * cookie.
 * @return Owned by the caller (close()): the server's closing waits for it. -ESTALE when the
 * process or the descriptor is gone, or it is of another socket by now; other negative errno.
 */
int dbps_process_socket_copy(pid_t pid, int fd, uint64_t cookie);

/**
 * @brief The socket that a thread waits for in poll() or ppoll() of one descriptor.
 * @return 0; -ENODATA when it does something else; other negative errno.
 */
int dbps_thread_polled_socket(pid_t pid, pid_t tid, uint32_t *ret_inode);

#endif
