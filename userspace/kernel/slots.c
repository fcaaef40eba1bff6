/*
 * The cancel table of servers that poll, and which processes do. Slots are filled and given up
 * under the lock of the cancels, and whoever waits in this process is woken.
 */
#include "internal.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

#include "cancel/slots.h"
#include "cleanup.h"

void kernel_slots_begin(struct dbps_kernel *kernel)
{
	kernel->watch = (struct dbps_cancel_watch){.table = kernel->slots, .alive_fd = -1};
	dbps_slots_clear(kernel->slots);
}

/* Servers that have it mapped poll on, and see that nothing is pending. */
void kernel_slots_end(struct dbps_kernel *kernel)
{
	if (kernel->slots)
		dbps_slots_clear(kernel->slots);
	free(kernel->pollers.pid);
}

/* dbps/slots.h, 1. */
static int publish(struct dbps_kernel *kernel, __u64 cookie, __u32 action)
{
	struct dbps_cancel cancel;
	unsigned int slot;
	int r = dbps_slots_prepare(kernel->slots, cookie, action, &slot);

	if (r)
		return r == -EEXIST ? 0 : r;
	__sync_synchronize();
	r = dbps_kernel_watch_get(kernel, cookie, action, &cancel);
	if (r || cancel.settled_ns)
		r = -EALREADY;
	else
		r = dbps_slots_publish(kernel->slots, slot);
	if (r)
		dbps_slots_release(kernel->slots, cookie, action);
	return r;
}

int dbps_kernel_slot_publish(struct dbps_kernel *kernel, __u64 cookie, __u32 action)
{
	int r;

	pthread_mutex_lock(&kernel->cancel_lock);
	r = publish(kernel, cookie, action);
	pthread_cond_broadcast(&kernel->slots_changed);
	pthread_mutex_unlock(&kernel->cancel_lock);
	return r;
}

void kernel_slot_release(struct dbps_kernel *kernel, __u64 cookie, __u32 action)
{
	dbps_slots_release(kernel->slots, cookie, action);
}

const struct dbps_cancel_watch *dbps_kernel_cancel_watch(const struct dbps_kernel *kernel)
{
	return &kernel->watch;
}

int dbps_kernel_cancel_poll(struct dbps_kernel *kernel, __u64 cookie, int timeout_ms)
{
	struct timespec deadline = kernel_deadline_in(timeout_ms);
	int wanted, waited = 0;

	pthread_mutex_lock(&kernel->cancel_lock);
	while (!(wanted = dbps_cancel_pending(&kernel->watch, cookie)) && waited != ETIMEDOUT)
		waited = pthread_cond_timedwait(&kernel->slots_changed, &kernel->cancel_lock,
						&deadline);
	pthread_mutex_unlock(&kernel->cancel_lock);
	return wanted;
}

int dbps_kernel_slots_fd(struct dbps_kernel *kernel)
{
	LIBBPF_OPTS(bpf_get_fd_by_id_opts, read_only, .open_flags = BPF_F_RDONLY);
	struct bpf_map_info info = {0};
	__u32 len = sizeof(info);
	int fd;

	if (bpf_obj_get_info_by_fd(kernel->map_fd[MAP_SLOTS], &info, &len))
		return -errno;
	fd = bpf_map_get_fd_by_id_opts(info.id, &read_only);
	return fd < 0 ? -errno : fd;
}

/* ---------------------------------------------------------------- pollers ------------------- */

int dbps_kernel_poller_add(struct dbps_kernel *kernel, pid_t pid)
{
	struct dbps_pollers *pollers = &kernel->pollers;
	int r = -ENOMEM;
	pid_t *more;

	pthread_mutex_lock(&kernel->cancel_lock);
	more = realloc(pollers->pid, (pollers->n + 1) * sizeof(*more));
	if (more) {
		pollers->pid = more;
		pollers->pid[pollers->n++] = pid;
		r = 0;
	}
	pthread_mutex_unlock(&kernel->cancel_lock);
	return r;
}

static pid_t *find_poller(struct dbps_pollers *pollers, pid_t pid)
{
	for (size_t i = 0; i < pollers->n; i++)
		if (pollers->pid[i] == pid)
			return &pollers->pid[i];
	return NULL;
}

void dbps_kernel_poller_remove(struct dbps_kernel *kernel, pid_t pid)
{
	struct dbps_pollers *pollers = &kernel->pollers;
	pid_t *found;

	pthread_mutex_lock(&kernel->cancel_lock);
	found = find_poller(pollers, pid);
	if (found)
		*found = pollers->pid[--pollers->n];
	pthread_mutex_unlock(&kernel->cancel_lock);
}

bool dbps_kernel_polls(struct dbps_kernel *kernel, pid_t pid)
{
	bool polls;

	pthread_mutex_lock(&kernel->cancel_lock);
	polls = find_poller(&kernel->pollers, pid);
	pthread_mutex_unlock(&kernel->cancel_lock);
	return polls;
}
