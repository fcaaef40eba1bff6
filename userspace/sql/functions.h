/*
 * Functions of MySQL that clients call: facts about the connection, one table for SELECT with and
 * without sessions, and the text functions that SQLite has no equal of.
 */
#ifndef DBPS_SQL_FUNCTIONS_H
#define DBPS_SQL_FUNCTIONS_H

#include <sqlite3.h>

#include "session/columns.h"
#include "sql/connection.h"
#include "sql/input.h"

/* A value that is made: its text, if it has one, is in it, so that it must not be copied. */
struct sql_fact {
	enum dbps_type type;
	struct dbps_value value;
	char text[160];
};

struct sql_function {
	const char *name; /* upper case */
	bool bare;	  /* may stand without parentheses */
	void (*get)(const struct sql_connection *connection, struct sql_fact *ret);
};

extern const struct sql_function sql_functions[];
extern const size_t sql_n_functions;

/** @return Whether this word is a function by itself, as CURRENT_USER. */
bool sql_function_is_bare(const struct dbps_token *word);

/**
 * @brief Make all of them known to a database.
 * @param connection Has to stay until the database is closed.
 * @return SQLITE_OK or another code of SQLite.
 */
int sql_functions_register(sqlite3 *db, const struct sql_connection *connection);

#endif
