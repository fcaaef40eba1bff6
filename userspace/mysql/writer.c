/*
 * The buffer grows by doubling and only behind one function, reserve(), where the failure becomes
 * sticky. The header of a packet is reserved at its begin and filled in at its end.
 */
#include "mysql/writer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mysql/protocol.h"
#include "mysql/utf8.h"

#define FIRST_CAP 512

void wire_writer_done(struct wire_writer *writer)
{
	free(writer->bytes);
	writer->bytes = NULL;
	writer->len = 0;
	writer->cap = 0;
	writer->in_packet = false;
}

int wire_writer_flush(struct wire_writer *writer)
{
	size_t complete = writer->in_packet ? writer->packet : writer->len;

	if (writer->error || !writer->flush || !complete)
		return writer->error;
	writer->error = writer->flush(writer->flush_data, writer->bytes, complete);
	memmove(writer->bytes, writer->bytes + complete, writer->len - complete);
	writer->len -= complete;
	writer->packet = 0;
	return writer->error;
}

static int grow(struct wire_writer *writer, size_t need)
{
	size_t cap = writer->cap ? writer->cap : FIRST_CAP;
	uint8_t *bytes;

	while (cap < need)
		cap *= 2;
	bytes = realloc(writer->bytes, cap);
	if (!bytes)
		return -ENOMEM;
	writer->bytes = bytes;
	writer->cap = cap;
	return 0;
}

/* Room for `len` more bytes, or NULL and a failure that sticks. */
static uint8_t *reserve(struct wire_writer *writer, size_t len)
{
	uint8_t *at;

	if (writer->error)
		return NULL;
	if (len > WIRE_MESSAGE_MAX ||
	    (writer->in_packet && writer->len + len - writer->packet > WIRE_MESSAGE_MAX)) {
		writer->error = -EMSGSIZE;
		return NULL;
	}
	if (len > writer->cap - writer->len) {
		writer->error = grow(writer, writer->len + len);
		if (writer->error)
			return NULL;
	}
	at = writer->bytes + writer->len;
	writer->len += len;
	return at;
}

void wire_begin(struct wire_writer *writer)
{
	writer->packet = writer->len;
	writer->in_packet = true;
	reserve(writer, WIRE_HEADER_LEN);
}

static void write_header(struct wire_writer *writer, size_t at, size_t len)
{
	uint8_t *header = writer->bytes + at;

	header[0] = (uint8_t)len;
	header[1] = (uint8_t)(len >> 8);
	header[2] = (uint8_t)(len >> 16);
	header[3] = writer->seq++;
}

/*
 * A payload of n full packets and a rest (possibly empty) becomes n + 1 packets: headers are put in
 * from the front, each moving what is behind it by its own length.
 */
static void split_packet(struct wire_writer *writer)
{
	size_t at = writer->packet;
	size_t left = writer->len - at - WIRE_HEADER_LEN;

	while (left >= WIRE_PACKET_MAX) {
		size_t next = at + WIRE_HEADER_LEN + WIRE_PACKET_MAX;

		left -= WIRE_PACKET_MAX;
		write_header(writer, at, WIRE_PACKET_MAX);
		writer->in_packet = false; /* headers do not count as message */
		if (!reserve(writer, WIRE_HEADER_LEN))
			return;
		memmove(writer->bytes + next + WIRE_HEADER_LEN, writer->bytes + next, left);
		at = next;
	}
	write_header(writer, at, left);
}

void wire_end(struct wire_writer *writer)
{
	if (!writer->error)
		split_packet(writer);
	writer->in_packet = false;
	if (writer->flush_at && writer->len >= writer->flush_at)
		wire_writer_flush(writer);
}

static void put_integer(struct wire_writer *writer, uint64_t value, size_t len)
{
	uint8_t *at = reserve(writer, len);

	for (size_t i = 0; at && i < len; i++)
		at[i] = (uint8_t)(value >> (8 * i));
}

void wire_put_u8(struct wire_writer *writer, uint8_t value)
{
	put_integer(writer, value, 1);
}

void wire_put_u16(struct wire_writer *writer, uint16_t value)
{
	put_integer(writer, value, 2);
}

void wire_put_u24(struct wire_writer *writer, uint32_t value)
{
	put_integer(writer, value, 3);
}

void wire_put_u32(struct wire_writer *writer, uint32_t value)
{
	put_integer(writer, value, 4);
}

void wire_put_u64(struct wire_writer *writer, uint64_t value)
{
	put_integer(writer, value, 8);
}

void wire_put_lenenc(struct wire_writer *writer, uint64_t value)
{
	if (value < 0xfb) {
		wire_put_u8(writer, (uint8_t)value);
	} else if (value <= 0xffff) {
		wire_put_u8(writer, 0xfc);
		wire_put_u16(writer, (uint16_t)value);
	} else if (value <= 0xffffff) {
		wire_put_u8(writer, 0xfd);
		wire_put_u24(writer, (uint32_t)value);
	} else {
		wire_put_u8(writer, 0xfe);
		wire_put_u64(writer, value);
	}
}

void wire_put_zeros(struct wire_writer *writer, size_t len)
{
	uint8_t *at = reserve(writer, len);

	if (at)
		memset(at, 0, len);
}

void wire_put_bytes(struct wire_writer *writer, const void *bytes, size_t len)
{
	uint8_t *at = len ? reserve(writer, len) : NULL;

	if (at)
		memcpy(at, bytes, len);
}

void wire_put_zero_ended(struct wire_writer *writer, const char *text)
{
	wire_put_bytes(writer, text, strlen(text) + 1);
}

void wire_put_lenenc_bytes(struct wire_writer *writer, const void *bytes, size_t len)
{
	wire_put_lenenc(writer, len);
	wire_put_bytes(writer, bytes, len);
}

void wire_put_text(struct wire_writer *writer, const char *text, size_t len)
{
	uint8_t *at;

	wire_put_lenenc(writer, len);
	at = len ? reserve(writer, len) : NULL;
	if (!at)
		return;
	memcpy(at, text, len);
	utf8_clean((char *)at, len);
}
