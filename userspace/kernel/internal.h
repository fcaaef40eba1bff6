/*
 * What the files of userspace/kernel share: the kernel object, which is descriptors and two
 * mappings, whether the programs were loaded by this daemon or pinned by an earlier one.
 */
#ifndef DBPS_KERNEL_INTERNAL_H
#define DBPS_KERNEL_INTERNAL_H

#include <pthread.h>

#include "dbps/cancel.h"
#include "kernel.h"

struct ring_buffer;

/* Processes that poll the cancel table: one entry for each time that one said so. */
struct dbps_pollers {
	pid_t *pid;
	size_t n;
};

enum kernel_map {
	MAP_SESSIONS,
	MAP_SERVERS,
	MAP_CANCELS,
	MAP_SLOTS,
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
	struct dbps_control *control;	 /* mapped */
	struct dbps_page *page;		 /* mapped */
	__u64 *ports;			 /* mapped */
	struct dbps_cancel_table *slots; /* mapped; guarded by cancel_lock */
	struct dbps_cancel_watch watch;	 /* the same, for the daemon's own sessions */
	struct dbps_pollers pollers;	 /* guarded by cancel_lock */
	pthread_mutex_t iter_lock;	 /* one iterator at a time: they share `control` */
	size_t snapshot_hint;		 /* bytes of the last snapshot */
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

/** @brief Empty the cancel table of what an earlier daemon left; and of what is left at the end. */
void kernel_slots_begin(struct dbps_kernel *kernel);
void kernel_slots_end(struct dbps_kernel *kernel);

/** @brief Give up the slot of a cancel, if it has one. @pre cancel_lock is held. */
void kernel_slot_release(struct dbps_kernel *kernel, __u64 cookie, __u32 action);

/** @return The CLOCK_REALTIME so many milliseconds from now, as waits on cancel_settled take it. */
struct timespec kernel_deadline_in(int timeout_ms);

/** @brief Forget the cancels of an earlier daemon. */
void kernel_cancels_clear(struct dbps_kernel *kernel);

#endif
