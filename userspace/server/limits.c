/*
 * How many connections a server serves, and how many it counts: by its own variables.
 */
#include "limits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"

static void take_limit(struct dbps_server_limits *limits, const char *name, const char *value)
{
	unsigned long number = strtoul(value, NULL, 10);

	if (strcmp(name, "max_connections") == 0 && number <= UINT32_MAX)
		limits->max_connections = (uint32_t)number;
	else if (strcmp(name, "Threads_connected") == 0)
		limits->connected = (uint32_t)number;
	else if (strcmp(name, "thread_handling") == 0)
		limits->thread_per_connection = strcmp(value, "one-thread-per-connection") == 0;
	else if (number && number <= UINT16_MAX) /* extra_port of MariaDB, admin_port of MySQL */
		limits->uncounted_port = (uint16_t)number;
}

static int ask_limits(struct dbps_client *client, const char *sql, uint64_t deadline_ns,
		      struct dbps_server_limits *limits, struct dbps_link_error *ret_error)
{
	MYSQL_RES *result = NULL;
	MYSQL_ROW row;
	int r = dbps_client_query(client, sql, deadline_ns, &result, ret_error);

	if (r < 0)
		return r;
	if (!result)
		return -EPROTO;
	while (mysql_num_fields(result) == 2 && (row = mysql_fetch_row(result)))
		if (row[0] && row[1])
			take_limit(limits, row[0], row[1]);
	mysql_free_result(result);
	return 0;
}

int dbps_limits_read(struct dbps_client *client, uint64_t deadline_ns,
		     struct dbps_server_limits *ret_limits, struct dbps_link_error *ret_error)
{
	struct dbps_server_limits limits = {0};
	int r = ask_limits(client,
			   "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('max_connections', "
			   "'thread_handling', 'extra_port', 'admin_port')",
			   deadline_ns, &limits, ret_error);

	if (r == 0)
		r = ask_limits(client, "SHOW GLOBAL STATUS LIKE 'Threads_connected'", deadline_ns,
			       &limits, ret_error);
	if (r < 0)
		return r;
	*ret_limits = limits;
	return limits.max_connections ? 0 : -ENODATA;
}
