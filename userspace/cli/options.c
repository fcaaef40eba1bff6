/*
 * The command line: options are one table, which parsing and the help texts go by. Options and
 * words may stand in any order; after `--` all are words.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "cli/cli.h"
#include "config/config.h"

#define EVERY_COMMAND (DBPS_OPT_SOCKET | DBPS_OPT_HELP)
#define WATCH_S	      2
#define WATCH_S_MIN   0.1
#define WATCH_S_MAX   3600

enum value_need { NO_VALUE, OPTIONAL_VALUE, NEEDS_VALUE };

struct option_row {
	enum dbps_cli_option bit;
	const char *name;
	char letter; /* 0: none */
	enum value_need need;
	const char *value; /* what the help calls it */
	const char *help;
};

static const struct option_row rows[] = {
	{DBPS_OPT_SOCKET, "socket", 'S', NEEDS_VALUE, "PATH",
	 "console socket of dbpsd (default: DBPS_SOCKET, else " DBPS_SOCKET_PATH ")"},
	{DBPS_OPT_SERVER, "server", 0, NEEDS_VALUE, "NAME",
	 "only this server, with its own ids (names: dbps servers)"},
	{DBPS_OPT_FULL, "full", 0, NO_VALUE, NULL, "the whole text of each statement"},
	{DBPS_OPT_WIDE, "wide", 'w', NO_VALUE, NULL,
	 "also what each statement waits for and has used, and the client's process"},
	{DBPS_OPT_JSON, "json", 0, NO_VALUE, NULL, "JSON, errors too"},
	{DBPS_OPT_CSV, "csv", 0, NO_VALUE, NULL, "CSV (RFC 4180)"},
	{DBPS_OPT_WATCH, "watch", 0, OPTIONAL_VALUE, "SECONDS",
	 "again every 2 or so many seconds, until ^C"},
	{DBPS_OPT_LIMIT, "limit", 0, NEEDS_VALUE, "N", "at most so many"},
	{DBPS_OPT_DRY_RUN, "dry-run", 0, NO_VALUE, NULL, "only tell what would be done"},
	{DBPS_OPT_WHERE, "where", 0, NEEDS_VALUE, "COND",
	 "the sessions of a condition over the columns of a session"},
	{DBPS_OPT_USER, "user", 0, NEEDS_VALUE, "NAME",
	 "those of a database user, name or name@host"},
	{DBPS_OPT_ORDER_BY, "order-by", 0, NEEDS_VALUE, "LIST",
	 "which come first, with --where; without: the oldest"},
	{DBPS_OPT_SOFT, "soft", 0, NO_VALUE, NULL,
	 "as KILL SOFT of MariaDB: not where it could leave a table broken"},
	{DBPS_OPT_AFTER, "after", 0, NEEDS_VALUE, "WHAT",
	 "let it end its `statement` or `transaction` first, then close"},
	{DBPS_OPT_REASON, "reason", 0, NEEDS_VALUE, "TEXT", "why, for dbps kills"},
	{DBPS_OPT_KILL, "kill", 0, NEEDS_VALUE, "WHAT",
	 "end their `query`, or close the `connection`"},
	{DBPS_OPT_HELP, "help", 'h', NO_VALUE, NULL, "this text"},
	{DBPS_OPT_VERSION, "version", 'V', NO_VALUE, NULL, "as dbps version"},
};

static const struct {
	enum dbps_exit code;
	const char *meaning;
} exit_meanings[] = {
	{DBPS_EXIT_OK, "done; kill: the kernel saw it happen"},
	{DBPS_EXIT_FAILED, "an error from dbpsd, or output lost; doctor: a problem"},
	{DBPS_EXIT_USAGE, "the command line is wrong"},
	{DBPS_EXIT_UNREACHABLE, "dbpsd cannot be reached"},
	{DBPS_EXIT_REFUSED, "kill: unknown id, not allowed, or out of reach; reserve: too few"},
	{DBPS_EXIT_PENDING, "kill: asked for, not seen to happen yet"},
	{DBPS_EXIT_MISSED, "kill: the statement had ended by itself"},
};

static const struct dbps_command *find_command(const char *name)
{
	for (size_t i = 0; i < dbps_n_commands; i++)
		if (strcmp(dbps_commands[i].name, name) == 0)
			return &dbps_commands[i];
	return NULL;
}

static enum dbps_exit set_watch(struct dbps_cli *cli, const char *value)
{
	char *end = NULL;
	double seconds = value ? strtod(value, &end) : WATCH_S;

	/* Written so that NaN fails it. */
	if ((value && (*end || end == value)) ||
	    !(seconds >= WATCH_S_MIN && seconds <= WATCH_S_MAX))
		return dbps_output_fail(cli, DBPS_EXIT_USAGE, 0,
					"--watch: '%s' is not a number of seconds from %g to %d",
					value, WATCH_S_MIN, WATCH_S_MAX);
	cli->watch_s = seconds;
	return DBPS_EXIT_OK;
}

static enum dbps_exit set_limit(struct dbps_cli *cli, const char *value)
{
	char *end = NULL;

	errno = 0;
	cli->limit = strtoull(value, &end, 10);
	if (!isdigit((unsigned char)*value) || *end || errno || !cli->limit)
		return dbps_output_fail(cli, DBPS_EXIT_USAGE, 0,
					"--limit: '%s' is not a number from 1 on", value);
	return DBPS_EXIT_OK;
}

static enum dbps_exit apply(struct dbps_cli *cli, enum dbps_cli_option bit, const char *value)
{
	cli->given |= bit;
	switch (bit) {
	case DBPS_OPT_SOCKET:
		cli->socket = value;
		break;
	case DBPS_OPT_SERVER:
		cli->server = value;
		break;
	case DBPS_OPT_JSON:
		cli->format = DBPS_FORMAT_JSON;
		break;
	case DBPS_OPT_CSV:
		cli->format = DBPS_FORMAT_CSV;
		break;
	case DBPS_OPT_WATCH:
		return set_watch(cli, value);
	case DBPS_OPT_LIMIT:
		return set_limit(cli, value);
	case DBPS_OPT_WHERE:
		cli->where = value;
		break;
	case DBPS_OPT_USER:
		cli->user = value;
		break;
	case DBPS_OPT_ORDER_BY:
		cli->order_by = value;
		break;
	case DBPS_OPT_AFTER:
		cli->after = value;
		break;
	case DBPS_OPT_KILL:
		cli->kill = value;
		break;
	case DBPS_OPT_REASON:
		cli->reason = value;
		break;
	default:
		break;
	}
	return DBPS_EXIT_OK;
}

/* The option that `arg` names: `--name`, `--name=value`, `-l` or `-lvalue`; its value, if any. */
static const struct option_row *find_option(const char *arg, const char **ret_value)
{
	size_t len = strcspn(arg, "=");

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct option_row *row = &rows[i];

		if (arg[1] != '-' && row->letter && arg[1] == row->letter) {
			*ret_value = arg[2] ? arg + 2 : NULL;
			return row;
		}
		if (arg[1] == '-' && strlen(row->name) == len - 2 &&
		    strncmp(arg + 2, row->name, len - 2) == 0) {
			*ret_value = arg[len] ? arg + len + 1 : NULL;
			return row;
		}
	}
	return NULL;
}

/* Takes the option at argv[*at], and the argument after it when that is its value. */
static enum dbps_exit take_option(struct dbps_cli *cli, char **argv, int *at)
{
	const char *value = NULL;
	const struct option_row *row = find_option(argv[*at], &value);
	const char *next = argv[*at + 1];

	if (!row)
		return dbps_output_fail(cli, DBPS_EXIT_USAGE, 0,
					"unknown option '%s'; see dbps --help", argv[*at]);
	if (row->need == NO_VALUE && value)
		return dbps_output_fail(cli, DBPS_EXIT_USAGE, 0, "'%s': --%s takes no value",
					argv[*at], row->name);
	if (row->need == NEEDS_VALUE && !value && !next)
		return dbps_output_fail(cli, DBPS_EXIT_USAGE, 0, "--%s: a value is needed",
					row->name);
	/* An optional value is a number; `--watch kill` leaves the word alone. */
	if (!value && next &&
	    (row->need == NEEDS_VALUE ||
	     (row->need == OPTIONAL_VALUE && isdigit((unsigned char)*next)))) {
		value = next;
		++*at;
	}
	return apply(cli, row->bit, value);
}

static enum dbps_exit check_arguments(const struct dbps_cli *cli)
{
	const struct dbps_command *command = cli->command;
	unsigned int foreign = cli->given & ~(command->options | EVERY_COMMAND);

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (foreign & rows[i].bit)
			return dbps_output_fail(cli, DBPS_EXIT_USAGE, 0,
						"%s does not take --%s; see dbps %s --help",
						command->name, rows[i].name, command->name);
	if ((cli->given & DBPS_OPT_JSON) && (cli->given & DBPS_OPT_CSV))
		return dbps_output_fail(cli, DBPS_EXIT_USAGE, 0,
					"--json and --csv exclude each other");
	if (cli->n_args < command->min_args ||
	    (command->max_args >= 0 && cli->n_args > command->max_args))
		return dbps_output_fail(cli, DBPS_EXIT_USAGE, 0, "usage: dbps %s [OPTION]...%s%s",
					command->name, *command->args ? " " : "", command->args);
	return DBPS_EXIT_OK;
}

/* `word` is what stands for the command, NULL when nothing does. */
static enum dbps_exit check(struct dbps_cli *cli, const char *word)
{
	if (word && !cli->command)
		return dbps_output_fail(cli, DBPS_EXIT_USAGE, 0,
					"unknown command '%s'; see dbps --help", word);
	if (!word && (cli->given & DBPS_OPT_VERSION)) {
		cli->command = find_command("version");
		cli->given &= ~(unsigned int)DBPS_OPT_VERSION;
	}
	if (cli->given & DBPS_OPT_HELP)
		return DBPS_EXIT_OK;
	if (!cli->command) {
		dbps_cli_help(stderr, cli);
		return DBPS_EXIT_USAGE;
	}
	return check_arguments(cli);
}

enum dbps_exit dbps_cli_parse(int argc, char **argv, struct dbps_cli *ret_cli)
{
	const char *socket = getenv("DBPS_SOCKET");
	struct dbps_cli cli = {.socket = socket && *socket ? socket : DBPS_SOCKET_PATH};
	enum dbps_exit exit = DBPS_EXIT_OK;
	bool only_words = false;
	int n = 0;

	/* The words are gathered at the front of argv, behind its first. */
	for (int at = 1; at < argc && exit == DBPS_EXIT_OK; at++) {
		if (only_words || argv[at][0] != '-' || !argv[at][1])
			argv[1 + n++] = argv[at];
		else if (strcmp(argv[at], "--") == 0)
			only_words = true;
		else
			exit = take_option(&cli, argv, &at);
	}
	if (exit != DBPS_EXIT_OK)
		return exit;
	/* dbps help COMMAND is dbps COMMAND --help. */
	if (n > 0 && strcmp(argv[1], "help") == 0) {
		cli.given |= DBPS_OPT_HELP;
		argv++;
		n--;
	}
	if (n > 0) {
		cli.command = find_command(argv[1]);
		cli.args = argv + 2;
		cli.n_args = n - 1;
	}
	exit = check(&cli, n > 0 ? argv[1] : NULL);
	if (exit == DBPS_EXIT_OK)
		*ret_cli = cli;
	return exit;
}

static void help_options(FILE *out, unsigned int options)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct option_row *row = &rows[i];
		char names[64];
		char letter[8] = "    ";

		if (!(options & row->bit))
			continue;
		if (row->letter)
			snprintf(letter, sizeof(letter), "-%c, ", row->letter);
		snprintf(names, sizeof(names), "%s--%s%s%s%s", letter, row->name,
			 row->need == NO_VALUE	       ? ""
			 : row->need == OPTIONAL_VALUE ? "["
						       : " ",
			 row->need == OPTIONAL_VALUE ? "=" : "", row->value ? row->value : "");
		fprintf(out, "  %s%-*s %s\n", names, (int)(22 - strlen(names)),
			row->need == OPTIONAL_VALUE ? "]" : "", row->help);
	}
}

static void help_all(FILE *out)
{
	fputs("Usage: dbps [OPTION]... COMMAND [ARG]...\n"
	      "ps and kill for database sessions, from the kernel. Asks the daemon dbpsd.\n"
	      "\nCommands (dbps help COMMAND tells more):\n",
	      out);
	for (size_t i = 0; i < dbps_n_commands; i++)
		fprintf(out, "  %-8s %s\n", dbps_commands[i].name, dbps_commands[i].summary);
	fputs("\nOptions:\n", out);
	help_options(out, ~0U);
	fputs("\nExit codes:\n", out);
	for (size_t i = 0; i < ARRAY_SIZE(exit_meanings); i++)
		fprintf(out, "  %d  %s\n", (int)exit_meanings[i].code, exit_meanings[i].meaning);
	fputs("\nExamples:\n"
	      "  dbps ps                  who is connected, and what runs\n"
	      "  dbps kill query 41       end the statement of session 41, keep the session\n"
	      "  dbps kill 41 42          close two sessions\n",
	      out);
}

void dbps_cli_help(FILE *out, const struct dbps_cli *cli)
{
	const struct dbps_command *command = cli->command;

	if (!command) {
		help_all(out);
		return;
	}
	fprintf(out, "Usage: dbps %s [OPTION]...%s%s\n%s\n\nOptions:\n", command->name,
		*command->args ? " " : "", command->args, command->help);
	help_options(out, command->options | EVERY_COMMAND);
}
