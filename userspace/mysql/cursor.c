/*
 * The reader's only arithmetic is `len > left`: no offset is ever added before it was compared.
 * Byte order is little-endian on the wire, whatever the host's is.
 */
#include "mysql/cursor.h"

#include <errno.h>
#include <string.h>

static int read_integer(struct wire_cursor *cursor, size_t len, uint64_t *ret)
{
	uint64_t value = 0;

	if (len > cursor->left)
		return -EBADMSG;
	for (size_t i = 0; i < len; i++)
		value |= (uint64_t)cursor->at[i] << (8 * i);
	cursor->at += len;
	cursor->left -= len;
	*ret = value;
	return 0;
}

int wire_read_u8(struct wire_cursor *cursor, uint8_t *ret)
{
	uint64_t value;
	int r = read_integer(cursor, 1, &value);

	if (!r)
		*ret = (uint8_t)value;
	return r;
}

int wire_read_u16(struct wire_cursor *cursor, uint16_t *ret)
{
	uint64_t value;
	int r = read_integer(cursor, 2, &value);

	if (!r)
		*ret = (uint16_t)value;
	return r;
}

int wire_read_u24(struct wire_cursor *cursor, uint32_t *ret)
{
	uint64_t value;
	int r = read_integer(cursor, 3, &value);

	if (!r)
		*ret = (uint32_t)value;
	return r;
}

int wire_read_u32(struct wire_cursor *cursor, uint32_t *ret)
{
	uint64_t value;
	int r = read_integer(cursor, 4, &value);

	if (!r)
		*ret = (uint32_t)value;
	return r;
}

int wire_read_u64(struct wire_cursor *cursor, uint64_t *ret)
{
	return read_integer(cursor, 8, ret);
}

/* Bytes that follow the first byte of a length-encoded integer, 0 when it is the value itself. */
static int lenenc_width(uint8_t first, size_t *ret_width)
{
	switch (first) {
	case 0xfb:
	case 0xff:
		return -EBADMSG;
	case 0xfc:
		*ret_width = 2;
		return 0;
	case 0xfd:
		*ret_width = 3;
		return 0;
	case 0xfe:
		*ret_width = 8;
		return 0;
	default:
		*ret_width = 0;
		return 0;
	}
}

int wire_read_lenenc(struct wire_cursor *cursor, uint64_t *ret)
{
	struct wire_cursor ahead = *cursor;
	uint64_t value;
	size_t width;
	int r;

	r = read_integer(&ahead, 1, &value);
	if (!r)
		r = lenenc_width((uint8_t)value, &width);
	if (!r && width)
		r = read_integer(&ahead, width, &value);
	if (r)
		return r;
	*cursor = ahead;
	*ret = value;
	return 0;
}

int wire_read_bytes(struct wire_cursor *cursor, size_t len, struct wire_slice *ret)
{
	if (len > cursor->left)
		return -EBADMSG;
	*ret = (struct wire_slice){.data = (const char *)cursor->at, .len = len};
	cursor->at += len;
	cursor->left -= len;
	return 0;
}

int wire_read_lenenc_bytes(struct wire_cursor *cursor, struct wire_slice *ret)
{
	struct wire_cursor ahead = *cursor;
	uint64_t len;
	int r;

	r = wire_read_lenenc(&ahead, &len);
	if (r)
		return r;
	if (len > ahead.left)
		return -EBADMSG;
	r = wire_read_bytes(&ahead, (size_t)len, ret);
	if (!r)
		*cursor = ahead;
	return r;
}

int wire_read_zero_ended(struct wire_cursor *cursor, struct wire_slice *ret)
{
	const uint8_t *end = cursor->left ? memchr(cursor->at, 0, cursor->left) : NULL;
	size_t len;

	if (!end)
		return -EBADMSG;
	len = (size_t)(end - cursor->at);
	*ret = (struct wire_slice){.data = (const char *)cursor->at, .len = len};
	cursor->at += len + 1;
	cursor->left -= len + 1;
	return 0;
}

struct wire_slice wire_read_rest(struct wire_cursor *cursor)
{
	struct wire_slice rest = {.data = (const char *)cursor->at, .len = cursor->left};

	cursor->at += cursor->left;
	cursor->left = 0;
	return rest;
}
