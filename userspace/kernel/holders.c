/*
 * The processes that hold the clients' ends of sessions: the ends that are looked for are put into
 * a map, and an iterator over all descriptors writes what it finds (bpf/holder.bpf.h).
 */
#include "internal.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

#include "cleanup.h"

/* Bytes of one read; whole records. */
#define READ_BYTES (1024 * sizeof(struct dbps_holder))

/* Keys first, then the cookies of the sessions. */
static __u64 *split(const struct dbps_client_end *ends, size_t n)
{
	__u64 *both = calloc(2 * n, sizeof(*both));

	for (size_t i = 0; both && i < n; i++) {
		both[i] = ends[i].key;
		both[n + i] = ends[i].cookie;
	}
	return both;
}

/* What does not fit is not found. */
static int put_ends(struct dbps_kernel *kernel, __u64 *both, size_t n)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	__u32 count = (__u32)n;

	if (bpf_map_update_batch(kernel->map_fd[MAP_CLIENT_ENDS], both, both + n, &count, &opts) &&
	    errno != E2BIG)
		return -errno;
	return 0;
}

/* All at once: to look for the next one costs more the emptier the map is. */
static void take_ends(struct dbps_kernel *kernel, __u64 *both, size_t n)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	__u32 count = (__u32)n;

	if (bpf_map_delete_batch(kernel->map_fd[MAP_CLIENT_ENDS], both, &count, &opts))
		kernel_cookies_clear(kernel, MAP_CLIENT_ENDS);
}

static int read_holders(int fd, struct dbps_holder **ret_holders, size_t *ret_n)
{
	_cleanup_free_ char *all = NULL;
	size_t len = 0;
	ssize_t n;

	for (;;) {
		char *more = realloc(all, len + READ_BYTES);

		if (!more)
			return -ENOMEM;
		all = more;
		n = read(fd, all + len, READ_BYTES);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	if (n < 0)
		return -errno;
	*ret_n = len / sizeof(**ret_holders);
	*ret_holders = (void *)TAKE_PTR(all);
	return 0;
}

int dbps_kernel_holders(struct dbps_kernel *kernel, const struct dbps_client_end *ends, size_t n,
			struct dbps_holder **ret_holders, size_t *ret_n)
{
	_cleanup_free_ __u64 *both = split(ends, n);
	_cleanup_close_ int fd = -1;
	int r;

	if (!n) {
		*ret_holders = NULL;
		*ret_n = 0;
		return 0;
	}
	if (!both)
		return -ENOMEM;
	pthread_mutex_lock(&kernel->holders_lock);
	r = put_ends(kernel, both, n);
	if (!r) {
		fd = bpf_iter_create(kernel->link_fd[LINK_HOLDERS]);
		r = fd < 0 ? -errno : read_holders(fd, ret_holders, ret_n);
	}
	take_ends(kernel, both, n);
	pthread_mutex_unlock(&kernel->holders_lock);
	return r;
}
