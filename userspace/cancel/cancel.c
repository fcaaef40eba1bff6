/*
 * The library of servers that poll: fetches the descriptor of the cancel table from dbpsd, maps it,
 * and says so on the connection that it came by. It needs no right, and no bpf(2).
 *
 * 1. The table's place never changes: another daemon's table, or an empty page while there is none,
 * is mapped over the old one in one step, so that threads may poll meanwhile.
 * 2. `alive_fd` keeps its number: another connection is put over it in one step.
 * 3. A cancel is believed only if dbpsd was there right before: without it, nobody might withdraw
 * the cancel when its statement ends, and the next one would be met.
 */
#include "dbps/cancel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cancel/handout.h"
#include "dbps/slots.h"

#ifndef SO_COOKIE
#define SO_COOKIE 57
#endif

/* How long the answer of a dbpsd is waited for, once it is connected. */
#define OPEN_WAIT_MS	1000
#define REFRESH_WAIT_MS 20

struct watch {
	struct dbps_cancel_watch watch; /* what callers hold */
	struct sockaddr_un address;
	atomic_flag refreshing; /* of what follows */
	int asked_fd;		/* connected, the table is awaited; -1: not */
	int is_mapped;
};

/* --- the mapping --- */

static int map_nothing(struct watch *watch)
{
	void *at = (void *)watch->watch.table;
	void *page = mmap(at, sizeof(*watch->watch.table), PROT_READ,
			  MAP_PRIVATE | MAP_ANONYMOUS | (at ? MAP_FIXED : 0), -1, 0);

	if (page == MAP_FAILED)
		return -errno;
	watch->watch.table = page;
	watch->is_mapped = 0;
	return 0;
}

static int map_table(struct watch *watch, int fd)
{
	void *at = (void *)watch->watch.table;

	if (mmap(at, sizeof(*watch->watch.table), PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) ==
	    MAP_FAILED) {
		map_nothing(watch);
		return -errno;
	}
	watch->is_mapped = 1;
	return watch->watch.table->version == DBPS_CANCEL_VERSION ? 0 : -EPROTO;
}

/* --- dbpsd --- */

static int new_socket(void)
{
	return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

static int is_alive(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

/* Never waits: -EAGAIN when the queue of dbpsd is full. */
static int ask(struct watch *watch)
{
	int fd = new_socket();

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&watch->address, sizeof(watch->address))) {
		int r = -errno;

		close(fd);
		return r;
	}
	watch->asked_fd = fd;
	return 0;
}

/* The descriptor in the message of dbpsd. */
static int take_descriptor(int from)
{
	struct dbps_handout handout = {0};
	struct iovec iov = {&handout, sizeof(handout)};
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control)};
	ssize_t len = recvmsg(from, &message, MSG_CMSG_CLOEXEC);
	const struct cmsghdr *c = len < 0 ? NULL : CMSG_FIRSTHDR(&message);
	int fd = -1;

	if (len < 0)
		return -errno;
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
	    c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	if (fd < 0)
		return -ECONNRESET; /* has gone, or refused */
	if (len == sizeof(handout) && handout.version == DBPS_CANCEL_VERSION &&
	    handout.size == sizeof(struct dbps_cancel_table))
		return fd;
	close(fd);
	return -EPROTO;
}

static int take_table(struct watch *watch)
{
	static const char mapped = DBPS_HANDOUT_MAPPED;
	int fd = take_descriptor(watch->asked_fd);
	int r;

	if (fd < 0)
		return fd;
	r = map_table(watch, fd);
	close(fd);
	if (!r && send(watch->asked_fd, &mapped, 1, MSG_NOSIGNAL) < 0)
		r = -errno;
	if (!r && dup3(watch->asked_fd, watch->watch.alive_fd, O_CLOEXEC) < 0)
		r = -errno;
	return r;
}

static void stop_asking(struct watch *watch)
{
	if (watch->asked_fd >= 0)
		close(watch->asked_fd);
	watch->asked_fd = -1;
}

static int refresh(struct watch *watch, int wait_ms)
{
	struct pollfd answer = {.events = POLLIN};
	int r = 0;

	if (watch->is_mapped && is_alive(watch->watch.alive_fd))
		return 1;
	if (watch->is_mapped)
		map_nothing(watch);
	if (watch->asked_fd < 0) {
		r = ask(watch);
		answer.fd = watch->asked_fd;
		if (!r)
			poll(&answer, 1, wait_ms);
	}
	if (!r)
		r = take_table(watch);
	if (r == -EAGAIN)
		return 0;
	stop_asking(watch);
	if (r < 0 && watch->is_mapped)
		map_nothing(watch);
	return r == 0;
}

static int refresh_alone(struct dbps_cancel_watch *handle, int wait_ms)
{
	struct watch *watch = (struct watch *)handle;
	int r;

	if (atomic_flag_test_and_set(&watch->refreshing))
		return 0; /* another thread is at it */
	r = refresh(watch, wait_ms);
	atomic_flag_clear(&watch->refreshing);
	return r;
}

/* --- what servers call --- */

int dbps_cancel_refresh(struct dbps_cancel_watch *watch)
{
	return refresh_alone(watch, REFRESH_WAIT_MS);
}

static struct watch *watch_new(const char *console)
{
	struct watch *watch = calloc(1, sizeof(*watch));
	size_t size = sizeof(watch->address.sun_path);
	int len;

	if (!watch)
		return NULL;
	watch->address.sun_family = AF_UNIX;
	len = snprintf(watch->address.sun_path, size, "%s%s", console, DBPS_CANCEL_SUFFIX);
	watch->asked_fd = -1;
	watch->watch.alive_fd = new_socket();
	if (len >= (int)size)
		errno = ENAMETOOLONG;
	else if (watch->watch.alive_fd >= 0 && map_nothing(watch) == 0)
		return watch;
	if (watch->watch.alive_fd >= 0)
		close(watch->watch.alive_fd);
	free(watch);
	return NULL;
}

struct dbps_cancel_watch *dbps_cancel_open(const char *console)
{
	struct watch *watch = watch_new(console ? console : DBPS_CANCEL_SOCKET);

	if (!watch)
		return NULL;
	refresh_alone(&watch->watch, OPEN_WAIT_MS);
	return &watch->watch;
}

void dbps_cancel_close(struct dbps_cancel_watch *watch)
{
	struct watch *all = (struct watch *)watch;

	if (!all)
		return;
	munmap((void *)watch->table, sizeof(*watch->table));
	stop_asking(all);
	close(watch->alive_fd);
	free(all);
}

uint64_t dbps_cancel_cookie(struct dbps_cancel_watch *watch, int socket)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	dbps_cancel_refresh(watch);
	if (getsockopt(socket, SOL_SOCKET, SO_COOKIE, &cookie, &len))
		return 0;
	return cookie;
}

static int read_slot(const struct dbps_cancel_slot *slot, uint64_t cookie)
{
	uint64_t word = __atomic_load_n(&slot->word, __ATOMIC_ACQUIRE);

	if (dbps_slot_state(word) != DBPS_SLOT_PENDING ||
	    __atomic_load_n(&slot->cookie, __ATOMIC_ACQUIRE) != cookie ||
	    __atomic_load_n(&slot->word, __ATOMIC_ACQUIRE) != word)
		return DBPS_CANCEL_NONE;
	return (int)dbps_slot_wanted(word);
}

/* Invariant 3. */
static int read_slot_alive(const struct dbps_cancel_watch *watch, int i, uint64_t cookie)
{
	int saved = errno, alive = watch->alive_fd < 0 || is_alive(watch->alive_fd);

	errno = saved;
	return alive ? read_slot(&watch->table->slot[i], cookie) : DBPS_CANCEL_NONE;
}

/* As far as there are slots in use; one that is missed for it is seen by the next poll. */
int dbps_cancel_scan(const struct dbps_cancel_watch *watch, uint64_t cookie)
{
	const struct dbps_cancel_slot *slot = watch->table->slot;
	uint32_t left = __atomic_load_n(&watch->table->pending, __ATOMIC_RELAXED);
	int wanted = DBPS_CANCEL_NONE;

	for (int i = 0; cookie && left && i < DBPS_CANCEL_SLOTS; i++) {
		int its;

		if (dbps_slot_state(__atomic_load_n(&slot[i].word, __ATOMIC_RELAXED)) ==
		    DBPS_SLOT_FREE)
			continue;
		left--;
		its = read_slot(&slot[i], cookie);
		if (its > wanted)
			its = read_slot_alive(watch, i, cookie);
		wanted = its > wanted ? its : wanted;
	}
	return wanted;
}
