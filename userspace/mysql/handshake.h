/*
 * The server's side of a login, handshake version 10: the greeting, and what the client answers
 * (protocol.md 1.2 to 1.5). Pure functions over bytes.
 */
#ifndef DBPS_WIRE_HANDSHAKE_H
#define DBPS_WIRE_HANDSHAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "mysql/cursor.h"
#include "mysql/protocol.h"
#include "mysql/writer.h"

struct wire_greeting {
	const char *version;
	uint32_t connection_id;
	char scramble[WIRE_SCRAMBLE_LEN]; /* no NUL in it */
};

/* What a client says of itself. Slices into its packet; absent fields are empty. */
struct wire_login {
	uint32_t caps; /* offered and asked for: the agreed ones */
	struct wire_slice user;
	struct wire_slice auth;
	struct wire_slice db;
	struct wire_slice plugin;
};

/** @brief One packet: the greeting. */
void wire_greet(struct wire_writer *writer, const struct wire_greeting *greeting);

/** @brief Fill a scramble with random bytes. 0 or a negative errno. */
int wire_scramble(char scramble[WIRE_SCRAMBLE_LEN]);

/**
 * @brief Read a handshake response (41 form only).
 * @return 0; -EPROTONOSUPPORT for a client older than 4.1, -EBADMSG when it is cut off.
 */
int wire_login_read(const void *packet, size_t len, struct wire_login *ret_login);

/** @brief Read the body of COM_CHANGE_USER, without the command byte. Same errors. */
int wire_change_user_read(const void *body, size_t len, uint32_t caps,
			  struct wire_login *ret_login);

/** @return Whether this client waits for the "fast" word of caching_sha2_password before OK. */
bool wire_login_wants_sha2_word(const struct wire_login *login);
/** @brief One packet: that word. */
void wire_sha2_word(struct wire_writer *writer);

#endif
