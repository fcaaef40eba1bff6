/*
 * Statements are matched however people and clients write them, patterns document themselves, and
 * filters take the forms that clients send.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "sql/input.h"

/* Bits of the options that matched, or -1. */
static int match(const char *pattern, const char *text)
{
	struct sql_input input = sql_input(text, strlen(text));
	unsigned int options = 0;

	return sql_match(&input, pattern, &options) ? (int)options : -1;
}

static void case_blanks_and_comments_do_not_matter(void **state)
{
	static const char *const same[] = {
		"show processlist",
		"SHOW PROCESSLIST",
		"\n\tShow\r\n  ProcessList  ",
		"show processlist;",
		"show processlist ; ; -- the end",
		"/* who */ show # and\n processlist",
		"-- first\nshow processlist",
		"/*!40101 show */ processlist",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(same); i++)
		assert_int_equal(match("SHOW PROCESSLIST", same[i]), 0);
}

static void what_follows_the_end_is_not_accepted(void **state)
{
	static const char *const other[] = {
		"",
		"show",
		"show processlist x",
		"show processlists",
		"showprocesslist",
		"show processlist; select 1",
		"show 'processlist'",
		"`show` processlist",
		"show processlist )",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(other); i++)
		assert_int_equal(match("SHOW PROCESSLIST", other[i]), -1);
}

static void options_are_told_apart(void **state)
{
	(void)state;
	assert_int_equal(match("SHOW [FULL] X", "show x"), 0);
	assert_int_equal(match("SHOW [FULL] X", "show full x"), 1);
	assert_int_equal(match("SHOW [FULL] X", "show full full x"), -1);
	assert_int_equal(match("KILL [A | B] [C] id", "kill 5"), 0);
	assert_int_equal(match("KILL [A | B] [C] id", "kill a 5"), 1);
	assert_int_equal(match("KILL [A | B] [C] id", "kill b 5"), 2);
	assert_int_equal(match("KILL [A | B] [C] id", "kill b c 5"), 6);
	assert_int_equal(match("COUNT ( * ) [A]", "count(*)a"), 1);
}

static void lower_case_is_left_to_the_statement(void **state)
{
	static const char text[] = "set names utf8 ; ";
	struct sql_input input = sql_input(text, strlen(text));
	unsigned int options;

	(void)state;
	assert_true(sql_match(&input, "SET name = value, ...", &options));
	assert_true(sql_take_word(&input, "NAMES"));
	assert_false(sql_at_end(&input));
	sql_next(&input);
	assert_true(sql_at_end(&input));
}

static void a_mismatch_tells_its_place(void **state)
{
	static const char text[] = "show full tables";
	struct sql_input input = sql_input(text, strlen(text));
	unsigned int options;

	(void)state;
	assert_false(sql_match(&input, "SHOW [FULL] PROCESSLIST", &options));
	assert_ptr_equal(input.token.start, text + 10);
}

static void numbers_have_to_fit(void **state)
{
	static const struct {
		const char *text;
		int r;
		uint64_t number;
	} numbers[] = {
		{"0", 0, 0},
		{"41", 0, 41},
		{"18446744073709551615", 0, UINT64_MAX},
		{"18446744073709551616", -EINVAL, 77},
		{"99999999999999999999", -EINVAL, 77},
		{"4x", -EINVAL, 77},
		{"'4'", -EINVAL, 77},
		{"", -EINVAL, 77},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		struct sql_input input = sql_input(numbers[i].text, strlen(numbers[i].text));
		uint64_t number = 77;

		assert_int_equal(sql_take_number(&input, &number), numbers[i].r);
		assert_true(number == numbers[i].number);
	}
}

static void assert_unquoted(const char *text, const char *want, size_t want_len)
{
	struct sql_input input = sql_input(text, strlen(text));
	_cleanup_free_ char *content = NULL;
	size_t len;

	assert_int_equal(sql_unquote(&input.token, &content, &len), 0);
	assert_int_equal(len, want_len);
	assert_memory_equal(content, want, len + 1);
}

static void quotes_and_escapes_are_resolved(void **state)
{
	(void)state;
	assert_unquoted("''", "", 0);
	assert_unquoted("'41'", "41", 2);
	assert_unquoted("\"41\"", "41", 2);
	assert_unquoted("`a``b`", "a`b", 3);
	assert_unquoted("'it''s'", "it's", 4);
	assert_unquoted("'a\\'b\\\\c\\n\\0d'", "a'b\\c\n\0d", 8);
	assert_unquoted("'50\\%'", "50\\%", 4);
	assert_unquoted("`a\\b`", "a\\b", 3);
}

static void an_open_quote_is_refused(void **state)
{
	static const char *const open[] = {"'", "'abc", "'abc\\'", "\"x''", "`n"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(open); i++) {
		struct sql_input input = sql_input(open[i], strlen(open[i]));
		char *content = NULL;
		size_t len;

		assert_int_equal(sql_unquote(&input.token, &content, &len), -EINVAL);
		assert_null(content);
	}
}

static void like_is_that_of_sql(void **state)
{
	(void)state;
	assert_true(sql_like("version", "VERSION"));
	assert_true(sql_like("%", ""));
	assert_true(sql_like("ver%", "version"));
	assert_true(sql_like("%on", "version"));
	assert_true(sql_like("%s%o%", "version"));
	assert_true(sql_like("v_rsion", "version"));
	assert_true(sql_like("v_rsion_", "v\xc3\xa9rsion\xe2\x82\xac"));
	assert_true(sql_like("_", "\xc3"));
	assert_true(sql_like("wait\\_timeout", "wait_timeout"));
	assert_false(sql_like("wait\\_timeout", "waitxtimeout"));
	assert_false(sql_like("", "version"));
	assert_false(sql_like("version_", "version"));
	assert_false(sql_like("%x%", "version"));
	assert_true(sql_like("%a%ab", "aaab"));
}

static int filter(const char *text, const char *name)
{
	struct sql_input input = sql_input(text, strlen(text));

	return sql_filter(&input, name);
}

static void filters_are_those_that_clients_send(void **state)
{
	(void)state;
	assert_int_equal(filter("", "x"), 1);
	assert_int_equal(filter("like 'x'", "x"), 1);
	assert_int_equal(filter("LIKE \"y%\"", "x"), 0);
	assert_int_equal(filter("where variable_name = 'x'", "x"), 1);
	assert_int_equal(filter("where `Variable_name`='y' or Variable_name like 'x%';", "xy"), 1);
	assert_int_equal(filter("where variable_name in ('a', 'x')", "x"), 1);
	assert_int_equal(filter("where variable_name in ('a', 'x')", "b"), 0);
}

static void other_filters_are_refused(void **state)
{
	static const char *const other[] = {
		"x",
		"like",
		"like x",
		"like 'x' 'y'",
		"like 'x",
		"where",
		"where a",
		"where a =",
		"where a > 'x'",
		"where a in 'x'",
		"where a in ('x'",
		"where a = 'x' and a = 'y'",
		"where a = 'x' or",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(other); i++)
		assert_int_equal(filter(other[i], "x"), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(case_blanks_and_comments_do_not_matter),
		cmocka_unit_test(what_follows_the_end_is_not_accepted),
		cmocka_unit_test(options_are_told_apart),
		cmocka_unit_test(lower_case_is_left_to_the_statement),
		cmocka_unit_test(a_mismatch_tells_its_place),
		cmocka_unit_test(numbers_have_to_fit),
		cmocka_unit_test(quotes_and_escapes_are_resolved),
		cmocka_unit_test(an_open_quote_is_refused),
		cmocka_unit_test(like_is_that_of_sql),
		cmocka_unit_test(filters_are_those_that_clients_send),
		cmocka_unit_test(other_filters_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
