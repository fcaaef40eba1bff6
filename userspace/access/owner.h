/*
 * Whose client is at the other end of a session, when it is on this host: by the kernel's knowledge
 * alone, whatever the client says of itself.
 */
#ifndef DBPS_OWNER_H
#define DBPS_OWNER_H

#include <sys/types.h>

#include "dbps/session.h"

/**
 * @brief Whether a session's client is of this user: over a Unix socket the peer is, over loopback
 * TCP whose process made the client's socket.
 *
 * Loopback is asked of the kernel at each call. A client that has closed its end owns nothing any
 * more: its address may be another's by now.
 * @param session As a snapshot had it, taken before the call.
 * @return 1; 0 when it is somebody else's, not on this host, gone, or cannot be told; negative
 * errno.
 */
int dbps_owner_is(const struct dbps_session *session, uid_t uid);

#endif
