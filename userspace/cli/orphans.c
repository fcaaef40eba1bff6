/*
 * dbps orphans: what is executed for nobody. For programs it has every column, for people the few
 * that tell whose it was and how its client went.
 */
#include "cli/cli.h"

enum dbps_exit dbps_command_orphans(struct dbps_cli *cli)
{
	bool people = cli->format == DBPS_FORMAT_TABLE;
	struct dbps_table table = {0};
	enum dbps_exit exit =
		dbps_cli_query(cli, people ? "SHOW ORPHANS" : "SHOW FULL ORPHANS", &table);

	if (exit == DBPS_EXIT_OK)
		exit = dbps_output_table(cli, &table, DBPS_FIT_CUT);
	dbps_table_done(&table);
	return exit;
}
