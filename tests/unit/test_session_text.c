/*
 * Which part of a text is shown: what MariaDB 10.11 put into Info for the same bytes, observed on a
 * server, while the statement with SLEEP ran.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cleanup.h"
#include "session/text.h"

static struct dbps_text whole(const char *bytes, size_t len)
{
	return (struct dbps_text){bytes, len, len, false};
}

static void assert_text(struct dbps_text text, const char *expected, size_t len)
{
	assert_int_equal(text.len, len);
	assert_memory_equal(text.start, expected, len);
}

static void assert_current(const char *sent, unsigned int results, const char *expected)
{
	struct dbps_text text = dbps_text_trim(whole(sent, strlen(sent)));

	text = dbps_text_current(text, results);
	assert_text(text, expected, strlen(expected));
	assert_int_equal(text.whole, text.len);
}

static void blanks_and_semicolons_around_a_text_are_taken_away(void **state)
{
	(void)state;
	assert_current("  \t\n select sleep(.5) ; ;\n ;  ", 0, "select sleep(.5)");
	assert_current("/* a */ select 1 /* b */", 0, "/* a */ select 1 /* b */");
	assert_current("select 1 # x;", 0, "select 1 # x");
	assert_current("\v\f\r select 1", 0, "select 1");
	assert_current("", 0, "");
	assert_current(" ; ;", 0, "");
}

static void nul_bytes_are_bytes_like_others(void **state)
{
	const char sent[] = " do 1\0;\0; do 2\0 ";
	struct dbps_text text = dbps_text_trim(whole(sent, sizeof(sent) - 1));

	(void)state;
	assert_text(text, "do 1\0;\0; do 2\0", 14);
	assert_text(dbps_text_current(text, 0), "do 1\0", 5);
	assert_text(dbps_text_current(text, 2), "do 2\0", 5);
}

static void each_complete_result_moves_to_the_next_statement(void **state)
{
	const char *sent = "select 1;\n\n  do sleep(3)  ; select 2;";

	(void)state;
	assert_current(sent, 0, "select 1");
	assert_current(sent, 1, "do sleep(3)  ");
	assert_current(sent, 2, "select 2");
	assert_current("do 1; begin; do 2", 2, "do 2");
	assert_current("begin work; do 2", 1, "do 2");
	assert_current("start transaction; commit; do 2", 2, "do 2");
}

static void a_comment_belongs_to_the_statement_behind_it(void **state)
{
	(void)state;
	assert_current("select 1; -- c\n do sleep(.5) /* ; */ ; select 2;", 1,
		       "-- c\n do sleep(.5) /* ; */ ");
	assert_current("select 1; do sleep(.5) ; -- end", 1, "do sleep(.5) ");
	assert_current("do 1;/*! do sleep(.5) */; select 3", 1, "/*! do sleep(.5) */");
}

static void semicolons_in_quotes_and_comments_do_not_count(void **state)
{
	(void)state;
	assert_current("select ';', \"a;b\", `u;` limit 0; do 2; do 3", 1, "do 2");
	assert_current("select 'a\\';', 1; do 2; do 3", 1, "do 2");
	assert_current("select 'a'';' ; do 2; do 3", 1, "do 2");
	assert_current("select \"a\"\";\" ; do 2; do 3", 1, "do 2");
	assert_current("select `a``;\\` ; do 2; do 3", 1, "do 2");
	assert_current("select/* ' */1; do 2 /* ; */ ; do 3", 1, "do 2 /* ; */ ");
	assert_current("select 1 -- '\n; do 2 # ;\n ; do 3", 1, "do 2 # ;\n ");
	assert_current("do 1; do 2--1; do 3", 1, "do 2--1");
	assert_current("select 1 --'\n'; do 2 ; do 3", 1, "do 2 ");
	assert_current("select 1 --", 0, "select 1 --");
}

static void a_backslash_is_none_where_the_server_says_so(void **state)
{
	const char *sent = "do 'a\\'; do 2; do 3";
	struct dbps_text text = whole(sent, strlen(sent));

	(void)state;
	text.no_backslash = true;
	assert_text(dbps_text_current(text, 1), "do 2", 4);
	text.no_backslash = false;
	assert_text(dbps_text_current(text, 1), sent, strlen(sent));
}

static void the_whole_text_is_shown_where_results_do_not_tell(void **state)
{
	static const char *const texts[] = {
		"call p(); do 2",
		"execute s; do 2",
		"set statement max_statement_time=10 for call p(); do 2",
		"begin not atomic do 1; do 2; end; do 3",
		"if 1 then do 1; end if; do 2",
		"l: loop do 1; leave l; end loop; do 2",
		"create or replace procedure q() begin do 1; do 2; end; do 3",
		"create definer=root@localhost function f() returns int return 1; do 2",
		"/*! do 1; do 2 */; do 3",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		assert_current(texts[i], 1, texts[i]);
	assert_current("do 1; do 2", 5, "do 1; do 2");
}

static void what_comes_before_such_a_statement_is_still_told(void **state)
{
	(void)state;
	assert_current("do 1; call p(); do 2", 0, "do 1");
	assert_current("do 1; call p(); do 2", 1, "call p()");
	assert_current("do 1; call p()", 4, "call p()");
	assert_current("create table event (function int); do 2", 1, "do 2");
	assert_current("set @call = 1; do 2", 1, "do 2");
	assert_current("set statement max_statement_time=1 for select 1; do 2", 1, "do 2");
}

static void a_cut_text_keeps_its_end_and_knows_its_length(void **state)
{
	const char *sent = " do 1; select ';  ";
	struct dbps_text text = {sent, strlen(sent), 100, false};

	(void)state;
	text = dbps_text_trim(text);
	assert_text(text, sent + 1, strlen(sent) - 1);
	assert_int_equal(text.whole, 99);
	assert_int_equal(dbps_text_current(text, 0).whole, 4);
	assert_text(dbps_text_current(text, 1), "select ';  ", 11);
	assert_int_equal(dbps_text_current(text, 1).whole, 99 - 6);
	assert_int_equal(dbps_text_current(text, 2).whole, 99);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blanks_and_semicolons_around_a_text_are_taken_away),
		cmocka_unit_test(nul_bytes_are_bytes_like_others),
		cmocka_unit_test(each_complete_result_moves_to_the_next_statement),
		cmocka_unit_test(a_comment_belongs_to_the_statement_behind_it),
		cmocka_unit_test(semicolons_in_quotes_and_comments_do_not_count),
		cmocka_unit_test(a_backslash_is_none_where_the_server_says_so),
		cmocka_unit_test(the_whole_text_is_shown_where_results_do_not_tell),
		cmocka_unit_test(what_comes_before_such_a_statement_is_still_told),
		cmocka_unit_test(a_cut_text_keeps_its_end_and_knows_its_length),
	};

	return cmocka_run_group_tests_name("session text", tests, NULL, NULL);
}
