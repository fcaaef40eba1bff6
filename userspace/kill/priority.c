/*
 * sched_setscheduler(2) and ioprio_set(2) on a thread that is identified by number and start.
 *
 * 1. A number is looked at right before and right after the act. That it comes to mean another
 * thread in between takes the kernel a whole round of its numbers (alloc_pid() hands them out in a
 * circle), and what was done to that one is undone.
 * 2. Plain sched_setscheduler(2) between SCHED_OTHER, SCHED_BATCH and SCHED_IDLE keeps the nice
 * value and a slice that was set (_sched_setscheduler(), kernel/sched/syscalls.c), so that policy
 * and I/O priority are all there is to give back.
 * 3. Only what still is as it was left is given back: whoever changed it meanwhile meant it.
 */
#include "kill/priority.h"

#include <dirent.h>
#include <errno.h>
#include <linux/ioprio.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include "cleanup.h"

#define POLICY(p)     ((p) & ~SCHED_RESET_ON_FORK)
#define IOPRIO_LOWEST IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0)

/* ---------------------------------------------------------------- threads ------------------- */

/* Field 3 is the state, field 22 the start; the name before them may hold anything. */
static int parse_stat(const char *stat, char *ret_state, uint64_t *ret_start_ticks)
{
	const char *at = strrchr(stat, ')');
	unsigned long long start;
	char state;

	if (!at || sscanf(at + 1,
			  " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
			  "%*s %llu",
			  &state, &start) != 2)
		return -EPROTO;
	*ret_state = state;
	*ret_start_ticks = start;
	return 0;
}

int dbps_thread_find(pid_t pid, pid_t tid, struct dbps_thread *ret_thread)
{
	struct dbps_thread thread = {.pid = pid, .tid = tid};
	_cleanup_fclose_ FILE *f = NULL;
	char path[64], stat[1024], state;
	size_t n;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tid);
	f = fopen(path, "re");
	if (!f)
		return errno == ENOENT ? -ESRCH : -errno;
	n = fread(stat, 1, sizeof(stat) - 1, f);
	if (ferror(f))
		return -errno; /* ESRCH: it ended meanwhile */
	stat[n] = '\0';
	r = parse_stat(stat, &state, &thread.start_ticks);
	if (r < 0)
		return r;
	if (state == 'Z' || state == 'X')
		return -ESRCH;
	*ret_thread = thread;
	return 0;
}

bool dbps_thread_is(const struct dbps_thread *thread)
{
	struct dbps_thread now;

	return dbps_thread_find(thread->pid, thread->tid, &now) == 0 &&
	       now.start_ticks == thread->start_ticks;
}

uint64_t dbps_thread_now_ticks(void)
{
	uint64_t ticks_per_s = (uint64_t)sysconf(_SC_CLK_TCK);
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * ticks_per_s +
	       (uint64_t)now.tv_nsec / (1000000000u / ticks_per_s);
}

/* ---------------------------------------------------------------- priorities ---------------- */

static int get_ioprio(pid_t tid)
{
	long r = syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, tid);

	return r < 0 ? -errno : (int)r;
}

/* A kernel without block devices has no I/O priorities, and none that could be wrong. */
static int set_ioprio(pid_t tid, int ioprio)
{
	if (syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, tid, ioprio) == 0 || errno == ENOSYS)
		return 0;
	return -errno;
}

static int set_policy(pid_t tid, int policy)
{
	static const struct sched_param param;

	return sched_setscheduler(tid, policy, &param) < 0 ? -errno : 0;
}

/* Both, or neither. */
static int set_both(pid_t tid, int policy, int ioprio, const struct dbps_priority *before)
{
	int r = set_ioprio(tid, ioprio);

	if (r < 0)
		return r;
	r = set_policy(tid, policy);
	if (r < 0)
		set_ioprio(tid, before->ioprio);
	return r;
}

static int read_both(pid_t tid, struct dbps_priority *ret)
{
	int policy = sched_getscheduler(tid);
	int ioprio = get_ioprio(tid);

	if (policy < 0)
		return -errno;
	if (ioprio < 0 && ioprio != -ENOSYS)
		return ioprio;
	*ret = (struct dbps_priority){.policy = policy, .ioprio = ioprio < 0 ? 0 : ioprio};
	return 0;
}

bool dbps_priority_is_idle(pid_t tid)
{
	int policy = tid ? sched_getscheduler(tid) : -1;

	return policy >= 0 && POLICY(policy) == SCHED_IDLE;
}

int dbps_priority_read(const struct dbps_thread *thread, struct dbps_priority *ret_priority)
{
	struct dbps_priority priority;
	int r = read_both(thread->tid, &priority);

	if (r < 0)
		return r;
	if (!dbps_thread_is(thread))
		return -ESRCH;
	if (POLICY(priority.policy) == SCHED_IDLE)
		return -EALREADY;
	if (POLICY(priority.policy) != SCHED_OTHER && POLICY(priority.policy) != SCHED_BATCH)
		return -EOPNOTSUPP;
	*ret_priority = priority;
	return 0;
}

int dbps_priority_lower(const struct dbps_thread *thread, const struct dbps_priority *saved)
{
	int reset_on_fork = saved->policy & SCHED_RESET_ON_FORK;
	struct dbps_priority before;
	int r;

	if (!dbps_thread_is(thread))
		return -ESRCH;
	r = read_both(thread->tid, &before);
	if (r < 0)
		return r;
	r = set_both(thread->tid, SCHED_IDLE | reset_on_fork, IOPRIO_LOWEST, &before);
	if (r < 0 || dbps_thread_is(thread))
		return r;
	set_both(thread->tid, before.policy, before.ioprio, &before); /* invariant 1 */
	return -ESRCH;
}

int dbps_priority_restore(const struct dbps_thread *thread, const struct dbps_priority *saved)
{
	struct dbps_priority now;
	int r = read_both(thread->tid, &now);

	if (r < 0)
		return r;
	if (!dbps_thread_is(thread))
		return -ESRCH;
	/* Invariant 3. */
	if (IOPRIO_PRIO_CLASS(now.ioprio) == IOPRIO_CLASS_IDLE)
		r = set_ioprio(thread->tid, saved->ioprio);
	if (POLICY(now.policy) != SCHED_IDLE)
		return r < 0 ? r : -ESTALE;
	return set_policy(thread->tid, saved->policy) ?: r;
}

/* ---------------------------------------------------------------- heirs --------------------- */

static int restore_heir(pid_t pid, pid_t tid, uint64_t since_ticks,
			const struct dbps_priority *saved)
{
	struct dbps_thread heir;

	if (dbps_thread_find(pid, tid, &heir) < 0 || heir.start_ticks < since_ticks)
		return 0;
	return dbps_priority_restore(&heir, saved) == 0;
}

int dbps_priority_restore_heirs(pid_t pid, uint64_t since_ticks, const struct dbps_priority *saved,
				bool (*spares)(pid_t tid, void *data), void *data)
{
	struct dirent *entry;
	char path[64];
	DIR *dir;
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (dbps_priority_is_idle(tid) && !(spares && spares(tid, data)))
			n += restore_heir(pid, tid, since_ticks, saved);
	}
	closedir(dir);
	return n;
}
