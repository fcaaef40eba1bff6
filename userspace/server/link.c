/*
 * The link's thread and its users.
 *
 * 1. `use` is held by whoever talks over `client`. Only the thread installs and closes the client,
 * and it holds `use` for it; so a descriptor that the thread polls is never closed under it.
 * 2. A user that finds the link broken says so in `client` (dbps_client_lost()) and wakes the
 * thread.
 * 3. The thread at rest waits without a timeout, for a hang-up, a wake or the stop: nothing wakes
 * it.
 * 4. Whoever needs a link that is down wakes the thread out of its pause, and waits for the outcome
 * of that one attempt.
 * 5. Nothing here waits for the server without a deadline and the stop descriptor, so a server that
 * is stopped or hangs holds up neither a kill nor the end of the daemon.
 */
#include "link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/param.h>

#include "adopt.h"
#include "cleanup.h"
#include "client.h"
#include "engine.h"
#include "kernel/kernel.h"
#include "limits.h"
#include "log/log.h"
#include "login.h"

#define QUERY_TIMEOUT_NS 5000000000ull
#define PAUSE_MIN_MS	 1000
#define PAUSE_MAX_MS	 60000

/* Sessions that could not be matched are tried again after these, then left. */
static const int adopt_again_ms[] = {1000, 5000, 30000, 120000, 600000};

struct dbps_link {
	int refs; /* atomic */
	struct dbps_kernel *kernel;
	struct dbps_login login; /* of the server */
	pthread_t thread;
	bool has_thread;
	int stop_fd; /* readable once the link shall end; never read */
	int wake_fd;

	pthread_mutex_t use;
	struct dbps_client *client; /* NULL: down */

	pthread_mutex_t lock; /* for all below */
	pthread_cond_t changed;
	enum dbps_link_state state;
	enum dbps_engine engine;
	unsigned int attempts; /* to open it, that are over */
	char text[256];
	char version[64];
	uint64_t id;
	uint64_t cookie;
	struct dbps_server_limits limits; /* as last told; no max_connections: never */
};

static void signal_fd(int fd)
{
	uint64_t one = 1;

	/* It can only fail when the counter is full, and then it is readable already. */
	if (write(fd, &one, sizeof(one)) < 0)
		return;
}

static bool wait_fd(int fd, int timeout_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, timeout_ms) > 0;
}

static void drain_fd(int fd)
{
	uint64_t value;

	if (wait_fd(fd, 0) && read(fd, &value, sizeof(value)) < 0)
		return;
}

static bool is_stopping(const struct dbps_link *link)
{
	return wait_fd(link->stop_fd, 0);
}

static void set_state(struct dbps_link *link, enum dbps_link_state state, const char *text)
{
	pthread_mutex_lock(&link->lock);
	link->state = state;
	if (text)
		snprintf(link->text, sizeof(link->text), "%.255s", text);
	if (state != DBPS_LINK_UP)
		link->id = link->cookie = 0;
	pthread_cond_broadcast(&link->changed);
	pthread_mutex_unlock(&link->lock);
}

/* --- opening --- */

static void set_up(struct dbps_link *link, struct dbps_client *client,
		   const struct dbps_server_limits *limits, const char *text)
{
	const char *version = dbps_client_version(client);

	pthread_mutex_lock(&link->lock);
	link->state = DBPS_LINK_UP;
	snprintf(link->text, sizeof(link->text), "%.255s", text);
	snprintf(link->version, sizeof(link->version), "%s", version ? version : "");
	if (dbps_engine_of(link->version, "") != DBPS_ENGINE_UNKNOWN)
		link->engine = dbps_engine_of(link->version, "");
	link->id = dbps_client_id(client);
	link->cookie = 0;
	link->limits = *limits;
	link->attempts++;
	pthread_cond_broadcast(&link->changed);
	pthread_mutex_unlock(&link->lock);
}

static void set_failed(struct dbps_link *link, const char *text)
{
	pthread_mutex_lock(&link->lock);
	link->state = DBPS_LINK_DOWN;
	snprintf(link->text, sizeof(link->text), "%.255s", text);
	link->attempts++;
	pthread_cond_broadcast(&link->changed);
	pthread_mutex_unlock(&link->lock);
}

/* The socket of the server's end, as far as the kernel side saw it greet. */
static void find_own_session(struct dbps_link *link, uint64_t id)
{
	uint64_t cookie;

	if (dbps_adopt_find_cookie(link->kernel, link->login.pid, id, &cookie) < 0)
		return;
	pthread_mutex_lock(&link->lock);
	link->cookie = cookie;
	pthread_mutex_unlock(&link->lock);
}

static int open_link(struct dbps_link *link)
{
	struct dbps_server_limits limits = {0};
	struct dbps_link_error error;
	struct dbps_client *client = NULL;
	char text[400];
	int r;

	if (dbps_process_stopped(link->login.pid)) {
		set_failed(link, "the server process is stopped by a signal");
		return -EAGAIN;
	}
	r = dbps_login_open(&link->login, &client, text, sizeof(text));
	if (r < 0) {
		set_failed(link, text);
		return r;
	}
	/* Not every engine has these, and none must: a link that ends is opened anew. */
	dbps_client_query(client, "SET SESSION wait_timeout=31536000",
			  dbps_clock_ns() + QUERY_TIMEOUT_NS, NULL, &error);
	dbps_limits_read(client, dbps_clock_ns() + QUERY_TIMEOUT_NS, &limits, &error);
	pthread_mutex_lock(&link->use);
	link->client = client;
	pthread_mutex_unlock(&link->use);
	set_up(link, client, &limits, text);
	find_own_session(link, dbps_client_id(client));
	dbps_log(LOG_INFO, "%s: control link is up: %s", link->login.name, text);
	return 0;
}

static void close_link(struct dbps_link *link, enum dbps_link_state state, const char *why)
{
	struct dbps_client *client;

	set_state(link, state, why);
	pthread_mutex_lock(&link->use);
	client = TAKE_PTR(link->client);
	pthread_mutex_unlock(&link->use);
	dbps_client_close(client);
}

static enum dbps_engine engine_of(struct dbps_link *link)
{
	enum dbps_engine engine;

	pthread_mutex_lock(&link->lock);
	engine = link->engine;
	pthread_mutex_unlock(&link->lock);
	return engine;
}

/* Release `use`; invariant 2. */
static void give(struct dbps_link *link)
{
	bool lost = dbps_client_lost(link->client);

	pthread_mutex_unlock(&link->use);
	if (lost)
		signal_fd(link->wake_fd);
}

/* --- the thread --- */

static size_t adopt(struct dbps_link *link)
{
	struct dbps_link_error error = {0};
	size_t left = 0;
	int r;

	pthread_mutex_lock(&link->use);
	r = dbps_adopt(link->kernel, link->login.pid, engine_of(link), link->client,
		       dbps_clock_ns() + QUERY_TIMEOUT_NS, &left, &error);
	give(link);
	if (r < 0)
		dbps_log(LOG_WARNING, "%s: sessions older than dbps stay unnamed: %s",
			 link->login.name, error.text[0] ? error.text : strerror(-r));
	return left;
}

/** @return True when the link broke or shall end, false when the time is over. */
static bool wait_broken(struct dbps_link *link, int timeout_ms)
{
	struct pollfd fds[3] = {
		{.fd = dbps_client_fd(link->client), .events = POLLRDHUP},
		{.fd = link->wake_fd, .events = POLLIN},
		{.fd = link->stop_fd, .events = POLLIN},
	};
	bool lost;

	for (;;) {
		int n = poll(fds, ARRAY_SIZE(fds), timeout_ms);

		if (n == 0)
			return false;
		if (n < 0 && errno == EINTR)
			continue;
		drain_fd(link->wake_fd);
		pthread_mutex_lock(&link->use);
		lost = dbps_client_lost(link->client);
		pthread_mutex_unlock(&link->use);
		if (lost || n < 0 || fds[0].revents || fds[2].revents)
			return true;
	}
}

static void keep_link(struct dbps_link *link)
{
	size_t left = adopt(link);

	for (size_t i = 0; left && i < ARRAY_SIZE(adopt_again_ms); i++) {
		if (wait_broken(link, adopt_again_ms[i]))
			return;
		left = adopt(link);
	}
	wait_broken(link, -1);
}

/** @return True when somebody needs the link, false when the time is over or it shall end. */
static bool pause_thread(struct dbps_link *link, int timeout_ms)
{
	struct pollfd fds[2] = {
		{.fd = link->wake_fd, .events = POLLIN},
		{.fd = link->stop_fd, .events = POLLIN},
	};

	poll(fds, ARRAY_SIZE(fds), timeout_ms);
	drain_fd(link->wake_fd);
	return fds[0].revents;
}

/*
 * TCP listeners and abstract Unix sockets are reached from inside the server's network namespace.
 * The thread stays there: nothing else is done in it.
 */
static void enter_namespace(const struct dbps_link *link)
{
	_cleanup_close_ int fd = -1;
	uint32_t own, its;
	char path[64];

	if (dbps_process_namespace(0, "net", &own) < 0 ||
	    dbps_process_namespace(link->login.pid, "net", &its) < 0 || own == its)
		return;
	snprintf(path, sizeof(path), "/proc/%d/ns/net", link->login.pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		dbps_log(LOG_WARNING, "%s: cannot enter its network namespace: %s",
			 link->login.name, strerror(errno));
}

static void *run_link(void *arg)
{
	struct dbps_link *link = arg;
	int pause_ms = PAUSE_MIN_MS;

	enter_namespace(link);
	while (!is_stopping(link)) {
		if (open_link(link) == 0) {
			keep_link(link);
			close_link(link, DBPS_LINK_DOWN, "the server closed it");
			pause_ms = PAUSE_MIN_MS;
		}
		if (is_stopping(link))
			break;
		dbps_log(LOG_INFO, "%s: control link is down: %s", link->login.name, link->text);
		/* What somebody does about it, as killing a session where all are taken, takes
		 * effect soon. */
		pause_ms = pause_thread(link, pause_ms) ? PAUSE_MIN_MS
							: MIN(pause_ms * 2, PAUSE_MAX_MS);
	}
	return NULL;
}

/* --- life --- */

static void free_link(struct dbps_link *link)
{
	dbps_login_done(&link->login);
	if (link->stop_fd >= 0)
		close(link->stop_fd);
	if (link->wake_fd >= 0)
		close(link->wake_fd);
	pthread_mutex_destroy(&link->use);
	pthread_mutex_destroy(&link->lock);
	pthread_cond_destroy(&link->changed);
	free(link);
}

static void free_link_p(struct dbps_link **link)
{
	if (*link)
		free_link(*link);
}

static void init_sync(struct dbps_link *link)
{
	pthread_condattr_t attributes;

	pthread_mutex_init(&link->use, NULL);
	pthread_mutex_init(&link->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&link->changed, &attributes);
	pthread_condattr_destroy(&attributes);
}

/* Signals are the main thread's. */
static int start_thread(struct dbps_link *link)
{
	sigset_t all, saved;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &saved);
	r = pthread_create(&link->thread, NULL, run_link, link);
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	link->has_thread = r == 0;
	return -r;
}

int dbps_link_new(struct dbps_kernel *kernel, const struct dbps_registry_options *options,
		  const struct dbps_link_target *target, struct dbps_link **ret_link)
{
	_cleanup_(free_link_p) struct dbps_link *link = calloc(1, sizeof(*link));
	int r;

	if (!link)
		return -ENOMEM;
	init_sync(link);
	link->refs = 1;
	link->kernel = kernel;
	link->state = DBPS_LINK_OPENING;
	link->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	link->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (link->stop_fd < 0 || link->wake_fd < 0)
		return -errno;
	link->engine = target->engine;
	r = dbps_login_init(&link->login, options, target, link->stop_fd);
	if (r == 0)
		r = start_thread(link);
	if (r < 0)
		return r;
	*ret_link = TAKE_PTR(link);
	return 0;
}

void dbps_link_stop(struct dbps_link *link)
{
	signal_fd(link->stop_fd);
	if (link->has_thread)
		pthread_join(link->thread, NULL);
	link->has_thread = false;
	close_link(link, DBPS_LINK_NONE, "the server has gone");
}

struct dbps_link *dbps_link_ref(struct dbps_link *link)
{
	__atomic_add_fetch(&link->refs, 1, __ATOMIC_RELAXED);
	return link;
}

void dbps_link_unref(struct dbps_link *link)
{
	if (!link || __atomic_sub_fetch(&link->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	dbps_link_stop(link);
	free_link(link);
}

void dbps_link_view(struct dbps_link *link, struct dbps_server_view *view)
{
	pthread_mutex_lock(&link->lock);
	view->link = link->state;
	view->link_id = link->id;
	view->link_cookie = link->cookie;
	if (link->engine != DBPS_ENGINE_UNKNOWN)
		view->engine = link->engine;
	snprintf(view->link_text, sizeof(view->link_text), "%s", link->text);
	if (link->version[0])
		snprintf(view->version, sizeof(view->version), "%s", link->version);
	pthread_mutex_unlock(&link->lock);
}

/* --- use --- */

static struct timespec to_timespec(uint64_t ns)
{
	return (struct timespec){.tv_sec = (time_t)(ns / 1000000000u),
				 .tv_nsec = (long)(ns % 1000000000u)};
}

static void say(struct dbps_link_error *error, const char *text)
{
	error->code = 0;
	snprintf(error->text, sizeof(error->text), "%s", text);
}

/* Invariant 4. */
static void await_attempt(struct dbps_link *link, uint64_t deadline_ns)
{
	struct timespec until = to_timespec(deadline_ns);
	unsigned int attempts;

	pthread_mutex_lock(&link->lock);
	attempts = link->attempts;
	signal_fd(link->wake_fd);
	while (link->attempts == attempts && link->state != DBPS_LINK_NONE)
		if (pthread_cond_timedwait(&link->changed, &link->lock, &until) != 0)
			break;
	pthread_mutex_unlock(&link->lock);
}

static int lock_use(struct dbps_link *link, uint64_t deadline_ns, struct dbps_link_error *error)
{
	struct timespec until = to_timespec(deadline_ns);

	if (pthread_mutex_clocklock(&link->use, CLOCK_MONOTONIC, &until) == 0)
		return 0;
	say(error, "the control link is busy");
	return -ENOTCONN;
}

/** @return 0 with `use` held and a client that was good when last used. */
static int take(struct dbps_link *link, uint64_t deadline_ns, struct dbps_link_error *error)
{
	int r;

	/* It could not answer, and an answer that is overdue would be in the way later. */
	if (dbps_process_stopped(link->login.pid)) {
		say(error, "the server process is stopped by a signal");
		return -ENOTCONN;
	}
	for (int tries = 0; tries < 2; tries++) {
		r = lock_use(link, deadline_ns, error);
		if (r < 0)
			return r;
		if (link->client && !dbps_client_lost(link->client))
			return 0;
		pthread_mutex_unlock(&link->use);
		if (tries == 0)
			await_attempt(link, deadline_ns);
	}
	pthread_mutex_lock(&link->lock);
	say(error, link->text);
	pthread_mutex_unlock(&link->lock);
	return -ENOTCONN;
}

static uint64_t deadline_of(int timeout_ms)
{
	return dbps_clock_ns() + (uint64_t)MAX(timeout_ms, 0) * 1000000u;
}

/*
 * Ask for rows. That the link broke may show only now: then it is asked once more, over the next
 * one.
 */
static int ask(struct dbps_link *link, const char *sql, int timeout_ms, MYSQL_RES **ret_result,
	       struct dbps_link_error *ret_error)
{
	uint64_t deadline_ns = deadline_of(timeout_ms);
	MYSQL_RES *result = NULL;
	int r = -ENOTCONN;

	for (int tries = 0; tries < 2 && r == -ENOTCONN; tries++) {
		r = take(link, deadline_ns, ret_error);
		if (r < 0)
			return r;
		r = dbps_client_query(link->client, sql, deadline_ns, &result, ret_error);
		give(link);
	}
	if (r < 0)
		return r;
	if (!result)
		return -EPROTO;
	*ret_result = result;
	return 0;
}

int dbps_link_use_ping(struct dbps_link *link, int timeout_ms, struct dbps_link_error *ret_error)
{
	uint64_t deadline_ns = deadline_of(timeout_ms);
	int r = take(link, deadline_ns, ret_error);

	if (r < 0)
		return r;
	r = dbps_client_ping(link->client, deadline_ns, ret_error);
	give(link);
	return r;
}

static int parse_query_id(MYSQL_RES *result, uint64_t *ret_query_id, bool *ret_killed,
			  struct dbps_link_error *ret_error)
{
	MYSQL_ROW row = mysql_num_fields(result) == 2 ? mysql_fetch_row(result) : NULL;

	if (!row || !row[0]) {
		say(ret_error, "the server shows no such connection");
		return -ENOENT;
	}
	*ret_query_id = strtoull(row[0], NULL, 10);
	*ret_killed = row[1] && strcmp(row[1], "Killed") == 0;
	return 0;
}

int dbps_link_use_query_id(struct dbps_link *link, uint64_t id, int timeout_ms,
			   uint64_t *ret_query_id, bool *ret_killed,
			   struct dbps_link_error *ret_error)
{
	MYSQL_RES *result = NULL;
	char sql[128];
	int r;

	snprintf(sql, sizeof(sql),
		 "SELECT QUERY_ID, COMMAND FROM information_schema.processlist WHERE ID = %llu",
		 (unsigned long long)id);
	r = ask(link, sql, timeout_ms, &result, ret_error);
	if (r < 0)
		return r;
	r = parse_query_id(result, ret_query_id, ret_killed, ret_error);
	mysql_free_result(result);
	return r;
}

/* Also one that sleeps has the QUERY_ID of its last statement. */
int dbps_link_use_find_query(struct dbps_link *link, uint64_t query_id, int timeout_ms,
			     uint64_t *ret_id, struct dbps_link_error *ret_error)
{
	MYSQL_RES *result = NULL;
	MYSQL_ROW row;
	char sql[160];
	int r;

	snprintf(sql, sizeof(sql),
		 "SELECT ID FROM information_schema.processlist WHERE QUERY_ID = %llu AND "
		 "COMMAND <> 'Sleep'",
		 (unsigned long long)query_id);
	r = ask(link, sql, timeout_ms, &result, ret_error);
	if (r < 0)
		return r;
	row = mysql_fetch_row(result);
	if (row && row[0])
		*ret_id = strtoull(row[0], NULL, 10);
	r = row && row[0] ? 0 : -ENOENT;
	mysql_free_result(result);
	return r;
}

/* Rows of ID and QUERY_ID to the places of their ids. */
static void take_query_ids(MYSQL_RES *result, const uint64_t *ids, size_t n, uint64_t *query_ids)
{
	MYSQL_ROW row;

	memset(query_ids, 0, n * sizeof(*query_ids));
	while (mysql_num_fields(result) == 2 && (row = mysql_fetch_row(result))) {
		uint64_t id = row[0] && row[1] ? strtoull(row[0], NULL, 10) : 0;

		for (size_t i = 0; id && i < n; i++)
			if (ids[i] == id)
				query_ids[i] = strtoull(row[1], NULL, 10);
	}
}

int dbps_link_use_query_ids(struct dbps_link *link, const uint64_t *ids, size_t n, int timeout_ms,
			    uint64_t *ret_query_ids, struct dbps_link_error *ret_error)
{
	char sql[128 + DBPS_LINK_IDS_MAX * 21];
	MYSQL_RES *result = NULL;
	int len, r;

	if (n > DBPS_LINK_IDS_MAX)
		return -E2BIG;
	len = snprintf(sql, sizeof(sql),
		       "SELECT ID, QUERY_ID FROM information_schema.processlist "
		       "WHERE COMMAND <> 'Killed' AND ID IN (0");
	for (size_t i = 0; i < n; i++)
		len += snprintf(sql + len, sizeof(sql) - (size_t)len, ",%llu",
				(unsigned long long)ids[i]);
	snprintf(sql + len, sizeof(sql) - (size_t)len, ")");
	r = ask(link, sql, timeout_ms, &result, ret_error);
	if (r < 0)
		return r;
	take_query_ids(result, ids, n, ret_query_ids);
	mysql_free_result(result);
	return 0;
}

int dbps_link_use_kill(struct dbps_link *link, const char *what, uint64_t id, int timeout_ms,
		       struct dbps_link_error *ret_error)
{
	enum { NO_SUCH_THREAD = 1094, NO_SUCH_QUERY = 1957 };
	uint64_t deadline_ns = deadline_of(timeout_ms);
	char sql[64];
	int r;

	r = take(link, deadline_ns, ret_error);
	if (r < 0)
		return r;
	snprintf(sql, sizeof(sql), "KILL %s %llu", what, (unsigned long long)id);
	r = dbps_client_query(link->client, sql, deadline_ns, NULL, ret_error);
	give(link);
	if (r == -EIO && (ret_error->code == NO_SUCH_THREAD || ret_error->code == NO_SUCH_QUERY))
		return -ESRCH;
	return r;
}

int dbps_link_use_adopt(struct dbps_link *link, int timeout_ms, struct dbps_link_error *ret_error)
{
	uint64_t deadline_ns = deadline_of(timeout_ms);
	size_t left;
	int r = take(link, deadline_ns, ret_error);

	if (r < 0)
		return r;
	r = dbps_adopt(link->kernel, link->login.pid, engine_of(link), link->client, deadline_ns,
		       &left, ret_error);
	give(link);
	return r;
}

/* What it told last; the process is the same as long as the link is. */
static int known_limits(struct dbps_link *link, struct dbps_server_limits *ret_limits)
{
	int r = -ENODATA;

	pthread_mutex_lock(&link->lock);
	if (link->limits.max_connections) {
		*ret_limits = link->limits;
		ret_limits->connected = 0;
		r = 0;
	}
	pthread_mutex_unlock(&link->lock);
	return r;
}

int dbps_link_use_limits(struct dbps_link *link, int timeout_ms,
			 struct dbps_server_limits *ret_limits, struct dbps_link_error *ret_error)
{
	uint64_t deadline_ns = deadline_of(timeout_ms);
	struct dbps_server_limits limits;
	int r = take(link, deadline_ns, ret_error);

	if (r == 0) {
		r = dbps_limits_read(link->client, deadline_ns, &limits, ret_error);
		give(link);
	}
	if (r < 0)
		return known_limits(link, ret_limits) < 0 ? r : 0;
	pthread_mutex_lock(&link->lock);
	link->limits = limits;
	pthread_mutex_unlock(&link->lock);
	*ret_limits = limits;
	return 0;
}
