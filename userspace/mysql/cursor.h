/*
 * A must-check reader over bytes that somebody else sent: every read compares with what is left,
 * hands out a value or a slice of the input, and moves only on success.
 */
#ifndef DBPS_WIRE_CURSOR_H
#define DBPS_WIRE_CURSOR_H

#include <stddef.h>
#include <stdint.h>

#define WIRE_MUST_CHECK __attribute__((warn_unused_result))

/* Bytes inside a packet: valid as long as the packet is, not terminated. */
struct wire_slice {
	const char *data;
	size_t len;
};

struct wire_cursor {
	const uint8_t *at;
	size_t left;
};

static inline struct wire_cursor wire_cursor(const void *data, size_t len)
{
	return (struct wire_cursor){.at = data, .left = len};
}

/* All return 0, or -EBADMSG when the input ends first; then nothing moves and outputs are
 * untouched. */
WIRE_MUST_CHECK int wire_read_u8(struct wire_cursor *cursor, uint8_t *ret);
WIRE_MUST_CHECK int wire_read_u16(struct wire_cursor *cursor, uint16_t *ret);
WIRE_MUST_CHECK int wire_read_u24(struct wire_cursor *cursor, uint32_t *ret);
WIRE_MUST_CHECK int wire_read_u32(struct wire_cursor *cursor, uint32_t *ret);
WIRE_MUST_CHECK int wire_read_u64(struct wire_cursor *cursor, uint64_t *ret);

/** @brief Length-encoded integer. The marks 0xfb (NULL) and 0xff (ERR) are -EBADMSG too. */
WIRE_MUST_CHECK int wire_read_lenenc(struct wire_cursor *cursor, uint64_t *ret);

WIRE_MUST_CHECK int wire_read_bytes(struct wire_cursor *cursor, size_t len, struct wire_slice *ret);
/** @brief Bytes after their length-encoded length. */
WIRE_MUST_CHECK int wire_read_lenenc_bytes(struct wire_cursor *cursor, struct wire_slice *ret);
/** @brief Bytes up to a NUL, which is passed over. */
WIRE_MUST_CHECK int wire_read_zero_ended(struct wire_cursor *cursor, struct wire_slice *ret);

/** @brief All that is left; cannot fail. */
struct wire_slice wire_read_rest(struct wire_cursor *cursor);

#endif
