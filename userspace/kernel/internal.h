/*
 * What the files of userspace/kernel share: the kernel object, which is descriptors and two
 * mappings, whether the programs were loaded by this daemon or pinned by an earlier one.
 */
#ifndef DBPS_KERNEL_INTERNAL_H
#define DBPS_KERNEL_INTERNAL_H

#include <pthread.h>

#include "kernel.h"

struct ring_buffer;

enum kernel_map {
	MAP_SESSIONS,
	MAP_SERVERS,
	MAP_CANCELS,
	MAP_PREPARED,
	MAP_ADOPTIONS,
	MAP_CONTROL,
	MAP_META,
	MAP_LOSSES,
	MAP_PORTS,
	MAP_PAGE,
	MAP_EVENTS,
	MAP_N,
};

enum kernel_link { LINK_RECV, LINK_SEND, LINK_SNAPSHOT, LINK_JOIN, LINK_ADOPT, LINK_ARM, LINK_N };

struct dbps_kernel {
	int map_fd[MAP_N];
	int link_fd[LINK_N];
	int pin_fd; /* the pin directory, locked; -1: nothing is pinned */
	char *pin_dir;
	bool taken_over;
	unsigned int text_bytes;
	struct dbps_control *control; /* mapped */
	struct dbps_page *page;	      /* mapped */
	__u64 *ports;		      /* mapped */
	pthread_mutex_t iter_lock;    /* one iterator at a time: they share `control` */
	size_t snapshot_hint;	      /* bytes of the last snapshot */
	pthread_mutex_t cancel_lock;
	pthread_cond_t cancel_settled;
	struct ring_buffer *ring;
	void (*on_server)(pid_t tgid, void *data);
	void *on_server_data;
};

/** @brief Bytes of a port bitmap. */
#define DBPS_PORTS_BYTES (65536 / 8)

/** @brief Make the ring buffer reader over map_fd[MAP_EVENTS]. 0 or a negative errno. */
int kernel_events_open(struct dbps_kernel *kernel);

/** @brief Tell the session that it has a cancel. 0; -ESRCH when there is no such session; negative
 * errno. */
int kernel_arm(struct dbps_kernel *kernel, __u64 cookie);

/** @brief Forget the cancels of an earlier daemon. */
void kernel_cancels_clear(struct dbps_kernel *kernel);

#endif
