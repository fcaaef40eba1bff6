/*
 * The words of the processlist: Command as the session's engine prints it, State as OceanBase does,
 * and the phase, which is ours.
 */
#include "cleanup.h"
#include "rows.h"
#include "server/registry.h"

/* MariaDB 10.11, command_name[] in sql/sql_parse.cc, as its binary has them (protocol.md 1.6). */
static const char *const common_words[256] = {
	[0x00] = "Sleep",	   [0x01] = "Quit",
	[0x02] = "Init DB",	   [0x03] = "Query",
	[0x04] = "Field List",	   [0x05] = "Create DB",
	[0x06] = "Drop DB",	   [0x07] = "Refresh",
	[0x08] = "Shutdown",	   [0x09] = "Statistics",
	[0x0a] = "Processlist",	   [0x0b] = "Connect",
	[0x0c] = "Kill",	   [0x0d] = "Debug",
	[0x0e] = "Ping",	   [0x0f] = "Time",
	[0x10] = "Delayed insert", [0x11] = "Change user",
	[0x12] = "Binlog Dump",	   [0x13] = "Table Dump",
	[0x14] = "Connect Out",	   [0x15] = "Register Slave",
	[0x16] = "Prepare",	   [0x17] = "Execute",
	[0x18] = "Long Data",	   [0x19] = "Close stmt",
	[0x1a] = "Reset stmt",	   [0x1b] = "Set option",
	[0x1c] = "Fetch",	   [0x1d] = "Daemon",
	[0x1e] = "Unimpl get tid", [0x1f] = "Reset connection",
	[0xfa] = "Bulk_execute",   [0xfb] = "Slave_worker",
	[0xfc] = "Slave_IO",	   [0xfd] = "Slave_SQL",
};

struct word {
	enum dbps_engine engine;
	uint8_t command;
	const char *text;
};

/* Where an engine says it otherwise. */
static const struct word engine_words[] = {
	{DBPS_ENGINE_MYSQL, 0x15, "Register Replica"},
	{DBPS_ENGINE_MYSQL, 0x1e, "Binlog Dump GTID"},
	{DBPS_ENGINE_MYSQL, 0x1f, "Reset Connection"},
	{DBPS_ENGINE_MYSQL, 0x20, "clone"},
	{DBPS_ENGINE_MYSQL, 0x21, "Group Replication Data Stream subscription"},
	{DBPS_ENGINE_OCEANBASE, 0x0a, "Process Info"},
	{DBPS_ENGINE_OCEANBASE, 0x0c, "Process Kill"},
	{DBPS_ENGINE_OCEANBASE, 0x12, "Binlog dump"},
	{DBPS_ENGINE_OCEANBASE, 0x18, "Stmt send long data"},
	{DBPS_ENGINE_OCEANBASE, 0x1a, "Stmt reset"},
	{DBPS_ENGINE_OCEANBASE, 0x1c, "Stmt fetch"},
	{DBPS_ENGINE_OCEANBASE, 0x1f, "Reset connection"},
	{DBPS_ENGINE_OCEANBASE, 0xa1, "Prexecute"},
	{DBPS_ENGINE_POSTGRES, 0xfe, "Function call"},
};

/* An unknown server of the family is MariaDB when bit 0 of its capabilities is clear (1.2). */
static enum dbps_engine engine_of(const struct dbps_row *row)
{
	if (row->engine != DBPS_ENGINE_UNKNOWN)
		return row->engine;
	if (row->session->flags & DBPS_PGSQL)
		return DBPS_ENGINE_POSTGRES;
	return row->session->server_caps & 1 ? DBPS_ENGINE_MYSQL : DBPS_ENGINE_MARIADB;
}

static const char *command_word(enum dbps_engine engine, uint8_t command)
{
	for (size_t i = 0; i < ARRAY_SIZE(engine_words); i++)
		if (engine_words[i].engine == engine && engine_words[i].command == command)
			return engine_words[i].text;
	return common_words[command] ? common_words[command] : "Error";
}

/*
 * Nothing was seen: the session is older than dbps, or it went over to TLS before its login, of
 * which not even the end is seen then.
 */
static bool is_unseen(const struct dbps_session *s)
{
	return s->phase == DBPS_PHASE_UNKNOWN ||
	       (s->phase == DBPS_PHASE_AUTH && dbps_session_is_dark(s));
}

bool dbps_row_logs_in(const struct dbps_row *row)
{
	const struct dbps_session *s = row->session;

	if (is_unseen(s))
		return false;
	if (s->phase == DBPS_PHASE_CLOSED)
		return !(s->flags & (DBPS_KNOWN_LOGIN | DBPS_JOINED));
	return s->phase == DBPS_PHASE_GREETED || s->phase == DBPS_PHASE_AUTH;
}

const char *dbps_row_command(const struct dbps_row *row)
{
	const struct dbps_session *s = row->session;

	if (is_unseen(s))
		return NULL;
	if (dbps_row_logs_in(row))
		return "Connect";
	switch (s->phase) {
	case DBPS_PHASE_CLOSED:
		return s->command == 0x01 ? "Quit" : "Sleep";
	case DBPS_PHASE_IDLE:
		return "Sleep";
	default:
		if (dbps_session_is_hidden(s))
			return "Busy"; /* MariaDB's word for a session that it cannot look into */
		return command_word(engine_of(row), s->command);
	}
}

const char *dbps_row_state(const struct dbps_row *row)
{
	const struct dbps_session *s = row->session;

	if (s->flags & DBPS_KILLED_SESSION)
		return "SESSION_KILLED";
	if (is_unseen(s))
		return NULL;
	if (dbps_row_logs_in(row))
		return "INIT";
	if (!dbps_session_executes(s))
		return "SLEEP";
	return s->flags & DBPS_KILLED ? "QUERY_KILLED" : "ACTIVE";
}

const char *dbps_row_orphan(const struct dbps_row *row)
{
	static const char *const words[DBPS_PEER_N] = {
		[DBPS_PEER_CLOSED] = "closed",	     [DBPS_PEER_RESET] = "reset",
		[DBPS_PEER_TIMED_OUT] = "timed out", [DBPS_PEER_CUT] = "cut",
		[DBPS_PEER_GONE] = "gone",
	};

	return dbps_session_executes(row->session) && row->peer < DBPS_PEER_N ? words[row->peer]
									      : NULL;
}

static const char *idle_phase(const struct dbps_session *s)
{
	if (dbps_session_is_dark(s))
		return "waiting for client"; /* perhaps in a transaction */
	if (s->in.left || s->in.hdr_have)
		return "reading request";
	if (s->flags & DBPS_ABORTED)
		return "idle in transaction (aborted)";
	return s->flags & DBPS_IN_TRANSACTION ? "idle in transaction" : "idle";
}

const char *dbps_row_phase(const struct dbps_row *row)
{
	static const char *const words[DBPS_PHASE_N] = {
		[DBPS_PHASE_GREETED] = "waiting for login",
		[DBPS_PHASE_AUTH] = "authenticating",
		[DBPS_PHASE_CLOSED] = "closing",
		[DBPS_PHASE_OPAQUE] = "executing, not readable",
		[DBPS_PHASE_UNFRAMED] = "executing, answer not followed",
		[DBPS_PHASE_FIRST] = "executing",
		[DBPS_PHASE_DEFS] = "sending rows",
		[DBPS_PHASE_DEFS_EOF] = "sending rows",
		[DBPS_PHASE_ROWS] = "sending rows",
		[DBPS_PHASE_PREPARED] = "preparing",
		[DBPS_PHASE_PREPARE_DEFS] = "preparing",
		[DBPS_PHASE_FIELD_LIST] = "sending fields",
		[DBPS_PHASE_ONE_PACKET] = "executing",
		[DBPS_PHASE_INFILE] = "reading file from client",
		[DBPS_PHASE_CHANGE_USER] = "authenticating",
		[DBPS_PHASE_STREAM] = "sending binary log",
	};
	static const char *const pgsql_words[DBPS_PHASE_N] = {
		[DBPS_PHASE_INFILE] = "reading data from client",
		[DBPS_PHASE_STREAM] = "replicating",
	};
	static const char *const orphan_words[DBPS_PEER_N] = {
		[DBPS_PEER_CLOSED] = "orphaned: client closed",
		[DBPS_PEER_RESET] = "orphaned: reset by client",
		[DBPS_PEER_TIMED_OUT] = "orphaned: client timed out",
		[DBPS_PEER_CUT] = "orphaned: cut off",
		[DBPS_PEER_GONE] = "orphaned: client gone",
	};
	const struct dbps_session *s = row->session;

	if (dbps_row_orphan(row))
		return orphan_words[row->peer];
	if (s->phase == DBPS_PHASE_IDLE)
		return idle_phase(s);
	if (s->flags & DBPS_PGSQL && pgsql_words[s->phase % DBPS_PHASE_N])
		return pgsql_words[s->phase];
	if (is_unseen(s))
		return dbps_session_is_dark(s) ? "encrypted" : NULL;
	return s->phase < DBPS_PHASE_N ? words[s->phase] : NULL;
}

uint64_t dbps_row_time_ns(const struct dbps_row *row)
{
	const struct dbps_session *s = row->session;
	bool busy = dbps_session_executes(s) || dbps_row_logs_in(row);
	uint64_t since = busy ? s->start_ns : s->end_ns;

	if (!since || is_unseen(s))
		return UINT64_MAX;
	return row->now_ns > since ? row->now_ns - since : 0;
}
