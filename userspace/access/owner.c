/*
 * The owner of a loopback client, from sock_diag.
 *
 * 1. The two ends of a connection over loopback are two sockets of one network namespace with
 *    mirrored addresses, and the kernel has one socket for each address pair and direction. So when
 *    the session's own socket, known by its cookie, is established, the established socket with the
 *    mirrored addresses is its client.
 * 2. The session's socket is asked for after the client's. A socket that is established was so
 * since it was accepted, thus also in the moment when the client was found: an address that was
 * freed and taken by somebody else in between cannot pass for the client.
 * 3. A session whose socket is not established any more (its client closed or reset it) has left
 *    its address to whoever takes it next; its owner is not known.
 */
#include "access/owner.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "kernel/sock_diag.h"
#include "server/process.h"

/* The netlink socket of the daemon's own network namespace is kept: a list asks many times. */
static struct {
	pthread_mutex_t lock;
	int fd; /* -1: not open */
} kept = {PTHREAD_MUTEX_INITIALIZER, -1};

static pthread_once_t own_once = PTHREAD_ONCE_INIT;
static uint32_t own_netns; /* 0: not known */

struct request {
	struct nlmsghdr header;
	struct inet_diag_req_v2 diag;
};

static bool is_loopback(const struct dbps_session *session)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	const uint8_t *remote = session->remote_addr;
	bool v6 = session->family == DBPS_FAMILY_INET6;

	if (session->family != DBPS_FAMILY_INET && !v6)
		return false;
	/* The host talks to itself, by whichever of its addresses. */
	if (memcmp(remote, session->local_addr, v6 ? 16 : 4) == 0)
		return true;
	if (v6 && memcmp(remote, mapped, sizeof(mapped)) == 0)
		return remote[12] == 127;
	return !v6 && remote[0] == 127;
}

static struct request make_request(const struct dbps_session *session)
{
	struct request request = {
		.header = {.nlmsg_len = sizeof(request),
			   .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			   .nlmsg_flags = NLM_F_REQUEST},
		.diag = {.sdiag_family = session->family == DBPS_FAMILY_INET6 ? AF_INET6 : AF_INET,
			 .sdiag_protocol = IPPROTO_TCP,
			 .idiag_states = UINT32_MAX},
	};

	return request;
}

static void ask_for_client(const struct dbps_session *session, struct inet_diag_sockid *id)
{
	id->idiag_sport = htons(session->remote_port);
	id->idiag_dport = htons(session->local_port);
	memcpy(id->idiag_src, session->remote_addr, sizeof(id->idiag_src));
	memcpy(id->idiag_dst, session->local_addr, sizeof(id->idiag_dst));
	id->idiag_cookie[0] = INET_DIAG_NOCOOKIE;
	id->idiag_cookie[1] = INET_DIAG_NOCOOKIE;
}

static void ask_for_server(const struct dbps_session *session, struct inet_diag_sockid *id)
{
	id->idiag_sport = htons(session->local_port);
	id->idiag_dport = htons(session->remote_port);
	memcpy(id->idiag_src, session->local_addr, sizeof(id->idiag_src));
	memcpy(id->idiag_dst, session->remote_addr, sizeof(id->idiag_dst));
	id->idiag_cookie[0] = (uint32_t)session->cookie;
	id->idiag_cookie[1] = (uint32_t)(session->cookie >> 32);
}

/* 0 with the socket; -ENOENT when there is none of these addresses and this cookie, established. */
static int exchange(int fd, struct request *request, struct inet_diag_msg *ret_socket)
{
	static const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	union {
		struct nlmsghdr header;
		char bytes[2048];
	} answer;
	const struct inet_diag_msg *found = NLMSG_DATA(&answer.header);
	const struct nlmsgerr *error = NLMSG_DATA(&answer.header);
	ssize_t len;

	if (sendto(fd, request, sizeof(*request), 0, (const struct sockaddr *)&kernel,
		   sizeof(kernel)) < 0)
		return -errno;
	len = recv(fd, &answer, sizeof(answer), 0);
	if (len < 0)
		return -errno;
	if (!NLMSG_OK(&answer.header, (size_t)len))
		return -EPROTO;
	if (answer.header.nlmsg_type == NLMSG_ERROR)
		return error->error == -ESTALE || !error->error ? -ENOENT : error->error;
	if (answer.header.nlmsg_type != SOCK_DIAG_BY_FAMILY ||
	    answer.header.nlmsg_len < NLMSG_LENGTH(sizeof(*found)))
		return -EPROTO;
	/* Without an established one the kernel names the listener of the port. */
	if (found->idiag_state != TCP_ESTABLISHED ||
	    found->id.idiag_sport != request->diag.id.idiag_sport ||
	    found->id.idiag_dport != request->diag.id.idiag_dport)
		return -ENOENT;
	*ret_socket = *found;
	return 0;
}

static int ask(int fd, const struct dbps_session *session, uid_t uid)
{
	struct request request = make_request(session);
	struct inet_diag_msg client, server;
	int r;

	ask_for_client(session, &request.diag.id);
	r = exchange(fd, &request, &client);
	if (r < 0)
		return r;
	if (client.idiag_uid != uid)
		return 0;
	ask_for_server(session, &request.diag.id); /* invariant 2 */
	r = exchange(fd, &request, &server);
	return r < 0 ? r : 1;
}

/* What an answer that came too late would be taken for is not worth knowing: start anew. */
static bool is_broken(int r)
{
	return r < 0 && r != -ENOENT;
}

static int ask_here(const struct dbps_session *session, uid_t uid)
{
	int r;

	pthread_mutex_lock(&kept.lock);
	if (kept.fd < 0)
		kept.fd = dbps_sock_diag_open(session);
	r = kept.fd < 0 ? kept.fd : ask(kept.fd, session, uid);
	if (is_broken(r) && kept.fd >= 0) {
		close(kept.fd);
		kept.fd = -1;
	}
	pthread_mutex_unlock(&kept.lock);
	return r;
}

static int ask_elsewhere(const struct dbps_session *session, uid_t uid)
{
	_cleanup_close_ int fd = dbps_sock_diag_open(session);

	return fd < 0 ? fd : ask(fd, session, uid);
}

static void find_own_netns(void)
{
	if (dbps_process_namespace(0, "net", &own_netns) < 0)
		own_netns = 0;
}

static bool is_here(const struct dbps_session *session)
{
	pthread_once(&own_once, find_own_netns);
	return own_netns && own_netns == session->netns;
}

int dbps_owner_is(const struct dbps_session *session, uid_t uid)
{
	int r;

	if (session->family == DBPS_FAMILY_UNIX)
		return session->client_pid && session->client_uid == uid;
	/* A cookie of 0 would match any. */
	if (!is_loopback(session) || !session->cookie)
		return 0;
	r = is_here(session) ? ask_here(session, uid) : ask_elsewhere(session, uid);
	return r == -ENOENT ? 0 : r;
}
