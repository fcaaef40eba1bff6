/*
 * A listening Unix socket at a path: made so that everybody may connect, in place of one that a
 * daemon which is gone left there, and removed only if it is still this one.
 */
#ifndef DBPS_LISTENER_H
#define DBPS_LISTENER_H

#include <sys/types.h>
#include <sys/un.h>

struct dbps_listener {
	int fd; /* does not block; -1: none */
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	dev_t dev; /* of the socket file, to remove no other */
	ino_t ino;
};

/**
 * @brief Make the socket (mode 0666) and its directory. Logs why it cannot.
 * @param type SOCK_STREAM or SOCK_SEQPACKET.
 * @return 0; -EADDRINUSE when somebody listens there; -EEXIST when it is another kind of file;
 *         -ENAMETOOLONG; other negative errno.
 */
int dbps_listener_open(const char *path, int type, struct dbps_listener *ret_listener);

/** @brief Stop listening, remove the socket file. Nothing for one that was never opened (fd -1). */
void dbps_listener_close(struct dbps_listener *listener);

#endif
