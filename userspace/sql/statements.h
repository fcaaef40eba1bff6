/*
 * The statements of the console as a table: pattern, the right it needs, what it does. SHOW
 * STATEMENTS reads the same table.
 */
#ifndef DBPS_SQL_STATEMENTS_H
#define DBPS_SQL_STATEMENTS_H

#include "sql/connection.h"
#include "sql/input.h"

struct sql_statement {
	const char *pattern; /* sql_match() */
	unsigned int right;  /* enum dbps_right that the caller must have; 0: none */
	/*
	 * Answers and returns 0; -EINVAL when it does not understand what follows, with the input
	 * there; other negative errno when it could not find out. In both cases nothing was
	 * written.
	 */
	int (*run)(struct sql_connection *connection, struct sql_input *input,
		   unsigned int options);
	const char *help;    /* one line; NULL: for clients, not worth telling people */
	bool keeps_warnings; /* SHOW WARNINGS after it still tells of the statement before */
};

extern const struct sql_statement sql_statements[];
extern const size_t sql_n_statements;

typedef int sql_run(struct sql_connection *connection, struct sql_input *input,
		    unsigned int options);

sql_run sql_show_processlist, sql_show_sessions, sql_show_orphans;  /* show_processlist.c */
sql_run sql_show_servers, sql_show_databases, sql_show_tables;	    /* show_servers.c */
sql_run sql_show_doctor;					    /* show_doctor.c */
sql_run sql_show_status, sql_show_losses, sql_show_variables;	    /* show_status.c */
sql_run sql_show_warnings, sql_show_errors, sql_show_count;	    /* show_warnings.c */
sql_run sql_show_grants, sql_show_statements;			    /* show_grants.c */
sql_run sql_show_kills;						    /* show_kills.c */
sql_run sql_kill, sql_kill_user, sql_kill_where, sql_kill_query_id; /* kill_statement.c */
sql_run sql_demote, sql_restore;				    /* demote_statement.c */
sql_run sql_reserve;						    /* reserve_statement.c */
sql_run sql_select;						    /* select.c */
sql_run sql_select_sessions, sql_with;				    /* select_sessions.c */
sql_run sql_use_statement, sql_set, sql_begin;			    /* set.c */

/** @brief SHOW PROCESSLIST as COM_PROCESS_INFO asks for it. 0 or a negative errno. */
int sql_processlist(struct sql_connection *connection, bool full);

/** @return Seconds since the console began. */
uint64_t sql_uptime_s(const struct sql_counters *counters);

/** @brief KILL id, as COM_PROCESS_KILL asks for it. */
int sql_kill_id(struct sql_connection *connection, uint64_t id);

static inline void sql_free_rows(struct dbps_rows **rows)
{
	dbps_rows_free(*rows);
}

#endif
