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

static int put_ends(struct dbps_kernel *kernel, const struct dbps_client_end *ends, size_t n)
{
	_cleanup_free_ __u64 *keys = calloc(2 * n, sizeof(*keys));
	__u64 *cookies = keys + n;
	__u32 count = (__u32)n;
	LIBBPF_OPTS(bpf_map_batch_opts, opts);

	if (!keys)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		keys[i] = ends[i].key;
		cookies[i] = ends[i].cookie;
	}
	/* What does not fit is not found. */
	if (bpf_map_update_batch(kernel->map_fd[MAP_CLIENT_ENDS], keys, cookies, &count, &opts) &&
	    errno != E2BIG)
		return -errno;
	return 0;
}

void kernel_holders_clear(struct dbps_kernel *kernel)
{
	int fd = kernel->map_fd[MAP_CLIENT_ENDS];
	__u64 key;

	while (bpf_map_get_next_key(fd, NULL, &key) == 0 && bpf_map_delete_elem(fd, &key) == 0)
		;
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
	_cleanup_close_ int fd = -1;
	int r;

	if (!n) {
		*ret_holders = NULL;
		*ret_n = 0;
		return 0;
	}
	pthread_mutex_lock(&kernel->holders_lock);
	r = put_ends(kernel, ends, n);
	if (!r) {
		fd = bpf_iter_create(kernel->link_fd[LINK_HOLDERS]);
		r = fd < 0 ? -errno : read_holders(fd, ret_holders, ret_n);
	}
	kernel_holders_clear(kernel);
	pthread_mutex_unlock(&kernel->holders_lock);
	return r;
}
