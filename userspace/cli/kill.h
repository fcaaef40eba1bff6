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

/** @return Whether a statement is a KILL; comments may stand before the word. */
bool dbps_kill_is(const char *statement);

/** @return The worst of the rows of a KILL of many; of a dry run nothing is bad. */
enum dbps_exit dbps_kill_exit_of_rows(const struct dbps_table *table);

/**
 * @brief Write the KILL, or what else is done to sessions, that the options ask for.
 * @param kind QUERY or CONNECTION; NULL: it is no KILL, the command's name is the statement's.
 * @param id One session; NULL: those of --where or --user.
 * @param ret_statement Owned by the caller (free()).
 * @return 0 or -ENOMEM.
 */
int dbps_kill_statement(const struct dbps_cli *cli, const char *kind, const uint64_t *id,
			char **ret_statement);

#define DBPS_KILL_QUERY	     "QUERY"
#define DBPS_KILL_CONNECTION "CONNECTION"

/** @brief Send it for each id and say what became of it. The worst of all. */
enum dbps_exit dbps_kill_ids(struct dbps_cli *cli, const char *kind, char **words, int n);

/** @brief Send it for those of --where or --user and say what became of each. */
enum dbps_exit dbps_kill_chosen(struct dbps_cli *cli, const char *kind);

#endif
