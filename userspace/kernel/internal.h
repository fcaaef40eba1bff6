/*
 * What the files of userspace/kernel share: the kernel object, which is descriptors and two
 * mappings, whether the programs were loaded by this daemon or pinned by an earlier one.
 */
#ifndef DBPS_KERNEL_INTERNAL_H
#define DBPS_KERNEL_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

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
	MAP_RECEIVES, /* these two are empty but for the fexit tap */
	MAP_SENDS,
	MAP_PREPARED,
	MAP_ADOPTIONS,
	MAP_RESETS,
	MAP_IDS,
	MAP_CLIENT_ENDS,
	MAP_CONTROL,
	MAP_META,
	MAP_LOSSES,
	MAP_PORTS,
	MAP_PAGE,
	MAP_PLAIN,
	MAP_LIBRARY_CALLS,
	MAP_LIBRARY_OBJECTS,
	MAP_ONE_PAGE,
	MAP_EVENTS,
	MAP_CANCEL_EVENTS,
	MAP_N,
};

enum kernel_link {
	LINK_RECV, /* with the fexit tap: of TCP over IPv4 */
	LINK_SEND,
	LINK_RECV_INET6, /* these four are there with the fexit tap only */
	LINK_SEND_INET6,
	LINK_RECV_UNIX,
	LINK_SEND_UNIX,
	LINK_RECV_AGAIN, /* these four where tracepoints' programs can be preempted */
	LINK_SEND_AGAIN,
	LINK_RECV_CHECK,
	LINK_SEND_CHECK,
	LINK_EXEC,
	LINK_SNAPSHOT,
	LINK_JOIN,
	LINK_ADOPT,
	LINK_ARM,
	LINK_SLOT,
	LINK_HOLDERS,
	LINK_RESET,
	LINK_ONE, /* over the descriptors of the daemon that made it */
	LINK_N,
};

/* Programs that are attached to libraries while the daemon runs. */
enum kernel_prog { PROG_ENTER, PROG_READ, PROG_WROTE, PROG_N };

/* Entries of the cancel map that this daemon armed, by cookie. */
#define WATCH_BUCKETS 1024

struct dbps_kernel {
	int map_fd[MAP_N];
	int link_fd[LINK_N];
	int prog_fd[PROG_N];
	int pin_fd; /* the pin directory, locked; -1: nothing is pinned */
	char *pin_dir;
	bool taken_over;
	unsigned int text_bytes;
	struct dbps_control *control;	/* mapped */
	struct dbps_page *page;		/* mapped */
	struct dbps_page *one_page;	/* mapped */
	__u64 *ports;			/* mapped */
	struct dbps_cancel_watch watch; /* of the cancel table, mapped, for own sessions */
	struct dbps_pollers pollers;	/* guarded by cancel_lock */
	pthread_mutex_t iter_lock;	/* one iterator at a time: they share `control` */
	pthread_mutex_t one_lock;     /* the same for LINK_ONE, which never waits for the others */
	pthread_mutex_t signal_lock;  /* one signal at a time: they share `control` */
	pthread_mutex_t holders_lock; /* one pass over the holders at a time */
	bool no_signals;	      /* this kernel cannot send them */
	size_t snapshot_hint;	      /* bytes of the last snapshot */
	atomic_ullong n_torn;	      /* rows left out, as they kept changing */
	uint64_t swept_ns;	      /* the last kernel_plain_sweep(), under iter_lock */
	pthread_mutex_t cancel_lock;
	pthread_cond_t slots_changed;
	struct kernel_watch *watches[WATCH_BUCKETS]; /* guarded by cancel_lock */
	pthread_cond_t any_changed;
	__u64 n_changes; /* of any, guarded by cancel_lock */
	struct ring_buffer *ring;
	struct ring_buffer *cancel_ring;
	pthread_t cancel_thread; /* takes cancel_ring, as long as stop_fd is there */
	int stop_fd;
	int slot_fd; /* a low number, where LINK_ONE soon finds the copy that it reads */
	void (*on_server)(pid_t tgid, void *data);
	void *on_server_data;
};

/* What load goes by. */
struct bpf_object;

struct kernel_ways {
	enum dbps_tap_kind tap;
	bool loops;    /* bpf_loop(): Linux 5.17, e6f2dd0f8067 */
	bool grows;    /* maps in which programs at a library's functions make elements: 6.1,
			  96da3f7d489d */
	bool implicit; /* functions that are given their program by the verifier: 7.0 */
};

/**
 * @brief What this kernel allows, asked of its BTF and, of the taps, by a try: the tracepoints,
 * else fexit.
 * @return 0; -ENOENT: it has neither tap; other negative errno: it refuses the one that it has.
 */
int kernel_choose_ways(struct kernel_ways *ret_ways);

/**
 * @brief From now on, programs are loaded without the calls of kernel functions that this kernel
 * has not (missing.c). Once is enough.
 * @return 0 or a negative errno.
 */
int kernel_drop_missing(void);

/**
 * @brief Let libbpf not find a weak kernel function, though it is in the kernel's BTF.
 */
void kernel_hide_function(struct bpf_object *object, const char *name);

/** @brief Bytes of a port bitmap. */
#define DBPS_PORTS_BYTES (65536 / 8)

/** @brief Make the ring buffers' readers, and the thread that takes what the cancel map tells. */
int kernel_events_open(struct dbps_kernel *kernel);
void kernel_events_close(struct dbps_kernel *kernel);

/* Rows as their readers know them, and the cookies of those that could not be copied whole. */
struct kernel_reading {
	char *rows;
	size_t len;
	size_t size;
	__u64 *torn;
	size_t n_torn;
};

void kernel_reading_free(struct kernel_reading *reading);

/**
 * @brief Run an iterator to its end, or to the first byte that it writes.
 * @param page What it fills; it stops with EAGAIN when that is full.
 * @param to Takes the page's rows; NULL: it makes none.
 */
int kernel_run_iter(int link_fd, struct dbps_page *page, struct kernel_reading *to);

/**
 * @brief The same for one session, until its copy is whole.
 * @return 0; -EBUSY: it kept changing for about 120 ms, which is counted as a loss; other errno.
 */
int kernel_run_iter_whole(struct dbps_kernel *kernel, int link_fd, struct dbps_page *page,
			  struct kernel_reading *to);

/**
 * @brief Tell the sessions that have entries: the one with this cookie, or all for 0.
 * @return How many have one, or a negative errno.
 */
int kernel_arm(struct dbps_kernel *kernel, __u64 cookie);

/** @brief Empty the cancel table of what an earlier daemon left; and of what is left at the end. */
int kernel_slots_begin(struct dbps_kernel *kernel);
void kernel_slots_end(struct dbps_kernel *kernel);

/** @brief Give up the slot of a cancel, if it has one. @pre cancel_lock is held. */
void kernel_slot_release(struct dbps_kernel *kernel, __u64 cookie, __u32 action);

/** @brief Make a condition whose waits take a time of kernel_deadline_in(). */
void kernel_condition_init(pthread_cond_t *condition);
/** @return The CLOCK_MONOTONIC so many milliseconds from now. */
struct timespec kernel_deadline_in(int timeout_ms);

/** @brief Arm one session at its place, then read it. -ESRCH when there is no such session. */
int kernel_arm_at(struct dbps_kernel *kernel, const struct dbps_place *place,
		  struct dbps_session *ret_session);

/**
 * @brief Forget the plaintext records that no socket has any more, once in a while.
 * @param rows All sessions, as a snapshot that was begun at begin_ns has them.
 */
void kernel_plain_sweep(struct dbps_kernel *kernel, const struct kernel_reading *rows,
			__u64 begin_ns);

/**
 * @brief After a take-over: the probes ended with the daemon before, so of each plaintext record
 * bytes may be missing. It counts again from the next request that is seen to begin.
 */
void kernel_plain_reframe(struct dbps_kernel *kernel);

/** @brief Make LINK_ONE this daemon's own. 0 or a negative errno. */
int kernel_one_open(struct dbps_kernel *kernel);

/** @brief Empty a map whose keys are cookies. */
void kernel_cookies_clear(struct dbps_kernel *kernel, enum kernel_map map);

/** @brief Forget what an earlier daemon was asking the iterators for. */
void kernel_wishes_clear(struct dbps_kernel *kernel);

/** @brief Forget the entries of an earlier daemon, and log what they were. */
void kernel_watches_clear(struct dbps_kernel *kernel);

/** @brief An entry of this session was settled, or tells more: wake those who wait. */
void kernel_watches_wake(struct dbps_kernel *kernel, __u64 cookie);

/**
 * @brief Make a map of socket storage.
 * @param value_size Bytes, a multiple of 8.
 */
int kernel_storage_create(const char *name, unsigned int value_size, int *ret_fd);

/** @brief Whether a socket can hold the record of this much text. @return 0; -ENOMEM: it cannot. */
int kernel_storage_try(unsigned int text_bytes);

/** @brief From now on keep what libbpf complains of first, and log all that it says. */
void kernel_refusal_begin(void);

/**
 * @brief Why the programs could not be loaded or attached, in one sentence: what rights are needed,
 * what this kernel lacks, or what was refused and for what reason.
 * @param r Negative errno.
 * @param verdict What the verifier said of the program that it refused; "" when it said nothing.
 * @return Owned by the caller (free()); NULL: no memory.
 */
char *kernel_refusal(int r, const char *verdict);

#endif
