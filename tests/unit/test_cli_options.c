/*
 * The command line of dbps: what is understood, what is refused, and what kill takes for an id and
 * for an outcome.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cleanup.h"
#include "cli/cli.h"
#include "cli/kill.h"
#include "config/config.h"

/*
 * Parses, and runs if that is wanted, with stderr out of the way: usage errors are said there, and
 * so is cmocka's report.
 */
static enum dbps_exit parse(struct dbps_cli *ret_cli, char **argv, bool run)
{
	_cleanup_close_ int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	_cleanup_close_ int saved = dup(STDERR_FILENO);
	enum dbps_exit exit = DBPS_EXIT_OK;
	int argc = 0;

	while (argv[argc])
		argc++;
	assert_true(null >= 0 && saved >= 0);
	assert_int_equal(dup2(null, STDERR_FILENO), STDERR_FILENO);
	exit = dbps_cli_parse(argc, argv, ret_cli);
	if (exit == DBPS_EXIT_OK && run)
		exit = ret_cli->command->run(ret_cli);
	assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
	return exit;
}

#define PARSE(ret_cli, ...) parse((ret_cli), (char *[]){(char *)"dbps", ##__VA_ARGS__, NULL}, false)
#define RUN(ret_cli, ...)   parse((ret_cli), (char *[]){(char *)"dbps", ##__VA_ARGS__, NULL}, true)

static void a_command_has_defaults(void **state)
{
	struct dbps_cli cli;

	(void)state;
	unsetenv("DBPS_SOCKET");
	assert_int_equal(PARSE(&cli, "ps"), DBPS_EXIT_OK);
	assert_string_equal(cli.command->name, "ps");
	assert_string_equal(cli.socket, DBPS_SOCKET_PATH);
	assert_int_equal(cli.format, DBPS_FORMAT_TABLE);
	assert_null(cli.server);
	assert_int_equal(cli.n_args, 0);
}

static void options_stand_anywhere_in_any_form(void **state)
{
	struct dbps_cli cli;

	(void)state;
	assert_int_equal(PARSE(&cli, "-S", "/a", "ps", "--json", "--server=m"), DBPS_EXIT_OK);
	assert_string_equal(cli.socket, "/a");
	assert_string_equal(cli.server, "m");
	assert_int_equal(cli.format, DBPS_FORMAT_JSON);
	assert_int_equal(PARSE(&cli, "kill", "--socket", "/b", "query", "-S/c", "41"),
			 DBPS_EXIT_OK);
	assert_string_equal(cli.socket, "/c");
	assert_int_equal(cli.n_args, 2);
	assert_string_equal(cli.args[0], "query");
	assert_string_equal(cli.args[1], "41");
}

static void the_environment_names_the_socket(void **state)
{
	struct dbps_cli cli;

	(void)state;
	setenv("DBPS_SOCKET", "/env", 1);
	assert_int_equal(PARSE(&cli, "ps"), DBPS_EXIT_OK);
	assert_string_equal(cli.socket, "/env");
	assert_int_equal(PARSE(&cli, "ps", "-S", "/option"), DBPS_EXIT_OK);
	assert_string_equal(cli.socket, "/option");
	unsetenv("DBPS_SOCKET");
}

static void watch_takes_seconds_or_none(void **state)
{
	struct dbps_cli cli;

	(void)state;
	assert_int_equal(PARSE(&cli, "ps", "--watch"), DBPS_EXIT_OK);
	assert_true(cli.watch_s == 2);
	assert_int_equal(PARSE(&cli, "ps", "--watch", "0.5", "--full"), DBPS_EXIT_OK);
	assert_true(cli.watch_s == 0.5);
	assert_int_equal(PARSE(&cli, "--watch=7", "ps"), DBPS_EXIT_OK);
	assert_true(cli.watch_s == 7);
	assert_int_equal(PARSE(&cli, "--watch", "ps"), DBPS_EXIT_OK);
	assert_string_equal(cli.command->name, "ps");
	assert_int_equal(PARSE(&cli, "ps", "--watch=0"), DBPS_EXIT_USAGE);
	assert_int_equal(PARSE(&cli, "ps", "--watch=nan"), DBPS_EXIT_USAGE);
	assert_int_equal(PARSE(&cli, "ps", "--watch=1s"), DBPS_EXIT_USAGE);
	assert_int_equal(PARSE(&cli, "ps", "--watch="), DBPS_EXIT_USAGE);
}

static void after_two_dashes_all_are_words(void **state)
{
	struct dbps_cli cli;

	(void)state;
	assert_int_equal(PARSE(&cli, "sql", "--json", "--", "select", "-1", "--csv"), DBPS_EXIT_OK);
	assert_int_equal(cli.n_args, 3);
	assert_string_equal(cli.args[1], "-1");
	assert_int_equal(cli.format, DBPS_FORMAT_JSON);
}

static void help_and_version_need_no_command(void **state)
{
	struct dbps_cli cli;

	(void)state;
	assert_int_equal(PARSE(&cli, "--help"), DBPS_EXIT_OK);
	assert_null(cli.command);
	/* With help asked for, what else is missing does not matter. */
	assert_int_equal(PARSE(&cli, "kill", "-h"), DBPS_EXIT_OK);
	assert_string_equal(cli.command->name, "kill");
	assert_int_equal(PARSE(&cli, "-V"), DBPS_EXIT_OK);
	assert_string_equal(cli.command->name, "version");
}

static void mistakes_are_refused_and_nothing_is_written(void **state)
{
	struct dbps_cli cli = {.n_args = 4711};

	(void)state;
	assert_int_equal(PARSE(&cli), DBPS_EXIT_USAGE);
	assert_int_equal(PARSE(&cli, "px"), DBPS_EXIT_USAGE);
	assert_int_equal(PARSE(&cli, "ps", "--jso"), DBPS_EXIT_USAGE);
	assert_int_equal(PARSE(&cli, "ps", "--json=1"), DBPS_EXIT_USAGE);
	assert_int_equal(PARSE(&cli, "ps", "--json", "--csv"), DBPS_EXIT_USAGE);
	assert_int_equal(PARSE(&cli, "ps", "-S"), DBPS_EXIT_USAGE);
	assert_int_equal(PARSE(&cli, "ps", "-Z"), DBPS_EXIT_USAGE);
	assert_int_equal(PARSE(&cli, "ps", "all"), DBPS_EXIT_USAGE);
	assert_int_equal(PARSE(&cli, "sql"), DBPS_EXIT_USAGE);
	/* An option of another command. */
	assert_int_equal(PARSE(&cli, "kill", "--watch", "41"), DBPS_EXIT_USAGE);
	assert_int_equal(PARSE(&cli, "servers", "--full"), DBPS_EXIT_USAGE);
	assert_int_equal(cli.n_args, 4711);
}

/* Nobody listens there: what is right goes as far as that. */
static void a_kill_is_of_ids_or_of_a_choice(void **state)
{
	struct dbps_cli cli;

	(void)state;
	setenv("DBPS_SOCKET", "/nowhere/dbps.sock", 1);
	assert_int_equal(RUN(&cli, "kill"), DBPS_EXIT_USAGE);
	assert_int_equal(RUN(&cli, "kill", "query"), DBPS_EXIT_USAGE);
	assert_int_equal(RUN(&cli, "kill", "query", "x"), DBPS_EXIT_USAGE);
	assert_int_equal(RUN(&cli, "kill", "--where", "1", "41"), DBPS_EXIT_USAGE);
	assert_int_equal(RUN(&cli, "kill", "--user", "a", "41"), DBPS_EXIT_USAGE);
	assert_int_equal(RUN(&cli, "kill", "--user", "a", "--where", "1"), DBPS_EXIT_USAGE);
	assert_int_equal(RUN(&cli, "kill", "--where", ""), DBPS_EXIT_USAGE);
	assert_int_equal(RUN(&cli, "kill", "--user", ""), DBPS_EXIT_USAGE);
	assert_int_equal(RUN(&cli, "kill", "--user", "a@"), DBPS_EXIT_USAGE);
	assert_int_equal(RUN(&cli, "kill", "--limit", "1", "41"), DBPS_EXIT_USAGE);
	assert_int_equal(RUN(&cli, "kill", "--dry-run", "41"), DBPS_EXIT_USAGE);
	assert_int_equal(RUN(&cli, "kill", "--csv", "41"), DBPS_EXIT_USAGE);
	assert_int_equal(RUN(&cli, "kill", "--order-by", "id", "41"), DBPS_EXIT_USAGE);
	assert_int_equal(RUN(&cli, "kill", "--order-by", "id", "--user", "a"), DBPS_EXIT_USAGE);
	assert_int_equal(RUN(&cli, "kill", "--after", "lunch", "41"), DBPS_EXIT_USAGE);
	assert_int_equal(RUN(&cli, "kill", "query", "--after", "statement", "41"), DBPS_EXIT_USAGE);
	assert_int_equal(RUN(&cli, "kill", "41"), DBPS_EXIT_UNREACHABLE);
	assert_int_equal(RUN(&cli, "kill", "query", "--where", "1"), DBPS_EXIT_UNREACHABLE);
	assert_int_equal(RUN(&cli, "kill", "--user", "a", "--dry-run"), DBPS_EXIT_UNREACHABLE);
	unsetenv("DBPS_SOCKET");
}

static void assert_written(char **argv, const char *want)
{
	_cleanup_free_ char *statement = NULL;
	const uint64_t id = 41;
	struct dbps_cli cli;

	assert_int_equal(parse(&cli, argv, false), DBPS_EXIT_OK);
	assert_int_equal(dbps_kill_statement(&cli, "QUERY", cli.n_args ? &id : NULL, &statement),
			 0);
	assert_string_equal(statement, want);
}

#define assert_statement(want, ...)                                                                \
	assert_written((char *[]){(char *)"dbps", (char *)"kill", __VA_ARGS__, NULL}, want)

static void a_kill_is_written_so_that_no_part_reaches_into_another(void **state)
{
	(void)state;
	assert_statement("KILL QUERY 41", "41");
	assert_statement("KILL SOFT QUERY 41 AFTER transaction", "41", "--soft", "--after",
			 "transaction");
	assert_statement("/* it hurts */ KILL QUERY 41", "--reason", "it hurts", "41");
	assert_statement("/* a* / KILL 1 -- */ KILL QUERY 41", "--reason", "a*/ KILL 1 --", "41");
	assert_statement("/* !50000 x* */ KILL QUERY 41", "--reason", "!50000 x*", "41");
	assert_statement("/* * / * / */ KILL QUERY 41", "--reason", "*/ */", "41");
	assert_statement("KILL QUERY WHERE a -- b\nORDER BY c\nLIMIT 3\n AFTER statement DRY RUN",
			 "--where", "a -- b", "--dry-run", "--limit", "3", "--order-by", "c",
			 "--after", "statement");
	assert_statement("KILL QUERY USER 'app'\n", "--user", "app");
	assert_statement("KILL QUERY USER 'a''b@c\\\\'@'10.0.0.1'\n", "--user", "a'b@c\\@10.0.0.1");
}

static void an_id_is_decimal_digits(void **state)
{
	static const char *const bad[] = {
		"", "-1", "+1", " 1", "1 ", "0x10", "1;2", "'1'", "18446744073709551616"};
	uint64_t id = 4711;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(dbps_kill_parse_id(bad[i], &id), -EINVAL);
	assert_int_equal(id, 4711);
	assert_int_equal(dbps_kill_parse_id("41", &id), 0);
	assert_int_equal(id, 41);
	assert_int_equal(dbps_kill_parse_id("18446744073709551615", &id), 0);
	assert_true(id == UINT64_MAX);
}

static void the_outcome_is_read_from_the_answer(void **state)
{
	const char *outcome = NULL;

	(void)state;
	assert_int_equal(dbps_kill_outcome("confirmed: statement 3 interrupted", &outcome),
			 DBPS_EXIT_OK);
	assert_string_equal(outcome, "confirmed");
	assert_int_equal(dbps_kill_outcome("missed: it had ended", &outcome), DBPS_EXIT_MISSED);
	assert_int_equal(dbps_kill_outcome("pending: still running", &outcome), DBPS_EXIT_PENDING);
	/* What is not understood is never taken for success. */
	assert_int_equal(dbps_kill_outcome("confirmedly", &outcome), DBPS_EXIT_FAILED);
	assert_int_equal(dbps_kill_outcome("", &outcome), DBPS_EXIT_FAILED);
	assert_int_equal(dbps_kill_outcome(NULL, &outcome), DBPS_EXIT_FAILED);
	assert_string_equal(outcome, "unknown");
}

static void the_worst_of_several_codes_counts(void **state)
{
	(void)state;
	assert_int_equal(dbps_exit_worse(DBPS_EXIT_OK, DBPS_EXIT_MISSED), DBPS_EXIT_MISSED);
	assert_int_equal(dbps_exit_worse(DBPS_EXIT_PENDING, DBPS_EXIT_MISSED), DBPS_EXIT_PENDING);
	assert_int_equal(dbps_exit_worse(DBPS_EXIT_PENDING, DBPS_EXIT_REFUSED), DBPS_EXIT_REFUSED);
	assert_int_equal(dbps_exit_worse(DBPS_EXIT_UNREACHABLE, DBPS_EXIT_REFUSED),
			 DBPS_EXIT_UNREACHABLE);
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

static void the_manual_page_says_every_command(void **state)
{
	_cleanup_free_ char *page = read_source("docs/dbps.1");

	(void)state;
	for (size_t i = 0; i < dbps_n_commands; i++) {
		char line[64];

		snprintf(line, sizeof(line), "\n.SS %s", dbps_commands[i].name);
		if (!strstr(page, line))
			fail_msg("docs/dbps.1 lacks '%s'", dbps_commands[i].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_command_has_defaults),
		cmocka_unit_test(options_stand_anywhere_in_any_form),
		cmocka_unit_test(the_environment_names_the_socket),
		cmocka_unit_test(watch_takes_seconds_or_none),
		cmocka_unit_test(after_two_dashes_all_are_words),
		cmocka_unit_test(help_and_version_need_no_command),
		cmocka_unit_test(mistakes_are_refused_and_nothing_is_written),
		cmocka_unit_test(a_kill_is_of_ids_or_of_a_choice),
		cmocka_unit_test(a_kill_is_written_so_that_no_part_reaches_into_another),
		cmocka_unit_test(an_id_is_decimal_digits),
		cmocka_unit_test(the_outcome_is_read_from_the_answer),
		cmocka_unit_test(the_worst_of_several_codes_counts),
		cmocka_unit_test(the_manual_page_says_every_command),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
