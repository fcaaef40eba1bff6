/*
 * What the thread of a statement waits for, in a word. The snapshot has its state, the system call
 * that it sleeps in and whether the session's socket is awaited, all of one moment; of PostgreSQL,
 * whose backends sleep in epoll_wait(2) whatever they wait for, /proc tells whether the client's
 * socket is in that set, which does not change as long as a backend lives.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "cleanup.h"
#include "rows.h"

enum kind { KIND_OTHER, KIND_FUTEX, KIND_DISK, KIND_POLL, KIND_EPOLL, KIND_SOCKET, KIND_SLEEP };

static enum kind kind_of(int call)
{
	switch (call) {
	case SYS_futex:
#ifdef SYS_futex_waitv
	case SYS_futex_waitv:
#endif
		return KIND_FUTEX;
	case SYS_pread64:
	case SYS_pwrite64:
	case SYS_preadv:
	case SYS_pwritev:
	case SYS_fsync:
	case SYS_fdatasync:
	case SYS_sync_file_range:
	case SYS_fallocate:
	case SYS_io_getevents:
		return KIND_DISK;
#ifdef SYS_poll
	case SYS_poll:
#endif
	case SYS_ppoll:
		return KIND_POLL;
#ifdef SYS_epoll_wait
	case SYS_epoll_wait:
#endif
	case SYS_epoll_pwait:
		return KIND_EPOLL;
	case SYS_read:
	case SYS_write:
	case SYS_readv:
	case SYS_writev:
	case SYS_recvfrom:
	case SYS_sendto:
	case SYS_recvmsg:
	case SYS_sendmsg:
		return KIND_SOCKET;
	case SYS_nanosleep:
	case SYS_clock_nanosleep:
		return KIND_SLEEP;
	default:
		return KIND_OTHER;
	}
}

/* Whether a descriptor of the session's process is an epoll set that holds the client's socket. */
static bool epoll_holds_client(const struct dbps_row *row)
{
	const struct dbps_session *session = row->session;
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%u/fdinfo/%llu", session->tgid,
		 (unsigned long long)row->thread->call_fd);
	f = fopen(path, "re");
	while (f && getline(&line, &size, f) >= 0)
		if (sscanf(line, "tfd: %d", &fd) == 1 && fd == session->fd)
			return true;
	return false;
}

/* A full socket takes nothing more: the wait is for the client to read. */
static const char *word_of_client(const struct dbps_thread_look *thread)
{
	return thread->full ? "send" : "receive";
}

static const char *word_of_sleep(const struct dbps_row *row)
{
	const struct dbps_thread_look *thread = row->thread;

	switch (kind_of(thread->call)) {
	case KIND_FUTEX:
		return "futex";
	case KIND_DISK:
		return "disk";
	case KIND_SLEEP:
		return "sleep";
	case KIND_POLL:
		return thread->awaited ? word_of_client(thread) : "poll";
	case KIND_EPOLL:
		return epoll_holds_client(row) ? word_of_client(thread) : "latch";
	case KIND_SOCKET:
		if ((int64_t)thread->call_fd == row->session->fd)
			return word_of_client(thread);
		return "other";
	default:
		return "other";
	}
}

const char *dbps_row_wait(const struct dbps_row *row)
{
	if (!row->thread)
		return NULL;
	switch ((enum dbps_thread_state)row->thread->state) {
	case DBPS_THREAD_UNKNOWN:
		return NULL;
	case DBPS_THREAD_RUNS:
		return "cpu";
	case DBPS_THREAD_READY:
		return "runnable";
	case DBPS_THREAD_DISK:
		return "disk";
	case DBPS_THREAD_STOPPED:
		return "stopped";
	case DBPS_THREAD_BLOCKED:
	case DBPS_THREAD_SLEEPS:
		return word_of_sleep(row);
	}
	return NULL;
}
