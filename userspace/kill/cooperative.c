/*
 * The cooperative enactor: servers that poll the cancel table (dbps/cancel.h) end the statement, or
 * the session, by themselves. It is exact: what is over is withdrawn before the server can go on
 * (dbps/slots.h).
 */
#include <errno.h>
#include <stdio.h>

#include "dbps/cancel.h"
#include "enactor.h"
#include "kernel/kernel.h"

static bool probe(const struct dbps_kill_target *target, char *ret_why)
{
	bool polls = dbps_kernel_polls(target->kernel, (pid_t)target->session.tgid);

	if (!polls)
		snprintf(ret_why, 256, "its server does not poll for cancels");
	return polls;
}

/* The next enactor may reach what a full table cannot. */
static int act(const struct dbps_kill_target *target, struct dbps_link_error *ret_error)
{
	int r = dbps_kernel_slot_publish(target->kernel, target->session.cookie,
					 target->connection ? DBPS_CANCEL_CONNECTION
							    : DBPS_CANCEL_QUERY);

	if (r == -ENOSPC)
		snprintf(ret_error->text, sizeof(ret_error->text),
			 "%d cancels are pending with servers that poll, and no more can be",
			 DBPS_CANCEL_SLOTS);
	return r == -ENOSPC ? -EAGAIN : r;
}

const struct dbps_enactor dbps_cooperative = {
	.name = "cooperative",
	.describe = "the server polls for cancels and ends what was meant by itself",
	.exact = true,
	.passing = true,
	.probe = probe,
	.act = act,
};
