/*
 * What dbps kill understands, apart from the connection: ids, and the console's answers.
 */
#ifndef DBPS_CLI_KILL_H
#define DBPS_CLI_KILL_H

#include <stdint.h>

#include "cli/cli.h"

/** @brief Read an id: decimal digits only. 0 or -EINVAL; the output is untouched on failure. */
int dbps_kill_parse_id(const char *text, uint64_t *ret_id);

/**
 * @brief Read the info of an OK to KILL.
 * @param info May be NULL.
 * @param ret_outcome "confirmed", "missed", "pending", "refused", "spared" or, for
 *        anything else, "unknown".
 */
enum dbps_exit dbps_kill_outcome(const char *info, const char **ret_outcome);

/**
 * @brief Write the KILL that the options ask for.
 * @param kind QUERY or CONNECTION.
 * @param id One session; NULL: those of --where or --user.
 * @param ret_statement Owned by the caller (free()).
 * @return 0 or -ENOMEM.
 */
int dbps_kill_statement(const struct dbps_cli *cli, const char *kind, const uint64_t *id,
			char **ret_statement);

#endif
