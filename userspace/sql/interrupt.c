/*
 * A statement of the console that is killed: the console polls the cancel table as any server may
 * (dbps/cancel.h), wherever a statement can take long.
 */
#include <errno.h>
#include <poll.h>
#include <sys/param.h>

#include "daemon/daemon.h"
#include "dbps/cancel.h"
#include "kernel/kernel.h"
#include "sql/connection.h"

#define LOOK_MS 200 /* for a client that has gone; a kill wakes at once */

static bool client_has_gone(const struct sql_connection *connection)
{
	struct pollfd client = {.fd = connection->channel.fd, .events = POLLRDHUP};

	return poll(&client, 1, 0) > 0 && client.revents & (POLLRDHUP | POLLHUP | POLLERR);
}

bool sql_killed(const struct sql_connection *connection)
{
	return dbps_cancel_pending(dbps_kernel_cancel_watch(connection->daemon->kernel),
				   connection->cookie) != DBPS_CANCEL_NONE;
}

bool sql_interrupted(const struct sql_connection *connection)
{
	return sql_killed(connection) || client_has_gone(connection);
}

int sql_wait(const struct sql_connection *connection, uint64_t wait_ms)
{
	while (wait_ms) {
		int slice_ms = (int)MIN(wait_ms, LOOK_MS);

		if (dbps_kernel_cancel_poll(connection->daemon->kernel, connection->cookie,
					    slice_ms) != DBPS_CANCEL_NONE ||
		    client_has_gone(connection))
			return -EINTR;
		wait_ms -= (uint64_t)slice_ms;
	}
	return 0;
}

int sql_error_interrupted(struct sql_connection *connection)
{
	return sql_error(connection, ER_QUERY_INTERRUPTED, "Query execution was interrupted");
}
