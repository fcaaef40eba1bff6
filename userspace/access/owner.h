/*
 * Whose client is at the other end of a session, when it is on this host: by the kernel's knowledge
 * alone, whatever the client says of itself.
 */
#ifndef DBPS_OWNER_H
#define DBPS_OWNER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "dbps/session.h"

/**
 * @brief Whether a session's client is of this user: over a Unix socket the peer is, over loopback
 * TCP whose process made the client's socket.
 *
 * Loopback is asked of the kernel at each call. A client that has closed its end owns nothing any
 * more: its address may be another's by now.
 * @param session As a snapshot had it, taken before the call.
 * @return False when it is somebody else's, not on this host, gone, or cannot be told.
 */
bool dbps_owner_is(const struct dbps_session *session, uid_t uid);

/* What the kernel knows of the client's end of a session. */
struct dbps_owner {
	bool known;
	uid_t uid;	 /* Unix: of the peer; TCP: of whose process made the socket */
	uint64_t cookie; /* TCP: the client's socket; Unix: 0 */
};

/** @brief What is known of the clients' ends of many sessions, under the same conditions. */
void dbps_owners_find(const struct dbps_session *const *sessions, size_t n, struct dbps_owner *ret);

/** @brief The same of many, asked together. */
void dbps_owners_are(const struct dbps_session *const *sessions, size_t n, uid_t uid, bool *ret);

#endif
