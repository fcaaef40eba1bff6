/*
 * A packet writer with sticky failure: puts never have to be checked, the first failure is kept and
 * everything after it dropped. Whole packets gather in one buffer, which is flushed as it fills.
 */
#ifndef DBPS_WIRE_WRITER_H
#define DBPS_WIRE_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A message larger than this is a mistake of ours: -EMSGSIZE. */
#define WIRE_MESSAGE_MAX (64u << 20)

/* Where full buffers go. 0 or a negative errno, which sticks. */
typedef int (*wire_flush_fn)(void *data, const uint8_t *bytes, size_t len);

struct wire_writer {
	uint8_t *bytes; /* packets that are complete, then the one under way */
	size_t len;
	size_t cap;
	size_t packet; /* where the header of the packet under way is */
	bool in_packet;
	uint8_t seq;	     /* sequence id of the next packet */
	int error;	     /* first failure, negative errno */
	size_t flush_at;     /* complete packets are flushed when there are this many bytes */
	wire_flush_fn flush; /* NULL: everything stays in `bytes` */
	void *flush_data;
};

/** @brief Release the buffer; the writer can be used again. */
void wire_writer_done(struct wire_writer *writer);

/** @brief Send what is complete. @return 0 or the writer's failure. */
int wire_writer_flush(struct wire_writer *writer);

/** @brief Begin a packet. Exactly one wire_end() follows. */
void wire_begin(struct wire_writer *writer);
/** @brief End the packet: writes its header, and splits it where it is 16 MiB or more. */
void wire_end(struct wire_writer *writer);

void wire_put_u8(struct wire_writer *writer, uint8_t value);
void wire_put_u16(struct wire_writer *writer, uint16_t value);
void wire_put_u24(struct wire_writer *writer, uint32_t value);
void wire_put_u32(struct wire_writer *writer, uint32_t value);
void wire_put_u64(struct wire_writer *writer, uint64_t value);
void wire_put_lenenc(struct wire_writer *writer, uint64_t value);
void wire_put_zeros(struct wire_writer *writer, size_t len);
void wire_put_bytes(struct wire_writer *writer, const void *bytes, size_t len);
void wire_put_zero_ended(struct wire_writer *writer, const char *text);
void wire_put_lenenc_bytes(struct wire_writer *writer, const void *bytes, size_t len);

/**
 * @brief Text of somebody else after its length: bytes that are not UTF-8 become '?'.
 *
 * Columns are told to be utf8mb4, and drivers refuse a whole result for one stray byte.
 */
void wire_put_text(struct wire_writer *writer, const char *text, size_t len);

#endif
