/*
 * Whose client is at the other end of a session, when it is on this host: by the kernel's knowledge
 * alone, whatever the client says of itself.
 */
#ifndef DBPS_OWNER_H
#define DBPS_OWNER_H

#include <sys/types.h>

#include "dbps/session.h"

/**
 * @brief The user of a session's client: over a Unix socket the peer's, over loopback TCP the one
 *        whose process made the client's socket.
 *
 * Loopback is asked of the kernel at each call. A client that has closed its end owns nothing any
 * more: its address may be another's by now.
 * @param session As a snapshot had it, taken before the call.
 * @return 0; -ENOENT when the client is not on this host, has gone, or cannot be told; other
 * negative errno.
 */
int dbps_owner_of(const struct dbps_session *session, uid_t *ret_uid);

#endif
