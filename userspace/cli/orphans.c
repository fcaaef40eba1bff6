/*
 * dbps orphans: what is executed for nobody, and its end. For programs it has every column, for
 * people the few that tell whose it was and how its client went.
 */
#include <strings.h>

#include "cli/cli.h"
#include "cli/kill.h"

static enum dbps_exit list(struct dbps_cli *cli)
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

enum dbps_exit dbps_command_orphans(struct dbps_cli *cli)
{
	bool query = cli->kill && strcasecmp(cli->kill, "query") == 0;

	if (!cli->kill && cli->given & (DBPS_OPT_DRY_RUN | DBPS_OPT_REASON))
		return dbps_output_fail(cli, DBPS_EXIT_USAGE, 0,
					"orphans: --dry-run and --reason go with --kill");
	if (!cli->kill)
		return list(cli);
	if (!query && strcasecmp(cli->kill, "connection") != 0)
		return dbps_output_fail(cli, DBPS_EXIT_USAGE, 0,
					"orphans: --kill takes `query` or `connection`, not '%s'",
					cli->kill);
	cli->where = "orphan IS NOT NULL";
	return dbps_kill_chosen(cli, query ? DBPS_KILL_QUERY : DBPS_KILL_CONNECTION);
}
