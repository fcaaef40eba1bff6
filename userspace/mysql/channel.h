/*
 * Packets over a stream socket: one reader with a cap and deadlines, and a writer that gives up on
 * a peer that does not read. A channel belongs to one thread; shutdown(2) of its socket interrupts
 * it.
 */
#ifndef DBPS_WIRE_CHANNEL_H
#define DBPS_WIRE_CHANNEL_H

#include <stddef.h>
#include <stdint.h>

#include "mysql/cursor.h"
#include "mysql/writer.h"

struct wire_channel {
	int fd; /* not owned */
	uint8_t *in;
	size_t in_cap;
	size_t in_at;  /* first byte that was not handed out */
	size_t in_end; /* end of what was received */
	struct wire_writer out;
};

#define WIRE_FOREVER (-1)

/** @brief Begin to use a socket. Release with wire_channel_done(); the socket stays open. */
void wire_channel_init(struct wire_channel *channel, int fd);
void wire_channel_done(struct wire_channel *channel);

/**
 * @brief Read one packet. Sets the sequence id of the answer.
 * @param seq Sequence id that it must have.
 * @param max_bytes Largest payload that is believed.
 * @param wait_ms How long to wait for its first byte, or WIRE_FOREVER; the rest has to follow
 *        within the same time, at most 30 s.
 * @param ret_payload Valid until the next read.
 * @return 0; -ENODATA when the peer has closed between packets, -EBADMSG within one; -EPROTO for
 *         another sequence id; -EMSGSIZE for a larger payload; -ETIMEDOUT; other negative errno.
 */
int wire_channel_read(struct wire_channel *channel, uint8_t seq, size_t max_bytes, int wait_ms,
		      struct wire_slice *ret_payload);

/**
 * @brief After the last answer: take in and forget what the peer still sends until it closes, up to
 *        a packet's worth or a second, so that it gets to reading that answer.
 */
void wire_channel_drain(struct wire_channel *channel);

/** @brief Send everything that was written. 0; -ETIMEDOUT for a peer that does not read; other. */
int wire_channel_flush(struct wire_channel *channel);

#endif
