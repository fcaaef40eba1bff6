/*
 * One session by its place: the daemon holds a copy of the server's descriptor for a moment, and an
 * iterator over the daemon's own descriptors arms and reads that one session. So it costs the same
 * with one session as with thousands, and nothing is done to the socket: no lock of it is taken,
 * nothing is received, its pending error stays.
 */
#include "internal.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "cleanup.h"
#include "server/process.h"

/* The program that a link runs, whoever made the link. */
static int open_program(int link_fd)
{
	struct bpf_link_info info = {};
	__u32 len = sizeof(info);
	int fd;

	if (bpf_obj_get_info_by_fd(link_fd, &info, &len))
		return -errno;
	fd = bpf_prog_get_fd_by_id(info.prog_id);
	return fd < 0 ? -errno : fd;
}

int kernel_one_open(struct dbps_kernel *kernel)
{
	union bpf_iter_link_info info = {.task.tid = (__u32)getpid()};
	LIBBPF_OPTS(bpf_link_create_opts, opts, .iter_info = &info, .iter_info_len = sizeof(info));
	_cleanup_close_ int prog_fd = open_program(kernel->link_fd[LINK_ONE]);
	int fd;

	if (prog_fd < 0)
		return prog_fd;
	fd = bpf_link_create(prog_fd, 0, BPF_TRACE_ITER, &opts);
	if (fd < 0)
		return -errno;
	close(kernel->link_fd[LINK_ONE]);
	kernel->link_fd[LINK_ONE] = fd;
	return 0;
}

int dbps_kernel_find(struct dbps_kernel *kernel, pid_t tgid, __u64 id, struct dbps_place *ret_place)
{
	struct dbps_id_key key = {.tgid = (__u32)tgid, .id = (__u32)id};
	struct dbps_id_place place;

	if (id > UINT32_MAX)
		return -ENOENT;
	if (bpf_map_lookup_elem(kernel->map_fd[MAP_IDS], &key, &place))
		return -errno;
	*ret_place = (struct dbps_place){place.cookie, tgid, place.fd};
	return 0;
}

/* Arms what has an entry, and reads. -ESTALE: it is not at its place; -EBUSY: it keeps
 * changing. */
static int read_at(struct dbps_kernel *kernel, const struct dbps_place *place,
		   unsigned int text_bytes, struct kernel_reading *to)
{
	_cleanup_close_ int fd = dbps_process_socket_copy(place->tgid, place->fd, place->cookie);
	int r = 0;

	if (fd < 0)
		return fd;
	pthread_mutex_lock(&kernel->one_lock);
	kernel->control->one_cookie = place->cookie;
	kernel->control->one_text = text_bytes;
	if (dup3(fd, kernel->slot_fd, O_CLOEXEC) < 0)
		r = -errno;
	else
		r = kernel_run_iter_whole(kernel, kernel->link_fd[LINK_ONE], kernel->one_page, to);
	/* Nothing is kept of the socket: anything else will do. */
	dup3(kernel->link_fd[LINK_ONE], kernel->slot_fd, O_CLOEXEC);
	pthread_mutex_unlock(&kernel->one_lock);
	return r ?: to->len ? 0 : -ESTALE;
}

/* The kernel takes the request back when it has come to the session. */
static __u32 signal_at(struct dbps_kernel *kernel, const struct dbps_place *place, __u64 sequence,
		       int sig, bool now, int *ret_r)
{
	struct dbps_control *control = kernel->control;
	_cleanup_(kernel_reading_free) struct kernel_reading reading = {0};
	__u32 signalled;

	pthread_mutex_lock(&kernel->signal_lock);
	control->signalled = DBPS_SIGNAL_NONE;
	control->signal_sequence = sequence;
	control->signal_cookie = place->cookie;
	control->signal_now = now;
	control->signal = (__u32)sig;
	*ret_r = read_at(kernel, place, 0, &reading);
	control->signal = 0;
	signalled = control->signalled;
	pthread_mutex_unlock(&kernel->signal_lock);
	return signalled;
}

int dbps_kernel_signal(struct dbps_kernel *kernel, const struct dbps_place *place, __u64 sequence,
		       int sig, bool now)
{
	int r;

	switch (signal_at(kernel, place, sequence, sig, now, &r)) {
	case DBPS_SIGNAL_HANDED:
	case DBPS_SIGNAL_SENT:
	case DBPS_SIGNAL_LATE:
		return 0;
	case DBPS_SIGNAL_OVER:
		return -EALREADY;
	case DBPS_SIGNAL_UNSUPPORTED:
		kernel->no_signals = true;
		return -EOPNOTSUPP;
	case DBPS_SIGNAL_FAILED:
		return -ESRCH;
	default:
		return r < 0 && r != -ESTALE ? r : -ESRCH;
	}
}

void dbps_kernel_signal_stats(const struct dbps_kernel *kernel, struct dbps_signal_stats *ret_stats)
{
	const struct dbps_control *control = kernel->control;

	*ret_stats = (struct dbps_signal_stats){
		.sent = control->signals,
		.late = control->signals_late,
		.window_ns = control->signal_window_ns,
		.window_max_ns = control->signal_window_max_ns,
	};
}

int dbps_kernel_snapshot_at(struct dbps_kernel *kernel, const struct dbps_place *place,
			    unsigned int text_bytes, void **ret_data, size_t *ret_len)
{
	_cleanup_(kernel_reading_free) struct kernel_reading reading = {0};
	int r;

	if (text_bytes > kernel->text_bytes)
		text_bytes = kernel->text_bytes;
	r = read_at(kernel, place, text_bytes, &reading);
	if (r && r != -EBUSY)
		return dbps_kernel_snapshot(kernel, place->cookie, text_bytes, false, ret_data,
					    ret_len);
	if (r)
		return r;
	*ret_data = TAKE_PTR(reading.rows);
	*ret_len = reading.len;
	return 0;
}

static int arm_and_read(struct dbps_kernel *kernel, const struct dbps_place *place, void **data,
			size_t *len)
{
	int r = kernel_arm(kernel, place->cookie);

	if (r > 0)
		r = dbps_kernel_snapshot(kernel, place->cookie, 0, false, data, len);
	return r;
}

int kernel_arm_at(struct dbps_kernel *kernel, const struct dbps_place *place,
		  struct dbps_session *ret_session)
{
	_cleanup_(kernel_reading_free) struct kernel_reading reading = {0};
	_cleanup_free_ void *data = NULL;
	const struct dbps_snapshot_row *row;
	size_t len = 0;
	int r = 0;

	if (read_at(kernel, place, 0, &reading) == 0)
		row = (void *)reading.rows;
	else
		r = arm_and_read(kernel, place, &data, &len), row = data;
	if (r < 0)
		return r;
	if (!row)
		return -ESRCH;
	if (ret_session)
		*ret_session = row->session;
	return 0;
}
