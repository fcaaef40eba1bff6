/*
 * The sessions that one statement is about: one snapshot, of it those that the caller may see on
 * the chosen server or on the whole host. Every statement that lists or chooses sessions reads
 * them here, once.
 */
#ifndef DBPS_SQL_SESSIONS_H
#define DBPS_SQL_SESSIONS_H

#include <sqlite3.h>

#include "session/columns.h"
#include "sql/connection.h"

struct sql_sessions {
	struct sql_scope scope;
	struct dbps_rows *rows;	     /* the snapshot, owned */
	const struct dbps_row **row; /* those that are seen, sorted by id */
	size_t n;
};

/**
 * @brief Read them. Release with sql_sessions_done().
 * @param want enum dbps_rows_want.
 * @return 0; -ENOENT when the chosen server is not known any more; other negative errno.
 */
int sql_sessions_read(const struct sql_connection *connection, unsigned int want,
		      struct sql_sessions *ret_sessions);
void sql_sessions_done(struct sql_sessions *sessions);

/** @brief A column of a session, its id as the scope shows it. Text is the row's or static. */
struct dbps_value sql_sessions_value(const struct sql_sessions *sessions, size_t column,
				     const struct dbps_row *row);

/**
 * @brief Make them the table `processlist` of a database: every column of session/columns.h; the
 *        rowid is the index of the row.
 * @param sessions Has to stay until the database is closed.
 * @return SQLITE_OK or another code of SQLite.
 */
int sql_sessions_register(sqlite3 *db, const struct sql_sessions *sessions);

#define SQL_SESSIONS_TABLE "processlist"

#endif
