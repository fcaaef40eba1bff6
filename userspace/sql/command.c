/*
 * The life of a console connection: greeting, login within its time, then commands until it quits,
 * breaks the protocol, stays silent for too long or is shut down. Commands are one table.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "daemon/daemon.h"
#include "log/log.h"
#include "mysql/handshake.h"
#include "mysql/result.h"
#include "sql/connection.h"
#include "sql/statements.h"

#define LOGIN_MAX_BYTES (128u << 10) /* names, and up to 64 KiB of attributes */
#define LOGIN_WAIT_MS	10000

struct command {
	uint8_t code;
	/*
	 * Answers and returns 0; -EBADMSG for a body that makes no sense; -ECONNRESET to close;
	 * other negative errno when it could not find out, with nothing written.
	 */
	int (*run)(struct sql_connection *connection, struct wire_slice body);
};

static int quit(struct sql_connection *connection, struct wire_slice body)
{
	(void)connection;
	(void)body;
	return -ECONNRESET;
}

static int say_ok(struct sql_connection *connection, struct wire_slice body)
{
	(void)body;
	return sql_ok(connection, "");
}

static int say_eof(struct sql_connection *connection, struct wire_slice body)
{
	(void)body;
	wire_eof(&connection->channel.out, 0);
	return 0;
}

/* Commands that have no answer, not even an error (protocol.md 1.6). */
static int say_nothing(struct sql_connection *connection, struct wire_slice body)
{
	(void)connection;
	(void)body;
	return 0;
}

static int init_db(struct sql_connection *connection, struct wire_slice body)
{
	sql_use(connection, body);
	return 0;
}

static int query(struct sql_connection *connection, struct wire_slice body)
{
	sql_execute(connection, body.data, body.len);
	return 0;
}

static int statistics(struct sql_connection *connection, struct wire_slice body)
{
	struct sql_counters *counters = connection->counters;
	char text[160];
	int len;

	(void)body;
	len = snprintf(text, sizeof(text),
		       "Uptime: %llu  Threads: %u  Questions: %llu  Kills: %llu",
		       (unsigned long long)sql_uptime_s(counters), atomic_load(&counters->live),
		       atomic_load(&counters->statements), atomic_load(&counters->kills));
	wire_begin(&connection->channel.out);
	wire_put_bytes(&connection->channel.out, text, (size_t)len);
	wire_end(&connection->channel.out);
	return 0;
}

static int process_info(struct sql_connection *connection, struct wire_slice body)
{
	(void)body;
	return sql_processlist(connection, false);
}

static int process_kill(struct sql_connection *connection, struct wire_slice body)
{
	struct wire_cursor cursor = wire_cursor(body.data, body.len);
	uint32_t id;
	int r = wire_read_u32(&cursor, &id);

	return r ? r : sql_kill_id(connection, id);
}

/* Not kept for SHOW WARNINGS: drivers send the text next, and then ask about that. */
static int refuse_prepare(struct sql_connection *connection, struct wire_slice body)
{
	(void)body;
	wire_error(&connection->channel.out, ER_UNSUPPORTED_PS, wire_sqlstate(ER_UNSUPPORTED_PS),
		   "dbps has no prepared statements: send the text");
	return 0;
}

static int unknown_prepared(struct sql_connection *connection, struct wire_slice body)
{
	(void)body;
	return sql_error(connection, ER_UNKNOWN_STMT_HANDLER,
			 "Unknown prepared statement handler: dbps has none");
}

static int reset(struct sql_connection *connection, struct wire_slice body)
{
	(void)body;
	sql_conditions_clear(connection);
	return sql_ok(connection, "");
}

static void keep_login_name(struct sql_connection *connection, struct wire_slice user)
{
	size_t len =
		user.len < sizeof(connection->login) - 1 ? user.len : sizeof(connection->login) - 1;

	memcpy(connection->login, user.data, len);
	connection->login[len] = '\0';
}

/* The end of a login: the server it names, or the whole host. -ECONNRESET when it names no server.
 */
static int accept_login(struct sql_connection *connection, const struct wire_login *login)
{
	keep_login_name(connection, login->user);
	connection->server[0] = '\0';
	if (wire_login_wants_sha2_word(login))
		wire_sha2_word(&connection->channel.out);
	if (!login->db.len)
		return sql_ok(connection, "");
	return sql_use(connection, login->db) ? -ECONNRESET : 0;
}

static int change_user(struct sql_connection *connection, struct wire_slice body)
{
	struct wire_login login;
	int r = wire_change_user_read(body.data, body.len, connection->caps, &login);

	if (r)
		return r;
	sql_conditions_clear(connection);
	return accept_login(connection, &login);
}

static const struct command commands[] = {
	{WIRE_COM_QUIT, quit},
	{WIRE_COM_INIT_DB, init_db},
	{WIRE_COM_QUERY, query},
	{WIRE_COM_FIELD_LIST, say_eof},
	{WIRE_COM_STATISTICS, statistics},
	{WIRE_COM_PROCESS_INFO, process_info},
	{WIRE_COM_PROCESS_KILL, process_kill},
	{WIRE_COM_PING, say_ok},
	{WIRE_COM_CHANGE_USER, change_user},
	{WIRE_COM_STMT_PREPARE, refuse_prepare},
	{WIRE_COM_STMT_EXECUTE, unknown_prepared},
	{WIRE_COM_STMT_SEND_LONG_DATA, say_nothing},
	{WIRE_COM_STMT_CLOSE, say_nothing},
	{WIRE_COM_STMT_RESET, unknown_prepared},
	{WIRE_COM_STMT_FETCH, unknown_prepared},
	{WIRE_COM_SET_OPTION, say_eof},
	{WIRE_COM_RESET_CONNECTION, reset},
};

static void count_bad_packet(struct sql_connection *connection, const char *why)
{
	atomic_fetch_add(&connection->counters->bad_packets, 1);
	dbps_log(LOG_DEBUG, "console connection %u (%s): %s", connection->id,
		 connection->caller.user, why);
}

static int run_command(struct sql_connection *connection, struct wire_slice packet)
{
	struct wire_slice body = {.data = packet.data + 1, .len = packet.len ? packet.len - 1 : 0};

	for (size_t i = 0; packet.len && i < ARRAY_SIZE(commands); i++)
		if (commands[i].code == (uint8_t)packet.data[0])
			return commands[i].run(connection, body);
	count_bad_packet(connection, "unknown command");
	return sql_error(connection, ER_UNKNOWN_COM_ERROR, "Unknown command");
}

/* Tell the peer why its packet cannot be taken; the connection ends with it. */
static void refuse_packet(struct sql_connection *connection, int error)
{
	switch (error) {
	case -EPROTO:
		sql_error(connection, ER_NET_PACKETS_OUT_OF_ORDER, "Got packets out of order");
		break;
	case -EMSGSIZE:
		sql_error(connection, ER_NET_PACKET_TOO_LARGE,
			  "Got a packet bigger than 'max_allowed_packet' bytes");
		break;
	case -EPROTONOSUPPORT:
		sql_error(connection, ER_HANDSHAKE_ERROR, "Bad handshake: protocol 4.1 is needed");
		break;
	case -EBADMSG:
		sql_error(connection, ER_MALFORMED_PACKET, "Malformed communication packet.");
		break;
	default: /* the peer has gone, or stayed silent for too long */
		return;
	}
	count_bad_packet(connection, strerror(-error));
	if (!wire_channel_flush(&connection->channel))
		wire_channel_drain(&connection->channel);
}

static int greet(struct sql_connection *connection)
{
	struct wire_greeting greeting = {
		.version = SQL_SERVER_VERSION,
		.connection_id = connection->id,
	};
	int r = wire_scramble(greeting.scramble);

	if (r)
		return log_errno(r, "console connection %u: random bytes", connection->id);
	wire_greet(&connection->channel.out, &greeting);
	return wire_channel_flush(&connection->channel);
}

static int log_in(struct sql_connection *connection)
{
	struct wire_login login;
	struct wire_slice packet = {0};
	int r;

	r = greet(connection);
	if (!r)
		r = wire_channel_read(&connection->channel, 1, LOGIN_MAX_BYTES, LOGIN_WAIT_MS,
				      &packet);
	if (!r)
		r = wire_login_read(packet.data, packet.len, &login);
	if (r) {
		refuse_packet(connection, r);
		return r;
	}
	connection->caps = login.caps;
	r = accept_login(connection, &login);
	return wire_channel_flush(&connection->channel) ? -ECONNRESET : r;
}

static int serve_one(struct sql_connection *connection, int wait_ms)
{
	struct wire_slice packet;
	int r = wire_channel_read(&connection->channel, 0, SQL_MAX_PACKET, wait_ms, &packet);

	if (!r)
		r = run_command(connection, packet);
	else if (r == -ENODATA || r == -ETIMEDOUT)
		return r;
	if (r == -EBADMSG || r == -EPROTO || r == -EMSGSIZE) {
		refuse_packet(connection, r);
		return r;
	}
	if (r && r != -ECONNRESET)
		sql_error(connection, ER_UNKNOWN_ERROR, "dbps could not find out: %s",
			  strerror(-r));
	return wire_channel_flush(&connection->channel) ? -ECONNRESET : r == -ECONNRESET ? r : 0;
}

static int idle_wait_ms(const struct sql_connection *connection)
{
	unsigned int timeout_s = connection->daemon->config.idle_timeout_s;

	if (!timeout_s)
		return WIRE_FOREVER;
	return timeout_s > INT32_MAX / 1000 ? INT32_MAX : (int)timeout_s * 1000;
}

/* After the greeting: see dbps_cancel_cookie(). */
static uint64_t cookie_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) ? 0 : cookie;
}

void sql_serve(struct sql_connection *connection, int fd)
{
	int wait_ms = idle_wait_ms(connection);
	int r;

	wire_channel_init(&connection->channel, fd);
	r = dbps_caller_from_socket(fd, &connection->daemon->access, &connection->caller);
	if (r)
		log_errno(r, "console connection %u: who calls", connection->id);
	else
		r = log_in(connection);
	connection->cookie = cookie_of(fd);
	while (!r)
		r = serve_one(connection, wait_ms);
	sql_conditions_clear(connection);
	wire_channel_done(&connection->channel);
}
