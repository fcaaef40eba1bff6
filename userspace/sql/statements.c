/*
 * Every statement that is understood stands here once. The first pattern that matches decides; the
 * right is checked here and nowhere else.
 */
#include "sql/statements.h"

#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "mysql/utf8.h"

#define NEAR_MAX 48 /* bytes of the statement quoted by an error */

/* clang-format off */
const struct sql_statement sql_statements[] = {
	{"SHOW [FULL] PROCESSLIST", 0, sql_show_processlist,
	 .help = "every session, and what it executes now"},
	{"SHOW [FULL] SESSIONS column, ...", 0, sql_show_sessions,
	 .help = "the same with these columns, or all"},
	{"SHOW [FULL] ORPHANS", 0, sql_show_orphans,
	 .help = "sessions that execute though their client has gone"},
	{"KILL [HARD | SOFT] [CONNECTION | QUERY] WHERE condition ...", 0, sql_kill_where,
	 .help = "end those of a condition: [ORDER BY ...] [LIMIT n] [AFTER ...] [DRY RUN]"},
	{"KILL [HARD | SOFT] [CONNECTION | QUERY] USER name[@host] ...", 0, sql_kill_user,
	 .help = "end those of a database user: [LIMIT n] [AFTER ...] [DRY RUN]"},
	{"KILL [HARD | SOFT] QUERY ID query_id", 0, sql_kill_query_id,
	 .help = "end the statement that MariaDB shows under this QUERY_ID"},
	{"KILL [HARD | SOFT] [CONNECTION | QUERY] id ...", 0, sql_kill,
	 .help = "end a session, or only its statement: [AFTER STATEMENT | AFTER TRANSACTION]"},
	{"SHOW KILLS [LIMIT n]", 0, sql_show_kills,
	 .help = "the last kills: who, what, why, how, and what came of them"},
	{"DEMOTE id", 0, sql_demote,
	 .help = "let a statement run only when nothing else wants to, until it ends"},
	{"RESTORE id", 0, sql_restore,
	 .help = "undo DEMOTE before that"},
	{"RESERVE n [FOR server] [DRY RUN]", DBPS_RIGHT_SUPER, sql_reserve,
	 .help = "drop idle sessions until n connections of a server are free"},
	{"SHOW SERVERS", DBPS_RIGHT_PROCESS, sql_show_servers,
	 .help = "database servers on this host"},
	{"SHOW DOCTOR", DBPS_RIGHT_PROCESS, sql_show_doctor,
	 .help = "what this kernel allows, and whether a KILL would work"},
	{"SHOW LOSSES", 0, sql_show_losses,
	 .help = "what could not be followed, counted"},
	{"USE server", 0, sql_use_statement,
	 .help = "see one server only, with its own ids"},
	{"SHOW DATABASES [LIKE 'name']", 0, sql_show_databases,
	 .help = "names of servers, for USE"},
	{"SHOW SCHEMAS [LIKE 'name']", 0, .run = sql_show_databases},
	{"SHOW [FULL] TABLES [FROM name]", 0, .run = sql_show_tables},
	{"SHOW GRANTS [FOR user]", 0, sql_show_grants,
	 .help = "what the caller may do"},
	{"SHOW WARNINGS [LIMIT n]", 0, sql_show_warnings,
	 .help = "what the previous statement warned of", .keeps_warnings = true},
	{"SHOW ERRORS [LIMIT n]", 0, sql_show_errors, .keeps_warnings = true},
	{"SHOW COUNT ( * ) [WARNINGS | ERRORS]", 0, sql_show_count, .keeps_warnings = true},
	{"SHOW [GLOBAL | SESSION] STATUS [LIKE 'name']", 0, sql_show_status,
	 .help = "counters of the console"},
	{"SHOW [GLOBAL | SESSION] VARIABLES [LIKE 'name']", 0, sql_show_variables,
	 .help = "settings"},
	{"SHOW STATEMENTS", 0, sql_show_statements,
	 .help = "this list"},
	{"SELECT columns FROM processlist ...", 0, sql_select,
	 .help = "any SELECT of SQLite over the sessions; without FROM: @@variables, functions",
	 .keeps_warnings = true},
	{"WITH name AS ( SELECT ... ) SELECT ...", 0, .run = sql_with},
	{"SET name = value, ...", 0, sql_set,
	 .help = "accepted, without effect"},
	{"BEGIN [WORK]", 0, .run = sql_begin},
	{"START TRANSACTION [characteristics]", 0, .run = sql_begin},
	{"COMMIT [WORK]", 0, .run = sql_begin},
	{"ROLLBACK [WORK]", 0, .run = sql_begin},
};
/* clang-format on */
const size_t sql_n_statements = ARRAY_SIZE(sql_statements);

static int syntax_error(struct sql_connection *connection, const struct dbps_token *near,
			const char *end)
{
	bool quoted = near->type == DBPS_TOKEN_STRING || near->type == DBPS_TOKEN_NAME;

	if (near->type == DBPS_TOKEN_END)
		return sql_error(connection, ER_SYNTAX_ERROR,
				 "dbps does not understand this, something may be missing at its "
				 "end; SHOW STATEMENTS lists what it understands");
	return sql_error(
		connection, ER_SYNTAX_ERROR,
		"dbps %s near '%.*s'; SHOW STATEMENTS lists what it understands",
		quoted && !near->closed ? "finds no end of the quotes" : "does not understand this",
		(int)utf8_cut(near->start, (size_t)(end - near->start), NEAR_MAX), near->start);
}

static const char *right_name(unsigned int right)
{
	return right == DBPS_RIGHT_SUPER ? "SUPER" : "PROCESS";
}

static int run_statement(struct sql_connection *connection, const struct sql_statement *statement,
			 struct sql_input *input, unsigned int options)
{
	if (statement->right & ~connection->caller.rights)
		return sql_error(connection, ER_SPECIFIC_ACCESS_DENIED_ERROR,
				 "Access denied; you need (at least one of) the %s privilege(s) "
				 "for this operation",
				 right_name(statement->right));
	if (!statement->keeps_warnings)
		sql_conditions_clear(connection);
	return statement->run(connection, input, options);
}

/* The pattern that goes furthest tells best where a statement went wrong. */
static void keep_furthest(struct sql_input *furthest, const struct sql_input *input)
{
	if (input->token.start > furthest->token.start)
		*furthest = *input;
}

void sql_execute(struct sql_connection *connection, const char *text, size_t len)
{
	const struct sql_input start = sql_input(text, len);
	struct sql_input furthest = start;
	int r = -EINVAL;

	atomic_fetch_add(&connection->counters->statements, 1);
	if (sql_at_end(&start)) {
		sql_error(connection, ER_EMPTY_QUERY, "Query was empty");
		return;
	}
	for (size_t i = 0; i < sql_n_statements; i++) {
		struct sql_input input = start;
		unsigned int options;
		bool matches = sql_match(&input, sql_statements[i].pattern, &options);

		if (matches) {
			r = run_statement(connection, &sql_statements[i], &input, options);
		}
		keep_furthest(&furthest, &input);
		if (matches)
			break;
	}
	if (r == -EINVAL)
		syntax_error(connection, &furthest.token, text + len);
	else if (r)
		sql_error(connection, ER_UNKNOWN_ERROR, "dbps could not find out: %s",
			  strerror(-r));
}
