/*
 * The commands that show what one statement answers: servers, sql, version.
 */
#include <errno.h>
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "cli/cli.h"
#include "cli/kill.h"
#include "cli/text.h"

#define ER_PARSE_ERROR 1064

enum dbps_exit dbps_command_servers(struct dbps_cli *cli)
{
	struct dbps_table table = {0};
	enum dbps_exit exit = dbps_cli_query(cli, "SHOW SERVERS", &table);

	if (exit == DBPS_EXIT_OK)
		exit = dbps_output_table(cli, &table, DBPS_FIT_WRAP);
	dbps_table_done(&table);
	return exit;
}

static int join_words(char *const *words, int n, char **ret_statement)
{
	_cleanup_free_ char *statement = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&statement, &len);

	if (!out)
		return -ENOMEM;
	for (int i = 0; i < n; i++)
		fprintf(out, "%s%s", i ? " " : "", words[i]);
	if (fclose(out) != 0)
		return -ENOMEM;
	*ret_statement = TAKE_PTR(statement);
	return 0;
}

void dbps_cli_say_ok(const struct dbps_cli *cli)
{
	const char *info = mysql_info(cli->mysql);
	unsigned long long rows = mysql_affected_rows(cli->mysql);
	_cleanup_free_ char *valid = NULL;
	json_t *object = NULL;
	size_t len = 0;

	if (cli->format != DBPS_FORMAT_JSON) {
		printf("OK, %llu rows affected\n", rows);
		if (info) {
			dbps_text_print(stdout, info, strlen(info), SIZE_MAX);
			putchar('\n');
		}
		return;
	}
	if (info && dbps_text_valid(info, strlen(info), &valid, &len) < 0)
		return;
	object = json_pack("{s:b, s:I, s:s?, s:i}", "ok", 1, "affected_rows", (json_int_t)rows,
			   "info", valid, "warnings", (int)mysql_warning_count(cli->mysql));
	if (object)
		json_dumpf(object, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
	putchar('\n');
	json_decref(object);
}

/* Takes out the warnings of this text. */
static void leave_out(struct dbps_table *warnings, const char *said)
{
	size_t n = 0, last = warnings->n_columns - 1;

	for (size_t row = 0; row < warnings->n_rows; row++) {
		const struct dbps_cell *cells = dbps_table_row(warnings, row);

		if (cells[last].len == strlen(said) &&
		    !memcmp(cells[last].text, said, cells[last].len))
			continue;
		memmove(dbps_table_row(warnings, n++), cells, warnings->n_columns * sizeof(*cells));
	}
	warnings->n_rows = n;
}

enum dbps_exit dbps_cli_say_warnings(struct dbps_cli *cli, const char *said)
{
	struct dbps_table table = {0};
	enum dbps_exit exit = DBPS_EXIT_OK;

	if (mysql_warning_count(cli->mysql) == 0)
		return DBPS_EXIT_OK;
	exit = dbps_cli_query(cli, "SHOW WARNINGS", &table);
	if (exit == DBPS_EXIT_OK && said && table.n_columns > 0)
		leave_out(&table, said);
	fflush(stdout);
	if (exit != DBPS_EXIT_OK || table.n_rows == 0)
		; /* nothing to say */
	else if (cli->format == DBPS_FORMAT_JSON)
		dbps_table_print_json(stderr, &table, true);
	else
		dbps_table_print(stderr, &table, DBPS_FIT_NONE, 0, 0);
	dbps_table_done(&table);
	return exit;
}

/* As dbps kill: what dbpsd refused, other than what it did not understand. */
static enum dbps_exit exit_of_failure(const char *statement, unsigned int code)
{
	return code != ER_PARSE_ERROR && dbps_kill_is(statement) ? DBPS_EXIT_REFUSED
								 : DBPS_EXIT_FAILED;
}

static enum dbps_exit exit_of_kill(const struct dbps_table *table, const char *info)
{
	const char *outcome = NULL;

	return table->n_columns > 0 ? dbps_kill_exit_of_rows(table)
				    : dbps_kill_outcome(info, &outcome);
}

enum dbps_exit dbps_cli_tell(struct dbps_cli *cli, const char *statement,
			     unsigned int *ret_warnings)
{
	struct dbps_table table = {0};
	enum dbps_exit exit = dbps_cli_query(cli, statement, &table);
	_cleanup_free_ char *info = NULL;

	if (exit == DBPS_EXIT_FAILED && cli->mysql)
		return exit_of_failure(statement, mysql_errno(cli->mysql));
	if (exit != DBPS_EXIT_OK)
		return exit;
	if (mysql_info(cli->mysql))
		info = strdup(mysql_info(cli->mysql));
	if (table.n_columns > 0)
		exit = dbps_output_table(cli, &table, DBPS_FIT_WRAP);
	else
		dbps_cli_say_ok(cli);
	if (dbps_kill_is(statement))
		exit = dbps_exit_worse(exit, exit_of_kill(&table, info));
	dbps_table_done(&table);
	*ret_warnings = mysql_warning_count(cli->mysql);
	return dbps_exit_worse(exit, dbps_cli_say_warnings(cli, info));
}

enum dbps_exit dbps_command_sql(struct dbps_cli *cli)
{
	_cleanup_free_ char *statement = NULL;
	unsigned int warnings = 0;

	if (join_words(cli->args, cli->n_args, &statement) < 0)
		return dbps_output_fail(cli, DBPS_EXIT_FAILED, 0, "out of memory");
	return dbps_cli_tell(cli, statement, &warnings);
}

/* The greeting has the version behind one that clients take for a server's: 5.7.99-dbps-0.1.0. */
static const char *daemon_version(MYSQL *mysql)
{
	static const char mark[] = "-dbps-";
	const char *greeted = mysql_get_server_info(mysql);
	const char *behind = strstr(greeted, mark);

	return behind ? behind + strlen(mark) : greeted;
}

/* A dbpsd that does not run is no failure of this command. */
enum dbps_exit dbps_command_version(struct dbps_cli *cli)
{
	char error[256] = "";
	bool there = dbps_cli_try(cli, error) == 0;
	const char *daemon = there ? daemon_version(cli->mysql) : NULL;
	json_t *object = NULL;

	if (cli->format != DBPS_FORMAT_JSON) {
		printf("dbps %s\n", DBPS_VERSION);
		if (there)
			printf("dbpsd %s at %s\n", daemon, cli->socket);
		else
			printf("dbpsd cannot be reached: %s\n", error);
		return DBPS_EXIT_OK;
	}
	object = json_pack("{s:s, s:s?, s:s}", "dbps", DBPS_VERSION, "dbpsd", daemon, "socket",
			   cli->socket);
	if (object)
		json_dumpf(object, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
	putchar('\n');
	json_decref(object);
	return DBPS_EXIT_OK;
}
