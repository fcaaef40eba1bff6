/*
 * dbps kills: the audit of kills. For programs it has every field, for people those that tell the
 * story in one line.
 */
#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "cli/cli.h"

/* Fields of SHOW KILLS, in the order of the line. */
static const char *const told[] = {
	"number", "time", "caller", "reason", "server", "user", "host", "kill", "answer",
};

static size_t find_column(const struct dbps_table *table, const char *name)
{
	size_t c = 0;

	while (c < table->n_columns && strcmp(table->headings[c].name, name) != 0)
		c++;
	return c;
}

/* A table of the columns told, whose cells stay those of `whole`. -EPROTO when one is not there. */
static int pick(const struct dbps_table *whole, struct dbps_table *ret_table)
{
	struct dbps_table table = {0};
	int r = dbps_table_init(&table, ARRAY_SIZE(told), whole->n_rows);

	for (size_t c = 0; c < ARRAY_SIZE(told) && r == 0; c++) {
		size_t from = find_column(whole, told[c]);

		if (from == whole->n_columns) {
			r = -EPROTO;
			break;
		}
		table.headings[c] = whole->headings[from];
		for (size_t row = 0; row < whole->n_rows; row++)
			dbps_table_row(&table, row)[c] = dbps_table_row(whole, row)[from];
	}
	if (r < 0)
		dbps_table_done(&table);
	else
		*ret_table = table;
	return r;
}

/* A kill that is under way, or was left, has an outcome without an answer. */
static void tell_outcomes(const struct dbps_table *whole, struct dbps_table *table)
{
	size_t outcome = find_column(whole, "outcome");

	for (size_t row = 0; row < table->n_rows && outcome < whole->n_columns; row++) {
		struct dbps_cell *answer = &dbps_table_row(table, row)[ARRAY_SIZE(told) - 1];

		if (!answer->text)
			*answer = dbps_table_row(whole, row)[outcome];
	}
}

static enum dbps_exit print_lines(struct dbps_cli *cli, const struct dbps_table *whole)
{
	struct dbps_table table = {0};
	enum dbps_exit exit;

	if (pick(whole, &table) < 0)
		return dbps_output_fail(cli, DBPS_EXIT_FAILED, 0,
					"dbpsd does not tell kills as this dbps expects");
	tell_outcomes(whole, &table);
	exit = dbps_output_table(cli, &table, DBPS_FIT_CUT);
	dbps_table_done(&table);
	return exit;
}

enum dbps_exit dbps_command_kills(struct dbps_cli *cli)
{
	struct dbps_table table = {0};
	char statement[64] = "SHOW KILLS";
	enum dbps_exit exit;

	if (cli->limit)
		snprintf(statement, sizeof(statement), "SHOW KILLS LIMIT %llu", cli->limit);
	exit = dbps_cli_query(cli, statement, &table);
	if (exit == DBPS_EXIT_OK)
		exit = cli->format == DBPS_FORMAT_TABLE
			       ? print_lines(cli, &table)
			       : dbps_output_table(cli, &table, DBPS_FIT_NONE);
	dbps_table_done(&table);
	return exit;
}
