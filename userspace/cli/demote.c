/*
 * dbps demote and dbps restore: one statement for each id, told as kills are.
 */
#include "cli/cli.h"
#include "cli/kill.h"

enum dbps_exit dbps_command_demote(struct dbps_cli *cli)
{
	return dbps_kill_ids(cli, NULL, cli->args, cli->n_args);
}

enum dbps_exit dbps_command_restore(struct dbps_cli *cli)
{
	return dbps_kill_ids(cli, NULL, cli->args, cli->n_args);
}
