/*
 * KILL between its parts: as it is written (kill_statement.c), of one session (kill_one.c), and of
 * those that a condition or a user's name chooses (kill_many.c).
 */
#ifndef DBPS_SQL_KILLS_H
#define DBPS_SQL_KILLS_H

#include "kill/kill.h"
#include "sql/connection.h"
#include "sql/input.h"
#include "sql/sessions.h"

/* Everything that a KILL says besides whom. */
struct sql_kill {
	struct dbps_kill_request request; /* its texts are owned here */
	char *statement;
	char *reason;
	uint64_t limit;
	bool dry_run;
};

/* Whom a KILL USER names, in the servers' words: exactly, in their own case. */
struct sql_kill_user {
	const char *name;
	const char *host; /* NULL or "%": any; an address without its port, or localhost */
};

/* What is done to one session: a kill, or what is told in the words of one. */
typedef void sql_act(const struct dbps_daemon *daemon, const struct dbps_kill_request *request,
		     struct dbps_kill_answer *ret_answer);

sql_act sql_act_kill;

/* Answer as statements do. They count the kill. */
int sql_act_on_one(struct sql_connection *connection, struct sql_kill *kill, uint64_t id,
		   sql_act *act);
int sql_kill_query(struct sql_connection *connection, struct sql_kill *kill, uint64_t query_id);

/** @brief A statement that is an act and an id: "DEMOTE id". As the functions of statements. */
int sql_act_on_id(struct sql_connection *connection, struct sql_input *input, sql_act *act);

/** @param sql A SELECT of SQLite: rowid of a session and what the condition is for it, in the
 * order. */
int sql_kill_chosen(struct sql_connection *connection, const struct sql_kill *kill,
		    const char *sql);
int sql_kill_of_user(struct sql_connection *connection, const struct sql_kill *kill,
		     const struct sql_kill_user *user);

#endif
