/*
 * The priority of one thread of another process: taken down to what runs only when nothing else
 * wants to (SCHED_IDLE, idle I/O class), and given back exactly. Nothing is done to a thread that
 * is not the one that was meant any more.
 */
#ifndef DBPS_PRIORITY_H
#define DBPS_PRIORITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A thread for good: its number comes to mean another one, its number and start do not. */
struct dbps_thread {
	pid_t pid;
	pid_t tid;
	uint64_t start_ticks; /* since boot, USER_HZ: proc(5), stat, field 22 */
};

/* The nice value is no part of it: SCHED_IDLE goes by no nice value, and leaves it as it is. */
struct dbps_priority {
	int policy; /* SCHED_OTHER or SCHED_BATCH, and SCHED_RESET_ON_FORK */
	int ioprio; /* ioprio_get(2) */
};

/** @brief The thread with this number. 0; -ESRCH when `pid` has no such thread; other errno. */
int dbps_thread_find(pid_t pid, pid_t tid, struct dbps_thread *ret_thread);

/** @return Whether it still is the same thread, and lives. */
bool dbps_thread_is(const struct dbps_thread *thread);

/** @return Now, in the ticks of dbps_thread.start_ticks. */
uint64_t dbps_thread_now_ticks(void);

/** @return Whether the thread with this number runs at SCHED_IDLE; 0 is none. */
bool dbps_priority_is_idle(pid_t tid);

/**
 * @brief Read what has to be given back later.
 * @return 0; -EALREADY when it runs at idle priority as it is; -EOPNOTSUPP for a real-time or
 * deadline policy; -ESRCH; other negative errno.
 */
int dbps_priority_read(const struct dbps_thread *thread, struct dbps_priority *ret_priority);

/**
 * @brief Take it down.
 * @return 0; -ESRCH when it was not there any more; other negative errno. On failure it has what
 * `saved` says.
 */
int dbps_priority_lower(const struct dbps_thread *thread, const struct dbps_priority *saved);

/**
 * @brief Give it back what it had.
 * @return 0; -ESRCH it is not there any more; -ESTALE somebody else has changed it meanwhile, which
 *         is left so; other negative errno: it is still at idle priority.
 */
int dbps_priority_restore(const struct dbps_thread *thread, const struct dbps_priority *saved);

/**
 * @brief Threads that began since `since_ticks` and run at SCHED_IDLE, which a lowered thread hands
 *        down to those that it makes (sched_fork()): they get what it had.
 * @param spares Whether a thread is none of them, as it was lowered itself; NULL: none was.
 * @return How many, or a negative errno.
 */
int dbps_priority_restore_heirs(pid_t pid, uint64_t since_ticks, const struct dbps_priority *saved,
				bool (*spares)(pid_t tid, void *data), void *data);

#endif
