/*
 * dbps reserve: one RESERVE, its rows as they are. Warnings, on stderr, tell why fewer connections
 * are free than was asked for.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "cli/cli.h"
#include "cli/kill.h"

enum dbps_exit dbps_command_reserve(struct dbps_cli *cli)
{
	enum dbps_exit exit = DBPS_EXIT_OK;
	unsigned int warnings = 0;
	char statement[64];
	uint64_t n = 0;

	if (dbps_kill_parse_id(cli->args[0], &n) < 0)
		return dbps_output_fail(cli, DBPS_EXIT_USAGE, 0,
					"reserve: '%s' is no number of connections", cli->args[0]);
	snprintf(statement, sizeof(statement), "RESERVE %" PRIu64 "%s", n,
		 cli->given & DBPS_OPT_DRY_RUN ? " DRY RUN" : "");
	exit = dbps_cli_tell(cli, statement, &warnings);
	return exit == DBPS_EXIT_OK && warnings ? DBPS_EXIT_REFUSED : exit;
}
