/*
 * DEMOTE id and RESTORE id: sessions are named as for KILL, and the answers are told in its words.
 */
#include "daemon/daemon.h"
#include "kill/demote.h"
#include "sql/kills.h"
#include "sql/statements.h"

static void act_demote(const struct dbps_daemon *daemon, const struct dbps_kill_request *request,
		       struct dbps_kill_answer *ret_answer)
{
	dbps_demote(daemon->demotions, request, ret_answer);
}

static void act_restore(const struct dbps_daemon *daemon, const struct dbps_kill_request *request,
			struct dbps_kill_answer *ret_answer)
{
	dbps_demote_undo(daemon->demotions, request, ret_answer);
}

int sql_demote(struct sql_connection *connection, struct sql_input *input, unsigned int options)
{
	(void)options;
	return sql_act_on_id(connection, input, act_demote);
}

int sql_restore(struct sql_connection *connection, struct sql_input *input, unsigned int options)
{
	(void)options;
	return sql_act_on_id(connection, input, act_restore);
}
