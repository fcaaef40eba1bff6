/*
 * The reader hands out nothing that is not there, and moves only when it does: every truncation of
 * every form is tried.
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
#include "mysql/writer.h"

static void integers_are_little_endian(void **state)
{
	static const uint8_t bytes[] = {1,  2,	3,  4,	5,  6,	7,  8,	9,
					10, 11, 12, 13, 14, 15, 16, 17, 18};
	struct wire_cursor cursor = wire_cursor(bytes, sizeof(bytes));
	uint64_t u64;
	uint32_t u32;
	uint16_t u16;
	uint8_t u8;

	(void)state;
	assert_int_equal(wire_read_u8(&cursor, &u8), 0);
	assert_int_equal(u8, 0x01);
	assert_int_equal(wire_read_u16(&cursor, &u16), 0);
	assert_int_equal(u16, 0x0302);
	assert_int_equal(wire_read_u24(&cursor, &u32), 0);
	assert_int_equal(u32, 0x060504);
	assert_int_equal(wire_read_u32(&cursor, &u32), 0);
	assert_int_equal(u32, 0x0a090807);
	assert_int_equal(wire_read_u64(&cursor, &u64), 0);
	assert_true(u64 == 0x1211100f0e0d0c0bULL);
	assert_int_equal(cursor.left, 0);
}

static void a_cut_integer_moves_nothing(void **state)
{
	static const uint8_t bytes[8] = {0};

	(void)state;
	for (size_t len = 0; len < 8; len++) {
		struct wire_cursor cursor = wire_cursor(bytes, len);
		uint64_t u64 = 77;
		uint32_t u32 = 77;
		uint16_t u16 = 77;
		uint8_t u8 = 77;

		assert_int_equal(wire_read_u64(&cursor, &u64), -EBADMSG);
		if (len < 4)
			assert_int_equal(wire_read_u32(&cursor, &u32), -EBADMSG);
		if (len < 3)
			assert_int_equal(wire_read_u24(&cursor, &u32), -EBADMSG);
		if (len < 2)
			assert_int_equal(wire_read_u16(&cursor, &u16), -EBADMSG);
		if (len < 1)
			assert_int_equal(wire_read_u8(&cursor, &u8), -EBADMSG);
		assert_true(u64 == 77 && u32 == 77 && u16 == 77 && u8 == 77);
		assert_ptr_equal(cursor.at, bytes);
		assert_int_equal(cursor.left, len);
	}
}

static const struct {
	uint64_t value;
	size_t width; /* bytes on the wire */
} lenencs[] = {
	{0, 1},	      {1, 1},	     {250, 1},	    {251, 3},	    {252, 3},	     {0xffff, 3},
	{0x10000, 4}, {0xfffffe, 4}, {0xffffff, 4}, {0x1000000, 9}, {UINT64_MAX, 9},
};

static void lenenc_integers_come_back_as_they_went(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lenencs); i++) {
		struct wire_writer writer = {0};
		struct wire_cursor cursor;
		uint64_t value;

		wire_put_lenenc(&writer, lenencs[i].value);
		assert_int_equal(writer.len, lenencs[i].width);
		cursor = wire_cursor(writer.bytes, writer.len);
		assert_int_equal(wire_read_lenenc(&cursor, &value), 0);
		assert_true(value == lenencs[i].value);
		assert_int_equal(cursor.left, 0);
		wire_writer_done(&writer);
	}
}

static void every_truncation_of_a_lenenc_integer_fails(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lenencs); i++) {
		struct wire_writer writer = {0};

		wire_put_lenenc(&writer, lenencs[i].value);
		for (size_t len = 0; len < lenencs[i].width; len++) {
			struct wire_cursor cursor = wire_cursor(writer.bytes, len);
			uint64_t value = 77;

			assert_int_equal(wire_read_lenenc(&cursor, &value), -EBADMSG);
			assert_true(value == 77);
			assert_int_equal(cursor.left, len);
		}
		wire_writer_done(&writer);
	}
}

static void null_and_error_marks_are_no_lengths(void **state)
{
	static const uint8_t marks[][9] = {{0xfb}, {0xff}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(marks); i++) {
		struct wire_cursor cursor = wire_cursor(marks[i], sizeof(marks[i]));
		uint64_t value;

		assert_int_equal(wire_read_lenenc(&cursor, &value), -EBADMSG);
		assert_int_equal(cursor.left, sizeof(marks[i]));
	}
}

static void a_length_beyond_the_end_is_not_believed(void **state)
{
	static const uint8_t huge[] = {0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 'a'};
	static const uint8_t one_more[] = {3, 'a', 'b'};
	struct wire_slice slice = {.len = 77};
	struct wire_cursor cursor;

	(void)state;
	cursor = wire_cursor(huge, sizeof(huge));
	assert_int_equal(wire_read_lenenc_bytes(&cursor, &slice), -EBADMSG);
	assert_int_equal(cursor.left, sizeof(huge));
	cursor = wire_cursor(one_more, sizeof(one_more));
	assert_int_equal(wire_read_lenenc_bytes(&cursor, &slice), -EBADMSG);
	assert_int_equal(cursor.left, sizeof(one_more));
	assert_int_equal(slice.len, 77);
}

static void texts_end_at_their_zero(void **state)
{
	struct wire_cursor cursor = wire_cursor("ab\0\0cd", 6);
	struct wire_slice slice;

	(void)state;
	assert_int_equal(wire_read_zero_ended(&cursor, &slice), 0);
	assert_int_equal(slice.len, 2);
	assert_memory_equal(slice.data, "ab", 2);
	assert_int_equal(wire_read_zero_ended(&cursor, &slice), 0);
	assert_int_equal(slice.len, 0);
	assert_int_equal(wire_read_zero_ended(&cursor, &slice), -EBADMSG);
	slice = wire_read_rest(&cursor);
	assert_int_equal(slice.len, 2);
	assert_int_equal(cursor.left, 0);
	assert_int_equal(wire_read_zero_ended(&cursor, &slice), -EBADMSG);
	assert_int_equal(wire_read_rest(&cursor).len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(integers_are_little_endian),
		cmocka_unit_test(a_cut_integer_moves_nothing),
		cmocka_unit_test(lenenc_integers_come_back_as_they_went),
		cmocka_unit_test(every_truncation_of_a_lenenc_integer_fails),
		cmocka_unit_test(null_and_error_marks_are_no_lengths),
		cmocka_unit_test(a_length_beyond_the_end_is_not_believed),
		cmocka_unit_test(texts_end_at_their_zero),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
