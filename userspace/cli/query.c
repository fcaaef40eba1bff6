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
#include "cli/text.h"

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

enum dbps_exit dbps_cli_say_warnings(struct dbps_cli *cli)
{
	struct dbps_table table = {0};
	enum dbps_exit exit = DBPS_EXIT_OK;

	if (mysql_warning_count(cli->mysql) == 0)
		return DBPS_EXIT_OK;
	exit = dbps_cli_query(cli, "SHOW WARNINGS", &table);
	fflush(stdout);
	if (exit == DBPS_EXIT_OK && cli->format == DBPS_FORMAT_JSON)
		dbps_table_print_json(stderr, &table, true);
	else if (exit == DBPS_EXIT_OK)
		dbps_table_print(stderr, &table, DBPS_FIT_NONE, 0, 0);
	dbps_table_done(&table);
	return exit;
}

enum dbps_exit dbps_cli_tell(struct dbps_cli *cli, const char *statement,
			     unsigned int *ret_warnings)
{
	struct dbps_table table = {0};
	enum dbps_exit exit = dbps_cli_query(cli, statement, &table);

	if (exit != DBPS_EXIT_OK)
		return exit;
	if (table.n_columns > 0)
		exit = dbps_output_table(cli, &table, DBPS_FIT_WRAP);
	else
		dbps_cli_say_ok(cli);
	dbps_table_done(&table);
	*ret_warnings = mysql_warning_count(cli->mysql);
	return dbps_exit_worse(exit, dbps_cli_say_warnings(cli));
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
