/*
 * Reset of many TCP sessions in one pass over the sockets of their network namespace
 * (bpf/reset.bpf.h), which looks at each again before it is reset.
 */
#include "internal.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>

#include "cleanup.h"
#include "kernel/sock_diag.h"

static int wish(int fd, const struct dbps_session *session)
{
	struct dbps_reset wanted = {.sequence = session->sequence,
				    .executes = dbps_session_executes(session)};

	return bpf_map_update_elem(fd, &session->cookie, &wanted, BPF_ANY) ? -errno : 0;
}

/* What became of it, and forget it. */
static int take_result(int fd, const struct dbps_session *session)
{
	struct dbps_reset reset;

	if (bpf_map_lookup_elem(fd, &session->cookie, &reset) ||
	    bpf_map_delete_elem(fd, &session->cookie))
		return -errno;
	switch (reset.result) {
	case DBPS_RESET_DONE:
		return 0;
	case DBPS_RESET_CHANGED:
		return -ECANCELED;
	case DBPS_RESET_NOT_FOUND:
		return -ESTALE;
	default:
		return reset.result;
	}
}

/* All of one namespace, from the first on; marks them as done with anything but -EINPROGRESS. */
static void reset_namespace(struct dbps_kernel *kernel, const struct dbps_session *const *sessions,
			    int *results, size_t from, size_t n)
{
	int fd = kernel->map_fd[MAP_RESETS], own, r;
	__u32 netns = sessions[from]->netns;

	for (size_t i = from; i < n; i++)
		if (results[i] == -EINPROGRESS && sessions[i]->netns == netns) {
			r = wish(fd, sessions[i]);
			if (r)
				results[i] = r;
		}
	r = dbps_namespace_enter(sessions[from], &own);
	if (!r) {
		r = kernel_run_iter(kernel->link_fd[LINK_RESET], kernel->page, NULL);
		dbps_namespace_leave(own);
	}
	for (size_t i = from; i < n; i++)
		if (results[i] == -EINPROGRESS && sessions[i]->netns == netns) {
			results[i] = take_result(fd, sessions[i]);
			if (r && results[i] == -ESTALE)
				results[i] = r;
		}
}

void dbps_kernel_reset_many(struct dbps_kernel *kernel, const struct dbps_session *const *sessions,
			    int *ret_results, size_t n)
{
	for (size_t i = 0; i < n; i++)
		ret_results[i] = -EINPROGRESS;
	pthread_mutex_lock(&kernel->iter_lock);
	for (size_t i = 0; i < n; i++)
		if (ret_results[i] == -EINPROGRESS)
			reset_namespace(kernel, sessions, ret_results, i, n);
	pthread_mutex_unlock(&kernel->iter_lock);
}
