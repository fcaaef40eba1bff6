/*
 * The settings: defaults, the file, and that each mistake in a file is told with its line and key.
 * The sample config and the manual page are held to the table of keys here too.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

#include <cmocka.h>

#include "cleanup.h"
#include "config/config.h"

static char file_path[] = "/tmp/dbps-test-config-XXXXXX";

static int make_file(void **state)
{
	_cleanup_close_ int fd = mkstemp(file_path);

	(void)state;
	return fd < 0;
}

static int remove_file(void **state)
{
	(void)state;
	return unlink(file_path);
}

/* Reads `text` as a file over the defaults. */
static int read_text(const char *text, struct dbps_config *ret_config, char **ret_why)
{
	FILE *file = fopen(file_path, "we");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	fclose(file);
	assert_int_equal(dbps_config_defaults(ret_config), 0);
	return dbps_config_read(ret_config, file_path, ret_why);
}

/* Asserts that `text` is refused with "<file>:<line>: <sentence>" and that nothing was changed. */
static void assert_refused(const char *text, int line, const char *sentence)
{
	_cleanup_free_ char *why = NULL;
	_cleanup_free_ char *expected = NULL;
	struct dbps_config config;

	assert_true(asprintf(&expected, "%s:%d: %s", file_path, line, sentence) > 0);
	assert_int_equal(read_text(text, &config, &why), -EINVAL);
	assert_string_equal(why, expected);
	assert_string_equal(config.socket, DBPS_SOCKET_PATH);
	assert_int_equal(config.text_bytes, 1024);
	dbps_config_done(&config);
}

static void defaults_are_those_of_the_table(void **state)
{
	struct dbps_config config;

	(void)state;
	assert_int_equal(dbps_config_defaults(&config), 0);
	assert_string_equal(config.socket, DBPS_SOCKET_PATH);
	assert_string_equal(config.pin_dir, DBPS_PIN_DIR);
	assert_int_equal(config.log_level, LOG_NOTICE);
	assert_int_equal(config.kill_wait_ms, 2000);
	assert_int_equal(config.text_bytes, 1024);
	assert_null(config.process);
	assert_null(config.super);
	assert_true(config.link_enabled);
	assert_null(config.link_option_file);
	dbps_config_done(&config);
	assert_null(config.socket);
}

static void a_file_is_read_over_the_defaults(void **state)
{
	_cleanup_free_ char *why = NULL;
	struct dbps_config config;

	(void)state;
	assert_int_equal(read_text("# comment\n"
				   "[daemon]\n"
				   "socket = /tmp/a.sock  ; the console\n"
				   "pin_dir = none\n"
				   "log_level = debug\n"
				   "\n"
				   "[session]\n"
				   "text_bytes=4096\n"
				   "[access]\n"
				   "process = monitor @dba\n"
				   "[link]\n"
				   "enabled = Off\n",
				   &config, &why),
			 0);
	assert_null(why);
	assert_string_equal(config.socket, "/tmp/a.sock");
	assert_null(config.pin_dir);
	assert_int_equal(config.log_level, LOG_DEBUG);
	assert_int_equal(config.text_bytes, 4096);
	assert_string_equal(config.process, "monitor @dba");
	assert_false(config.link_enabled);
	assert_int_equal(config.max_connections, 100);
	dbps_config_done(&config);
}

static void an_empty_file_changes_nothing(void **state)
{
	_cleanup_free_ char *why = NULL;
	struct dbps_config config;

	(void)state;
	assert_int_equal(read_text("", &config, &why), 0);
	assert_string_equal(config.socket, DBPS_SOCKET_PATH);
	dbps_config_done(&config);
}

static void an_absent_file_is_enoent_and_named(void **state)
{
	_cleanup_free_ char *why = NULL;
	struct dbps_config config;

	(void)state;
	assert_int_equal(dbps_config_defaults(&config), 0);
	assert_int_equal(dbps_config_read(&config, "/nowhere/dbps.conf", &why), -ENOENT);
	assert_string_equal(why, "/nowhere/dbps.conf: No such file or directory");
	assert_string_equal(config.socket, DBPS_SOCKET_PATH);
	dbps_config_done(&config);
}

static void mistakes_are_told_with_line_and_key(void **state)
{
	(void)state;
	assert_refused("[daemon]\nsocket = /a\nsockte = /b\n", 3,
		       "unknown key 'sockte' in [daemon]");
	assert_refused("socket = /a\n", 1, "key 'socket' stands before any [section]");
	assert_refused("[session]\nsocket = /a\n", 2, "unknown key 'socket' in [session]");
	assert_refused("[daemon]\n\nwhat is this\n", 3, "neither [section] nor key = value");
	assert_refused("[daemon]\nsocket =\n", 2, "daemon.socket: a value is needed");
	assert_refused("[link]\nenabled = maybe\n", 2,
		       "link.enabled: 'maybe' is neither yes nor no");
	assert_refused("[daemon]\nlog_level = loud\n", 2,
		       "daemon.log_level: 'loud' is none of err, warning, notice, info, debug");
	/* Of two mistakes the first is told. */
	assert_refused("[daemon]\na = 1\nb = 2\n", 2, "unknown key 'a' in [daemon]");
}

static void numbers_are_held_to_their_range(void **state)
{
	static const char *const bad[] = {"511", "16385", "-1",	 "+600",    "",
					  "1k",	 "0x400", "1e3", "600 700", "99999999999999999999"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char text[64];
		char sentence[128];

		snprintf(text, sizeof(text), "[session]\ntext_bytes = %s\n", bad[i]);
		snprintf(sentence, sizeof(sentence),
			 "session.text_bytes: '%s' is not a number from 512 to 16384 bytes",
			 bad[i]);
		assert_refused(text, 2, sentence);
	}
}

static void a_key_given_twice_or_continued_is_refused(void **state)
{
	(void)state;
	assert_refused("[daemon]\nsocket = /a\nsocket = /b\n", 3, "daemon.socket is given twice");
	assert_refused("[daemon]\nsocket = /a\n  pin_dir = /b\n", 3,
		       "daemon.socket is given twice");
}

static void a_line_that_is_too_long_is_refused(void **state)
{
	char text[512] = "[access]\nprocess = ";

	(void)state;
	memset(text + strlen(text), 'x', 300);
	assert_refused(text, 2, "line is longer than 198 bytes");
}

static void a_socket_path_must_fit_its_address(void **state)
{
	char path[110];
	_cleanup_free_ char *why = NULL;
	struct dbps_config config;

	(void)state;
	memset(path, 'a', sizeof(path));
	path[107] = '\0';
	assert_int_equal(dbps_config_defaults(&config), 0);
	assert_int_equal(dbps_config_set(&config, "daemon.socket", path, &why), 0);
	path[107] = 'a';
	path[108] = '\0';
	assert_int_equal(dbps_config_set(&config, "daemon.socket", path, &why), -EINVAL);
	assert_string_equal(why, "daemon.socket: longer than 107 bytes");
	assert_int_equal(strlen(config.socket), 107);
	dbps_config_done(&config);
}

static void one_key_is_set_by_its_full_name(void **state)
{
	_cleanup_free_ char *why = NULL;
	struct dbps_config config;

	(void)state;
	assert_int_equal(dbps_config_defaults(&config), 0);
	assert_int_equal(dbps_config_set(&config, "session.text_bytes", "2048", &why), 0);
	assert_int_equal(config.text_bytes, 2048);
	assert_int_equal(dbps_config_set(&config, "text_bytes", "2048", &why), -EINVAL);
	assert_string_equal(why, "unknown key 'text_bytes'");
	dbps_config_done(&config);
}

/* The whole of a file below the source tree, where the tests are run. */
static char *read_source(const char *path)
{
	char *text = calloc(1, 65536);
	FILE *file = fopen(path, "re");

	assert_non_null(text);
	assert_non_null(file);
	assert_in_range(fread(text, 1, 65535, file), 1, 65534);
	fclose(file);
	return text;
}

static void the_sample_config_says_every_key_with_its_default(void **state)
{
	_cleanup_free_ char *sample = read_source("packaging/dbps.conf");
	_cleanup_free_ char *why = NULL;
	struct dbps_config config;

	(void)state;
	for (size_t i = 0; i < dbps_n_config_keys; i++) {
		const struct dbps_config_key *key = &dbps_config_keys[i];
		char line[256];

		snprintf(line, sizeof(line), "\n#%s = %s\n", key->name, key->value);
		if (!strstr(sample, line))
			fail_msg("packaging/dbps.conf lacks '%s.%s' with '%s'", key->section,
				 key->name, key->value);
	}
	assert_int_equal(read_text(sample, &config, &why), 0);
	dbps_config_done(&config);
}

static void the_manual_page_says_every_key(void **state)
{
	_cleanup_free_ char *page = read_source("docs/dbps.conf.5");

	(void)state;
	for (size_t i = 0; i < dbps_n_config_keys; i++) {
		char name[64];

		snprintf(name, sizeof(name), "\n.BR %s ", dbps_config_keys[i].name);
		if (!strstr(page, name))
			fail_msg("docs/dbps.conf.5 lacks '%s'", dbps_config_keys[i].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_those_of_the_table),
		cmocka_unit_test(a_file_is_read_over_the_defaults),
		cmocka_unit_test(an_empty_file_changes_nothing),
		cmocka_unit_test(an_absent_file_is_enoent_and_named),
		cmocka_unit_test(mistakes_are_told_with_line_and_key),
		cmocka_unit_test(numbers_are_held_to_their_range),
		cmocka_unit_test(a_key_given_twice_or_continued_is_refused),
		cmocka_unit_test(a_line_that_is_too_long_is_refused),
		cmocka_unit_test(a_socket_path_must_fit_its_address),
		cmocka_unit_test(one_key_is_set_by_its_full_name),
		cmocka_unit_test(the_sample_config_says_every_key_with_its_default),
		cmocka_unit_test(the_manual_page_says_every_key),
	};

	return cmocka_run_group_tests(tests, make_file, remove_file);
}
