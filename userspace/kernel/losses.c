/*
 * Losses: what the kernel side could not follow, by name. The programs count all but two: only the
 * kernel knows what it left out, only the daemon whether another look was whole.
 */
#include "internal.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>

#include "cleanup.h"

const char *const dbps_loss_names[DBPS_LOSS_N] = {
	[DBPS_LOSS_NO_STORAGE] = "sessions_without_storage",
	[DBPS_LOSS_CONTENDED] = "events_contended",
	[DBPS_LOSS_UNREADABLE] = "buffers_unreadable",
	[DBPS_LOSS_UNKNOWN_CALL] = "calls_unknown",
	[DBPS_LOSS_BAD_PACKET] = "packets_bad",
	[DBPS_LOSS_RESYNC] = "answers_resynced",
	[DBPS_LOSS_PREPARED_TEXT] = "prepared_texts_lost",
	[DBPS_LOSS_EVENT] = "events_dropped",
	[DBPS_LOSS_TORN] = "rows_torn",
	[DBPS_LOSS_LEFT_OUT] = "programs_left_out",
};

/* Adds what the programs count, of all processors. */
static int read_counters(int map_fd, __u64 losses[DBPS_LOSS_N])
{
	int n_cpus = libbpf_num_possible_cpus();
	_cleanup_free_ __u64 *values = NULL;

	if (n_cpus < 0)
		return n_cpus;
	values = calloc((size_t)n_cpus, sizeof(*values));
	if (!values)
		return -ENOMEM;
	for (__u32 i = 0; i < DBPS_LOSS_N; i++) {
		if (bpf_map_lookup_elem(map_fd, &i, values))
			return -errno;
		for (int cpu = 0; cpu < n_cpus; cpu++)
			losses[i] += values[cpu];
	}
	return 0;
}

/* How often the kernel left a program out, as it ran on that processor already. Linux 5.12,
 * 9ed9e9ba2337; of tracepoints 6.2, 05b24ff9b2cf. */
static int add_left_out(int prog_fd, __u64 *n)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);

	if (bpf_obj_get_info_by_fd(prog_fd, &info, &len))
		return -errno;
	*n += info.recursion_misses;
	return 0;
}

static int add_left_out_of_link(int link_fd, __u64 *n)
{
	struct bpf_link_info info = {};
	__u32 len = sizeof(info);
	_cleanup_close_ int prog_fd = -1;

	if (bpf_obj_get_info_by_fd(link_fd, &info, &len))
		return -errno;
	prog_fd = bpf_prog_get_fd_by_id(info.prog_id);
	return prog_fd < 0 ? -errno : add_left_out(prog_fd, n);
}

/* Then the programs count themselves: one tap that is left out has another behind it. */
static bool has_checks(const struct dbps_kernel *kernel)
{
	return kernel->link_fd[LINK_RECV_CHECK] >= 0;
}

int dbps_kernel_losses(struct dbps_kernel *kernel, __u64 ret_losses[DBPS_LOSS_N])
{
	__u64 losses[DBPS_LOSS_N] = {0};
	int r = read_counters(kernel->map_fd[MAP_LOSSES], losses);

	losses[DBPS_LOSS_TORN] += atomic_load(&kernel->n_torn);
	for (int i = has_checks(kernel) ? LINK_EXEC : LINK_RECV; i <= LINK_EXEC && !r; i++)
		if (kernel->link_fd[i] >= 0)
			r = add_left_out_of_link(kernel->link_fd[i], &losses[DBPS_LOSS_LEFT_OUT]);
	for (int i = 0; i < PROG_N && !r; i++)
		r = add_left_out(kernel->prog_fd[i], &losses[DBPS_LOSS_LEFT_OUT]);
	if (!r)
		memcpy(ret_losses, losses, sizeof(losses));
	return r;
}
