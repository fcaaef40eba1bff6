/*
 * The table of system variables. Values that drivers act upon (sizes, timeouts, character sets) are
 * those that hold on this socket.
 */
#include "sql/variables.h"

#include <string.h>
#include <strings.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cleanup.h"
#include "daemon/daemon.h"

#define NEVER_S 28800 /* what wait_timeout says when nothing is closed for silence */

static struct dbps_value integer(uint64_t value)
{
	return (struct dbps_value){.integer = value};
}

static struct dbps_value text(const char *value)
{
	return (struct dbps_value){.text = value, .len = strlen(value)};
}

static struct dbps_value get_socket(const struct sql_connection *c)
{
	return text(c->daemon->config.socket ? c->daemon->config.socket : "");
}

static struct dbps_value get_max_connections(const struct sql_connection *c)
{
	return integer(c->daemon->config.max_connections);
}

static struct dbps_value get_wait_timeout(const struct sql_connection *c)
{
	unsigned int timeout_s = c->daemon->config.idle_timeout_s;

	return integer(timeout_s ? timeout_s : NEVER_S);
}

static struct dbps_value get_kill_wait(const struct sql_connection *c)
{
	return integer(c->daemon->config.kill_wait_ms);
}

static struct dbps_value get_text_bytes(const struct sql_connection *c)
{
	return integer(c->daemon->config.text_bytes);
}

static struct dbps_value get_prepared_max(const struct sql_connection *c)
{
	return integer(c->daemon->config.prepared_max);
}

static struct dbps_value get_connection_id(const struct sql_connection *c)
{
	return integer(c->id);
}

static struct dbps_value get_warning_count(const struct sql_connection *c)
{
	return integer(c->conditions.n);
}

static struct dbps_value get_error_count(const struct sql_connection *c)
{
	return integer(c->conditions.n_errors);
}

static struct dbps_value get_hostname(const struct sql_connection *c)
{
	static _Thread_local char name[256];

	(void)c;
	if (gethostname(name, sizeof(name) - 1))
		name[0] = '\0';
	return text(name);
}

static struct dbps_value get_machine(const struct sql_connection *c)
{
	static _Thread_local struct utsname names;

	(void)c;
	return text(uname(&names) ? "" : names.machine);
}

#define INTEGER(name, value)                                                                       \
	{                                                                                          \
		name, DBPS_TYPE_INTEGER, false, value, NULL, NULL                                  \
	}
#define ON_OFF(name, value)                                                                        \
	{                                                                                          \
		name, DBPS_TYPE_INTEGER, true, value, NULL, NULL                                   \
	}
#define TEXT(name, value)                                                                          \
	{                                                                                          \
		name, DBPS_TYPE_TEXT, false, 0, value, NULL                                        \
	}
#define GET(name, type, get)                                                                       \
	{                                                                                          \
		name, type, false, 0, NULL, get                                                    \
	}

const struct sql_variable sql_variables[] = {
	INTEGER("auto_increment_increment", 1),
	ON_OFF("autocommit", 1),
	TEXT("character_set_client", "utf8mb4"),
	TEXT("character_set_connection", "utf8mb4"),
	TEXT("character_set_database", "utf8mb4"),
	TEXT("character_set_filesystem", "binary"),
	TEXT("character_set_results", "utf8mb4"),
	TEXT("character_set_server", "utf8mb4"),
	TEXT("character_set_system", "utf8mb4"),
	TEXT("collation_connection", "utf8mb4_general_ci"),
	TEXT("collation_database", "utf8mb4_general_ci"),
	TEXT("collation_server", "utf8mb4_general_ci"),
	GET("dbps_kill_wait_ms", DBPS_TYPE_INTEGER, get_kill_wait),
	GET("dbps_prepared_max", DBPS_TYPE_INTEGER, get_prepared_max),
	GET("dbps_text_bytes", DBPS_TYPE_INTEGER, get_text_bytes),
	GET("error_count", DBPS_TYPE_INTEGER, get_error_count),
	ON_OFF("foreign_key_checks", 1),
	GET("hostname", DBPS_TYPE_TEXT, get_hostname),
	ON_OFF("in_transaction", 0),
	TEXT("init_connect", ""),
	GET("interactive_timeout", DBPS_TYPE_INTEGER, get_wait_timeout),
	TEXT("license", "GPL"),
	INTEGER("lower_case_table_names", 0),
	INTEGER("max_allowed_packet", SQL_MAX_PACKET),
	GET("max_connections", DBPS_TYPE_INTEGER, get_max_connections),
	INTEGER("net_buffer_length", 16384),
	INTEGER("net_read_timeout", 30),
	INTEGER("net_write_timeout", 30),
	ON_OFF("performance_schema", 0),
	INTEGER("port", 0),
	INTEGER("protocol_version", WIRE_PROTOCOL),
	GET("pseudo_thread_id", DBPS_TYPE_INTEGER, get_connection_id),
	INTEGER("query_cache_size", 0),
	TEXT("query_cache_type", "OFF"),
	ON_OFF("read_only", 1),
	INTEGER("server_id", 0),
	GET("socket", DBPS_TYPE_TEXT, get_socket),
	ON_OFF("sql_auto_is_null", 0),
	TEXT("sql_mode", ""),
	ON_OFF("sql_quote_show_create", 1),
	INTEGER("sql_select_limit", UINT64_MAX),
	TEXT("system_time_zone", "UTC"),
	TEXT("time_zone", "SYSTEM"),
	TEXT("transaction_isolation", "READ-COMMITTED"),
	ON_OFF("transaction_read_only", 0),
	TEXT("tx_isolation", "READ-COMMITTED"),
	ON_OFF("tx_read_only", 0),
	TEXT("version", SQL_SERVER_VERSION),
	TEXT("version_comment", "dbps: database sessions seen from the kernel"),
	GET("version_compile_machine", DBPS_TYPE_TEXT, get_machine),
	TEXT("version_compile_os", "Linux"),
	GET("wait_timeout", DBPS_TYPE_INTEGER, get_wait_timeout),
	GET("warning_count", DBPS_TYPE_INTEGER, get_warning_count),
};
const size_t sql_n_variables = ARRAY_SIZE(sql_variables);

const struct sql_variable *sql_variable_find(const char *name, size_t len)
{
	for (size_t i = 0; i < sql_n_variables; i++)
		if (strlen(sql_variables[i].name) == len &&
		    !strncasecmp(sql_variables[i].name, name, len))
			return &sql_variables[i];
	return NULL;
}

struct dbps_value sql_variable_get(const struct sql_variable *variable,
				   const struct sql_connection *connection)
{
	if (variable->get)
		return variable->get(connection);
	return variable->type == DBPS_TYPE_TEXT ? text(variable->text) : integer(variable->integer);
}
