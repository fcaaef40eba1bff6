/*
 * sock_diag(7) of a session's network namespace, which a netlink socket belongs to for good: the
 * calling thread is in another namespace only while the socket is made.
 */
#include "kernel/sock_diag.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>

#include "cleanup.h"
#include "log/log.h"
#include "server/process.h"

void dbps_sock_diag_name(const struct dbps_session *session, struct inet_diag_sockid *id)
{
	id->idiag_sport = htons(session->local_port);
	id->idiag_dport = htons(session->remote_port);
	memcpy(id->idiag_src, session->local_addr, sizeof(id->idiag_src));
	memcpy(id->idiag_dst, session->remote_addr, sizeof(id->idiag_dst));
	id->idiag_cookie[0] = (uint32_t)session->cookie;
	id->idiag_cookie[1] = (uint32_t)(session->cookie >> 32);
}

static int open_here(void)
{
	struct timeval second = {.tv_sec = 1};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

	if (fd < 0)
		return -errno;
	/* The kernel answers within the send; this is a guard against waiting for ever. */
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second));
	return fd;
}

static int open_namespace(const struct dbps_session *session)
{
	_cleanup_close_ int fd = -1;
	struct stat st;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%u/ns/net", session->tgid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESTALE : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	/* The server made this socket before it changed its namespace: not to be reached this way.
	 */
	if ((uint32_t)st.st_ino != session->netns)
		return -EOPNOTSUPP;
	return TAKE_FD(fd);
}

int dbps_namespace_enter(const struct dbps_session *session, int *ret_own)
{
	/* A thread of dbpsd that changes its namespace for good does it before its first session.
	 */
	static _Thread_local uint32_t own;
	_cleanup_close_ int back = -1, its = -1;
	int r = own ? 0 : dbps_process_namespace(0, "net", &own);

	*ret_own = -1;
	if (r < 0 || own == session->netns)
		return r;
	back = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (back < 0)
		return -errno;
	its = open_namespace(session);
	if (its < 0)
		return its;
	if (setns(its, CLONE_NEWNET) < 0)
		return -errno;
	*ret_own = TAKE_FD(back);
	return 0;
}

void dbps_namespace_leave(int own)
{
	if (own < 0)
		return;
	if (setns(own, CLONE_NEWNET) < 0)
		log_errno(-errno, "return to the own network namespace");
	close(own);
}

int dbps_sock_diag_open(const struct dbps_session *session)
{
	int own, r = dbps_namespace_enter(session, &own);

	if (r < 0)
		return r;
	r = open_here();
	dbps_namespace_leave(own);
	return r;
}
