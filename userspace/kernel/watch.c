/*
 * Watches: the entries of the cancel map that this daemon armed, and who waits for them. The map
 * says what happened; here is only who shares an entry and is to be woken.
 */
#include "internal.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>
#include <sys/param.h>
#include <time.h>

#include "cleanup.h"
#include "log/log.h"

struct kernel_watch {
	struct kernel_watch *next;
	struct dbps_cancel_key key;
	__u64 sequence;
	unsigned int refs;    /* who owe a disarm */
	unsigned int waiters; /* who sleep on `changed`, for the entry or for its end */
	bool gone;	      /* taken away, and here only for the waiters */
	bool acting;	      /* one of those who share it has the turn */
	int force;	      /* of the strongest that has acted */
	pthread_cond_t changed;
};

static struct dbps_cancel_key make_key(__u64 cookie, __u32 action)
{
	return (struct dbps_cancel_key){.cookie = cookie, .action = action};
}

static struct kernel_watch **bucket_of(struct dbps_kernel *kernel, __u64 cookie)
{
	return &kernel->watches[cookie % WATCH_BUCKETS];
}

static struct kernel_watch *find(struct dbps_kernel *kernel, __u64 cookie, __u32 action)
{
	struct kernel_watch *watch = *bucket_of(kernel, cookie);

	while (watch && (watch->gone || watch->key.cookie != cookie || watch->key.action != action))
		watch = watch->next;
	return watch;
}

void kernel_condition_init(pthread_cond_t *condition)
{
	pthread_condattr_t monotonic;

	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(condition, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

static struct kernel_watch *watch_new(const struct dbps_cancel_key *key, __u64 sequence)
{
	struct kernel_watch *watch = calloc(1, sizeof(*watch));

	if (!watch)
		return NULL;
	watch->key = *key;
	watch->sequence = sequence;
	kernel_condition_init(&watch->changed);
	return watch;
}

static void watch_free(struct kernel_watch *watch)
{
	pthread_cond_destroy(&watch->changed);
	free(watch);
}

/* Unlinks and frees one that nobody has or waits for any more. */
static void release(struct dbps_kernel *kernel, struct kernel_watch *watch)
{
	struct kernel_watch **at = bucket_of(kernel, watch->key.cookie);

	if (!watch->gone || watch->waiters)
		return;
	while (*at != watch)
		at = &(*at)->next;
	*at = watch->next;
	watch_free(watch);
}

struct timespec kernel_deadline_in(int timeout_ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += timeout_ms / 1000;
	t.tv_nsec += timeout_ms % 1000 * 1000000L;
	if (t.tv_nsec >= 1000000000L) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000L;
	}
	return t;
}

/* Sleeps until the watch changes. Returns ETIMEDOUT when the time is over. */
static int sleep_on(struct dbps_kernel *kernel, struct kernel_watch *watch,
		    const struct timespec *deadline)
{
	int r;

	watch->waiters++;
	r = pthread_cond_timedwait(&watch->changed, &kernel->cancel_lock, deadline);
	watch->waiters--;
	return r;
}

/* ---------------------------------------------------------------- arming -------------------- */

static bool is_of_statement(__u32 action)
{
	return action == DBPS_CANCEL_QUERY || action == DBPS_WATCH_STATEMENT;
}

/* Puts an entry into the map, or takes a share of the one that is there. -EEXIST: another's. */
static int enter(struct dbps_kernel *kernel, __u64 cookie, __u32 action,
		 const struct dbps_cancel *wanted)
{
	struct dbps_cancel_key key = make_key(cookie, action);
	struct dbps_cancel cancel = {.sequence = wanted->sequence, .uid = wanted->uid};
	struct kernel_watch *watch = find(kernel, cookie, action);
	struct timespec now;

	if (watch && is_of_statement(action) && watch->sequence != wanted->sequence)
		return -EEXIST;
	if (!watch) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		cancel.armed_ns = (__u64)now.tv_sec * 1000000000u + (__u64)now.tv_nsec;
		watch = watch_new(&key, wanted->sequence);
		if (!watch)
			return -ENOMEM;
		if (bpf_map_update_elem(kernel->map_fd[MAP_CANCELS], &key, &cancel, BPF_NOEXIST)) {
			int r = -errno;

			watch_free(watch);
			return r;
		}
		watch->next = *bucket_of(kernel, cookie);
		*bucket_of(kernel, cookie) = watch;
	}
	watch->refs++;
	return 0;
}

/* The same, and waits for another statement's entry to go. */
static int enter_in_time(struct dbps_kernel *kernel, __u64 cookie, __u32 action,
			 const struct dbps_cancel *wanted, int timeout_ms)
{
	struct timespec deadline = kernel_deadline_in(timeout_ms);
	int r, slept = 0;

	pthread_mutex_lock(&kernel->cancel_lock);
	while ((r = enter(kernel, cookie, action, wanted)) == -EEXIST) {
		struct kernel_watch *other = find(kernel, cookie, action);

		if (slept || !other) {
			r = -ETIMEDOUT;
			break;
		}
		slept = sleep_on(kernel, other, &deadline);
		release(kernel, other);
	}
	pthread_mutex_unlock(&kernel->cancel_lock);
	return r;
}

int dbps_kernel_watch_arm(struct dbps_kernel *kernel, const struct dbps_place *place, __u32 action,
			  const struct dbps_cancel *wanted, int timeout_ms,
			  struct dbps_session *ret_session)
{
	int r = enter_in_time(kernel, place->cookie, action, wanted, timeout_ms);

	if (r)
		return r;
	r = kernel_arm_at(kernel, place, ret_session);
	if (r)
		dbps_kernel_watch_disarm(kernel, place->cookie, action);
	return r;
}

int dbps_kernel_watch_arm_many(struct dbps_kernel *kernel, __u32 action, const __u64 *cookies,
			       const struct dbps_cancel *wanted, int *ret_results, size_t n)
{
	int r;

	pthread_mutex_lock(&kernel->cancel_lock);
	for (size_t i = 0; i < n; i++)
		ret_results[i] = enter(kernel, cookies[i], action, &wanted[i]);
	pthread_mutex_unlock(&kernel->cancel_lock);
	r = kernel_arm(kernel, 0);
	if (r >= 0)
		return 0;
	for (size_t i = 0; i < n; i++) {
		if (!ret_results[i])
			dbps_kernel_watch_disarm(kernel, cookies[i], action);
	}
	return r;
}

void dbps_kernel_watch_disarm(struct dbps_kernel *kernel, __u64 cookie, __u32 action)
{
	struct dbps_cancel_key key = make_key(cookie, action);
	struct kernel_watch *watch;

	pthread_mutex_lock(&kernel->cancel_lock);
	watch = find(kernel, cookie, action);
	if (watch && !--watch->refs) {
		bpf_map_delete_elem(kernel->map_fd[MAP_CANCELS], &key);
		kernel_slot_release(kernel, cookie, action);
		pthread_cond_broadcast(&kernel->slots_changed);
		watch->gone = true;
		pthread_cond_broadcast(&watch->changed);
		release(kernel, watch);
	}
	pthread_mutex_unlock(&kernel->cancel_lock);
}

/* ---------------------------------------------------------------- waiting ------------------- */

int dbps_kernel_watch_get(struct dbps_kernel *kernel, __u64 cookie, __u32 action,
			  struct dbps_cancel *ret)
{
	struct dbps_cancel_key key = make_key(cookie, action);

	return bpf_map_lookup_elem(kernel->map_fd[MAP_CANCELS], &key, ret) ? -errno : 0;
}

static bool is_settled(const struct dbps_cancel *now, const struct dbps_cancel *before)
{
	(void)before;
	return now->settled_ns;
}

static bool tells_more(const struct dbps_cancel *now, const struct dbps_cancel *before)
{
	return now->ended != before->ended || now->struck != before->struck;
}

static int wait_until(struct dbps_kernel *kernel, __u64 cookie, __u32 action, int timeout_ms,
		      bool (*done)(const struct dbps_cancel *, const struct dbps_cancel *),
		      struct dbps_cancel *cancel)
{
	struct timespec deadline = kernel_deadline_in(timeout_ms);
	struct dbps_cancel now;
	struct kernel_watch *watch;
	int r, slept = 0;

	pthread_mutex_lock(&kernel->cancel_lock);
	for (;;) {
		watch = find(kernel, cookie, action);
		r = watch ? dbps_kernel_watch_get(kernel, cookie, action, &now) : -ENOENT;
		if (r || done(&now, cancel))
			break;
		if (slept) {
			r = -ETIMEDOUT;
			break;
		}
		slept = sleep_on(kernel, watch, &deadline);
		release(kernel, watch);
	}
	pthread_mutex_unlock(&kernel->cancel_lock);
	if (!r || r == -ETIMEDOUT)
		*cancel = now;
	return r;
}

int dbps_kernel_watch_wait(struct dbps_kernel *kernel, __u64 cookie, __u32 action, int timeout_ms,
			   struct dbps_cancel *ret)
{
	return wait_until(kernel, cookie, action, timeout_ms, is_settled, ret);
}

int dbps_kernel_watch_next(struct dbps_kernel *kernel, __u64 cookie, __u32 action, int timeout_ms,
			   struct dbps_cancel *cancel)
{
	return wait_until(kernel, cookie, action, timeout_ms, tells_more, cancel);
}

/* ---------------------------------------------------------------- turns --------------------- */

int dbps_kernel_watch_turn(struct dbps_kernel *kernel, __u64 cookie, __u32 action, int force,
			   int timeout_ms)
{
	struct timespec deadline = kernel_deadline_in(timeout_ms);
	struct kernel_watch *watch;
	struct dbps_cancel now;
	int r, slept = 0;

	pthread_mutex_lock(&kernel->cancel_lock);
	for (;;) {
		watch = find(kernel, cookie, action);
		r = watch ? dbps_kernel_watch_get(kernel, cookie, action, &now) : -ENOENT;
		if (!r && now.settled_ns)
			r = -EALREADY;
		else if (!r && watch->force >= force)
			r = -EEXIST;
		else if (!r && watch->acting && slept)
			r = -ETIMEDOUT;
		if (r || !watch->acting)
			break;
		slept = sleep_on(kernel, watch, &deadline);
		release(kernel, watch);
	}
	if (!r)
		watch->acting = true;
	pthread_mutex_unlock(&kernel->cancel_lock);
	return r;
}

void dbps_kernel_watch_pass(struct dbps_kernel *kernel, __u64 cookie, __u32 action, int force)
{
	struct kernel_watch *watch;

	pthread_mutex_lock(&kernel->cancel_lock);
	watch = find(kernel, cookie, action);
	if (watch) {
		watch->acting = false;
		watch->force = MAX(watch->force, force);
		pthread_cond_broadcast(&watch->changed);
	}
	pthread_mutex_unlock(&kernel->cancel_lock);
}

void kernel_watches_wake(struct dbps_kernel *kernel, __u64 cookie)
{
	pthread_mutex_lock(&kernel->cancel_lock);
	for (struct kernel_watch *w = *bucket_of(kernel, cookie); w; w = w->next) {
		if (w->key.cookie == cookie)
			pthread_cond_broadcast(&w->changed);
	}
	kernel->n_changes++;
	pthread_cond_broadcast(&kernel->any_changed);
	pthread_mutex_unlock(&kernel->cancel_lock);
}

void dbps_kernel_watch_poke(struct dbps_kernel *kernel)
{
	pthread_mutex_lock(&kernel->cancel_lock);
	kernel->n_changes++;
	pthread_cond_broadcast(&kernel->any_changed);
	pthread_mutex_unlock(&kernel->cancel_lock);
}

void dbps_kernel_watch_any(struct dbps_kernel *kernel, int timeout_ms, __u64 *seen)
{
	struct timespec deadline = kernel_deadline_in(timeout_ms);
	int r = 0;

	pthread_mutex_lock(&kernel->cancel_lock);
	while (kernel->n_changes == *seen && r != ETIMEDOUT)
		r = pthread_cond_timedwait(&kernel->any_changed, &kernel->cancel_lock, &deadline);
	*seen = kernel->n_changes;
	pthread_mutex_unlock(&kernel->cancel_lock);
}

/* ---------------------------------------------------------------- an earlier daemon --------- */

static const char *const action_names[DBPS_CANCEL_N] = {
	[DBPS_CANCEL_QUERY] = "KILL QUERY",
	[DBPS_CANCEL_CONNECTION] = "KILL CONNECTION",
	[DBPS_WATCH_STATEMENT] = "a wait for the end",
	[DBPS_WATCH_TRANSACTION] = "a wait for the end of the transaction",
};

static void log_forgotten(const struct dbps_cancel_key *key, const struct dbps_cancel *cancel)
{
	const char *name = key->action < DBPS_CANCEL_N ? action_names[key->action] : NULL;
	char statement[48] = "";

	if (is_of_statement(key->action))
		snprintf(statement, sizeof(statement), "statement %llu of ",
			 (unsigned long long)cancel->sequence);

	dbps_log(LOG_NOTICE,
		 "forgot what an earlier dbpsd had under way: %s of %sthe session with socket "
		 "cookie %llu, by uid %u, %s",
		 name ?: "something", statement, (unsigned long long)key->cookie, cancel->uid,
		 cancel->settled_ns ? "settled, but perhaps not answered" : "not settled");
}

void kernel_watches_clear(struct dbps_kernel *kernel)
{
	int fd = kernel->map_fd[MAP_CANCELS];
	struct dbps_cancel_key key;
	struct dbps_cancel cancel;

	while (!bpf_map_get_next_key(fd, NULL, &key)) {
		if (!bpf_map_lookup_elem(fd, &key, &cancel))
			log_forgotten(&key, &cancel);
		if (bpf_map_delete_elem(fd, &key))
			break;
	}
}
