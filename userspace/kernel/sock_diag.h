/*
 * Asking the kernel about sockets (sock_diag(7)), where a session's server has them.
 */
#ifndef DBPS_SOCK_DIAG_H
#define DBPS_SOCK_DIAG_H

#include "dbps/session.h"

/**
 * @brief A netlink socket of the session's network namespace; its receives wait a second at most.
 * @return The descriptor, owned by the caller; -ESTALE when the server has ended; -EOPNOTSUPP when
 * it has moved to another namespace; other negative errno.
 */
int dbps_sock_diag_open(const struct dbps_session *session);

#endif
