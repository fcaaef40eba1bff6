/*
 * One call of dbps: what the command line asked for, and the connection to the console it is asked
 * through. Commands are a table; each gets the call and answers with an exit code.
 */
#ifndef DBPS_CLI_H
#define DBPS_CLI_H

#include <mysql.h>
#include <stdbool.h>

#include "cli/exit_codes.h"
#include "cli/table.h"

/* How results and errors are written. */
enum dbps_format { DBPS_FORMAT_TABLE, DBPS_FORMAT_JSON, DBPS_FORMAT_CSV };

/* Options by bit, so that a command can name those it takes. */
enum dbps_cli_option {
	DBPS_OPT_SOCKET = 1 << 0,
	DBPS_OPT_SERVER = 1 << 1,
	DBPS_OPT_FULL = 1 << 2,
	DBPS_OPT_JSON = 1 << 3,
	DBPS_OPT_CSV = 1 << 4,
	DBPS_OPT_WATCH = 1 << 5,
	DBPS_OPT_HELP = 1 << 6,
	DBPS_OPT_VERSION = 1 << 7,
	DBPS_OPT_LIMIT = 1 << 8,
	DBPS_OPT_DRY_RUN = 1 << 9,
	DBPS_OPT_WHERE = 1 << 10,
	DBPS_OPT_USER = 1 << 11,
	DBPS_OPT_ORDER_BY = 1 << 12,
	DBPS_OPT_SOFT = 1 << 13,
	DBPS_OPT_AFTER = 1 << 14,
	DBPS_OPT_REASON = 1 << 15,
	DBPS_OPT_KILL = 1 << 16,
	DBPS_OPT_WIDE = 1 << 17,
};

struct dbps_cli {
	const struct dbps_command *command; /* NULL: none was named */
	unsigned int given;		    /* enum dbps_cli_option */
	const char *socket;
	const char *server; /* --server: ask for this one only; NULL: the whole host */
	double watch_s;
	unsigned long long limit; /* --limit; 0: not given */
	/* Of kill; NULL: not given. */
	const char *where, *user, *order_by, *after, *reason;
	const char *kill; /* of orphans, what to end; NULL: nothing */
	enum dbps_format format;
	int n_args;
	char **args; /* what follows the command */
	MYSQL *mysql;
};

struct dbps_command {
	const char *name;
	const char *args;     /* as usage shows them */
	const char *summary;  /* one line */
	unsigned int options; /* enum dbps_cli_option that it takes, besides --socket and --help */
	int min_args;
	int max_args;	  /* -1: any number */
	const char *help; /* what it does, and examples */
	enum dbps_exit (*run)(struct dbps_cli *cli);
};

extern const struct dbps_command dbps_commands[];
extern const size_t dbps_n_commands;

enum dbps_exit dbps_command_ps(struct dbps_cli *cli);
enum dbps_exit dbps_command_kill(struct dbps_cli *cli);
enum dbps_exit dbps_command_orphans(struct dbps_cli *cli);
enum dbps_exit dbps_command_kills(struct dbps_cli *cli);
enum dbps_exit dbps_command_demote(struct dbps_cli *cli);
enum dbps_exit dbps_command_restore(struct dbps_cli *cli);
enum dbps_exit dbps_command_reserve(struct dbps_cli *cli);
enum dbps_exit dbps_command_servers(struct dbps_cli *cli);
enum dbps_exit dbps_command_sql(struct dbps_cli *cli);
enum dbps_exit dbps_command_doctor(struct dbps_cli *cli);
enum dbps_exit dbps_command_version(struct dbps_cli *cli);

/* options.c */

/**
 * @brief Read the command line. Says on stderr what is wrong with it.
 * @param ret_cli Points into argv and the environment.
 */
enum dbps_exit dbps_cli_parse(int argc, char **argv, struct dbps_cli *ret_cli);

/** @brief Print the help of cli->command, or of dbps when no command was named. */
void dbps_cli_help(FILE *out, const struct dbps_cli *cli);

/* client.c */

/** @brief Connect to the console, when that is not done yet. Says on stderr why it cannot. */
enum dbps_exit dbps_cli_connect(struct dbps_cli *cli);

/** @brief Connect, saying nothing. 0 or the libmariadb error; its text in ret_error. */
unsigned int dbps_cli_try(struct dbps_cli *cli, char ret_error[256]);

/** @brief Send one statement. On an error cli->mysql holds it, and nothing is said. */
enum dbps_exit dbps_cli_send(struct dbps_cli *cli, const char *statement);

/**
 * @brief Send one statement (connecting first) and take its result set. Says on stderr what fails.
 * @param ret_table Owned by the caller (dbps_table_done()); without columns when the answer was OK.
 */
enum dbps_exit dbps_cli_query(struct dbps_cli *cli, const char *statement,
			      struct dbps_table *ret_table);

/** @brief Say the error that cli->mysql holds. Returns `exit`. */
enum dbps_exit dbps_cli_say_error(const struct dbps_cli *cli, enum dbps_exit exit);

void dbps_cli_close(struct dbps_cli *cli);

/* query.c */

/**
 * @brief Print the warnings of the statement before on stderr: they are no part of its result.
 * @param said What was printed already; a warning of the same text is left out. NULL: nothing.
 */
enum dbps_exit dbps_cli_say_warnings(struct dbps_cli *cli, const char *said);

/** @brief Print the answer of a statement without a result set. */
void dbps_cli_say_ok(const struct dbps_cli *cli);

/* query.c */

/**
 * @brief Send one statement and print its whole answer; warnings go to stderr. That of a KILL has
 * the exit code of dbps kill.
 * @param ret_warnings How many there were; untouched on failure.
 */
enum dbps_exit dbps_cli_tell(struct dbps_cli *cli, const char *statement,
			     unsigned int *ret_warnings);

/* output.c */

/** @return Whether stdout is a terminal. */
bool dbps_output_is_terminal(void);

/** @brief Cells and lines of the terminal, from it or from COLUMNS and LINES; 80 by 24 unknown. */
void dbps_output_size(size_t *ret_columns, size_t *ret_lines);

/** @brief Print a result in the format asked for; `fit` is for tables on a terminal. */
enum dbps_exit dbps_output_table(const struct dbps_cli *cli, const struct dbps_table *table,
				 enum dbps_fit fit);

/**
 * @brief Say on stderr what failed: "dbps: …", or under --json an object with error, code and exit.
 * @param code MySQL error number, 0: none.
 * @return exit, so that it can be returned in the same statement.
 */
enum dbps_exit dbps_output_fail(const struct dbps_cli *cli, enum dbps_exit exit, unsigned int code,
				const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
