/*
 * The cancel table of servers that poll, and which processes do. The daemon's wishes are carried
 * out by the kernel side, one at a time under the lock of the cancels, and whoever waits in this
 * process is woken.
 */
#include "internal.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "dbps/slots.h"

static int wish(struct dbps_kernel *kernel, enum dbps_slot_wish what, __u32 slot)
{
	_cleanup_close_ int fd = bpf_iter_create(kernel->link_fd[LINK_SLOT]);
	char byte;

	if (fd < 0)
		return -errno;
	kernel->control->slot_wish = what;
	kernel->control->slot = slot;
	return read(fd, &byte, sizeof(byte)) < 0 ? -errno : 0;
}

int kernel_slots_begin(struct dbps_kernel *kernel)
{
	kernel->watch.alive_fd = -1;
	return wish(kernel, DBPS_SLOT_CLEAR, 0);
}

/* Servers that have it mapped poll on, and see that nothing is pending. */
void kernel_slots_end(struct dbps_kernel *kernel)
{
	if (kernel->control)
		wish(kernel, DBPS_SLOT_CLEAR, 0);
	free(kernel->pollers.pid);
}

static int publish(struct dbps_kernel *kernel, __u64 cookie, __u32 action)
{
	struct dbps_control *control = kernel->control;
	__u32 slot;
	int r;

	if (dbps_slots_find(kernel->watch.table, cookie, action) < DBPS_CANCEL_SLOTS)
		return 0;
	slot = dbps_slots_find_free(kernel->watch.table);
	if (slot >= DBPS_CANCEL_SLOTS)
		return -ENOSPC;
	control->slot_key = (struct dbps_cancel_key){.cookie = cookie, .action = action};
	control->slot_done = 0;
	r = wish(kernel, DBPS_SLOT_PUBLISH, slot);
	if (r)
		return r;
	return *(volatile __u32 *)&control->slot_done ? 0 : -EALREADY;
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

/* Most cancels never had a slot. */
void kernel_slot_release(struct dbps_kernel *kernel, __u64 cookie, __u32 action)
{
	__u32 slot;

	if (!kernel->watch.table->pending)
		return;
	slot = dbps_slots_find(kernel->watch.table, cookie, action);
	if (slot < DBPS_CANCEL_SLOTS)
		wish(kernel, DBPS_SLOT_RELEASE, slot);
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

int dbps_kernel_slots_fd(const struct dbps_kernel *kernel)
{
	return kernel->map_fd[MAP_SLOTS];
}

/* ---------------------------------------------------------------- pollers ------------------- */

int dbps_kernel_poller_add(struct dbps_kernel *kernel, pid_t pid)
{
	struct dbps_pollers *pollers = &kernel->pollers;
	pid_t *more;

	pthread_mutex_lock(&kernel->cancel_lock);
	more = realloc(pollers->pid, (pollers->n + 1) * sizeof(*more));
	if (more) {
		pollers->pid = more;
		pollers->pid[pollers->n++] = pid;
	}
	pthread_mutex_unlock(&kernel->cancel_lock);
	return more ? 0 : -ENOMEM;
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
