/*
 * The signal enactors, for PostgreSQL: SIGINT makes a backend cancel its statement, SIGTERM makes
 * it close its session (protocol.md 4.4). Never SIGQUIT or SIGKILL, after which the whole server
 * restarts.
 *
 * Why SIGINT interrupts the statement that was meant, and no other:
 * 1. The kernel side looks whether statement n executes, signals its backend, and looks again
 * (dbps_signal() in bpf/snapshot.bpf.h). When n still executes then, the signal was pending before
 * n's ReadyForQuery was sent.
 * 2. A backend that has read the next message takes its interrupts before it turns to it, and drops
 * a cancel there (PostgresMain(), step 5, in tcop/postgres.c). So what is pending before the end of
 * n cannot meet n + 1.
 * SHOW STATUS tells how long it took from the first look until the signal was sent,
 * Dbps_signal_window_ns, most of which is waking the backend, when the signal is pending already:
 * for n + 1 to be met, n must end before that, and n + 1 begin, as it can when the processor is
 * taken away in between.
 * 3. When n was over at the second look, it may have met the next one: the answer says so.
 * 4. On kernels without bpf_send_signal_task() (Linux 6.13, 6280cf718db0) the session is read right
 * before pidfd_send_signal(2) instead, which 3. holds for, always.
 * 5. What comes between n's begin, which is when its bytes were read, and the backend's turning to
 * it is dropped just so (2.), and so is what comes between the messages of the extended protocol:
 * it is sent again while n executes.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "cleanup.h"
#include "enactor.h"
#include "kernel/kernel.h"

static bool probe(const struct dbps_kill_target *target, char *ret_why)
{
	const uint32_t flags = target->session.flags;

	if (flags & DBPS_READS_AHEAD)
		snprintf(ret_why, 256,
			 "a pooler, whose process serves others too: KILL QUERY is for the server "
			 "behind it");
	else if (!(flags & DBPS_PGSQL))
		snprintf(ret_why, 256, "its server takes no signals");
	return (flags & (DBPS_PGSQL | DBPS_READS_AHEAD)) == DBPS_PGSQL;
}

static int wanted_signal(const struct dbps_kill_target *target)
{
	return target->connection ? SIGTERM : SIGINT;
}

/* The statement that must execute; 0: whatever does. */
static uint64_t wanted_sequence(const struct dbps_kill_target *target)
{
	return target->connection ? 0 : target->session.sequence;
}

static int told(int r, struct dbps_link_error *ret_error)
{
	if (r < 0 && r != -EALREADY && r != -EAGAIN)
		snprintf(ret_error->text, sizeof(ret_error->text), "signal: %s", strerror(-r));
	return r;
}

static int act_in_kernel(const struct dbps_kill_target *target, struct dbps_link_error *ret_error)
{
	struct dbps_place place = dbps_place_of(&target->session);
	int r = dbps_kernel_signal(target->kernel, &place, wanted_sequence(target),
				   wanted_signal(target));

	if (r == -EOPNOTSUPP)
		return -EAGAIN;
	if (r == -ESRCH)
		return -EALREADY;
	return told(r == 1 && !target->connection ? -EINPROGRESS : r > 0 ? 0 : r, ret_error);
}

/* Whether the statement that was meant executes now, or the session is there at all. */
static bool is_as_wanted(const struct dbps_kill_target *target)
{
	struct dbps_place place = dbps_place_of(&target->session);
	_cleanup_free_ void *data = NULL;
	const struct dbps_snapshot_row *row;
	size_t len = 0;

	if (dbps_kernel_snapshot_at(target->kernel, &place, 0, &data, &len) < 0 ||
	    len < sizeof(*row))
		return false;
	row = data;
	return target->connection || (row->session.sequence == target->session.sequence &&
				      dbps_session_executes(&row->session));
}

/* The pidfd first: what is read after that is of the process that it means. */
static int act_checked(const struct dbps_kill_target *target, struct dbps_link_error *ret_error)
{
	_cleanup_close_ int pidfd = -1;

	if (dbps_kernel_signals(target->kernel))
		return 0; /* it was sent: this only says that it may have come late */
	pidfd = (int)syscall(SYS_pidfd_open, (pid_t)target->session.tgid, 0);
	if (pidfd < 0)
		return errno == ESRCH ? -EALREADY : told(-errno, ret_error);
	if (!is_as_wanted(target))
		return -EALREADY;
	if (syscall(SYS_pidfd_send_signal, pidfd, wanted_signal(target), NULL, 0) < 0)
		return errno == ESRCH ? -EALREADY : told(-errno, ret_error);
	return 0;
}

const struct dbps_enactor dbps_signal = {
	.name = "signal",
	.describe = "PostgreSQL: SIGINT or SIGTERM to the backend, in one step with the look at "
		    "its statement: should it meet the next one after all, the answer says so",
	.exact = true,
	.again = true,
	.ends = true,
	.probe = probe,
	.act = act_in_kernel,
};

const struct dbps_enactor dbps_signal_checked = {
	.name = "signal, checked before",
	.describe = "PostgreSQL: SIGINT or SIGTERM right after a look at the backend's statement: "
		    "may hit the next one",
	.again = true,
	.ends = true,
	.probe = probe,
	.act = act_checked,
};
