/*
 * The iterators as functions: snapshot, join and adoption. Each run is told what to do through the
 * control map, so one runs at a time.
 */
#include "internal.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

#include "cleanup.h"

/* Reads of one row that are tried when it keeps changing. */
#define TORN_TRIES 8

/* Run an iterator and append what it writes. */
static int read_iter(int link_fd, char **data, size_t *len, size_t *size)
{
	_cleanup_close_ int fd = bpf_iter_create(link_fd);
	ssize_t n;

	if (fd < 0)
		return -errno;
	for (;;) {
		if (*size - *len < (size_t)64 * 1024) {
			size_t more = *size ? *size * 2 : (size_t)64 * 1024;
			char *bigger = realloc(*data, more);

			if (!bigger)
				return -ENOMEM;
			*data = bigger;
			*size = more;
		}
		n = read(fd, *data + *len, *size - *len);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			return 0;
		*len += (size_t)n;
	}
}

/* Take the torn rows out of the data; their cookies are put at the front of it, returned as count.
 */
static size_t split_torn(char *data, size_t *len, __u64 **ret_torn)
{
	size_t from = 0, to = 0, n = 0;

	while (from + sizeof(struct dbps_snapshot_row) <= *len) {
		struct dbps_snapshot_row *row = (struct dbps_snapshot_row *)(data + from);
		size_t size = row->size;

		if (row->session.gen & 1) {
			__u64 *more = realloc(*ret_torn, (n + 1) * sizeof(**ret_torn));

			if (more) {
				*ret_torn = more;
				more[n++] = row->session.cookie;
			}
		} else {
			memmove(data + to, data + from, size);
			to += size;
		}
		from += size;
	}
	*len = to;
	return n;
}

static int read_again(struct dbps_kernel *kernel, __u64 cookie, char **data, size_t *len,
		      size_t *size)
{
	size_t before = *len;
	int r;

	kernel->control->cookie = cookie;
	for (int i = 0; i < TORN_TRIES; i++) {
		r = read_iter(kernel->link_fd[LINK_SNAPSHOT], data, len, size);
		if (r || *len == before ||
		    !(((struct dbps_snapshot_row *)(*data + before))->session.gen & 1))
			return r;
		*len = before;
	}
	return 0;
}

static int snapshot_locked(struct dbps_kernel *kernel, __u64 cookie, unsigned int text_bytes,
			   char **data, size_t *len)
{
	size_t size = kernel->snapshot_hint, n_torn;
	_cleanup_free_ __u64 *torn = NULL;
	int r;

	*data = size ? malloc(size) : NULL;
	if (size && !*data)
		return -ENOMEM;
	kernel->control->cookie = cookie;
	kernel->control->text_bytes =
		text_bytes < kernel->text_bytes ? text_bytes : kernel->text_bytes;
	r = read_iter(kernel->link_fd[LINK_SNAPSHOT], data, len, &size);
	if (r)
		return r;
	if (!cookie)
		kernel->snapshot_hint = *len + *len / 4 + (size_t)128 * 1024;
	n_torn = split_torn(*data, len, &torn);
	for (size_t i = 0; i < n_torn && !r; i++)
		r = read_again(kernel, torn[i], data, len, &size);
	return r;
}

int dbps_kernel_snapshot(struct dbps_kernel *kernel, __u64 cookie, unsigned int text_bytes,
			 void **ret_data, size_t *ret_len)
{
	_cleanup_free_ char *data = NULL;
	size_t len = 0;
	int r;

	pthread_mutex_lock(&kernel->iter_lock);
	r = snapshot_locked(kernel, cookie, text_bytes, &data, &len);
	pthread_mutex_unlock(&kernel->iter_lock);
	if (r)
		return r;
	*ret_data = len ? TAKE_PTR(data) : NULL;
	*ret_len = len;
	return 0;
}

static int run_iter(int link_fd)
{
	_cleanup_free_ char *data = NULL;
	size_t len = 0, size = 0;

	return read_iter(link_fd, &data, &len, &size);
}

int kernel_arm(struct dbps_kernel *kernel, __u64 cookie)
{
	int r;

	pthread_mutex_lock(&kernel->iter_lock);
	kernel->control->cookie = cookie;
	kernel->control->armed = 0;
	r = run_iter(kernel->link_fd[LINK_ARM]);
	if (!r && !kernel->control->armed)
		r = -ESRCH;
	pthread_mutex_unlock(&kernel->iter_lock);
	return r;
}

int dbps_kernel_join(struct dbps_kernel *kernel, pid_t tgid)
{
	struct dbps_control *control = kernel->control;
	int r;

	pthread_mutex_lock(&kernel->iter_lock);
	memset(kernel->ports, 0, DBPS_PORTS_BYTES);
	control->join_tgid = (__u32)tgid;
	control->joined = 0;
	control->join_pass = 0;
	r = run_iter(kernel->link_fd[LINK_JOIN]);
	if (!r) {
		control->join_pass = 1;
		r = run_iter(kernel->link_fd[LINK_JOIN]);
	}
	control->join_tgid = 0;
	if (!r)
		r = (int)control->joined;
	pthread_mutex_unlock(&kernel->iter_lock);
	return r;
}

int dbps_kernel_adopt(struct dbps_kernel *kernel, const __u64 *cookies,
		      const struct dbps_adoption *adoptions, size_t n)
{
	int fd = kernel->map_fd[MAP_ADOPTIONS], r = 0;
	size_t i;

	pthread_mutex_lock(&kernel->iter_lock);
	for (i = 0; i < n; i++) {
		if (bpf_map_update_elem(fd, &cookies[i], &adoptions[i], BPF_ANY)) {
			r = -errno;
			break;
		}
	}
	if (i)
		r = run_iter(kernel->link_fd[LINK_ADOPT]) ?: r;
	while (i--)
		bpf_map_delete_elem(fd, &cookies[i]);
	pthread_mutex_unlock(&kernel->iter_lock);
	return r;
}

int dbps_kernel_prepared(struct dbps_kernel *kernel, const struct dbps_prepared_key *key,
			 char **ret_text, size_t *ret_len, size_t *ret_whole_len)
{
	size_t cap = kernel->text_bytes + 1, len;
	_cleanup_free_ struct dbps_request *request = NULL;
	char *text;

	request = malloc(sizeof(*request) + cap + DBPS_DB_MAX);
	if (!request)
		return -ENOMEM;
	if (bpf_map_lookup_elem(kernel->map_fd[MAP_PREPARED], key, request))
		return -errno;
	if (!request->have)
		return -ENOENT;
	len = (request->have < cap ? request->have : cap) - 1;
	text = malloc(len + 1);
	if (!text)
		return -ENOMEM;
	memcpy(text, (char *)request->body + 1, len);
	*ret_text = text;
	*ret_len = len;
	*ret_whole_len = request->len - 1;
	return 0;
}
