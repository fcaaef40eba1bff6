/*
 * The way to dbpsd: libmariadb over the console's Unix socket. Who calls is known there from the
 * socket, so no password and no option file has a part in it.
 */
#include <errmsg.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "cli/cli.h"

#define CONNECT_TIMEOUT_S 5
/* An answer may take as long as KILL waits (console.kill_wait_ms is at most 60 s). */
#define READ_TIMEOUT_S 75

#define ER_BAD_DB_ERROR 1049

static MYSQL *new_handle(void)
{
	static const unsigned int connect_timeout_s = CONNECT_TIMEOUT_S;
	static const unsigned int read_timeout_s = READ_TIMEOUT_S;
	MYSQL *mysql = mysql_init(NULL);

	if (!mysql)
		return NULL;
	mysql_options(mysql, MYSQL_OPT_CONNECT_TIMEOUT, &connect_timeout_s);
	mysql_options(mysql, MYSQL_OPT_READ_TIMEOUT, &read_timeout_s);
	mysql_options(mysql, MYSQL_SET_CHARSET_NAME, "utf8mb4");
	return mysql;
}

unsigned int dbps_cli_try(struct dbps_cli *cli, char ret_error[256])
{
	MYSQL *mysql = new_handle();
	unsigned int code = 0;

	if (!mysql) {
		snprintf(ret_error, 256, "out of memory");
		return CR_OUT_OF_MEMORY;
	}
	if (mysql_real_connect(mysql, NULL, "dbps", "", cli->server, 0, cli->socket, 0)) {
		cli->mysql = mysql;
		return 0;
	}
	code = mysql_errno(mysql);
	if (code == CR_CONNECTION_ERROR && access(cli->socket, F_OK) < 0)
		snprintf(ret_error, 256, "no socket '%.150s'; is dbpsd running?", cli->socket);
	else
		snprintf(ret_error, 256, "%s", mysql_error(mysql));
	mysql_close(mysql);
	return code;
}

/* Errors of libmariadb itself mean that the connection is gone; others are dbpsd's answer. */
static enum dbps_exit exit_of_error(unsigned int code)
{
	return code >= CR_MIN_ERROR && code <= CR_MAX_ERROR ? DBPS_EXIT_UNREACHABLE
							    : DBPS_EXIT_FAILED;
}

enum dbps_exit dbps_cli_send(struct dbps_cli *cli, const char *statement)
{
	if (mysql_real_query(cli->mysql, statement, strlen(statement)) == 0)
		return DBPS_EXIT_OK;
	return exit_of_error(mysql_errno(cli->mysql));
}

enum dbps_exit dbps_cli_say_error(const struct dbps_cli *cli, enum dbps_exit exit)
{
	return dbps_output_fail(cli, exit, mysql_errno(cli->mysql), "%s", mysql_error(cli->mysql));
}

static void release_result(void *owner)
{
	mysql_free_result(owner);
}

static enum dbps_kind kind_of(const MYSQL_FIELD *field)
{
	switch (field->type) {
	case MYSQL_TYPE_TINY:
	case MYSQL_TYPE_SHORT:
	case MYSQL_TYPE_INT24:
	case MYSQL_TYPE_LONG:
	case MYSQL_TYPE_LONGLONG:
	case MYSQL_TYPE_YEAR:
		return DBPS_KIND_INTEGER;
	case MYSQL_TYPE_FLOAT:
	case MYSQL_TYPE_DOUBLE:
	case MYSQL_TYPE_DECIMAL:
	case MYSQL_TYPE_NEWDECIMAL:
		return DBPS_KIND_REAL;
	default:
		return DBPS_KIND_TEXT;
	}
}

/* The table points into the result and owns it; on failure the caller keeps it. */
static int table_of_result(MYSQL_RES *result, struct dbps_table *ret_table)
{
	struct dbps_table table = {0};
	const MYSQL_FIELD *fields = mysql_fetch_fields(result);
	struct dbps_cell *cell = NULL;
	MYSQL_ROW row = NULL;
	int r = dbps_table_init(&table, mysql_num_fields(result), mysql_num_rows(result));

	if (r < 0)
		return r;
	for (size_t c = 0; c < table.n_columns; c++)
		table.headings[c] = (struct dbps_heading){fields[c].name, kind_of(&fields[c])};
	cell = table.cells;
	while ((row = mysql_fetch_row(result))) {
		const unsigned long *lengths = mysql_fetch_lengths(result);

		for (size_t c = 0; c < table.n_columns; c++)
			*cell++ = (struct dbps_cell){row[c], lengths[c]};
	}
	table.owner = result;
	table.release = release_result;
	*ret_table = table;
	return 0;
}

/* "mariadb-3306, postgres-5432": all that the caller may know of. */
static void write_servers(struct dbps_cli *all, char *buf, size_t size)
{
	struct dbps_table table = {0};
	size_t len = 0;

	snprintf(buf, size, "none");
	if (dbps_cli_send(all, "SHOW DATABASES") != DBPS_EXIT_OK)
		return;
	MYSQL_RES *result = mysql_store_result(all->mysql);

	if (!result || table_of_result(result, &table) < 0) {
		mysql_free_result(result);
		return;
	}
	for (size_t row = 0; row < table.n_rows && len < size; row++)
		len += (size_t)snprintf(buf + len, size - len, "%s%s", row ? ", " : "",
					dbps_table_row(&table, row)->text ?: "");
	dbps_table_done(&table);
}

/* No server has the name that --server gave: say those there are. */
static enum dbps_exit refuse_server(const struct dbps_cli *cli, unsigned int code)
{
	struct dbps_cli all = *cli;
	char names[512] = "none", error[256];

	all.server = NULL;
	if (dbps_cli_try(&all, error) == 0)
		write_servers(&all, names, sizeof(names));
	dbps_cli_close(&all);
	return dbps_output_fail(cli, DBPS_EXIT_FAILED, code, "no server '%s'; there are: %s",
				cli->server, names);
}

enum dbps_exit dbps_cli_connect(struct dbps_cli *cli)
{
	char error[256];
	unsigned int code = 0;

	if (cli->mysql)
		return DBPS_EXIT_OK;
	code = dbps_cli_try(cli, error);
	if (code == 0)
		return DBPS_EXIT_OK;
	if (code == ER_BAD_DB_ERROR)
		return refuse_server(cli, code);
	return dbps_output_fail(cli, DBPS_EXIT_UNREACHABLE, code < CR_MIN_ERROR ? code : 0,
				"cannot reach dbpsd: %s", error);
}

enum dbps_exit dbps_cli_query(struct dbps_cli *cli, const char *statement,
			      struct dbps_table *ret_table)
{
	enum dbps_exit exit = dbps_cli_connect(cli);
	MYSQL_RES *result = NULL;

	if (exit != DBPS_EXIT_OK)
		return exit;
	exit = dbps_cli_send(cli, statement);
	if (exit != DBPS_EXIT_OK)
		return dbps_cli_say_error(cli, exit);
	result = mysql_store_result(cli->mysql);
	if (!result && mysql_errno(cli->mysql))
		return dbps_cli_say_error(cli, exit_of_error(mysql_errno(cli->mysql)));
	if (!result) {
		*ret_table = (struct dbps_table){0};
		return DBPS_EXIT_OK;
	}
	if (table_of_result(result, ret_table) < 0) {
		mysql_free_result(result);
		return dbps_output_fail(cli, DBPS_EXIT_FAILED, 0, "out of memory");
	}
	return DBPS_EXIT_OK;
}

void dbps_cli_close(struct dbps_cli *cli)
{
	if (cli->mysql)
		mysql_close(cli->mysql);
	cli->mysql = NULL;
}
