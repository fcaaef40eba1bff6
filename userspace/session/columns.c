/*
 * The session table. A getter answers NULL for what is not known, and never guesses.
 */
#include "columns.h"

#include <string.h>

#include "access/protect.h"
#include "cleanup.h"
#include "client.h"
#include "kill/priority.h"

static const struct dbps_value null_value = {.null = true};

static struct dbps_value integer(uint64_t n)
{
	return (struct dbps_value){.integer = n};
}

/* Numbers of which 0 is none. */
static struct dbps_value integer_or_null(uint64_t n)
{
	return n ? integer(n) : null_value;
}

static struct dbps_value real(double x)
{
	return (struct dbps_value){.real = x};
}

static struct dbps_value bytes(const char *text, size_t len)
{
	return (struct dbps_value){.text = text, .len = len};
}

static struct dbps_value words(const char *text)
{
	return text && *text ? bytes(text, strlen(text)) : null_value;
}

static bool has(const struct dbps_row *row, uint32_t flag)
{
	return row->session->flags & flag;
}

/* Time from a moment to the snapshot; NULL when the moment is not known. */
static struct dbps_value since(const struct dbps_row *row, uint64_t ns, double unit)
{
	if (!ns)
		return null_value;
	return real(row->now_ns > ns ? (double)(row->now_ns - ns) / unit : 0);
}

/* ---------------------------------------------------------------- the processlist ----------- */

static struct dbps_value get_id(const struct dbps_row *row)
{
	return integer(row->id);
}

static struct dbps_value get_user(const struct dbps_row *row)
{
	struct dbps_name user;

	if (dbps_row_logs_in(row))
		return words(DBPS_USER_UNAUTHENTICATED);
	if (!has(row, DBPS_KNOWN_LOGIN))
		return null_value;
	user = dbps_row_login(row).user;
	return bytes(user.start, user.len);
}

static struct dbps_value get_host(const struct dbps_row *row)
{
	return words(row->host);
}

static struct dbps_value get_db(const struct dbps_row *row)
{
	if (dbps_row_logs_in(row) || !row->session->db_len)
		return null_value;
	return bytes(row->session->db, row->session->db_len);
}

static struct dbps_value get_command(const struct dbps_row *row)
{
	return words(dbps_row_command(row));
}

static struct dbps_value get_time(const struct dbps_row *row)
{
	uint64_t ns = dbps_row_time_ns(row);

	return ns == UINT64_MAX ? null_value : integer(ns / 1000000000);
}

static struct dbps_value get_state(const struct dbps_row *row)
{
	return words(dbps_row_state(row));
}

static struct dbps_value get_info(const struct dbps_row *row)
{
	return row->info ? bytes(row->info, row->info_len) : null_value;
}

/* ---------------------------------------------------------------- the rest ------------------ */

static struct dbps_value get_server(const struct dbps_row *row)
{
	return words(row->server_name);
}

static struct dbps_value get_server_id(const struct dbps_row *row)
{
	return has(row, DBPS_KNOWN_ID) ? integer(row->session->id) : null_value;
}

static struct dbps_value get_sequence(const struct dbps_row *row)
{
	return integer_or_null(row->session->sequence);
}

static struct dbps_value get_phase(const struct dbps_row *row)
{
	return words(dbps_row_phase(row));
}

static struct dbps_value get_time_ms(const struct dbps_row *row)
{
	uint64_t ns = dbps_row_time_ns(row);

	return ns == UINT64_MAX ? null_value : real((double)ns / 1e6);
}

static struct dbps_value get_start_ns(const struct dbps_row *row)
{
	return integer_or_null(row->session->start_ns);
}

static struct dbps_value get_end_ns(const struct dbps_row *row)
{
	return integer_or_null(row->session->end_ns);
}

static struct dbps_value get_now_ns(const struct dbps_row *row)
{
	return integer(row->now_ns);
}

static struct dbps_value get_rows(const struct dbps_row *row)
{
	return integer(row->session->rows);
}

static struct dbps_value get_bytes_in(const struct dbps_row *row)
{
	return integer(row->session->bytes_in);
}

static struct dbps_value get_bytes_out(const struct dbps_row *row)
{
	return integer(row->session->bytes_out);
}

static struct dbps_value get_statements(const struct dbps_row *row)
{
	return integer(row->session->sequence);
}

static struct dbps_value get_errors(const struct dbps_row *row)
{
	return integer(row->session->errors);
}

static struct dbps_value get_last_error(const struct dbps_row *row)
{
	return integer_or_null(row->session->last_error);
}

/* Five characters of six bits. */
static struct dbps_value get_sqlstate(const struct dbps_row *row)
{
	static _Thread_local char text[6];

	for (int i = 0; i < 5; i++)
		text[i] = (char)('0' + (row->session->sqlstate >> (6 * i) & 63));
	return row->session->sqlstate ? bytes(text, 5) : null_value;
}

static struct dbps_value get_transaction_ms(const struct dbps_row *row)
{
	if (!has(row, DBPS_IN_TRANSACTION))
		return null_value;
	return since(row, row->session->trx_start_ns, 1e6);
}

static struct dbps_value get_connected_s(const struct dbps_row *row)
{
	return since(row, row->session->connected_ns, 1e9);
}

static struct dbps_value get_transport(const struct dbps_row *row)
{
	static const char *const names[] = {
		[DBPS_FAMILY_INET] = "tcp",
		[DBPS_FAMILY_INET6] = "tcp6",
		[DBPS_FAMILY_UNIX] = "unix",
	};
	uint8_t family = row->session->family;

	return words(family < ARRAY_SIZE(names) ? names[family] : NULL);
}

static struct dbps_value get_client_pid(const struct dbps_row *row)
{
	const struct dbps_client_process *client = dbps_row_client(row);

	return client ? integer(client->pid) : null_value;
}

static struct dbps_value get_client_uid(const struct dbps_row *row)
{
	struct dbps_owner owner = dbps_row_owner(row);

	return owner.known ? integer(owner.uid) : null_value;
}

static struct dbps_value get_client_command(const struct dbps_row *row)
{
	const struct dbps_client_process *client = dbps_row_client(row);

	return words(client ? client->command : NULL);
}

static struct dbps_value get_client_exe(const struct dbps_row *row)
{
	const struct dbps_client_process *client = dbps_row_client(row);

	return words(client ? client->exe : NULL);
}

static struct dbps_value get_client_cgroup(const struct dbps_row *row)
{
	const struct dbps_client_process *client = dbps_row_client(row);

	return words(client ? client->cgroup : NULL);
}

static struct dbps_value get_client_unit(const struct dbps_row *row)
{
	const struct dbps_client_process *client = dbps_row_client(row);

	return words(client ? client->unit : NULL);
}

static struct dbps_value get_client_container(const struct dbps_row *row)
{
	const struct dbps_client_process *client = dbps_row_client(row);

	return words(client ? client->container : NULL);
}

static struct dbps_value get_proxy(const struct dbps_row *row)
{
	return words(dbps_proxy(row));
}

static struct dbps_value get_program(const struct dbps_row *row)
{
	if (!row->session->program_len)
		return null_value;
	return bytes(row->session->program, row->session->program_len);
}

static struct dbps_value get_attr_pid(const struct dbps_row *row)
{
	return integer_or_null(row->session->attr_pid);
}

static struct dbps_value get_pid(const struct dbps_row *row)
{
	return integer_or_null(row->session->tgid);
}

static struct dbps_value get_tid(const struct dbps_row *row)
{
	return integer_or_null(row->session->tid);
}

static struct dbps_value get_cookie(const struct dbps_row *row)
{
	return integer(row->session->cookie);
}

static struct dbps_value get_tls(const struct dbps_row *row)
{
	return integer(has(row, DBPS_TLS));
}

static struct dbps_value get_compressed(const struct dbps_row *row)
{
	return integer(has(row, DBPS_COMPRESSED));
}

static struct dbps_value get_joined(const struct dbps_row *row)
{
	return integer(has(row, DBPS_JOINED));
}

static struct dbps_value get_framing(const struct dbps_row *row)
{
	if (!has(row, DBPS_FRAMED_IN))
		return words("unknown");
	return words(has(row, DBPS_RESYNCED) ? "resynced" : "exact");
}

static struct dbps_value get_info_bytes(const struct dbps_row *row)
{
	return row->info ? integer(row->info_whole) : null_value;
}

static struct dbps_value get_info_cut(const struct dbps_row *row)
{
	return row->info ? integer(row->info_cut) : null_value;
}

static struct dbps_value get_why_no_info(const struct dbps_row *row)
{
	return words(row->why_no_info);
}

static struct dbps_value get_orphan(const struct dbps_row *row)
{
	return words(dbps_row_orphan(row));
}

static struct dbps_value get_orphan_ms(const struct dbps_row *row)
{
	return dbps_row_orphan(row) ? since(row, row->peer_ns, 1e6) : null_value;
}

/* As the scheduler has it now. */
static struct dbps_value get_demoted(const struct dbps_row *row)
{
	if (!dbps_session_executes(row->session))
		return null_value;
	return integer(dbps_priority_is_idle((pid_t)row->session->tid));
}

static struct dbps_value get_wait(const struct dbps_row *row)
{
	return words(dbps_row_wait(row));
}

/* To the microsecond: the scheduler's clock is no finer. */
static struct dbps_value milliseconds(uint64_t ns)
{
	uint64_t us = ns / 1000;

	return real((double)us / 1e3);
}

static struct dbps_value get_wait_ms(const struct dbps_row *row)
{
	if (!row->thread || !row->thread->state || !row->thread->for_ns)
		return null_value;
	return milliseconds(row->thread->for_ns);
}

/* What the thread has used since the statement began; NULL when that is not known. */
static const struct dbps_usage *used_by(const struct dbps_row *row)
{
	const struct dbps_thread_look *thread = row->thread;

	return thread && thread->state && thread->used_known ? &thread->used : NULL;
}

static struct dbps_value get_cpu_ms(const struct dbps_row *row)
{
	const struct dbps_usage *used = used_by(row);

	return used ? milliseconds(used->cpu_ns) : null_value;
}

static struct dbps_value get_read_bytes(const struct dbps_row *row)
{
	const struct dbps_usage *used = used_by(row);

	return used ? integer(used->read_bytes) : null_value;
}

static struct dbps_value get_write_bytes(const struct dbps_row *row)
{
	const struct dbps_usage *used = used_by(row);

	return used ? integer(used->write_bytes) : null_value;
}

static struct dbps_value get_own(const struct dbps_row *row)
{
	return integer(row->own);
}

static struct dbps_value get_protected(const struct dbps_row *row)
{
	return words(dbps_protected(row));
}

static struct dbps_value get_note(const struct dbps_row *row)
{
	if (row->own)
		return words("control link of dbpsd");
	if (has(row, DBPS_CUT_USER))
		return words("the user's name is cut");
	if (has(row, DBPS_CUT_DB))
		return words("the database's name is cut");
	if (row->session->lost)
		return words("an event was lost, framing started anew");
	if (has(row, DBPS_LEFT_OUT))
		return words("the kernel left out an event: user and database may be others");
	if (has(row, DBPS_SPLICED_IN))
		return words("bytes moved in a way that no tap sees");
	if (has(row, DBPS_JOINED))
		return words("older than dbps");
	return null_value;
}

static struct dbps_value name_or_null(const struct dbps_row *row, struct dbps_name name)
{
	if (!name.len || !has(row, DBPS_KNOWN_LOGIN) || dbps_row_logs_in(row))
		return null_value;
	return bytes(name.start, name.len);
}

static struct dbps_value get_tenant(const struct dbps_row *row)
{
	return name_or_null(row, dbps_row_login(row).tenant);
}

static struct dbps_value get_cluster(const struct dbps_row *row)
{
	return name_or_null(row, dbps_row_login(row).cluster);
}

static struct dbps_value get_ip(const struct dbps_row *row)
{
	return words(row->local_address);
}

static struct dbps_value get_port(const struct dbps_row *row)
{
	return integer_or_null(row->session->local_port);
}

const struct dbps_column dbps_columns[] = {
	{"id", "Id", DBPS_TYPE_INTEGER, "",
	 "Connection id of the server, unique over all servers of the host: those of the "
	 "first server are plain, those of server n have n added in the upper 32 bits. "
	 "What KILL takes.",
	 get_id},
	{"user", "User", DBPS_TYPE_TEXT, "",
	 "User name that logged in; 'unauthenticated user' before that; NULL for a "
	 "session older than dbps that no control link could tell.",
	 get_user},
	{"host", "Host", DBPS_TYPE_TEXT, "",
	 "Address and port of the client as the kernel knows them, 'localhost' over a "
	 "Unix socket. Names are not looked up.",
	 get_host},
	{"db", "db", DBPS_TYPE_TEXT, "", "Default database, NULL when there is none.", get_db},
	{"command", "Command", DBPS_TYPE_TEXT, "",
	 "Command that is executed, in the words of the server; 'Sleep' when there is "
	 "none, 'Connect' during login, 'Busy' when the connection cannot be read.",
	 get_command},
	{"time", "Time", DBPS_TYPE_INTEGER, "s",
	 "Whole seconds since the statement began; when asleep since the last one ended.",
	 get_time},
	{"state", "State", DBPS_TYPE_TEXT, "",
	 "INIT during login, SLEEP, ACTIVE, QUERY_KILLED or SESSION_KILLED.", get_state},
	{"info", "Info", DBPS_TYPE_TEXT, "",
	 "Text of the statement that is executed, of a prepared one at its execution; "
	 "passwords are masked. NULL when nothing is executed; else why_no_info says "
	 "why.",
	 get_info},
	{"server", NULL, DBPS_TYPE_TEXT, "", "Name of the server, as SHOW SERVERS lists it.",
	 get_server},
	{"server_id", NULL, DBPS_TYPE_INTEGER, "", "Connection id as the server itself has it.",
	 get_server_id},
	{"sequence", NULL, DBPS_TYPE_INTEGER, "",
	 "Number of the statement in its session, from 1; of the last one when asleep.",
	 get_sequence},
	{"phase", NULL, DBPS_TYPE_TEXT, "",
	 "What the session does just now, more finely than state.", get_phase},
	{"time_ms", NULL, DBPS_TYPE_REAL, "ms", "As time, in milliseconds with fractions.",
	 get_time_ms},
	{"start_ns", NULL, DBPS_TYPE_INTEGER, "ns",
	 "Begin of the statement, or of the last one: when the server had read all of "
	 "it. CLOCK_MONOTONIC.",
	 get_start_ns},
	{"end_ns", NULL, DBPS_TYPE_INTEGER, "ns",
	 "End of the last statement: when the last byte of its answer was sent. "
	 "CLOCK_MONOTONIC.",
	 get_end_ns},
	{"now_ns", NULL, DBPS_TYPE_INTEGER, "ns", "When this row was read. CLOCK_MONOTONIC.",
	 get_now_ns},
	{"rows", NULL, DBPS_TYPE_INTEGER, "rows", "Rows sent to the client in this session.",
	 get_rows},
	{"bytes_in", NULL, DBPS_TYPE_INTEGER, "bytes", "Bytes that the server received.",
	 get_bytes_in},
	{"bytes_out", NULL, DBPS_TYPE_INTEGER, "bytes", "Bytes that the server sent.",
	 get_bytes_out},
	{"statements", NULL, DBPS_TYPE_INTEGER, "statements", "Statements begun in this session.",
	 get_statements},
	{"errors", NULL, DBPS_TYPE_INTEGER, "errors", "Errors that the server answered.",
	 get_errors},
	{"last_error", NULL, DBPS_TYPE_INTEGER, "",
	 "Code of the last of them; NULL for PostgreSQL, see sqlstate.", get_last_error},
	{"sqlstate", NULL, DBPS_TYPE_TEXT, "",
	 "SQLSTATE of the last of them, of PostgreSQL's sessions; others have last_error.",
	 get_sqlstate},
	{"transaction_ms", NULL, DBPS_TYPE_REAL, "ms",
	 "Age of the transaction: since the begin of the statement that opened it. NULL "
	 "outside of one.",
	 get_transaction_ms},
	{"connected_s", NULL, DBPS_TYPE_REAL, "s", "Time since the connection was made.",
	 get_connected_s},
	{"transport", NULL, DBPS_TYPE_TEXT, "", "tcp, tcp6 or unix.", get_transport},
	{"client_pid", NULL, DBPS_TYPE_INTEGER, "",
	 "Process that holds the client's end, over Unix sockets and loopback TCP: of several the "
	 "one "
	 "that connected, else the oldest. NULL: not on this host, gone, or not known.",
	 get_client_pid},
	{"client_uid", NULL, DBPS_TYPE_INTEGER, "",
	 "User id of the client as the kernel noted it when it connected (Unix sockets), or when "
	 "it "
	 "made its socket (loopback TCP).",
	 get_client_uid},
	{"client_command", NULL, DBPS_TYPE_TEXT, "", "Command name of client_pid.",
	 get_client_command},
	{"client_exe", NULL, DBPS_TYPE_TEXT, "",
	 "Its executable, as its own mount namespace has it.", get_client_exe},
	{"client_unit", NULL, DBPS_TYPE_TEXT, "", "Its systemd unit.", get_client_unit},
	{"client_container", NULL, DBPS_TYPE_TEXT, "",
	 "The container that it runs in, by its control group: the begin of the id, or the name.",
	 get_client_container},
	{"client_cgroup", NULL, DBPS_TYPE_TEXT, "", "Its control group.", get_client_cgroup},
	{"proxy", NULL, DBPS_TYPE_TEXT, "",
	 "What stands between the session and its real client: a pooler or proxy (the setting "
	 "protect.proxies), by its command; or the name of the followed server that the client is. "
	 "KILL of many spares it. NULL: nothing that is known.",
	 get_proxy},
	{"program", NULL, DBPS_TYPE_TEXT, "",
	 "program_name of the connection attributes; PostgreSQL: application_name. Its first 32 "
	 "bytes.",
	 get_program},
	{"attr_pid", NULL, DBPS_TYPE_INTEGER, "",
	 "_pid of the connection attributes: the client's own claim, of its host.", get_attr_pid},
	{"pid", NULL, DBPS_TYPE_INTEGER, "",
	 "Process that serves the session: the server, or a backend of PostgreSQL.", get_pid},
	{"tid", NULL, DBPS_TYPE_INTEGER, "", "Thread that read the current or last statement.",
	 get_tid},
	{"cookie", NULL, DBPS_TYPE_INTEGER, "", "The kernel's cookie of the server's socket.",
	 get_cookie},
	{"tls", NULL, DBPS_TYPE_INTEGER, "",
	 "1: the connection is encrypted (TLS, or GSSAPI of PostgreSQL).", get_tls},
	{"compressed", NULL, DBPS_TYPE_INTEGER, "",
	 "1: the connection is compressed: of long requests begin and end are known, not the text.",
	 get_compressed},
	{"joined", NULL, DBPS_TYPE_INTEGER, "", "1: the connection is older than dbps.",
	 get_joined},
	{"framing", NULL, DBPS_TYPE_TEXT, "",
	 "exact: begin and end come from the packets themselves. resynced: the last end "
	 "was taken from the next request. unknown: requests are not followed.",
	 get_framing},
	{"info_bytes", NULL, DBPS_TYPE_INTEGER, "bytes",
	 "Length of the whole text of which info is the beginning.", get_info_bytes},
	{"info_cut", NULL, DBPS_TYPE_INTEGER, "", "1: info is not the whole text.", get_info_cut},
	{"why_no_info", NULL, DBPS_TYPE_TEXT, "",
	 "Why info is NULL though a statement is, or may be, executed.", get_why_no_info},
	{"orphan", NULL, DBPS_TYPE_TEXT, "",
	 "How the client went, of a session that executes though it has: closed (over TCP: a "
	 "FIN, it sends nothing more, though it could still read), reset (by the client), timed "
	 "out, cut (from this side: a KILL, the server, ss -K), gone (why is not known). NULL: "
	 "the client is there as far as can be told, or nothing is executed.",
	 get_orphan},
	{"orphan_ms", NULL, DBPS_TYPE_REAL, "ms",
	 "Time since the last packet on the connection of an orphan: the client has been gone "
	 "for at least so long. NULL over Unix sockets, which keep no time.",
	 get_orphan_ms},
	{"demoted", NULL, DBPS_TYPE_INTEGER, "",
	 "1: the statement's thread runs at idle priority (DEMOTE). NULL when nothing is executed.",
	 get_demoted},
	{"wait", NULL, DBPS_TYPE_TEXT, "",
	 "What the thread that executes the statement does: cpu (it runs), runnable (it waits for "
	 "a processor), futex (a lock or a condition of the server, as a row lock or SLEEP), disk, "
	 "send (the client does not read), receive (the client is to send, as for LOAD DATA LOCAL "
	 "or COPY), latch (PostgreSQL: a lock, pg_sleep, another process), poll (another socket), "
	 "sleep, stopped, other. NULL when nothing is executed, or the thread is not known.",
	 get_wait},
	{"wait_ms", NULL, DBPS_TYPE_REAL, "ms",
	 "Time since it began to do that, to the tick of the scheduler's clock.", get_wait_ms},
	{"cpu_ms", NULL, DBPS_TYPE_REAL, "ms",
	 "Processor time of the statement's thread since the statement began, to the scheduler's "
	 "tick.",
	 get_cpu_ms},
	{"read_bytes", NULL, DBPS_TYPE_INTEGER, "bytes",
	 "Bytes that the statement's thread has read from disks since the statement began.",
	 get_read_bytes},
	{"write_bytes", NULL, DBPS_TYPE_INTEGER, "bytes",
	 "Bytes that it has written in the same time, counted when they reach the page cache.",
	 get_write_bytes},
	{"own", NULL, DBPS_TYPE_INTEGER, "", "1: a session of dbpsd itself, its control link.",
	 get_own},
	{"protected", NULL, DBPS_TYPE_TEXT, "",
	 "Why a KILL of many spares this session unless it is named by its id: the setting "
	 "that says so. NULL: it does not.",
	 get_protected},
	{"note", NULL, DBPS_TYPE_TEXT, "", "What else is special about the session.", get_note},
	{"tenant", "Tenant", DBPS_TYPE_TEXT, "",
	 "Tenant of a login user@tenant#cluster, of OceanBase's sessions. NULL: none was named.",
	 get_tenant},
	{"cluster", "Cluster", DBPS_TYPE_TEXT, "", "Cluster of such a login, without its id.",
	 get_cluster},
	{"ip", "Ip", DBPS_TYPE_TEXT, "",
	 "Address of the server's end of the connection. NULL over Unix sockets.", get_ip},
	{"port", "Port", DBPS_TYPE_INTEGER, "", "Port of the server's end of the connection.",
	 get_port},
};

const size_t dbps_n_columns = ARRAY_SIZE(dbps_columns);
