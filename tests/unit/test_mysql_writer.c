/*
 * Packets have the headers that their payloads need, at every boundary up to where they are split,
 * and the first failure of a writer is its last.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "mysql/cursor.h"
#include "mysql/protocol.h"
#include "mysql/utf8.h"
#include "mysql/writer.h"

/* Write a payload of `len` and read the packets back: their number, and that nothing was changed.
 */
static size_t count_packets(size_t len)
{
	struct wire_writer writer = {.seq = 254};
	_cleanup_free_ uint8_t *payload = malloc(len + 1);
	struct wire_cursor cursor;
	size_t packets = 0, done = 0;
	uint32_t packet_len;

	for (size_t i = 0; i < len; i++)
		payload[i] = (uint8_t)(i * 31 + (i >> 16));
	wire_begin(&writer);
	wire_put_bytes(&writer, payload, len);
	wire_end(&writer);
	assert_int_equal(writer.error, 0);
	cursor = wire_cursor(writer.bytes, writer.len);
	do {
		struct wire_slice slice;
		uint8_t seq;

		assert_int_equal(wire_read_u24(&cursor, &packet_len), 0);
		assert_int_equal(wire_read_u8(&cursor, &seq), 0);
		assert_int_equal(seq, (uint8_t)(254 + packets));
		assert_int_equal(wire_read_bytes(&cursor, packet_len, &slice), 0);
		assert_memory_equal(slice.data, payload + done, packet_len);
		done += packet_len;
		packets++;
	} while (packet_len == WIRE_PACKET_MAX);
	assert_int_equal(done, len);
	assert_int_equal(cursor.left, 0);
	wire_writer_done(&writer);
	return packets;
}

static void payloads_are_split_at_16_mib(void **state)
{
	static const size_t one[] = {0, 1, 250, 251, 0xffff, 0x10000, 0xfffffe};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(one); i++)
		assert_int_equal(count_packets(one[i]), 1);
	assert_int_equal(count_packets(0xffffff), 2); /* the second one is empty */
	assert_int_equal(count_packets(0x1000000), 2);
	assert_int_equal(count_packets(2UL * 0xffffff), 3);
	assert_int_equal(count_packets(2UL * 0xffffff + 1), 3);
}

static void a_message_has_a_cap(void **state)
{
	struct wire_writer writer = {0};

	(void)state;
	wire_begin(&writer);
	wire_put_zeros(&writer, WIRE_MESSAGE_MAX - WIRE_HEADER_LEN);
	assert_int_equal(writer.error, 0);
	wire_put_u8(&writer, 0);
	assert_int_equal(writer.error, -EMSGSIZE);
	wire_end(&writer);
	wire_writer_done(&writer);
}

struct sink {
	size_t bytes;
	size_t calls;
	int error;
};

static int swallow(void *data, const uint8_t *bytes, size_t len)
{
	struct sink *sink = data;

	(void)bytes;
	sink->bytes += len;
	sink->calls++;
	return sink->error;
}

static void put_packet(struct wire_writer *writer, size_t len)
{
	wire_begin(writer);
	wire_put_zeros(writer, len);
	wire_end(writer);
}

static void a_full_buffer_is_flushed_at_packet_ends(void **state)
{
	struct sink sink = {0};
	struct wire_writer writer = {.flush = swallow, .flush_data = &sink, .flush_at = 100};

	(void)state;
	put_packet(&writer, 90);
	assert_int_equal(sink.calls, 0);
	put_packet(&writer, 2);
	assert_int_equal(sink.bytes, 100);
	put_packet(&writer, 1);
	assert_int_equal(sink.bytes, 100);
	assert_int_equal(wire_writer_flush(&writer), 0);
	assert_int_equal(sink.bytes, 105);
	assert_int_equal(writer.len, 0);
	wire_writer_done(&writer);
}

static void an_unfinished_packet_stays_when_flushed(void **state)
{
	struct sink sink = {0};
	struct wire_writer writer = {.flush = swallow, .flush_data = &sink};

	(void)state;
	put_packet(&writer, 3);
	wire_begin(&writer);
	wire_put_bytes(&writer, "xy", 2);
	assert_int_equal(wire_writer_flush(&writer), 0);
	assert_int_equal(sink.bytes, 7);
	wire_end(&writer);
	assert_int_equal(writer.len, 6);
	assert_memory_equal(writer.bytes, "\2\0\0\1xy", 6);
	wire_writer_done(&writer);
}

static void the_first_failure_sticks(void **state)
{
	struct sink sink = {.error = -EPIPE};
	struct wire_writer writer = {.flush = swallow, .flush_data = &sink, .flush_at = 1};

	(void)state;
	put_packet(&writer, 1);
	assert_int_equal(writer.error, -EPIPE);
	sink.error = 0;
	put_packet(&writer, 1);
	assert_int_equal(wire_writer_flush(&writer), -EPIPE);
	assert_int_equal(sink.calls, 1);
	wire_writer_done(&writer);
}

static void assert_text(const char *text, size_t len, const char *want)
{
	struct wire_writer writer = {0};

	wire_put_text(&writer, text, len);
	assert_int_equal(writer.len, len + 1);
	assert_int_equal(writer.bytes[0], len);
	assert_memory_equal(writer.bytes + 1, want, len);
	wire_writer_done(&writer);
}

static void texts_leave_as_utf8(void **state)
{
	(void)state;
	assert_text("", 0, "");
	assert_text("plain", 5, "plain");
	assert_text("a\0b", 3, "a\0b"); /* protocol.md 1.12: texts may hold NUL bytes */
	assert_text("gr\xc3\xbc\xc3\x9f", 6, "gr\xc3\xbc\xc3\x9f");
	assert_text("\xf0\x9f\x90\xac", 4, "\xf0\x9f\x90\xac");
	assert_text("gr\xfc\xdf", 4, "gr??");	    /* Latin-1 */
	assert_text("\xc3", 1, "?");		    /* cut */
	assert_text("\xc0\xaf", 2, "??");	    /* overlong */
	assert_text("\xed\xa0\x80", 3, "???");	    /* surrogate */
	assert_text("\xf4\x90\x80\x80", 4, "????"); /* above U+10FFFF */
	assert_text("\xe2\x82x\xe2\x82\xac", 6, "??x\xe2\x82\xac");
}

static void texts_are_cut_between_characters(void **state)
{
	static const char text[] = "ab\xc3\xbc\xe2\x82\xac\xf0\x9f\x90\xac";
	static const size_t want[] = {0, 1, 2, 2, 4, 4, 4, 7, 7, 7, 7, 11, 11};

	(void)state;
	for (size_t max = 0; max < ARRAY_SIZE(want); max++)
		assert_int_equal(utf8_cut(text, sizeof(text) - 1, max), want[max]);
	/* Bytes that are no UTF-8 are cut where they are. */
	assert_int_equal(utf8_cut("\xfc\xfc\xfc\xfc", 4, 3), 3);
	assert_int_equal(utf8_cut("\x80\x80\x80\x80\x80\x80", 6, 5), 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(payloads_are_split_at_16_mib),
		cmocka_unit_test(a_message_has_a_cap),
		cmocka_unit_test(a_full_buffer_is_flushed_at_packet_ends),
		cmocka_unit_test(an_unfinished_packet_stays_when_flushed),
		cmocka_unit_test(the_first_failure_sticks),
		cmocka_unit_test(texts_leave_as_utf8),
		cmocka_unit_test(texts_are_cut_between_characters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
