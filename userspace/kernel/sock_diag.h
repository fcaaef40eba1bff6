/*
 * Asking the kernel about sockets (sock_diag(7)), where a session's server has them.
 */
#ifndef DBPS_SOCK_DIAG_H
#define DBPS_SOCK_DIAG_H

#include <linux/inet_diag.h>

#include "dbps/session.h"

/** @brief Fill in what names the session's own socket, of TCP: its addresses and its cookie. */
void dbps_sock_diag_name(const struct dbps_session *session, struct inet_diag_sockid *id);

/**
 * @brief Take the calling thread to the network namespace of the session.
 * @param ret_own To be given to dbps_namespace_leave(), which comes soon.
 * @return 0; errors as dbps_sock_diag_open().
 */
int dbps_namespace_enter(const struct dbps_session *session, int *ret_own);
void dbps_namespace_leave(int own);

/**
 * @brief A netlink socket of the session's network namespace; its receives wait a second at most.
 * @return The descriptor, owned by the caller; -ESTALE when the server has ended; -EOPNOTSUPP when
 * it has moved to another namespace; other negative errno.
 */
int dbps_sock_diag_open(const struct dbps_session *session);

#endif
