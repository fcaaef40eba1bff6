/*
 * Where a function is probed, on code as compilers made it: OpenSSL of Debian 12 (3.0.22) and of
 * Debian 13 (3.5.7, whose functions bear marks for indirect calls), MariaDB of Debian 12.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/prologue.h"

#define CODE(at, ...)                                                                              \
	{                                                                                          \
		.offset = (at), .n = sizeof((const uint8_t[]){__VA_ARGS__}), .bytes = {            \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}

/* To the call and a little further. */
static const struct dbps_code read_12 =
	CODE(0x35430, 0x48, 0x83, 0xec, 0x18, 0x64, 0x48, 0x8b, 0x04, 0x25, 0x28, 0x00, 0x00, 0x00,
	     0x48, 0x89, 0x44, 0x24, 0x08, 0x31, 0xc0, 0x85, 0xd2, 0x78, 0x2f, 0x48, 0x89, 0xe1,
	     0x48, 0x63, 0xd2, 0xe8, 0x3d, 0xfe, 0xff, 0xff, 0x85, 0xc0, 0x7e, 0x03);
static const struct dbps_code read_ex_12 =
	CODE(0x354c0, 0x48, 0x83, 0xec, 0x08, 0xe8, 0xc7, 0xfd, 0xff, 0xff, 0x31, 0xd2, 0x85, 0xc0);
static const struct dbps_code internal_12 =
	CODE(0x35290, 0x41, 0x55, 0x41, 0x54, 0x55, 0x53, 0x48, 0x83, 0xec, 0x38);

static const struct dbps_code write_13 =
	CODE(0x3e110, 0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x83, 0xec, 0x18, 0x64, 0x48, 0x8b, 0x04, 0x25,
	     0x28, 0x00, 0x00, 0x00, 0x48, 0x89, 0x44, 0x24, 0x08, 0x31, 0xc0, 0x85, 0xd2, 0x78,
	     0x34, 0x31, 0xc9, 0x48, 0x63, 0xd2, 0x49, 0x89, 0xe0, 0xe8, 0xf7, 0xfa, 0xff, 0xff,
	     0x85, 0xc0, 0x7e, 0x03);
/* Its arguments are moved, and where it jumps to is a stub. */
static const struct dbps_code write_ex_13 = CODE(0x3e1d0, 0xf3, 0x0f, 0x1e, 0xfa, 0x49, 0x89, 0xc8,
						 0x31, 0xc9, 0xe9, 0xe2, 0x7c, 0xfe, 0xff);
static const struct dbps_code write_ex2_13 =
	CODE(0x3e1a0, 0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x83, 0xec, 0x08, 0xe8, 0x83, 0xfa, 0xff, 0xff,
	     0x31, 0xd2, 0x85, 0xc0);
static const struct dbps_code internal_13 =
	CODE(0x3dc30, 0xf3, 0x0f, 0x1e, 0xfa, 0x41, 0x56, 0x41, 0x55, 0x41, 0x54, 0x55, 0x53, 0x48,
	     0x83, 0xec, 0x40);

static const struct dbps_code vio_ssl_read_12 =
	CODE(0xbefd00, 0x55, 0x48, 0x89, 0xe5, 0x41, 0x57, 0x41, 0x56, 0x49, 0x89, 0xf6);

static void check_emulated(const struct dbps_code *code, uint64_t expected)
{
	uint64_t offset;

	assert_true(dbps_code_emulated(code, &offset));
	assert_int_equal(offset, expected);
}

static void begins_that_are_emulated(void **state)
{
	(void)state;
	check_emulated(&internal_12, 0x35290);
	check_emulated(&internal_13, 0x3dc34); /* behind the mark */
	check_emulated(&vio_ssl_read_12, 0xbefd00);
}

static void begins_that_are_stepped(void **state)
{
	static const struct dbps_code *const stepped[] = {&read_12, &read_ex_12, &write_13,
							  &write_ex_13};
	uint64_t offset = 4711;

	(void)state;
	for (size_t i = 0; i < sizeof(stepped) / sizeof(*stepped); i++)
		assert_false(dbps_code_emulated(stepped[i], &offset));
	assert_int_equal(offset, 4711);
}

static void check_passes_on(const struct dbps_code *code, uint64_t expected)
{
	uint64_t offset;

	assert_true(dbps_code_passes_on(code, &offset));
	assert_int_equal(offset, expected);
}

static void what_is_called_first(void **state)
{
	static const struct dbps_code frame = CODE(0x1000, 0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0x48, 0x89,
						   0xe5, 0xe8, 0x00, 0x01, 0x00, 0x00);

	(void)state;
	check_passes_on(&read_ex_12, internal_12.offset);
	check_passes_on(&write_ex2_13, internal_13.offset);
	check_passes_on(&frame, 0x1000 + 13 + 0x100);
}

static void what_does_more_before_it_calls(void **state)
{
	static const struct dbps_code *const more[] = {
		&read_12, &write_13, &write_ex_13, &internal_12, &internal_13, &vio_ssl_read_12};
	uint64_t offset = 4711;

	(void)state;
	for (size_t i = 0; i < sizeof(more) / sizeof(*more); i++)
		assert_false(dbps_code_passes_on(more[i], &offset));
	assert_int_equal(offset, 4711);
}

static void what_is_called_anywhere(void **state)
{
	(void)state;
	assert_true(dbps_code_calls(&read_12, internal_12.offset));
	assert_true(dbps_code_calls(&write_13, internal_13.offset));
	assert_false(dbps_code_calls(&read_12, internal_13.offset));
	assert_false(dbps_code_calls(&write_13, internal_13.offset + 4));
	assert_false(dbps_code_calls(&write_ex_13, 0x25ec0)); /* a jump */
}

/* What stands behind the end is not taken for code. */
static void code_that_ends_early(void **state)
{
	static const struct dbps_code *const whole[] = {&read_ex_12, &write_ex2_13, &internal_13};
	uint64_t offset;

	(void)state;
	for (size_t i = 0; i < sizeof(whole) / sizeof(*whole); i++) {
		for (size_t n = 0; n < whole[i]->n; n++) {
			struct dbps_code code = *whole[i];

			code.n = n;
			memset(code.bytes + n, 0xcc, sizeof(code.bytes) - n);
			if (dbps_code_passes_on(&code, &offset))
				assert_true(n >= 9 && i != 2);
			if (dbps_code_emulated(&code, &offset))
				assert_true(n >= 6 && i == 2);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(begins_that_are_emulated),
		cmocka_unit_test(begins_that_are_stepped),
		cmocka_unit_test(what_is_called_first),
		cmocka_unit_test(what_does_more_before_it_calls),
		cmocka_unit_test(what_is_called_anywhere),
		cmocka_unit_test(code_that_ends_early),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
