/*
 * 1. Nothing but SELECT is authorised, on nothing but the table of sessions; what the authorizer
 *    does not know is refused.
 * 2. Temporary tables and sorters stay in memory, so that no file is ever written.
 * 3. The progress handler looks at the clock, the memory and the caller's wish every so many steps
 *    of the virtual machine; one step is bounded by the length of its values.
 * 4. Memory is the statement's own (memory.h): no other can make it fail.
 * 5. Compiling cannot be interrupted. It is bounded by the length of the statement, by its memory,
 *    and by how deep it is nested, which is what its stack depends on.
 */
#include "sql/query.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "cleanup.h"
#include "daemon/daemon.h"
#include "server/client.h"
#include "session/lexer.h"
#include "sql/functions.h"
#include "sql/memory.h"

#define STEPS_BETWEEN_LOOKS 1000
#define SELECTS_MAX	    50 /* they took 100 KiB of the 256 of the stack at most */

/* ---------------------------------------------------------------- limits -------------------- */

static const struct {
	int id, value;
} limits[] = {
	{SQLITE_LIMIT_LENGTH, SQL_VALUE_MAX},	  {SQLITE_LIMIT_SQL_LENGTH, 64 << 10},
	{SQLITE_LIMIT_EXPR_DEPTH, 200},		  {SQLITE_LIMIT_COLUMN, 500},
	{SQLITE_LIMIT_COMPOUND_SELECT, 50},	  {SQLITE_LIMIT_VDBE_OP, 100000},
	{SQLITE_LIMIT_FUNCTION_ARG, 100},	  {SQLITE_LIMIT_ATTACHED, 0},
	{SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000}, {SQLITE_LIMIT_TRIGGER_DEPTH, 1},
	{SQLITE_LIMIT_WORKER_THREADS, 0},
};

/* Invariant 3. */
static int look(void *data)
{
	struct sql_query *query = data;
	const struct sql_connection *connection = query->connection;

	if (dbps_clock_ns() > query->deadline_ns)
		query->stop = SQL_STOP_TIME;
	else if (sql_interrupted(connection))
		query->stop = SQL_STOP_INTERRUPTED;
	return query->stop != SQL_STOP_NONE;
}

/* ---------------------------------------------------------------- what may be done ---------- */

/* Functions that reach out of the statement. */
static bool reaches_out(const char *function)
{
	return !strcasecmp(function, "load_extension") || !strcasecmp(function, "fts3_tokenizer");
}

/*
 * A read without a column is a look at how many rows there are; SQLite asks so for names of WITH,
 * too.
 */
static int authorize(void *data, int action, const char *first, const char *second,
		     const char *database, const char *by)
{
	(void)data, (void)database, (void)by;
	switch (action) {
	case SQLITE_SELECT:
	case SQLITE_RECURSIVE:
		return SQLITE_OK;
	case SQLITE_READ:
		return !strcasecmp(first, SQL_SESSIONS_TABLE) || !second || !*second ? SQLITE_OK
										     : SQLITE_DENY;
	case SQLITE_FUNCTION:
		return reaches_out(second) ? SQLITE_DENY : SQLITE_OK;
	default:
		return SQLITE_DENY;
	}
}

/* ---------------------------------------------------------------- the database -------------- */

/* Column names as they were written, no files, no guesses about quotes. */
static int configure(struct sql_query *query)
{
	sqlite3 *db = query->db;
	int r = sqlite3_exec(db, "PRAGMA temp_store = MEMORY; PRAGMA short_column_names = OFF",
			     NULL, NULL, NULL);

	for (size_t i = 0; i < ARRAY_SIZE(limits); i++)
		sqlite3_limit(db, limits[i].id, limits[i].value);
	sqlite3_db_config(db, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
	sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	if (!r)
		r = sql_sessions_register(db, &query->sessions);
	if (!r)
		r = sql_functions_register(db, query->connection);
	if (!r)
		r = sqlite3_set_authorizer(db, authorize, NULL);
	sqlite3_progress_handler(db, STEPS_BETWEEN_LOOKS, look, query);
	return r;
}

static int open_database(struct sql_query *query)
{
	const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_MEMORY | SQLITE_OPEN_NOMUTEX;
	int r;

	r = sqlite3_open_v2(":memory:", &query->db, flags, NULL);
	if (!r)
		r = configure(query);
	return r ? -ENOMEM : 0;
}

int sql_query_open(struct sql_connection *connection, struct sql_query *ret_query)
{
	uint64_t limit_ns = (uint64_t)connection->daemon->config.sql_time_limit_ms * 1000000;
	int r;

	*ret_query = (struct sql_query){
		.connection = connection,
		.deadline_ns = dbps_clock_ns() + limit_ns,
	};
	sql_memory_begin((size_t)connection->daemon->config.sql_memory_limit_mib << 20,
			 !(connection->caller.rights & DBPS_RIGHT_SUPER));
	r = sql_sessions_read(connection, DBPS_ROWS_TEXT | DBPS_ROWS_THREADS, &ret_query->sessions);
	if (!r)
		r = open_database(ret_query);
	if (r)
		sql_query_done(ret_query);
	return r;
}

void sql_query_done(struct sql_query *query)
{
	sqlite3_finalize(query->statement);
	sqlite3_close(query->db);
	sql_sessions_done(&query->sessions);
	query->statement = NULL;
	query->db = NULL;
	sql_memory_end();
}

/* Each level of nesting that SQLite walks down on its stack has one of these words. */
static bool is_nested_little(const char *sql)
{
	struct dbps_lexer lexer = {.at = sql, .end = sql + strlen(sql), .no_backslash = true};
	struct dbps_token token;
	unsigned int selects = 0;

	do {
		token = dbps_lexer_next(&lexer);
		selects += dbps_token_is(&token, "select") || dbps_token_is(&token, "values");
	} while (token.type != DBPS_TOKEN_END);
	return selects <= SELECTS_MAX;
}

/* A parameter would silently be NULL. */
int sql_query_prepare(struct sql_query *query, const char *sql)
{
	const char *tail = "";
	int r;

	if (!is_nested_little(sql))
		return SQLITE_FULL;
	r = sqlite3_prepare_v2(query->db, sql, -1, &query->statement, &tail);

	if (!r && (!query->statement || *tail || sqlite3_bind_parameter_count(query->statement)))
		r = SQLITE_MISUSE;
	return r;
}

int sql_query_step(struct sql_query *query)
{
	return sqlite3_step(query->statement);
}

/* ---------------------------------------------------------------- errors -------------------- */

/* What SQLite says of a statement that it cannot compile, as the servers number it. */
static int number_of(const char *text)
{
	static const struct {
		const char *begin;
		int number;
	} known[] = {
		{"no such column", ER_BAD_FIELD_ERROR},
		{"ambiguous column", ER_NON_UNIQ_ERROR},
		{"no such table", ER_NO_SUCH_TABLE},
		{"vtable constructor failed", ER_NO_SUCH_TABLE},
		{"no such function", ER_SP_DOES_NOT_EXIST},
		{"not authorized", ER_OPTION_PREVENTS_STATEMENT},
		{"access to ", ER_OPTION_PREVENTS_STATEMENT},
		{"unsafe use of", ER_OPTION_PREVENTS_STATEMENT},
	};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (!strncmp(text, known[i].begin, strlen(known[i].begin)))
			return known[i].number;
	return ER_SYNTAX_ERROR;
}

/* The shell takes quotes away: --where 'user = 'web''. */
static const char column_hint[] =
	"; a text is written in quotes, and SELECT * FROM processlist LIMIT 1 has all columns";

static int refuse_stopped(const struct sql_query *query)
{
	struct sql_connection *connection = query->connection;
	const struct dbps_config *config = &connection->daemon->config;

	if (query->stop == SQL_STOP_TIME)
		return sql_error(
			connection, ER_QUERY_TIMEOUT,
			"Query execution was interrupted, maximum statement execution time "
			"exceeded (sql.time_limit_ms = %u)",
			config->sql_time_limit_ms);
	return sql_error_interrupted(connection);
}

int sql_query_refuse(const struct sql_query *query, int code)
{
	struct sql_connection *connection = query->connection;
	const char *text = sqlite3_errmsg(query->db);

	switch (code) {
	case SQLITE_INTERRUPT:
		return refuse_stopped(query);
	case SQLITE_NOMEM:
		return sql_error(connection, ER_CAPACITY_EXCEEDED,
				 "Memory capacity exceeded (sql.memory_limit_mib = %u)",
				 connection->daemon->config.sql_memory_limit_mib);
	case SQLITE_TOOBIG:
		return sql_error(connection, ER_DATA_TOO_LONG, "%s", text);
	case SQLITE_MISMATCH:
		return sql_error(connection, ER_SYNTAX_ERROR,
				 "The condition is neither true nor false but '%.80s'",
				 sqlite3_column_text(query->statement, 1));
	case SQLITE_FULL:
		return sql_error(connection, ER_SYNTAX_ERROR,
				 "A statement may have at most %d SELECTs", SELECTS_MAX);
	case SQLITE_MISUSE:
		return sql_error(connection, ER_SYNTAX_ERROR,
				 "dbps takes one statement, without parameters");
	default:
		break;
	}
	code = number_of(text);
	return sql_error(connection, (unsigned int)code, "%s%s%s",
			 code == ER_OPTION_PREVENTS_STATEMENT ? "dbps reads the sessions only: "
							      : "",
			 text, code == ER_BAD_FIELD_ERROR ? column_hint : "");
}
