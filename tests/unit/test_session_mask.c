/*
 * Passwords in statements: each form that servers know is masked, in any case and over comments,
 * and nothing else in a statement is touched.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cleanup.h"
#include "session/text.h"

/* Masks what lies at the very end of its memory, so that the sanitizer sees a read behind it. */
static size_t mask_bytes(const char *text, size_t len, bool no_backslash, char *ret)
{
	char *copy = test_malloc(len ? len : 1);
	char *masked = test_malloc(DBPS_TEXT_MASKED_MAX(len));
	size_t n;

	memcpy(copy, text, len);
	n = dbps_text_mask((struct dbps_text){copy, len, len, no_backslash}, masked);
	assert_true(n <= DBPS_TEXT_MASKED_MAX(len));
	memcpy(ret, masked, n);
	test_free(copy);
	test_free(masked);
	return n;
}

static void assert_masked(const char *text, const char *expected)
{
	char masked[1024];
	size_t n = mask_bytes(text, strlen(text), false, masked);

	masked[n] = '\0';
	assert_string_equal(masked, expected);
	assert_int_equal(dbps_text_may_hold_password(text, strlen(text)), true);
}

static void assert_untouched(const char *text)
{
	char masked[1024];
	size_t n = mask_bytes(text, strlen(text), false, masked);

	assert_int_equal(n, strlen(text));
	assert_memory_equal(masked, text, n);
}

static void accounts(void **state)
{
	(void)state;
	assert_masked("create user u identified by 'secret'", "create user u identified by '***'");
	assert_masked("CREATE USER u IDENTIFIED BY ''", "CREATE USER u IDENTIFIED BY '***'");
	assert_masked(
		"create user u@'%' identified by \"se'cret\", v identified by 's2' require ssl",
		"create user u@'%' identified by \"***\", v identified by '***' require ssl");
	assert_masked("alter user u identified by password '*AB'",
		      "alter user u identified by password '***'");
	assert_masked("alter user u identified via ed25519 using password('a') or p using 'b'",
		      "alter user u identified via ed25519 using password('***') or p using '***'");
	assert_masked("alter user u identified with 'plugin' by 'a' replace 'b' retain x",
		      "alter user u identified with 'plugin' by '***' replace '***' retain x");
	assert_masked("create user u identified with sha as 0xAB12 comment 'x'",
		      "create user u identified with sha as *** comment 'x'");
	assert_masked("grant all on *.* to u identified by 'x' require subject 'y'",
		      "grant all on *.* to u identified by '***' require subject 'y'");
	assert_masked("set password = 'x'", "set password = '***'");
	assert_masked("set password for 'u'@'h' = 'x' replace 'y'",
		      "set password for 'u'@'h' = '***' replace '***'");
	assert_masked("set password for u@h = PASSWORD('x')",
		      "set password for u@h = PASSWORD('***')");
}

static void functions(void **state)
{
	(void)state;
	assert_masked("select old_password ('x'), 'y'", "select old_password ('***'), 'y'");
	assert_masked("select password(concat('a', upper('b'))), 'c'",
		      "select password(concat('***', upper('***'))), 'c'");
}

static void replication_and_servers(void **state)
{
	(void)state;
	assert_masked("change master to master_user='u', master_password='x', master_port=1",
		      "change master to master_user='u', master_password='***', master_port=1");
	assert_masked("CHANGE REPLICATION SOURCE TO SOURCE_PASSWORD = \"x\"",
		      "CHANGE REPLICATION SOURCE TO SOURCE_PASSWORD = \"***\"");
	assert_masked("start replica user='u' password='x'",
		      "start replica user='u' password='***'");
	assert_masked("create server s foreign data wrapper mysql options (user 'u', password 'x', "
		      "host 'h')",
		      "create server s foreign data wrapper mysql options (user 'u', password "
		      "'***', host 'h')");
}

static void cases_blanks_and_comments_between_the_words(void **state)
{
	(void)state;
	assert_masked("CREATE USER u IdEnTiFiEd/* by 'no' */\n\tBy -- 'x\n  'y'",
		      "CREATE USER u IdEnTiFiEd/* by 'no' */\n\tBy -- 'x\n  '***'");
	assert_masked("/*!50000 create user u identified by 'x' */",
		      "/*!50000 create user u identified by '***' */");
	assert_masked("/* it's */ set password='x'", "/* it's */ set password='***'");
	assert_masked("set password=_utf8'x' 'y'", "set password=_utf8'***' '***'");
}

static void quotes_inside_a_password(void **state)
{
	char masked[64];
	const char *backslash = "set password='a\\', b='c'";
	size_t n;

	(void)state;
	assert_masked("set password='a''b\\'c'", "set password='***'");
	n = mask_bytes(backslash, strlen(backslash), true, masked);
	masked[n] = '\0';
	assert_string_equal(masked, "set password='***', b='c'");
}

static void a_password_that_is_cut_is_masked_to_the_end(void **state)
{
	const char *text = "create user u identified by 'se''cr\\et', v identified by 'x'";
	char masked[256];

	(void)state;
	assert_masked("create user u identified by 'sec", "create user u identified by '***");
	assert_masked("create user u identified by 'sec\\", "create user u identified by '***");
	assert_masked("create user u identified by '", "create user u identified by '***");
	for (size_t len = 0; len <= strlen(text); len++) {
		size_t n = mask_bytes(text, len, false, masked);

		assert_null(memmem(masked, n, "'se", 3));
		assert_null(memmem(masked, n, "cr\\", 3));
		assert_null(memmem(masked, n, "'x", 2));
	}
}

static void statements_in_literals(void **state)
{
	(void)state;
	assert_masked("execute immediate 'create user u identified by ''x''' ",
		      "execute immediate '***' ");
	assert_masked("prepare s from \"set password = 'x'\"", "prepare s from \"***\"");
	assert_masked("set @s = 'set password = \\'x\\''", "set @s = '***'");
	assert_masked("set @s = 'select password(\"x\")', @t = 'u'", "set @s = '***', @t = 'u'");
}

static void several_statements_are_several(void **state)
{
	(void)state;
	assert_masked("set password='x'; select 'a' as 'b'",
		      "set password='***'; select 'a' as 'b'");
}

static void everything_else_stays_as_it_is(void **state)
{
	static const char *const texts[] = {
		"",
		"select 1",
		"select 'x' as 'y', \"z\"",
		"select password from users where name = 'x'",
		"insert into users (name, password) values ('x', ?)",
		"alter user u password expire",
		"alter user u identified by random password",
		"create user u identified via unix_socket",
		"select 'forgot your password?' from `identified by`",
		"select * from t where note = 'passwords are not shown here'",
		"select 'identified' by 'x'",
		"select 'a', 'unclosed",
		"/* set password = 'x' */ select 'y'",
		"replace into t values ('x')",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		assert_untouched(texts[i]);
}

static void nul_bytes_and_high_bytes_pass(void **state)
{
	const char text[] = "set password='a\0b'; do '\0', '\xff\xfe'";
	const char expected[] = "set password='***'; do '\0', '\xff\xfe'";
	char masked[128];

	(void)state;
	assert_int_equal(mask_bytes(text, sizeof(text) - 1, false, masked), sizeof(expected) - 1);
	assert_memory_equal(masked, expected, sizeof(expected) - 1);
}

static void the_search_finds_a_keyword_anywhere(void **state)
{
	static const char *const keywords[] = {"password", "PASSWORD", "identified", "IDENTIFIED"};
	char text[64];

	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(keywords); k++) {
		size_t len = strlen(keywords[k]);

		for (size_t at = 0; at + len <= sizeof(text); at++) {
			memset(text, 'd', sizeof(text));
			for (size_t i = 0; i < sizeof(text); i++)
				text[i] = "passwoidentif"[i % 13];
			memcpy(text + at, keywords[k], len);
			assert_true(dbps_text_may_hold_password(text, sizeof(text)));
			assert_true(dbps_text_may_hold_password(text, at + len));
		}
	}
	assert_false(dbps_text_may_hold_password("passwor", 7));
	assert_false(dbps_text_may_hold_password("pass word identify", 18));
	assert_false(dbps_text_may_hold_password("", 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accounts),
		cmocka_unit_test(functions),
		cmocka_unit_test(replication_and_servers),
		cmocka_unit_test(cases_blanks_and_comments_between_the_words),
		cmocka_unit_test(quotes_inside_a_password),
		cmocka_unit_test(a_password_that_is_cut_is_masked_to_the_end),
		cmocka_unit_test(statements_in_literals),
		cmocka_unit_test(several_statements_are_several),
		cmocka_unit_test(everything_else_stays_as_it_is),
		cmocka_unit_test(nul_bytes_and_high_bytes_pass),
		cmocka_unit_test(the_search_finds_a_keyword_anywhere),
	};

	return cmocka_run_group_tests_name("session mask", tests, NULL, NULL);
}
