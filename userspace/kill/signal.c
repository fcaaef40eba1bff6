/*
 * The signal enactors, for PostgreSQL: SIGINT makes a backend cancel its statement, SIGTERM makes
 * it close its session (protocol.md 4.4). Never SIGQUIT or SIGKILL, after which the whole server
 * restarts.
 *
 * Why SIGINT interrupts the statement that was meant, and no other:
 * 1. Its entry of the cancel map is armed, and the kernel side then sees that statement n executes:
 * from then on the backend's own taps settle the entry when n is over, before its ReadyForQuery can
 * be followed by anything.
 * 2. Linux 6.18 lets a function run in the backend itself, before it returns to user mode
 * (signal_here() in bpf/signal.bpf.h). It sends the signal unless the entry is settled: nothing of
 * the backend goes on between the two.
 * 3. A backend that has read the next message takes its interrupts before it turns to it, and drops
 * a cancel there (PostgresMain(), step 5, in tcop/postgres.c). So what is sent before the end of n
 * cannot meet n + 1.
 * 4. From Linux 6.13 on (6280cf718db0) the kernel side looks, signals, and looks again, while the
 * backend may go on. When n still executes at the second look, 3. holds. When it was over, it may
 * have met the next one, as it can when the processor is taken away in between: the answer says so.
 * Before that the session is read right before pidfd_send_signal(2), and any answer says so.
 * 5. What comes between n's begin, which is when its bytes were read, and the backend's turning to
 * it is dropped just so (3.), and so is what comes between the messages of the extended protocol:
 * it is sent again while n executes.
 * 6. A backend that does not come to run, as one that is stopped or waits for a disk that is gone,
 * is signalled from outside (4.) when nobody waits any longer, so that the kill stays with it.
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

/* 6. Whatever the time is: a backend that runs takes it at once. */
static bool was_not_taken(const struct dbps_kill_target *target)
{
	struct dbps_cancel cancel;

	return dbps_kill_ms_left(target) == 0 &&
	       dbps_kernel_watch_get(target->kernel, target->session.cookie,
				     dbps_kill_action(target), &cancel) == 0 &&
	       cancel.signalled == DBPS_SIGNAL_HANDED;
}

static int act_in_kernel(const struct dbps_kill_target *target, struct dbps_link_error *ret_error)
{
	struct dbps_place place = dbps_place_of(&target->session);
	int r = dbps_kernel_signal(target->kernel, &place, wanted_sequence(target),
				   wanted_signal(target), was_not_taken(target));

	if (r == -EOPNOTSUPP)
		return -EAGAIN;
	return told(r == -ESRCH ? -EALREADY : r, ret_error);
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
	.describe = "PostgreSQL: SIGINT to the backend, which looks at its statement itself "
		    "(before Linux 6.18 it is looked at from outside: should the signal meet the "
		    "next one, the answer says so)",
	.exact = true,
	.again = true,
	.probe = probe,
	.act = act_in_kernel,
};

const struct dbps_enactor dbps_terminate = {
	.name = "signal",
	.describe = "PostgreSQL: SIGTERM to the backend, in one step with the look at its process "
		    "(before Linux 6.13 right after it)",
	.exact = true,
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
