/*
 * The maps as functions: servers, ids and events; and what an earlier daemon left in them.
 */
#include "internal.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>

#include "cleanup.h"

/* ---------------------------------------------------------------- servers ------------------- */

int dbps_kernel_server_get(struct dbps_kernel *kernel, pid_t tgid, struct dbps_server_seen *ret)
{
	return bpf_map_lookup_elem(kernel->map_fd[MAP_SERVERS], &tgid, ret) ? -errno : 0;
}

int dbps_kernel_server_add(struct dbps_kernel *kernel, pid_t tgid,
			   const struct dbps_server_seen *seen)
{
	return bpf_map_update_elem(kernel->map_fd[MAP_SERVERS], &tgid, seen, BPF_ANY) ? -errno : 0;
}

int dbps_kernel_server_remove(struct dbps_kernel *kernel, pid_t tgid)
{
	return bpf_map_delete_elem(kernel->map_fd[MAP_SERVERS], &tgid) ? -errno : 0;
}

int dbps_kernel_servers(struct dbps_kernel *kernel, pid_t **ret_tgids, size_t *ret_n)
{
	_cleanup_free_ pid_t *tgids = NULL;
	pid_t *before = NULL, key, next;
	size_t n = 0;

	while (!bpf_map_get_next_key(kernel->map_fd[MAP_SERVERS], before, &next)) {
		pid_t *more = realloc(tgids, (n + 1) * sizeof(*tgids));

		if (!more)
			return -ENOMEM;
		tgids = more;
		tgids[n++] = next;
		key = next;
		before = &key;
	}
	*ret_tgids = TAKE_PTR(tgids);
	*ret_n = n;
	return 0;
}

/* ---------------------------------------------------------------- an earlier daemon --------- */

void kernel_cookies_clear(struct dbps_kernel *kernel, enum kernel_map map)
{
	int fd = kernel->map_fd[map];
	__u64 key;

	while (bpf_map_get_next_key(fd, NULL, &key) == 0 && bpf_map_delete_elem(fd, &key) == 0)
		;
}

/*
 * It may have died between asking and the iterator that does what is asked. That one would do it
 * for the next kill that comes by, of whomever: signal the session that was meant then, reset it
 * among others.
 */
void kernel_wishes_clear(struct dbps_kernel *kernel)
{
	kernel->control->signal = 0;
	kernel_cookies_clear(kernel, MAP_RESETS);
	kernel_cookies_clear(kernel, MAP_ADOPTIONS);
	kernel_cookies_clear(kernel, MAP_CLIENT_ENDS);
}

/* ---------------------------------------------------------------- events -------------------- */

static int on_event(void *data, void *bytes, size_t size)
{
	struct dbps_kernel *kernel = data;
	const struct dbps_event *event = bytes;

	if (size >= sizeof(*event) && event->type == DBPS_EVENT_SERVER && kernel->on_server)
		kernel->on_server((pid_t)event->tgid, kernel->on_server_data);
	return 0;
}

static int on_cancel(void *data, void *bytes, size_t size)
{
	const struct dbps_event *event = bytes;

	if (size >= sizeof(*event) && event->type == DBPS_EVENT_CANCEL)
		kernel_watches_wake(data, event->cookie);
	return 0;
}

static void *take_cancels(void *data)
{
	struct dbps_kernel *kernel = data;
	struct pollfd fds[] = {
		{.fd = ring_buffer__epoll_fd(kernel->cancel_ring), .events = POLLIN},
		{.fd = kernel->stop_fd, .events = POLLIN},
	};

	pthread_setname_np(pthread_self(), "cancels");
	while (!fds[1].revents) {
		if (poll(fds, ARRAY_SIZE(fds), -1) > 0 && fds[0].revents)
			ring_buffer__consume(kernel->cancel_ring);
	}
	return NULL;
}

int kernel_events_open(struct dbps_kernel *kernel)
{
	_cleanup_close_ int stop_fd = -1;
	int r;

	kernel->ring = ring_buffer__new(kernel->map_fd[MAP_EVENTS], on_event, kernel, NULL);
	kernel->cancel_ring =
		ring_buffer__new(kernel->map_fd[MAP_CANCEL_EVENTS], on_cancel, kernel, NULL);
	if (!kernel->ring || !kernel->cancel_ring)
		return -errno;
	stop_fd = kernel->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (stop_fd < 0)
		return -errno;
	r = pthread_create(&kernel->cancel_thread, NULL, take_cancels, kernel);
	if (r) {
		kernel->stop_fd = -1;
		return -r;
	}
	TAKE_FD(stop_fd);
	return 0;
}

void kernel_events_close(struct dbps_kernel *kernel)
{
	if (kernel->stop_fd >= 0) {
		eventfd_write(kernel->stop_fd, 1);
		pthread_join(kernel->cancel_thread, NULL);
		close(kernel->stop_fd);
	}
	ring_buffer__free(kernel->cancel_ring);
	ring_buffer__free(kernel->ring);
}

int dbps_kernel_event_fd(const struct dbps_kernel *kernel)
{
	return ring_buffer__epoll_fd(kernel->ring);
}

int dbps_kernel_events(struct dbps_kernel *kernel, void (*on_server)(pid_t tgid, void *data),
		       void *data)
{
	int r;

	kernel->on_server = on_server;
	kernel->on_server_data = data;
	r = ring_buffer__consume(kernel->ring);
	return r < 0 ? r : 0;
}
