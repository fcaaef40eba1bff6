/*
 * SHOW SERVERS: what the registry knows of each database server, with its sessions counted; and the
 * same servers as the "databases" that USE takes.
 */
#include <errno.h>

#include "cleanup.h"
#include "daemon/daemon.h"
#include "mysql/result.h"
#include "sql/statements.h"

static const struct wire_column server_columns[] = {
	{"name", WIRE_TYPE_VAR_STRING},	     {"engine", WIRE_TYPE_VAR_STRING},
	{"version", WIRE_TYPE_VAR_STRING},   {"pid", WIRE_TYPE_LONGLONG},
	{"addresses", WIRE_TYPE_VAR_STRING}, {"sessions", WIRE_TYPE_LONGLONG},
	{"link", WIRE_TYPE_VAR_STRING},	     {"link_text", WIRE_TYPE_VAR_STRING},
	{"container", WIRE_TYPE_VAR_STRING},
};

static const char *link_word(enum dbps_link_state state)
{
	static const char *const words[] = {
		[DBPS_LINK_NONE] = "none",
		[DBPS_LINK_OPENING] = "opening",
		[DBPS_LINK_UP] = "up",
		[DBPS_LINK_DOWN] = "down",
	};

	return state < ARRAY_SIZE(words) ? words[state] : "unknown";
}

static size_t count_sessions(const struct dbps_rows *rows, uint32_t server)
{
	size_t n = 0;

	for (size_t i = 0; i < rows->n; i++)
		n += rows->row[i].server == server;
	return n;
}

static void put_server(struct wire_writer *out, const struct dbps_server_view *view,
		       size_t sessions)
{
	wire_begin(out);
	sql_put_string(out, view->name);
	sql_put_string(out, dbps_engine_name(view->engine));
	sql_put_string(out, view->version[0] ? view->version : NULL);
	if (view->pid)
		wire_put_integer(out, (uint64_t)view->pid);
	else
		wire_put_null(out);
	sql_put_string(out, view->addresses);
	wire_put_integer(out, sessions);
	sql_put_string(out, link_word(view->link));
	sql_put_string(out, view->link_text);
	sql_put_string(out, view->container[0] ? view->container : NULL);
	wire_end(out);
}

int sql_show_servers(struct sql_connection *connection, struct sql_input *input,
		     unsigned int options)
{
	_cleanup_free_ struct dbps_server_view *views = NULL;
	_cleanup_(sql_free_rows) struct dbps_rows *rows = NULL;
	struct wire_writer *out = &connection->channel.out;
	size_t n;
	int r;

	(void)input;
	(void)options;
	r = dbps_registry_list(connection->daemon->registry, &views, &n);
	if (!r)
		r = dbps_rows_read(connection->daemon->kernel, connection->daemon->registry, 0, 0,
				   &rows);
	if (r)
		return r;
	wire_columns(out, server_columns, ARRAY_SIZE(server_columns));
	for (size_t i = 0; i < n; i++)
		put_server(out, &views[i], count_sessions(rows, views[i].index));
	wire_eof(out, 0);
	return 0;
}

int sql_show_databases(struct sql_connection *connection, struct sql_input *input,
		       unsigned int options)
{
	static const struct wire_column column = {"Database", WIRE_TYPE_VAR_STRING};
	_cleanup_free_ struct dbps_server_view *views = NULL;
	struct wire_writer *out = &connection->channel.out;
	size_t n;
	int r;

	(void)options;
	r = sql_filter(input, "");
	if (r >= 0)
		r = dbps_registry_list(connection->daemon->registry, &views, &n);
	if (r)
		return r;
	wire_columns(out, &column, 1);
	for (size_t i = 0; i < n; i++) {
		if (sql_filter(input, views[i].name) <= 0)
			continue;
		wire_begin(out);
		sql_put_string(out, views[i].name);
		wire_end(out);
	}
	wire_eof(out, 0);
	return 0;
}

/* Clients ask for names to complete: there are none. */
int sql_show_tables(struct sql_connection *connection, struct sql_input *input,
		    unsigned int options)
{
	static const struct wire_column column = {"Tables", WIRE_TYPE_VAR_STRING};

	(void)options;
	if (sql_take_word(input, "FROM") || sql_take_word(input, "IN"))
		sql_next(input);
	if (sql_filter(input, "") < 0)
		return -EINVAL;
	wire_columns(&connection->channel.out, &column, 1);
	wire_eof(&connection->channel.out, 0);
	return 0;
}
