/*
 * The iterators as functions: snapshot, join and adoption. Each run is told what to do through the
 * control map, so one runs at a time.
 */
#include "internal.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>
#include <sys/param.h>
#include <unistd.h>

#include "cleanup.h"
#include "server/client.h"

/* Reads of one row that are tried when it keeps changing: about 120 ms. */
#define TORN_TRIES	    20
#define TORN_AT_ONCE	    4
#define TORN_WAIT_MIN_US    50
#define TORN_WAIT_DOUBLINGS 8

void kernel_reading_free(struct kernel_reading *reading)
{
	free(reading->rows);
	free(reading->torn);
}

static size_t padded(size_t n)
{
	return (n + 7) & ~(size_t)7;
}

static int reserve(struct kernel_reading *to, size_t bytes)
{
	size_t size = to->size;
	char *bigger;

	if (to->len + bytes <= size)
		return 0;
	size = size * 2 + bytes;
	bigger = realloc(to->rows, size);
	if (!bigger)
		return -ENOMEM;
	to->rows = bigger;
	to->size = size;
	return 0;
}

static int note_torn(struct kernel_reading *to, __u64 cookie)
{
	__u64 *more = realloc(to->torn, (to->n_torn + 1) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	to->torn = more;
	more[to->n_torn++] = cookie;
	return 0;
}

/* Copy a name of `len` bytes to its place; returns what is behind it. */
static const char *unpack_name(const char *from, size_t len, size_t max, char *to)
{
	memcpy(to, from, len);
	memset(to + len, 0, max - len);
	return from + padded(len);
}

static int unpack(struct kernel_reading *to, const struct dbps_packed_row *packed)
{
	struct dbps_snapshot_row *row;
	struct dbps_session *s;
	const char *at = (const char *)(packed + 1);
	size_t size = sizeof(*row) + padded(packed->text_have);

	if (reserve(to, size) < 0)
		return -ENOMEM;
	row = (void *)(to->rows + to->len);
	row->size = (__u32)size;
	row->text_have = packed->text_have;
	row->now_ns = packed->now_ns;
	row->peer_ns = packed->peer_ns;
	row->peer = packed->peer;
	row->thread = packed->thread;
	s = &row->session;
	memcpy(s, packed->session, sizeof(packed->session));
	at = unpack_name(at, s->user_len, sizeof(s->user), s->user);
	at = unpack_name(at, s->db_len, sizeof(s->db), s->db);
	at = unpack_name(at, s->program_len, sizeof(s->program), s->program);
	memcpy(row + 1, at, row->text_have);
	to->len += size;
	return 0;
}

/* Take the page's rows and empty it. */
static int take_page(struct kernel_reading *to, struct dbps_page *page)
{
	int r = 0;

	for (size_t at = 0; at < page->used && !r;) {
		const struct dbps_packed_row *packed = (const void *)(page->rows + at);
		const struct dbps_session *s = (const void *)packed->session; /* without names */

		r = s->gen & 1 ? note_torn(to, s->cookie) : unpack(to, packed);
		at += packed->size;
	}
	page->used = 0;
	return r;
}

int kernel_run_iter(int link_fd, struct dbps_page *page, struct kernel_reading *to)
{
	_cleanup_close_ int fd = bpf_iter_create(link_fd);
	char byte;
	int r = 0;

	if (fd < 0)
		return -errno;
	page->used = 0;
	while (!r) {
		ssize_t n = read(fd, &byte, sizeof(byte));

		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (to)
			r = take_page(to, page);
		if (n >= 0)
			break;
	}
	return r;
}

/*
 * The first tries follow at once: a tap is done within a microsecond. After those its processor
 * was taken from it, by a hypervisor or by this very thread, and comes back when that is done.
 */
static void wait_for_writer(int tries)
{
	int doublings = MIN(tries - TORN_AT_ONCE, TORN_WAIT_DOUBLINGS);

	if (doublings >= 0)
		usleep(TORN_WAIT_MIN_US << doublings);
}

int kernel_run_iter_whole(struct dbps_kernel *kernel, int link_fd, struct dbps_page *page,
			  struct kernel_reading *to)
{
	size_t n_torn = to->n_torn;
	int r = 0;

	for (int i = 0; i < TORN_TRIES && !r; i++) {
		to->n_torn = n_torn;
		r = kernel_run_iter(link_fd, page, to);
		if (to->n_torn == n_torn)
			return r;
		wait_for_writer(i);
	}
	to->n_torn = n_torn;
	atomic_fetch_add(&kernel->n_torn, 1);
	return r ?: -EBUSY;
}

static int run_iter(struct dbps_kernel *kernel, enum kernel_link link, struct kernel_reading *to)
{
	return kernel_run_iter(kernel->link_fd[link], kernel->page, to);
}

static int snapshot_locked(struct dbps_kernel *kernel, __u64 cookie, unsigned int text_bytes,
			   struct kernel_reading *to)
{
	__u64 begin_ns = dbps_clock_ns();
	size_t n_torn;
	int r;

	if (!cookie && reserve(to, kernel->snapshot_hint) < 0)
		return -ENOMEM;
	kernel->control->cookie = cookie;
	kernel->control->text_bytes =
		text_bytes < kernel->text_bytes ? text_bytes : kernel->text_bytes;
	r = run_iter(kernel, LINK_SNAPSHOT, to);
	if (r)
		return r;
	if (!cookie)
		kernel->snapshot_hint = to->len + to->len / 4 + (size_t)16 * 1024;
	n_torn = to->n_torn;
	for (size_t i = 0; i < n_torn && !r; i++) {
		kernel->control->cookie = to->torn[i];
		r = kernel_run_iter_whole(kernel, kernel->link_fd[LINK_SNAPSHOT], kernel->page, to);
		/* Of one session that is the answer; of all of them one less, and counted. */
		if (r == -EBUSY && !cookie)
			r = 0;
	}
	if (!r && !cookie)
		kernel_plain_sweep(kernel, to, begin_ns);
	return r;
}

int dbps_kernel_snapshot(struct dbps_kernel *kernel, __u64 cookie, unsigned int text_bytes,
			 bool threads, void **ret_data, size_t *ret_len)
{
	_cleanup_(kernel_reading_free) struct kernel_reading reading = {0};
	int r;

	pthread_mutex_lock(&kernel->iter_lock);
	kernel->control->threads = threads;
	r = snapshot_locked(kernel, cookie, text_bytes, &reading);
	pthread_mutex_unlock(&kernel->iter_lock);
	if (r)
		return r;
	*ret_len = reading.len;
	*ret_data = reading.len ? TAKE_PTR(reading.rows) : NULL;
	return 0;
}

int kernel_arm(struct dbps_kernel *kernel, __u64 cookie)
{
	int r;

	pthread_mutex_lock(&kernel->iter_lock);
	kernel->control->cookie = cookie;
	kernel->control->armed = 0;
	r = run_iter(kernel, LINK_ARM, NULL);
	if (!r)
		r = (int)kernel->control->armed;
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
	r = run_iter(kernel, LINK_JOIN, NULL);
	if (!r) {
		control->join_pass = 1;
		r = run_iter(kernel, LINK_JOIN, NULL);
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
		r = run_iter(kernel, LINK_ADOPT, NULL) ?: r;
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
