/*
 * A process counts as one that polls when it has said that it mapped the table, and no longer when
 * its connection ends, which the kernel does for a process that dies. Which process it is, the
 * kernel says (SO_PEERCRED). Nobody can write by the descriptor (bpf_map_freeze()): who may connect
 * may see which cookies are to be cancelled, and nothing else.
 */
#include "daemon/handout.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "cancel/handout.h"
#include "cleanup.h"
#include "daemon/listener.h"
#include "dbps/cancel.h"
#include "kernel/kernel.h"
#include "log/log.h"

/* Processes that may hold the table at once, and of them those of one user other than root. */
#define SERVERS_MAX	 256
#define SERVERS_MAX_USER 32

struct server {
	struct server *next;
	int fd;
	pid_t pid;
	uid_t uid;
	bool polls;
};

struct dbps_handouts {
	struct dbps_kernel *kernel;
	struct dbps_listener listener;
	int epoll_fd;
	struct server *servers;
};

static int watch(struct dbps_handouts *handouts, int fd, void *what)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = what};

	return epoll_ctl(handouts->epoll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

int dbps_handouts_new(struct dbps_kernel *kernel, const char *console,
		      struct dbps_handouts **ret_handouts)
{
	struct dbps_handouts *handouts = calloc(1, sizeof(*handouts));
	char path[4096];
	int r;

	if (!handouts)
		return -ENOMEM;
	handouts->kernel = kernel;
	handouts->listener.fd = -1;
	handouts->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	r = handouts->epoll_fd < 0 ? -errno : 0;
	if (!r) {
		snprintf(path, sizeof(path), "%s%s", console, DBPS_CANCEL_SUFFIX);
		r = dbps_listener_open(path, SOCK_SEQPACKET, &handouts->listener);
	}
	if (!r)
		r = watch(handouts, handouts->listener.fd, NULL);
	if (r) {
		dbps_handouts_free(handouts);
		return r;
	}
	*ret_handouts = handouts;
	return 0;
}

int dbps_handouts_fd(const struct dbps_handouts *handouts)
{
	return handouts ? handouts->epoll_fd : -1;
}

/* --- one server --- */

static int hand_out(const struct dbps_handouts *handouts, int to)
{
	struct dbps_handout handout = {DBPS_CANCEL_VERSION, sizeof(struct dbps_cancel_table)};
	struct iovec iov = {&handout, sizeof(handout)};
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
				.cmsg_level = SOL_SOCKET,
				.cmsg_type = SCM_RIGHTS}};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control)};
	int table_fd = dbps_kernel_slots_fd(handouts->kernel);

	memcpy(CMSG_DATA(&control.header), &table_fd, sizeof(int));
	return sendmsg(to, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

static bool is_full(const struct dbps_handouts *handouts, uid_t uid)
{
	unsigned int n = 0, n_user = 0;

	for (const struct server *server = handouts->servers; server; server = server->next) {
		n++;
		n_user += server->uid == uid;
	}
	return n >= SERVERS_MAX || (uid && n_user >= SERVERS_MAX_USER);
}

static int add_server(struct dbps_handouts *handouts, int *fd, const struct ucred *peer)
{
	struct server *server = calloc(1, sizeof(*server));
	int r;

	if (!server)
		return -ENOMEM;
	r = watch(handouts, *fd, server);
	if (r) {
		free(server);
		return r;
	}
	*server = (struct server){handouts->servers, TAKE_FD(*fd), peer->pid, peer->uid, false};
	handouts->servers = server;
	return 0;
}

static void remove_server(struct dbps_handouts *handouts, struct server *server)
{
	struct server **at = &handouts->servers;

	while (*at != server)
		at = &(*at)->next;
	*at = server->next;
	if (server->polls) {
		dbps_log(LOG_INFO, "process %d no longer polls for cancels", server->pid);
		dbps_kernel_poller_remove(handouts->kernel, server->pid);
	}
	close(server->fd);
	free(server);
}

static void accept_server(struct dbps_handouts *handouts)
{
	_cleanup_close_ int fd =
		accept4(handouts->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int r;

	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len))
		return;
	if (is_full(handouts, peer.uid)) {
		dbps_log(LOG_WARNING, "process %d cannot poll for cancels: too many do", peer.pid);
		return;
	}
	r = hand_out(handouts, fd);
	if (!r)
		r = add_server(handouts, &fd, &peer);
	if (r)
		log_errno(r, "hand the cancel table to process %d", peer.pid);
}

static void hear(struct dbps_handouts *handouts, struct server *server)
{
	char byte = 0;
	ssize_t n = recv(server->fd, &byte, 1, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n == 1 && byte == DBPS_HANDOUT_MAPPED && !server->polls &&
	    !dbps_kernel_poller_add(handouts->kernel, server->pid)) {
		server->polls = true;
		dbps_log(LOG_INFO, "process %d polls for cancels", server->pid);
		return;
	}
	remove_server(handouts, server);
}

/* One event a call: a server that is removed cannot have another one waiting in a list. */
void dbps_handouts_run(struct dbps_handouts *handouts)
{
	struct epoll_event event;

	if (epoll_wait(handouts->epoll_fd, &event, 1, 0) != 1)
		return;
	if (event.data.ptr)
		hear(handouts, event.data.ptr);
	else
		accept_server(handouts);
}

void dbps_handouts_free(struct dbps_handouts *handouts)
{
	if (!handouts)
		return;
	dbps_listener_close(&handouts->listener);
	while (handouts->servers)
		remove_server(handouts, handouts->servers);
	if (handouts->epoll_fd >= 0)
		close(handouts->epoll_fd);
	free(handouts);
}
