/*
 * Reset and shutdown.
 *
 * 1. A 4-tuple, an inode, a descriptor number and a process number can all come to mean another
 * socket between the snapshot and the act; a cookie is never used twice while the machine is up. So
 * the cookie decides: sock_diag compares it under the socket's reference (sock_diag_check_cookie()
 * in net/core/sock_diag.c), and the copied descriptor refers to one socket for good when it is
 * compared.
 * 2. The netlink socket is one of the session's network namespace (kernel/sock_diag.h).
 */
#include "reset.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "kernel/sock_diag.h"
#include "server/process.h"

/* --- TCP --- */

struct destroy_request {
	struct nlmsghdr header;
	struct inet_diag_req_v2 diag;
};

/*
 * IPv4 sessions of a listener on [::] are AF_INET6 sockets with mapped addresses; the kernel looks
 * those up as IPv4 by itself (inet_diag_find_one_icsk() in net/ipv4/inet_diag.c).
 */
static struct destroy_request make_request(const struct dbps_session *session)
{
	struct destroy_request request = {
		.header = {.nlmsg_len = sizeof(request),
			   .nlmsg_type = SOCK_DESTROY,
			   .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
		.diag = {.sdiag_family = session->family == DBPS_FAMILY_INET6 ? AF_INET6 : AF_INET,
			 .sdiag_protocol = IPPROTO_TCP,
			 .idiag_states = UINT32_MAX},
	};

	dbps_sock_diag_name(session, &request.diag.id);
	return request;
}

/** @return The error that the kernel acknowledges with, 0 for none. */
static int read_acknowledgement(int fd)
{
	union {
		struct nlmsghdr header;
		char bytes[1024];
	} answer;
	const struct nlmsgerr *error = NLMSG_DATA(&answer.header);
	ssize_t len = recv(fd, &answer, sizeof(answer), 0);

	if (len < 0)
		return -errno;
	if (!NLMSG_OK(&answer.header, (size_t)len) || answer.header.nlmsg_type != NLMSG_ERROR ||
	    answer.header.nlmsg_len < NLMSG_LENGTH(sizeof(*error)))
		return -EPROTO;
	return error->error;
}

int dbps_reset_tcp(const struct dbps_session *session)
{
	struct destroy_request request = make_request(session);
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	_cleanup_close_ int fd = -1;
	int r;

	if (session->family != DBPS_FAMILY_INET && session->family != DBPS_FAMILY_INET6)
		return -EOPNOTSUPP;
	if (!session->cookie)
		return -EINVAL; /* would match any */
	fd = dbps_sock_diag_open(session);
	if (fd < 0)
		return fd;
	if (sendto(fd, &request, sizeof(request), 0, (struct sockaddr *)&kernel, sizeof(kernel)) <
	    0)
		return -errno;
	r = read_acknowledgement(fd);
	return r == -ENOENT ? -ESTALE : r;
}

/* --- any socket --- */

/* The descriptor may have got another number since it was seen. */
static int copy_socket(const struct dbps_session *session)
{
	pid_t pid = (pid_t)session->tgid;
	int r = dbps_process_socket_copy(pid, session->fd, session->cookie);

	if (r != -ESTALE)
		return r;
	r = dbps_process_socket_fd(pid, session->inode);
	if (r < 0)
		return r == -ENOENT || r == -ESRCH ? -ESTALE : r;
	return dbps_process_socket_copy(pid, r, session->cookie);
}

static int shut_down(const struct dbps_session *session, int how)
{
	_cleanup_close_ int fd = copy_socket(session);

	if (fd < 0)
		return fd;
	if (shutdown(fd, how) < 0)
		return errno == ENOTCONN ? -ESTALE : -errno;
	return 0;
}

int dbps_reset_shutdown(const struct dbps_session *session)
{
	return shut_down(session, SHUT_RDWR);
}

int dbps_reset_receiving(const struct dbps_session *session)
{
	return shut_down(session, SHUT_RD);
}
