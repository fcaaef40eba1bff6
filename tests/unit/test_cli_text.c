/*
 * Text of strangers on a terminal: nothing in it moves the cursor, breaks a line, changes the order
 * of what is shown, or makes a table crooked.
 */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cleanup.h"
#include "cli/text.h"

static void set_utf8(bool on)
{
	setenv("LC_ALL", on ? "C.UTF-8" : "C", 1);
	dbps_text_init();
	assert_int_equal(dbps_text_utf8(), on);
}

/* Asserts what is printed for `text`, and that its width is what was told. */
static void assert_printed(const char *text, size_t len, size_t width, const char *printed,
			   size_t cells)
{
	_cleanup_free_ char *got = NULL;
	size_t got_len = 0;
	FILE *out = open_memstream(&got, &got_len);

	assert_non_null(out);
	assert_int_equal(dbps_text_print(out, text, len, width), cells);
	fclose(out);
	assert_string_equal(got, printed);
}

static void assert_shown(const char *text, const char *printed)
{
	assert_printed(text, strlen(text), SIZE_MAX, printed,
		       dbps_text_width(text, strlen(text), 1000));
}

static void plain_text_is_as_it_is(void **state)
{
	(void)state;
	set_utf8(true);
	assert_shown("select 1 -- ~", "select 1 -- ~");
	assert_shown("Müller 日本", "Müller 日本");
	assert_int_equal(dbps_text_width("Müller 日本", strlen("Müller 日本"), 1000), 11);
}

static void line_ends_and_tabs_are_blanks(void **state)
{
	(void)state;
	set_utf8(true);
	assert_shown("select\n\t1\r\n", "select  1  ");
}

static void control_characters_are_escaped(void **state)
{
	(void)state;
	for (int utf8 = 0; utf8 < 2; utf8++) {
		set_utf8(utf8);
		assert_shown("\x1b[2J\x1b]0;x\x07", "\\x1b[2J\\x1b]0;x\\x07");
		assert_shown("a\x08\x7f", "a\\x08\\x7f");
		assert_printed("a\0b", 3, SIZE_MAX, "a\\x00b", 6);
	}
}

/* U+009B is the control sequence introducer as one character. */
static void c1_controls_are_escaped(void **state)
{
	(void)state;
	set_utf8(true);
	assert_shown("\xc2\x9b"
		     "2J",
		     "\\u009b2J");
	assert_shown("\x9b"
		     "2J",
		     "\\x9b2J");
}

static void marks_that_reorder_text_are_escaped(void **state)
{
	(void)state;
	set_utf8(true);
	/* NOLINTNEXTLINE(misc-misleading-bidirectional): that is what the test is about. */
	assert_shown("a\u202e b\u2066\u200f", "a\\u202e b\\u2066\\u200f");
}

static void bytes_that_are_not_utf8_are_escaped(void **state)
{
	(void)state;
	set_utf8(true);
	assert_shown("\xff", "\\xff");
	assert_shown("\xc0\xaf", "\\xc0\\xaf");		 /* overlong '/' */
	assert_shown("\xe0\x80\xaf", "\\xe0\\x80\\xaf"); /* overlong */
	assert_shown("\xed\xa0\x80", "\\xed\\xa0\\x80"); /* surrogate */
	assert_shown("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80");
	assert_printed("M\xc3\xbc", 2, SIZE_MAX, "M\\xc3", 5); /* cut inside a character */
}

static void without_utf8_only_ascii_is_printed(void **state)
{
	(void)state;
	set_utf8(false);
	assert_shown("Müller 日", "M?ller ?");
}

static void text_is_cut_to_its_width_with_a_mark(void **state)
{
	(void)state;
	set_utf8(true);
	assert_printed("abcdef", 6, 6, "abcdef", 6);
	assert_printed("abcdef", 6, 5, "abcd…", 5);
	assert_printed("abcdef", 6, 1, "…", 1);
	assert_printed("abcdef", 6, 0, "", 0);
	/* A wide character that does not fit is left out whole, and so is an escape. */
	assert_printed("日本語", 9, 4, "日…", 3);
	assert_printed("ab\x1b", 3, 4, "ab…", 3);
	set_utf8(false);
	assert_printed("abcdef", 6, 5, "abcd+", 5);
}

static void width_is_not_measured_further_than_needed(void **state)
{
	(void)state;
	set_utf8(true);
	assert_in_range(dbps_text_width("aaaaaaaaaaaaaaaa", 16, 4), 5, 15);
}

static void assert_valid(const char *text, size_t len, const char *expected)
{
	_cleanup_free_ char *valid = NULL;
	size_t valid_len = 0;

	assert_int_equal(dbps_text_valid(text, len, &valid, &valid_len), 0);
	assert_int_equal(valid_len, strlen(expected));
	assert_string_equal(valid, expected);
}

static void invalid_utf8_becomes_replacement_characters(void **state)
{
	(void)state;
	assert_valid("", 0, "");
	assert_valid("Müller", 7, "Müller");
	assert_valid("a\xff\xfe z", 5, "a\ufffd\ufffd z");
	assert_valid("M\xc3", 2, "M\ufffd");
	assert_valid("\xf0\x9f\x98", 3, "\ufffd\ufffd\ufffd");
	assert_valid("\xf0\x9f\x98\x80", 4, "😀");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_text_is_as_it_is),
		cmocka_unit_test(line_ends_and_tabs_are_blanks),
		cmocka_unit_test(control_characters_are_escaped),
		cmocka_unit_test(c1_controls_are_escaped),
		cmocka_unit_test(marks_that_reorder_text_are_escaped),
		cmocka_unit_test(bytes_that_are_not_utf8_are_escaped),
		cmocka_unit_test(without_utf8_only_ascii_is_printed),
		cmocka_unit_test(text_is_cut_to_its_width_with_a_mark),
		cmocka_unit_test(width_is_not_measured_further_than_needed),
		cmocka_unit_test(invalid_utf8_becomes_replacement_characters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
