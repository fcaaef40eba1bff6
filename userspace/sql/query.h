/*
 * One SELECT over the sessions, done by SQLite: a database of its own that lives as long as the
 * statement, holds nothing but the table of one snapshot, and can only be read. Its time, its
 * memory and the size of the statement are limited.
 */
#ifndef DBPS_SQL_QUERY_H
#define DBPS_SQL_QUERY_H

#include <sqlite3.h>

#include "sql/sessions.h"

/* The longest text, and the longest row within SQLite; so no call of a function takes long. */
#define SQL_VALUE_MAX (256u << 10)

enum sql_stop { SQL_STOP_NONE, SQL_STOP_TIME, SQL_STOP_INTERRUPTED };

struct sql_query {
	struct sql_connection *connection;
	struct sql_sessions sessions;
	sqlite3 *db;
	sqlite3_stmt *statement;
	uint64_t deadline_ns;
	enum sql_stop stop; /* why the progress handler ended it */
};

/**
 * @brief Take the snapshot and make the database. Release with sql_query_done(); until then the
 *        query must stay where it is.
 * @return 0; -ENOENT when the chosen server is not known any more; other negative errno.
 */
int sql_query_open(struct sql_connection *connection, struct sql_query *ret_query);
void sql_query_done(struct sql_query *query);

/** @brief Compile one SELECT. SQLITE_OK, or another code of SQLite. */
int sql_query_prepare(struct sql_query *query, const char *sql);

/** @brief SQLITE_ROW, SQLITE_DONE or another code of SQLite. */
int sql_query_step(struct sql_query *query);

/** @brief Answer with the error that such a code stands for. Returns 0. */
int sql_query_refuse(const struct sql_query *query, int code);

#endif
