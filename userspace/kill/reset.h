/*
 * Ending a session's socket from outside the server: a TCP connection is reset, any other is shut
 * down. Both act on the one socket that the cookie names, or on nothing.
 */
#ifndef DBPS_RESET_H
#define DBPS_RESET_H

#include "dbps/session.h"

/**
 * @brief Reset a TCP session: the server's end is aborted and the client gets RST (SOCK_DESTROY of
 *        sock_diag(7), found by address and cookie in the session's own network namespace).
 * @return 0; -ESTALE when this socket is not there any more; -EOPNOTSUPP when it is no TCP session
 * or the kernel was built without CONFIG_INET_DIAG_DESTROY; other negative errno.
 */
int dbps_reset_tcp(const struct dbps_session *session);

/**
 * @brief Shut a session's socket down in both directions, through a copy of the server's descriptor
 *        (pidfd_getfd(2)) that is closed at once. The server reads end-of-file, and so does the
 * client.
 * @return 0; -ESTALE when the server does not have this socket any more; other negative errno.
 */
int dbps_reset_shutdown(const struct dbps_session *session);

/** @brief The same for the receiving side alone: what the server still sends arrives. */
int dbps_reset_receiving(const struct dbps_session *session);

#endif
