/*
 * dbps kill: one KILL (or DEMOTE, or RESTORE) for each id, or one for a condition or a user, and
 * what the kernel then saw. The console says the outcome in the info of its OK, "confirmed: …",
 * "missed: …" or "pending: …", or in a row for each session.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "cli/cli.h"
#include "cli/kill.h"
#include "cli/text.h"

#define ER_KILL_DENIED 1095

static const struct {
	const char *word;
	enum dbps_exit exit;
} outcomes[] = {
	{"confirmed", DBPS_EXIT_OK},	{"missed", DBPS_EXIT_MISSED},
	{"pending", DBPS_EXIT_PENDING}, {"refused", DBPS_EXIT_REFUSED},
	{"spared", DBPS_EXIT_OK},	{"demoted", DBPS_EXIT_OK},
	{"restored", DBPS_EXIT_OK},
};

enum dbps_exit dbps_kill_outcome(const char *info, const char **ret_outcome)
{
	for (size_t i = 0; info && i < ARRAY_SIZE(outcomes); i++) {
		size_t n = strlen(outcomes[i].word);

		if (strncmp(info, outcomes[i].word, n) == 0 && info[n] == ':') {
			*ret_outcome = outcomes[i].word;
			return outcomes[i].exit;
		}
	}
	*ret_outcome = "unknown";
	return DBPS_EXIT_FAILED;
}

bool dbps_kill_is(const char *statement)
{
	static const char word[] = "kill";
	const char *at = statement + strspn(statement, " \t\n");

	while (at[0] == '/' && at[1] == '*' && strstr(at + 2, "*/")) {
		at = strstr(at + 2, "*/") + 2;
		at += strspn(at, " \t\n");
	}
	return strncasecmp(at, word, strlen(word)) == 0 && !isalnum((unsigned char)at[4]) &&
	       at[4] != '_';
}

int dbps_kill_parse_id(const char *text, uint64_t *ret_id)
{
	char *end = NULL;
	uint64_t id = 0;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	id = strtoull(text, &end, 10);
	if (errno || *end)
		return -EINVAL;
	*ret_id = id;
	return 0;
}

/* ---------------------------------------------------------------- the statement ------------- */

/* A comment cannot be left from within, nor be one of those that are executed. */
static void write_reason(FILE *out, const char *reason)
{
	fputs("/* ", out);
	for (const char *at = reason; *at; at++) {
		fputc(*at, out);
		if (at[0] == '*' && at[1] == '/')
			fputc(' ', out);
	}
	fputs(" */ ", out);
}

static void write_quoted(FILE *out, const char *text, size_t len)
{
	fputc('\'', out);
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '\'' || text[i] == '\\')
			fputc(text[i], out);
		fputc(text[i], out);
	}
	fputc('\'', out);
}

/* The host is behind the last @: names may have one, hosts have none. */
static void write_user(FILE *out, const char *user)
{
	const char *at = strrchr(user, '@');

	write_quoted(out, user, at ? (size_t)(at - user) : strlen(user));
	if (!at)
		return;
	fputc('@', out);
	write_quoted(out, at + 1, strlen(at + 1));
}

/* Each part ends its line, so that a comment in one cannot swallow the next. */
static void write_choice(FILE *out, const struct dbps_cli *cli)
{
	if (cli->where) {
		fprintf(out, "WHERE %s\n", cli->where);
	} else {
		fputs("USER ", out);
		write_user(out, cli->user);
		fputc('\n', out);
	}
	if (cli->order_by)
		fprintf(out, "ORDER BY %s\n", cli->order_by);
	if (cli->limit)
		fprintf(out, "LIMIT %llu\n", cli->limit);
}

int dbps_kill_statement(const struct dbps_cli *cli, const char *kind, const uint64_t *id,
			char **ret_statement)
{
	_cleanup_free_ char *statement = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&statement, &len);

	if (!out)
		return -ENOMEM;
	if (cli->reason)
		write_reason(out, cli->reason);
	if (kind)
		fprintf(out, "KILL %s%s ", cli->given & DBPS_OPT_SOFT ? "SOFT " : "", kind);
	else
		fprintf(out, "%s ", cli->command->name);
	if (id)
		fprintf(out, "%" PRIu64, *id);
	else
		write_choice(out, cli);
	if (cli->after)
		fprintf(out, " AFTER %s", cli->after);
	if (cli->given & DBPS_OPT_DRY_RUN)
		fputs(" DRY RUN", out);
	if (fclose(out) != 0)
		return -ENOMEM;
	*ret_statement = TAKE_PTR(statement);
	return 0;
}

/* ---------------------------------------------------------------- by ids -------------------- */

static void say_json(uint64_t id, const char *outcome, const char *text, unsigned int code,
		     bool first)
{
	_cleanup_free_ char *valid = NULL;
	json_t *object = NULL;
	size_t len = 0;

	if (dbps_text_valid(text, strlen(text), &valid, &len) < 0)
		return;
	object = json_pack("{s:I, s:s, s:s%, s:i}", "id", (json_int_t)id, "outcome", outcome,
			   "text", valid, len, "code", (int)code);
	fputs(first ? "[\n " : ",\n ", stdout);
	if (object)
		json_dumpf(object, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
	json_decref(object);
}

static void say(const struct dbps_cli *cli, uint64_t id, const char *outcome, const char *text,
		unsigned int code, bool first)
{
	FILE *out = code ? stderr : stdout;

	if (cli->format == DBPS_FORMAT_JSON) {
		say_json(id, outcome, text, code, first);
		return;
	}
	fflush(stdout);
	fprintf(out, code ? "dbps: %" PRIu64 ": ERROR %u: " : "%" PRIu64 ": ", id, code);
	dbps_text_print(out, text, strlen(text), SIZE_MAX);
	fputc('\n', out);
}

/* A refusal is an answer about one id; a lost connection ends the command, and is said by the
 * caller. */
static enum dbps_exit kill_one(struct dbps_cli *cli, const char *kind, uint64_t id, bool first)
{
	const char *outcome = NULL;
	const char *info = NULL;
	_cleanup_free_ char *statement = NULL;
	enum dbps_exit exit = DBPS_EXIT_OK;

	if (dbps_kill_statement(cli, kind, &id, &statement) < 0)
		return dbps_output_fail(cli, DBPS_EXIT_FAILED, 0, "out of memory");
	exit = dbps_cli_send(cli, statement);
	if (exit == DBPS_EXIT_UNREACHABLE)
		return exit;
	if (exit == DBPS_EXIT_FAILED) {
		say(cli, id, "refused", mysql_error(cli->mysql), mysql_errno(cli->mysql), first);
		return DBPS_EXIT_REFUSED;
	}
	info = mysql_info(cli->mysql);
	exit = dbps_kill_outcome(info, &outcome);
	say(cli, id, outcome, info ? info : "dbpsd did not say what it saw", 0, first);
	return exit;
}

static enum dbps_exit kill_each(struct dbps_cli *cli, const char *kind, const uint64_t *ids, int n)
{
	enum dbps_exit worst = DBPS_EXIT_OK;
	int done = 0;

	while (done < n && worst != DBPS_EXIT_UNREACHABLE) {
		worst = dbps_exit_worse(worst, kill_one(cli, kind, ids[done], done == 0));
		done++;
	}
	if (worst != DBPS_EXIT_UNREACHABLE)
		done++;
	if (cli->format == DBPS_FORMAT_JSON)
		fputs(done > 1 ? "\n]\n" : "[]\n", stdout);
	if (worst == DBPS_EXIT_UNREACHABLE)
		dbps_output_fail(cli, worst, mysql_errno(cli->mysql),
				 "%s; not known what became of %" PRIu64 ", %d not tried",
				 mysql_error(cli->mysql), ids[done - 1], n - done);
	return worst;
}

/* All ids are read before the first one is acted on. */
enum dbps_exit dbps_kill_ids(struct dbps_cli *cli, const char *kind, char **words, int n)
{
	_cleanup_free_ uint64_t *ids = calloc((size_t)n + 1, sizeof(*ids));
	enum dbps_exit exit = DBPS_EXIT_OK;

	if (!ids)
		return dbps_output_fail(cli, DBPS_EXIT_FAILED, 0, "out of memory");
	for (int i = 0; i < n; i++)
		if (dbps_kill_parse_id(words[i], &ids[i]) < 0)
			return dbps_output_fail(cli, DBPS_EXIT_USAGE, 0,
						"%s: '%s' is not an ID (dbps ps shows them)",
						cli->command->name, words[i]);
	exit = dbps_cli_connect(cli);
	return exit == DBPS_EXIT_OK ? kill_each(cli, kind, ids, n) : exit;
}

/* ---------------------------------------------------------------- by a condition or a user -- */

/* The worst of the rows; of a dry run, which has no outcomes, nothing is bad. */
enum dbps_exit dbps_kill_exit_of_rows(const struct dbps_table *table)
{
	enum dbps_exit worst = DBPS_EXIT_OK;
	size_t column = 0;

	while (column < table->n_columns && strcmp(table->headings[column].name, "outcome") != 0)
		column++;
	for (size_t row = 0; row < table->n_rows && column < table->n_columns; row++) {
		const struct dbps_cell *cell = &dbps_table_row(table, row)[column];
		enum dbps_exit exit = DBPS_EXIT_FAILED;

		for (size_t i = 0; i < ARRAY_SIZE(outcomes); i++)
			if (cell->text && strcmp(cell->text, outcomes[i].word) == 0)
				exit = outcomes[i].exit;
		worst = dbps_exit_worse(worst, exit);
	}
	return worst;
}

/* KILL USER is answered as MariaDB does, with OK. */
static enum dbps_exit say_user(struct dbps_cli *cli)
{
	const char *info = mysql_info(cli->mysql);
	const char *outcome = NULL;
	enum dbps_exit exit = dbps_kill_outcome(info, &outcome);

	if (cli->format == DBPS_FORMAT_JSON) {
		dbps_cli_say_ok(cli);
	} else {
		dbps_text_print(stdout, info ? info : "", info ? strlen(info) : 0, SIZE_MAX);
		putchar('\n');
	}
	return dbps_exit_worse(exit, dbps_cli_say_warnings(cli, NULL));
}

enum dbps_exit dbps_kill_chosen(struct dbps_cli *cli, const char *kind)
{
	_cleanup_free_ char *statement = NULL;
	struct dbps_table table = {0};
	enum dbps_exit exit = DBPS_EXIT_OK;

	if (dbps_kill_statement(cli, kind, NULL, &statement) < 0)
		return dbps_output_fail(cli, DBPS_EXIT_FAILED, 0, "out of memory");
	exit = dbps_cli_query(cli, statement, &table);
	if (exit == DBPS_EXIT_FAILED && cli->mysql && mysql_errno(cli->mysql) == ER_KILL_DENIED)
		return DBPS_EXIT_REFUSED;
	if (exit != DBPS_EXIT_OK)
		return exit;
	if (table.n_columns > 0)
		exit = dbps_exit_worse(dbps_output_table(cli, &table, DBPS_FIT_WRAP),
				       dbps_kill_exit_of_rows(&table));
	else
		exit = say_user(cli);
	dbps_table_done(&table);
	return exit;
}

/* ---------------------------------------------------------------- the command --------------- */

static const char *check(const struct dbps_cli *cli, bool query, int n)
{
	if (cli->where && cli->user)
		return "--where and --user exclude each other";
	if ((cli->where || cli->user) && n > 0)
		return "either IDs, or --where or --user";
	if (!cli->where && !cli->user && n == 0)
		return "which ID? (or --where, or --user)";
	if (cli->where && !*cli->where)
		return "--where: a condition is needed";
	if (cli->user && (!*cli->user || cli->user[strlen(cli->user) - 1] == '@'))
		return "--user: a name, or name@host, is needed";
	if (n > 0 && (cli->limit || cli->given & DBPS_OPT_DRY_RUN))
		return "--limit and --dry-run go with --where or --user";
	if (cli->order_by && !cli->where)
		return "--order-by goes with --where";
	if (cli->after && strcasecmp(cli->after, "statement") != 0 &&
	    strcasecmp(cli->after, "transaction") != 0)
		return "--after: `statement` or `transaction`";
	if (cli->after && query)
		return "--after closes a connection: it does not go with `query`";
	if (n > 0 && cli->format == DBPS_FORMAT_CSV)
		return "--csv goes with --where";
	return NULL;
}

enum dbps_exit dbps_command_kill(struct dbps_cli *cli)
{
	const char *first = cli->n_args > 0 ? cli->args[0] : "";
	bool query = strcasecmp(first, "query") == 0;
	bool named = query || strcasecmp(first, "connection") == 0;
	const char *kind = query ? DBPS_KILL_QUERY : DBPS_KILL_CONNECTION;
	const char *wrong = check(cli, query, cli->n_args - named);

	if (wrong)
		return dbps_output_fail(cli, DBPS_EXIT_USAGE, 0, "kill: %s", wrong);
	if (cli->where || cli->user)
		return dbps_kill_chosen(cli, kind);
	return dbps_kill_ids(cli, kind, cli->args + named, cli->n_args - named);
}
