/*
 * The daemon's side of the BPF programs: load or take over pins, read snapshots, arm and look up
 * cancels, wait for events. Everything here may be called from any thread unless it says otherwise.
 */
#ifndef DBPS_USERSPACE_KERNEL_H
#define DBPS_USERSPACE_KERNEL_H

#include <stddef.h>
#include <sys/types.h>

#include "dbps/kernel.h"

struct dbps_cancel_watch;
struct dbps_kernel;

struct dbps_kernel_options {
	const char *pin_dir;	   /* NULL: nothing is pinned */
	unsigned int text_bytes;   /* DBPS_TEXT_MIN to DBPS_TEXT_MAX */
	unsigned int prepared_max; /* prepared texts kept, over all sessions */
};

/** @return The most statement text, bytes, up to `wanted`, that this kernel lets a session hold. */
unsigned int dbps_kernel_text_room(unsigned int wanted);

/**
 * @brief Load the programs and attach the taps, or take over what an earlier daemon pinned.
 *
 * Fails with one sentence in ret_why that a sysadmin can act on.
 * @param ret_kernel On success owned by the caller (dbps_kernel_close()).
 * @param ret_why Owned by the caller (free()); set on failure only.
 * @return 0; -EPERM without the rights; -EOPNOTSUPP when this kernel lacks what is needed; other
 *         negative errno.
 */
int dbps_kernel_open(const struct dbps_kernel_options *options, struct dbps_kernel **ret_kernel,
		     char **ret_why);

/** @brief Detach, remove the pins, release everything. NULL is fine. */
void dbps_kernel_close(struct dbps_kernel *kernel);

/**
 * @brief A process called postgres runs: its connections are looked at from now on. The kernel side
 * sees by itself those that start later.
 */
void dbps_kernel_expect_postgres(struct dbps_kernel *kernel);

/** @return True when an earlier daemon's pins were taken over instead of loading anew. */
bool dbps_kernel_taken_over(const struct dbps_kernel *kernel);

/**
 * @brief Read all sessions in one pass over the sockets' storage.
 * @param cookie Only this session; 0 for all.
 * @param text_bytes Statement text wanted of each row, cut to what was loaded with.
 * @param ret_data Whole struct dbps_snapshot_row records, one after the other, each `size` bytes
 * and aligned to 8; owned by the caller (free()). NULL with *ret_len 0 when there are none.
 * @return 0 or a negative errno; outputs untouched on failure.
 */
int dbps_kernel_snapshot(struct dbps_kernel *kernel, __u64 cookie, unsigned int text_bytes,
			 bool threads, void **ret_data, size_t *ret_len);

/*
 * Where a session is found at once, whatever the number of others: its server's descriptor of the
 * socket. Numbers come to mean others; the cookie decides.
 */
struct dbps_place {
	__u64 cookie;
	pid_t tgid;
	int fd;
};

static inline struct dbps_place dbps_place_of(const struct dbps_session *session)
{
	return (struct dbps_place){session->cookie, (pid_t)session->tgid, session->fd};
}

/**
 * @brief Where the session with a connection id is. Most are known so, but not all: one that is not
 * has to be looked for in a snapshot.
 * @return 0; -ENOENT not known; other negative errno.
 */
int dbps_kernel_find(struct dbps_kernel *kernel, pid_t tgid, __u64 id,
		     struct dbps_place *ret_place);

/**
 * @brief Signal the process of a session, in one step with the look whether it is as wanted.
 * @param sequence The statement that must be executing; 0: whatever.
 * @param now Not to be handed to the backend, which looks and sends when it runs (Linux 6.18).
 * @return 0 handed or sent, what the statement's entry of the cancel map tells (`signalled`);
 * -EALREADY it is not as wanted, nothing was sent; -ESRCH not at its place any more;
 * -EOPNOTSUPP this kernel cannot; other negative errno.
 */
int dbps_kernel_signal(struct dbps_kernel *kernel, const struct dbps_place *place, __u64 sequence,
		       int sig, bool now);

/* The signals of this dbpsd and those before it whose pins it took over. The window: from the look
 * at the statement until its signal was sent, in ns; of the last one, and the longest. */
struct dbps_signal_stats {
	uint64_t sent;
	uint64_t late; /* of them: the statement was over by then, so the next one may have been met
			*/
	uint64_t window_ns;
	uint64_t window_max_ns;
};

void dbps_kernel_signal_stats(const struct dbps_kernel *kernel,
			      struct dbps_signal_stats *ret_stats);

/** @brief As dbps_kernel_snapshot() of place->cookie, at once when it still is at that place. */
int dbps_kernel_snapshot_at(struct dbps_kernel *kernel, const struct dbps_place *place,
			    unsigned int text_bytes, void **ret_data, size_t *ret_len);

/* The client's end of a session, as a socket is known by: a TCP client's by its own cookie, a Unix
 * client's by that of the session. */
struct dbps_client_end {
	__u64 key;
	__u64 cookie; /* of the session */
};

/**
 * @brief Which processes hold the clients' ends of sessions: one pass over the descriptors of all
 * processes of the host.
 * @param ret_holders Of each session none, one or several, in no order; owned by the caller
 * (free()); NULL when there are none.
 * @return 0 or a negative errno; outputs untouched on failure.
 */
int dbps_kernel_holders(struct dbps_kernel *kernel, const struct dbps_client_end *ends, size_t n,
			struct dbps_holder **ret_holders, size_t *ret_n);

/**
 * @brief Text of a prepared statement.
 * @param ret_text Owned by the caller (free()), not terminated.
 * @param ret_whole_len Length of the whole text, which may be more than ret_len.
 * @return 0; -ENOENT when it is not known; other negative errno.
 */
int dbps_kernel_prepared(struct dbps_kernel *kernel, const struct dbps_prepared_key *key,
			 char **ret_text, size_t *ret_len, size_t *ret_whole_len);

/**
 * @brief Follow the sockets that a process already has: its sessions are made with DBPS_JOINED.
 * @param tgid The server process, as the first pid namespace numbers it.
 * @return Number of sockets joined, or a negative errno.
 */
int dbps_kernel_join(struct dbps_kernel *kernel, pid_t tgid);

/** @brief Give sessions older than dbps what a control link told of them. 0 or a negative errno. */
int dbps_kernel_adopt(struct dbps_kernel *kernel, const __u64 *cookies,
		      const struct dbps_adoption *adoptions, size_t n);

/* Servers: the kernel adds a process at its first greeting and sends DBPS_EVENT_SERVER. */
int dbps_kernel_server_get(struct dbps_kernel *kernel, pid_t tgid, struct dbps_server_seen *ret);
int dbps_kernel_server_add(struct dbps_kernel *kernel, pid_t tgid,
			   const struct dbps_server_seen *seen);
int dbps_kernel_server_remove(struct dbps_kernel *kernel, pid_t tgid);
/** @brief Process ids of all servers in the map. ret_tgids owned by the caller (free()). */
int dbps_kernel_servers(struct dbps_kernel *kernel, pid_t **ret_tgids, size_t *ret_n);

/*
 * Watches: entries of the cancel map, for kills and for all else that waits for a session. One
 * session has at most one entry of each action; those who want the same one share it.
 */

/**
 * @brief Arm an entry: from now on the kernel settles it with what it sees. What ended before is
 * not settled, but shows in the session as it was read after that.
 * @param action enum dbps_cancel_action.
 * @param wanted Its `sequence` and `uid` are used. An entry of the same action and statement is
 * shared; one of another statement is waited for, up to timeout_ms.
 * @param ret_session The session, read after it was armed; NULL: not wanted.
 * @return 0, and then dbps_kernel_watch_disarm() is owed; -ETIMEDOUT another statement's entry is
 * there; -ESRCH when the session is gone; other negative errno.
 */
int dbps_kernel_watch_arm(struct dbps_kernel *kernel, const struct dbps_place *place, __u32 action,
			  const struct dbps_cancel *wanted, int timeout_ms,
			  struct dbps_session *ret_session);

/**
 * @brief Arm one action for many sessions in one pass, without waiting for any.
 * @param wanted One for each cookie.
 * @param ret_results Of each: 0, and then dbps_kernel_watch_disarm() is owed, also when the session
 * is gone; -EEXIST another statement's entry is there; other negative errno.
 * @return 0, or a negative errno and nothing is armed.
 */
int dbps_kernel_watch_arm_many(struct dbps_kernel *kernel, __u32 action, const __u64 *cookies,
			       const struct dbps_cancel *wanted, int *ret_results, size_t n);

/** @brief Read an entry as it stands. -ENOENT when there is none. */
int dbps_kernel_watch_get(struct dbps_kernel *kernel, __u64 cookie, __u32 action,
			  struct dbps_cancel *ret);

/**
 * @brief Block until an entry is settled or `timeout_ms` is over; one that is armed by the caller.
 * @return 0 with *ret filled; -ETIMEDOUT with *ret as it stands; -ENOENT.
 */
int dbps_kernel_watch_wait(struct dbps_kernel *kernel, __u64 cookie, __u32 action, int timeout_ms,
			   struct dbps_cancel *ret);

/** @brief The same until the entry tells of an end after *cancel, or of one that was struck. */
int dbps_kernel_watch_next(struct dbps_kernel *kernel, __u64 cookie, __u32 action, int timeout_ms,
			   struct dbps_cancel *cancel);

/**
 * @brief Block until any entry tells something, for those who wait for many.
 * @param seen Where this waiter stands; 0 at first.
 */
void dbps_kernel_watch_any(struct dbps_kernel *kernel, int timeout_ms, __u64 *seen);

/** @brief Wake those who wait for any. */
void dbps_kernel_watch_poke(struct dbps_kernel *kernel);

/**
 * @brief Take the turn to act for an entry that several may share: one acts at a time, and what one
 * has done no other does again. Waits while another has the turn.
 * @param force How strong the act is, above 0; a stronger one is no repetition.
 * @return 0, and then dbps_kernel_watch_pass() is owed; -EEXIST one of this force has acted;
 * -EALREADY the entry is settled; -ETIMEDOUT another still has the turn; -ENOENT.
 */
int dbps_kernel_watch_turn(struct dbps_kernel *kernel, __u64 cookie, __u32 action, int force,
			   int timeout_ms);

/** @brief Pass the turn on. @param force Of what was done; 0: nothing was. */
void dbps_kernel_watch_pass(struct dbps_kernel *kernel, __u64 cookie, __u32 action, int force);

/**
 * @brief Reset TCP sessions, all that are in one network namespace in one pass. Each is looked at
 * again in the kernel, in the moment of the reset.
 * @param sessions As they were judged: one that has begun or ended a statement since is left alone.
 * @param ret_results Of each: 0; -ECANCELED it has changed; -ESTALE no such TCP session, or this
 * kernel cannot; other negative errno.
 */
void dbps_kernel_reset_many(struct dbps_kernel *kernel, const struct dbps_session *const *sessions,
			    int *ret_results, size_t n);

/** @brief Give up an entry, settled or not; the last who shares it takes it away. */
void dbps_kernel_watch_disarm(struct dbps_kernel *kernel, __u64 cookie, __u32 action);

/*
 * The cancel table, which servers that poll map (dbps/cancel.h). `action` is that of an armed
 * cancel, QUERY or CONNECTION. A slot is given up when its cancel is disarmed.
 */
/**
 * @brief Let servers see an armed cancel. Their server cannot meet a later statement by it.
 * @return 0, also when it is there already; -EALREADY when the cancel is settled; -ENOSPC when all
 * slots are in use.
 */
int dbps_kernel_slot_publish(struct dbps_kernel *kernel, __u64 cookie, __u32 action);

/** @return The table, for the daemon's own sessions. Owned by the kernel object. */
const struct dbps_cancel_watch *dbps_kernel_cancel_watch(const struct dbps_kernel *kernel);

/** @brief Wait until something is wanted of `cookie` or the time is over; what is wanted. */
int dbps_kernel_cancel_poll(struct dbps_kernel *kernel, __u64 cookie, int timeout_ms);

/** @return A descriptor of the table, which nobody can write by it. Owned by the kernel object. */
int dbps_kernel_slots_fd(const struct dbps_kernel *kernel);

/** @brief A process says that it polls, or no longer does; as often as it said so. */
int dbps_kernel_poller_add(struct dbps_kernel *kernel, pid_t pid);
void dbps_kernel_poller_remove(struct dbps_kernel *kernel, pid_t pid);
bool dbps_kernel_polls(struct dbps_kernel *kernel, pid_t pid);

/** @brief A descriptor that polls readable when there are events. Owned by the kernel object. */
int dbps_kernel_event_fd(const struct dbps_kernel *kernel);

/**
 * @brief Take the events that are there. One thread only.
 * @param on_server Called for every process that greeted for the first time.
 */
int dbps_kernel_events(struct dbps_kernel *kernel, void (*on_server)(pid_t tgid, void *data),
		       void *data);

/*
 * Probes in the TLS library that a process uses: from then on its new encrypted sessions are
 * followed in clear text.
 */
struct dbps_library;

/**
 * @brief Find the library of a process, linked dynamically or into its program, and probe it.
 * @param forks It is a PostgreSQL, whose sessions have processes of their own.
 * @param ret_library Owned by the caller (dbps_kernel_library_close()).
 * @param ret_text Which library, "libssl.so.3"; on failure why there is none. 256 bytes.
 * @return 0; -ENOENT when the process has no such library; other negative errno.
 */
int dbps_kernel_library_open(struct dbps_kernel *kernel, pid_t pid, bool forks,
			     struct dbps_library **ret_library, char *ret_text);

/** @brief Take the probes away. NULL is fine. */
void dbps_kernel_library_close(struct dbps_library *library);

/** @brief Loss counters, summed over processors. 0 or a negative errno. */
int dbps_kernel_losses(struct dbps_kernel *kernel, __u64 ret_losses[DBPS_LOSS_N]);
extern const char *const dbps_loss_names[DBPS_LOSS_N];

/* What this kernel allows: a table that doctor prints. */
struct dbps_feature {
	const char *name;     /* "tp_btf/sock_recv_length" */
	const char *used_for; /* "the tap" */
	bool needed;
	bool present;
	const char *instead; /* what is used instead when it is absent; NULL: nothing */
	const char *lost;    /* what is lost when it is absent */
	bool unused;	     /* whether it is there or not: this kernel has what is better */
	char why[160];	     /* why it is absent, "" when present */
	const char *since;   /* the Linux that added it, "6.3"; NULL: is not told */
};

/**
 * @brief Probe this kernel for each feature. Loads small programs, attaches none. Needs root.
 * @param ret_features Owned by the caller (free()).
 */
int dbps_kernel_features(struct dbps_feature **ret_features, size_t *ret_n);

/**
 * @brief A feature as doctor tells it: a word, and a sentence with what is used instead and lost.
 * @param ret_detail Terminated, cut to `size`.
 * @return "ok"; "unused", not needed here; "fallback", something else is used; "missing";
 * "problem", missing and needed.
 */
const char *dbps_feature_judge(const struct dbps_feature *feature, char *ret_detail, size_t size);

#endif
