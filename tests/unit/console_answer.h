/*
 * What a console answered, as one string: "OK[ (<affected rows>)][ <warnings>]: <info>", "ERR
 * <code> <sqlstate>: <text>", or a result set, "<name>|<name>\n" and a line for each row. NULL is
 * \N.
 */
#ifndef DBPS_CONSOLE_ANSWER_H
#define DBPS_CONSOLE_ANSWER_H

#include <stdio.h>

#include <cmocka.h>

#include "mysql/cursor.h"

static struct wire_slice answer_packet(struct wire_cursor *bytes)
{
	struct wire_slice packet;
	uint32_t len;
	uint8_t seq;

	assert_int_equal(wire_read_u24(bytes, &len), 0);
	assert_int_equal(wire_read_u8(bytes, &seq), 0);
	assert_int_equal(wire_read_bytes(bytes, len, &packet), 0);
	return packet;
}

static void answer_ok(struct wire_cursor *packet, FILE *out)
{
	struct wire_slice info = {"", 0};
	uint64_t number, affected;
	uint16_t status, warnings;

	assert_int_equal(wire_read_lenenc(packet, &affected), 0);
	assert_int_equal(wire_read_lenenc(packet, &number), 0);
	assert_int_equal(wire_read_u16(packet, &status), 0);
	assert_int_equal(wire_read_u16(packet, &warnings), 0);
	if (packet->left)
		assert_int_equal(wire_read_lenenc_bytes(packet, &info), 0);
	fputs("OK", out);
	if (affected)
		fprintf(out, " (%llu)", (unsigned long long)affected);
	if (warnings)
		fprintf(out, " %u", warnings);
	fprintf(out, ": %.*s", (int)info.len, info.data);
}

static void answer_error(struct wire_cursor *packet, FILE *out)
{
	struct wire_slice state, text;
	uint16_t code;

	assert_int_equal(wire_read_u16(packet, &code), 0);
	assert_int_equal(wire_read_bytes(packet, 6, &state), 0);
	text = wire_read_rest(packet);
	fprintf(out, "ERR %u %.5s: %.*s", code, state.data + 1, (int)text.len, text.data);
}

static void answer_column(struct wire_slice packet, FILE *out)
{
	struct wire_cursor cursor = wire_cursor(packet.data, packet.len);
	struct wire_slice name = {0};

	for (int i = 0; i < 5; i++)
		assert_int_equal(wire_read_lenenc_bytes(&cursor, &name), 0);
	fwrite(name.data, 1, name.len, out);
}

static void answer_row(struct wire_slice packet, FILE *out)
{
	struct wire_cursor cursor = wire_cursor(packet.data, packet.len);
	const char *between = "";

	while (cursor.left) {
		struct wire_slice value = {"\\N", 2};
		uint8_t mark;

		if (*cursor.at == 0xfb)
			assert_int_equal(wire_read_u8(&cursor, &mark), 0);
		else
			assert_int_equal(wire_read_lenenc_bytes(&cursor, &value), 0);
		fputs(between, out);
		fwrite(value.data, 1, value.len, out);
		between = "|";
	}
	fputc('\n', out);
}

static bool answer_is_eof(struct wire_slice packet)
{
	return packet.len == 5 && (uint8_t)packet.data[0] == 0xfe;
}

static void answer_result(uint8_t n, struct wire_cursor *bytes, FILE *out)
{
	struct wire_slice packet;

	for (uint8_t i = 0; i < n; i++) {
		fputs(i ? "|" : "", out);
		answer_column(answer_packet(bytes), out);
	}
	fputc('\n', out);
	assert_true(answer_is_eof(answer_packet(bytes)));
	for (packet = answer_packet(bytes); !answer_is_eof(packet); packet = answer_packet(bytes))
		answer_row(packet, out);
}

/** @brief Read one whole answer. @return Owned by the caller (free()). */
static char *answer_read(struct wire_cursor *bytes)
{
	struct wire_slice slice = answer_packet(bytes);
	struct wire_cursor packet = wire_cursor(slice.data, slice.len);
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	uint8_t first;

	assert_non_null(out);
	assert_int_equal(wire_read_u8(&packet, &first), 0);
	if (first == 0x00)
		answer_ok(&packet, out);
	else if (first == 0xff)
		answer_error(&packet, out);
	else
		answer_result(first, bytes, out);
	fclose(out);
	return text;
}

#endif
