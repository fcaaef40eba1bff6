/*
 * The table of servers. A slot is a name and its index, for as long as the daemon lives; the
 * process in it comes and goes. Processes that greeted but are no servers are watched too, so that
 * the kernel forgets them when they end.
 *
 * 1. `lock` guards everything in the registry; nothing that can wait for a server is done under it:
 * links are taken out by reference and used without it.
 * 2. A process is looked at only while a pidfd of it is held: what /proc said was of this process
 * if the pidfd says afterwards that it has not ended.
 * 3. Ended processes are taken out before a new one is looked at, so a process number stands for
 * one process, and a restarted server finds its slot free.
 */
#include "registry.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <mysql.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

#include "cgroup.h"
#include "cleanup.h"
#include "engine.h"
#include "kernel/kernel.h"
#include "link.h"
#include "log/log.h"
#include "own.h"
#include "process.h"
#include "title.h"

#define EXECUTABLE_MAX 64

struct slot {
	uint32_t index;
	char name[64];
	pid_t pid; /* 0: gone */
	enum dbps_engine engine;
	uint32_t netns;
	char container[64];
	char version[DBPS_VERSION_MAX + 1];
	struct dbps_listeners listeners;
	struct dbps_link *link;	      /* NULL: none */
	struct dbps_library *library; /* its TLS library, probed; NULL: not */
	char tls_text[256];
};

/* A process that ends one day. */
struct watch {
	pid_t pid;
	int pidfd;
	struct slot *slot; /* NULL: not a server */
};

struct dbps_registry {
	pthread_mutex_t lock;
	struct dbps_kernel *kernel;
	bool link_enabled;
	char *link_user;
	char *link_option_file;
	int epoll_fd;
	struct slot **slots; /* by index */
	size_t n_slots;
	struct watch *watches;
	size_t n_watches;
};

/* What is known of a process that may be a server. */
struct candidate {
	pid_t pid;
	char executable[EXECUTABLE_MAX];
	struct dbps_listeners listeners;
	struct dbps_server_seen seen; /* zero: never greeted */
	char version[DBPS_VERSION_MAX + 1];
	uint32_t netns;
	char container[64]; /* "": none, or the daemon's own */
};

static void candidate_done(struct candidate *candidate)
{
	dbps_listeners_done(&candidate->listeners);
}

static int pidfd_open_cloexec(pid_t pid)
{
	long fd = syscall(SYS_pidfd_open, pid, 0); /* close-on-exec by itself */

	return fd < 0 ? -errno : (int)fd;
}

static bool has_ended(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	return poll(&p, 1, 0) != 0;
}

static const struct dbps_registry_options *link_options(const struct dbps_registry *registry,
							struct dbps_registry_options *options)
{
	*options = (struct dbps_registry_options){
		.link_user = registry->link_user,
		.link_option_file = registry->link_option_file,
		.link_enabled = registry->link_enabled,
	};
	return options;
}

/* --- finding out about a process --- */

static bool listens_on(const struct dbps_listeners *listeners, uint16_t port)
{
	for (size_t i = 0; i < listeners->n; i++)
		if (port ? listeners->at[i].port == port
			 : listeners->at[i].family == DBPS_FAMILY_UNIX)
			return true;
	return false;
}

/* A child that inherited the listeners serves for its parent. */
static bool shares_listener(const struct dbps_registry *registry,
			    const struct dbps_listeners *listeners)
{
	for (size_t s = 0; s < registry->n_slots; s++)
		for (size_t i = 0; registry->slots[s]->pid && i < listeners->n; i++)
			for (size_t k = 0; k < registry->slots[s]->listeners.n; k++)
				if (registry->slots[s]->listeners.at[k].inode ==
				    listeners->at[i].inode)
					return true;
	return false;
}

/*
 * Only a process that listens is a server: by its name, or because it greeted on a socket that it
 * listens on. A child, a worker, a client that happens to send such bytes are none; nor is the
 * console of a daemon like this one.
 */
static bool is_server(const struct dbps_registry *registry, const struct candidate *candidate)
{
	if (strcmp(candidate->executable, "dbpsd") == 0 ||
	    memmem(candidate->seen.version, candidate->seen.version_len, "-dbps-", 6))
		return false;
	if (candidate->listeners.n == 0 || shares_listener(registry, &candidate->listeners))
		return false;
	if (dbps_engine_of_executable(candidate->executable) != DBPS_ENGINE_UNKNOWN)
		return true;
	return candidate->seen.state && listens_on(&candidate->listeners, candidate->seen.port);
}

/* The container of a process, by its control group. */
static void read_container(pid_t pid, char *ret_name, size_t size)
{
	char path[DBPS_CGROUP_MAX];

	if (dbps_cgroup_of(pid, path) < 0 || !dbps_cgroup_container(path, ret_name, size))
		ret_name[0] = '\0';
}

static int read_candidate(struct dbps_kernel *kernel, pid_t pid, int pidfd,
			  struct candidate *candidate)
{
	char own[sizeof(candidate->container)];
	int r;

	candidate->pid = pid;
	r = dbps_process_name(pid, candidate->executable, sizeof(candidate->executable));
	if (r < 0)
		return r;
	r = dbps_process_listeners(pid, &candidate->listeners);
	if (r < 0)
		return r;
	r = dbps_process_namespace(pid, "net", &candidate->netns);
	if (r < 0)
		return r;
	read_container(pid, candidate->container, sizeof(candidate->container));
	read_container(getpid(), own, sizeof(own));
	if (!strcmp(candidate->container, own))
		candidate->container[0] = '\0';
	if (dbps_kernel_server_get(kernel, pid, &candidate->seen) == 0)
		memcpy(candidate->version, candidate->seen.version,
		       candidate->seen.version_len % sizeof(candidate->version));
	return has_ended(pidfd) ? -ESRCH : 0;
}

/* --- slots --- */

static struct slot *slot_by_name(const struct dbps_registry *registry, const char *name)
{
	for (size_t i = 0; i < registry->n_slots; i++)
		if (strcmp(registry->slots[i]->name, name) == 0)
			return registry->slots[i];
	return NULL;
}

static int add_slot(struct dbps_registry *registry, const char *name, struct slot **ret_slot)
{
	struct slot **slots = realloc(registry->slots, (registry->n_slots + 1) * sizeof(*slots));
	struct slot *slot;

	if (!slots)
		return -ENOMEM;
	registry->slots = slots;
	slot = calloc(1, sizeof(*slot));
	if (!slot)
		return -ENOMEM;
	slot->index = (uint32_t)registry->n_slots;
	snprintf(slot->name, sizeof(slot->name), "%s", name);
	slots[registry->n_slots++] = slot;
	*ret_slot = slot;
	return 0;
}

/* The first of name, name-2, name-3, … that nobody has, or whose server is gone. */
static int take_slot(struct dbps_registry *registry, const struct candidate *candidate,
		     struct slot **ret_slot)
{
	enum dbps_engine engine = dbps_engine_of(candidate->version, candidate->executable);
	char base[56], name[64];
	size_t len;

	dbps_engine_server_name(engine, candidate->executable, &candidate->listeners, base,
				sizeof(base));
	len = strlen(base);
	if (candidate->container[0])
		snprintf(base + len, sizeof(base) - len, "@%s", candidate->container);
	snprintf(name, sizeof(name), "%s", base);
	for (unsigned int k = 2;; k++) {
		struct slot *slot = slot_by_name(registry, name);

		if (!slot)
			return add_slot(registry, name, ret_slot);
		if (!slot->pid) {
			*ret_slot = slot;
			return 0;
		}
		snprintf(name, sizeof(name), "%s-%u", base, k);
	}
}

static void fill_slot(struct slot *slot, struct candidate *candidate)
{
	slot->pid = candidate->pid;
	slot->engine = dbps_engine_of(candidate->version, candidate->executable);
	slot->netns = candidate->netns;
	memcpy(slot->container, candidate->container, sizeof(slot->container));
	snprintf(slot->version, sizeof(slot->version), "%s",
		 dbps_engine_version(candidate->version));
	dbps_listeners_done(&slot->listeners);
	slot->listeners = candidate->listeners;
	candidate->listeners = (struct dbps_listeners){0};
}

/* NULL: it does. */
static const char *why_needs_no_link(enum dbps_engine engine)
{
	if (engine == DBPS_ENGINE_POSTGRES)
		return "not needed: kills are signals to the backend";
	if (engine == DBPS_ENGINE_PGBOUNCER)
		return "not needed: KILL resets the client, KILL QUERY is for the server behind";
	if (engine == DBPS_ENGINE_PROXY)
		return "not for a proxy: KILL resets the client, KILL QUERY is for the server "
		       "behind";
	return NULL;
}

static void open_link(struct dbps_registry *registry, struct slot *slot, uint16_t greeted_port)
{
	struct dbps_registry_options options;
	struct dbps_link_target target = {
		.pid = slot->pid,
		.engine = slot->engine,
		.greeted_port = greeted_port,
		.listeners = &slot->listeners,
	};
	int r;

	if (!registry->link_enabled || why_needs_no_link(slot->engine))
		return;
	snprintf(target.name, sizeof(target.name), "%s", slot->name);
	r = dbps_link_new(registry->kernel, link_options(registry, &options), &target, &slot->link);
	if (r < 0)
		log_errno(r, "%s: control link", slot->name);
}

/* Its TLS library, for the sessions that begin from now on. */
static void open_library(struct dbps_registry *registry, struct slot *slot)
{
	int r;

	r = dbps_kernel_library_open(registry->kernel, slot->pid,
				     slot->engine == DBPS_ENGINE_POSTGRES, &slot->library,
				     slot->tls_text);
	dbps_log(r && r != -ENOENT ? LOG_WARNING : LOG_INFO, "%s: TLS: %s", slot->name,
		 slot->tls_text);
}

static void close_library(struct slot *slot)
{
	dbps_kernel_library_close(slot->library);
	slot->library = NULL;
}

/* --- watches --- */

static struct watch *watch_by_pid(const struct dbps_registry *registry, pid_t pid)
{
	for (size_t i = 0; i < registry->n_watches; i++)
		if (registry->watches[i].pid == pid)
			return &registry->watches[i];
	return NULL;
}

/** @brief Watch a process until it ends. Takes over the descriptor on success. */
static int add_watch(struct dbps_registry *registry, pid_t pid, int *pidfd, struct slot *slot)
{
	struct watch *watches =
		realloc(registry->watches, (registry->n_watches + 1) * sizeof(*watches));
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)pid};

	if (!watches)
		return -ENOMEM;
	registry->watches = watches;
	if (epoll_ctl(registry->epoll_fd, EPOLL_CTL_ADD, *pidfd, &event) < 0)
		return -errno;
	watches[registry->n_watches++] = (struct watch){pid, TAKE_FD(*pidfd), slot};
	return 0;
}

/** @return The link of the server that has ended, for the caller to release without `lock`. */
static struct dbps_link *remove_watch(struct dbps_registry *registry, struct watch *watch)
{
	struct dbps_link *link = NULL;
	struct slot *slot = watch->slot;

	dbps_kernel_server_remove(registry->kernel, watch->pid);
	if (slot) {
		dbps_log(LOG_NOTICE, "%s: process %d has ended", slot->name, slot->pid);
		link = TAKE_PTR(slot->link);
		close_library(slot);
		slot->pid = 0;
	}
	epoll_ctl(registry->epoll_fd, EPOLL_CTL_DEL, watch->pidfd, NULL);
	close(watch->pidfd);
	*watch = registry->watches[--registry->n_watches];
	return link;
}

static struct dbps_link *reap_one(struct dbps_registry *registry, bool *ret_more)
{
	struct epoll_event event;
	struct watch *watch = NULL;
	struct dbps_link *link = NULL;

	pthread_mutex_lock(&registry->lock);
	*ret_more = epoll_wait(registry->epoll_fd, &event, 1, 0) == 1;
	if (*ret_more)
		watch = watch_by_pid(registry, (pid_t)event.data.u64);
	if (watch)
		link = remove_watch(registry, watch);
	pthread_mutex_unlock(&registry->lock);
	return link;
}

void dbps_registry_reap(struct dbps_registry *registry)
{
	bool more = true;

	while (more) {
		struct dbps_link *link = reap_one(registry, &more);

		if (link)
			dbps_link_stop(link);
		dbps_link_unref(link);
	}
}

/* --- registration --- */

/* Tell the kernel side, which then follows the process's sockets. */
static int tell_kernel(struct dbps_kernel *kernel, struct candidate *candidate,
		       enum dbps_server_state state)
{
	candidate->seen.state = state;
	return dbps_kernel_server_add(kernel, candidate->pid, &candidate->seen);
}

static int ignore(struct dbps_registry *registry, struct candidate *candidate, int *pidfd)
{
	if (!candidate->seen.state)
		return 0; /* found by name only: there is nothing to forget later */
	dbps_log(LOG_INFO, "process %d (%s) greeted but is no database server", candidate->pid,
		 candidate->executable);
	tell_kernel(registry->kernel, candidate, DBPS_SERVER_IGNORED);
	return add_watch(registry, candidate->pid, pidfd, NULL);
}

static int register_server(struct dbps_registry *registry, struct candidate *candidate, int *pidfd)
{
	struct slot *slot;
	int r = take_slot(registry, candidate, &slot);

	if (r < 0)
		return r;
	r = add_watch(registry, candidate->pid, pidfd, slot);
	if (r < 0)
		return r;
	fill_slot(slot, candidate);
	open_library(registry, slot);
	candidate->seen.tls_read = slot->library != NULL;
	r = tell_kernel(registry->kernel, candidate, DBPS_SERVER_ADOPTED);
	if (r < 0)
		log_errno(r, "%s: follow process %d", slot->name, slot->pid);
	/* Also for one that has just greeted: sessions may have come before the taps. */
	r = dbps_kernel_join(registry->kernel, candidate->pid);
	if (r < 0)
		log_errno(r, "%s: sessions older than dbps are not followed", slot->name);
	if (slot->engine == DBPS_ENGINE_POSTGRES && r > 0)
		dbps_title_adopt(registry->kernel, slot->pid);
	dbps_log(LOG_NOTICE, "%s: process %d, %d sessions already there", slot->name, slot->pid,
		 r < 0 ? 0 : r);
	open_link(registry, slot, candidate->seen.port);
	return 0;
}

static int look_at_locked(struct dbps_registry *registry, pid_t pid)
{
	_cleanup_(candidate_done) struct candidate candidate = {0};
	_cleanup_close_ int pidfd = -1;
	int r;

	if (watch_by_pid(registry, pid))
		return 0;
	pidfd = pidfd_open_cloexec(pid);
	if (pidfd < 0)
		return pidfd;
	r = read_candidate(registry->kernel, pid, pidfd, &candidate);
	if (r < 0)
		return r;
	if (!is_server(registry, &candidate))
		return ignore(registry, &candidate, &pidfd);
	return register_server(registry, &candidate, &pidfd);
}

static int look_at(struct dbps_registry *registry, pid_t pid)
{
	int r;

	if (pid == getpid())
		return 0; /* own.h */
	dbps_registry_reap(registry);
	pthread_mutex_lock(&registry->lock);
	r = look_at_locked(registry, pid);
	pthread_mutex_unlock(&registry->lock);
	return r;
}

int dbps_registry_greeted(struct dbps_registry *registry, pid_t tgid)
{
	int r = look_at(registry, tgid);

	if (r == -ESRCH || r == -ENOENT)
		dbps_kernel_server_remove(registry->kernel, tgid);
	return r;
}

/* @param netns Look at those in this network namespace only, or at all with 0. */
static void look_at_known_names(struct dbps_registry *registry, DIR *proc, uint32_t netns)
{
	const struct dirent *entry;

	rewinddir(proc);
	while ((entry = readdir(proc))) {
		char name[EXECUTABLE_MAX];
		pid_t pid = (pid_t)atoi(entry->d_name);
		uint32_t its;
		int r;

		if (!isdigit((unsigned char)entry->d_name[0]) ||
		    dbps_process_name(pid, name, sizeof(name)) < 0 ||
		    dbps_engine_of_executable(name) == DBPS_ENGINE_UNKNOWN)
			continue;
		if (netns && (dbps_process_namespace(pid, "net", &its) < 0 || its != netns))
			continue;
		if (why_needs_no_link(dbps_engine_of_executable(name)))
			dbps_kernel_expect_postgres(registry->kernel);
		r = look_at(registry, pid);
		if (r < 0 && r != -ESRCH && r != -ENOENT)
			log_errno(r, "look at process %d (%s)", pid, name);
	}
}

int dbps_registry_scan(struct dbps_registry *registry)
{
	_cleanup_free_ pid_t *seen = NULL;
	size_t n_seen = 0;
	uint32_t netns;
	DIR *proc;
	int r;

	proc = opendir("/proc");
	if (!proc)
		return -errno;
	/* The daemon's own namespace first: its servers get the plain names, those of others whose
	 * container is not known "-2". */
	if (dbps_process_namespace(0, "net", &netns) == 0)
		look_at_known_names(registry, proc, netns);
	look_at_known_names(registry, proc, 0);
	closedir(proc);
	/* Those that greeted while an earlier daemon was there. */
	r = dbps_kernel_servers(registry->kernel, &seen, &n_seen);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n_seen; i++)
		dbps_registry_greeted(registry, seen[i]);
	return 0;
}

/* --- life --- */

int dbps_registry_new(struct dbps_kernel *kernel, const struct dbps_registry_options *options,
		      struct dbps_registry **ret_registry)
{
	struct dbps_registry *registry = calloc(1, sizeof(*registry));
	int r = -ENOMEM;

	if (!registry)
		return -ENOMEM;
	pthread_mutex_init(&registry->lock, NULL);
	registry->kernel = kernel;
	registry->link_enabled = options->link_enabled;
	registry->epoll_fd = -1;
	if (options->link_user && !(registry->link_user = strdup(options->link_user)))
		goto fail;
	if (options->link_option_file &&
	    !(registry->link_option_file = strdup(options->link_option_file)))
		goto fail;
	registry->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	r = -errno;
	if (registry->epoll_fd < 0)
		goto fail;
	mysql_library_init(0, NULL, NULL); /* not thread-safe when it is left to the links */
	*ret_registry = registry;
	return 0;
fail:
	dbps_registry_free(registry);
	return r;
}

void dbps_registry_free(struct dbps_registry *registry)
{
	if (!registry)
		return;
	for (size_t i = 0; i < registry->n_slots; i++) {
		if (registry->slots[i]->link)
			dbps_link_stop(registry->slots[i]->link);
		dbps_link_unref(registry->slots[i]->link);
		close_library(registry->slots[i]);
		dbps_listeners_done(&registry->slots[i]->listeners);
		free(registry->slots[i]);
	}
	for (size_t i = 0; i < registry->n_watches; i++)
		close(registry->watches[i].pidfd);
	if (registry->epoll_fd >= 0)
		close(registry->epoll_fd);
	free(registry->slots);
	free(registry->watches);
	free(registry->link_user);
	free(registry->link_option_file);
	pthread_mutex_destroy(&registry->lock);
	free(registry);
}

int dbps_registry_fd(const struct dbps_registry *registry)
{
	return registry->epoll_fd;
}

/* --- views --- */

/* A server found by its listeners is asked for its version by its first client. */
static void learn_version(struct dbps_registry *registry, struct slot *slot)
{
	struct dbps_server_seen seen;
	char version[DBPS_VERSION_MAX + 1] = "";

	if (slot->version[0] || !slot->pid ||
	    dbps_kernel_server_get(registry->kernel, slot->pid, &seen) < 0)
		return;
	memcpy(version, seen.version, seen.version_len % sizeof(version));
	snprintf(slot->version, sizeof(slot->version), "%s", dbps_engine_version(version));
	if (dbps_engine_of(version, "") != DBPS_ENGINE_UNKNOWN)
		slot->engine = dbps_engine_of(version, "");
}

static const char *why_no_link(const struct slot *slot)
{
	const char *why = why_needs_no_link(slot->engine);

	if (!slot->pid)
		return "the server has gone";
	return why ? why : "switched off";
}

/* Probes say little where a program hands the library the bytes: the kernel has seen whether they
 * met any. */
static void fill_tls(struct dbps_registry *registry, const struct slot *slot,
		     struct dbps_server_view *view)
{
	struct dbps_server_seen seen = {};

	snprintf(view->tls_text, sizeof(view->tls_text), "%s", slot->tls_text);
	if (!slot->library)
		return;
	dbps_kernel_server_get(registry->kernel, slot->pid, &seen);
	view->tls_unread = seen.tls_unread;
	view->tls_read = seen.tls_met || !seen.tls_unread;
}

static void fill_view(struct dbps_registry *registry, struct slot *slot,
		      struct dbps_server_view *view)
{
	*view = (struct dbps_server_view){.index = slot->index, .pid = slot->pid};
	learn_version(registry, slot);
	view->netns = slot->netns;
	memcpy(view->container, slot->container, sizeof(view->container));
	snprintf(view->name, sizeof(view->name), "%s", slot->name);
	snprintf(view->version, sizeof(view->version), "%.63s", slot->version);
	dbps_listeners_format(&slot->listeners, view->addresses, sizeof(view->addresses));
	view->engine = slot->engine;
	fill_tls(registry, slot, view);
	if (slot->link)
		dbps_link_view(slot->link, view);
	else
		snprintf(view->link_text, sizeof(view->link_text), "%s", why_no_link(slot));
}

int dbps_registry_list(struct dbps_registry *registry, struct dbps_server_view **ret_views,
		       size_t *ret_n)
{
	struct dbps_server_view *views;
	size_t n = 0;

	pthread_mutex_lock(&registry->lock);
	views = calloc(registry->n_slots + 1, sizeof(*views));
	for (size_t i = 0; views && i < registry->n_slots; i++)
		if (registry->slots[i]->pid)
			fill_view(registry, registry->slots[i], &views[n++]);
	pthread_mutex_unlock(&registry->lock);
	if (!views)
		return -ENOMEM;
	*ret_views = views;
	*ret_n = n;
	return 0;
}

int dbps_registry_by_pid(struct dbps_registry *registry, pid_t pid, struct dbps_server_view *ret)
{
	struct watch *watch;
	int r = -ENOENT;

	if (pid == getpid()) {
		dbps_own_view(ret);
		return 0;
	}
	pthread_mutex_lock(&registry->lock);
	watch = watch_by_pid(registry, pid);
	if (watch && watch->slot) {
		fill_view(registry, watch->slot, ret);
		r = 0;
	}
	pthread_mutex_unlock(&registry->lock);
	return r;
}

int dbps_registry_by_index(struct dbps_registry *registry, uint32_t index,
			   struct dbps_server_view *ret)
{
	int r = -ENOENT;

	if (index == DBPS_OWN_INDEX) {
		dbps_own_view(ret);
		return 0;
	}
	pthread_mutex_lock(&registry->lock);
	if (index < registry->n_slots) {
		fill_view(registry, registry->slots[index], ret);
		r = 0;
	}
	pthread_mutex_unlock(&registry->lock);
	return r;
}

int dbps_registry_by_name(struct dbps_registry *registry, const char *name,
			  struct dbps_server_view *ret)
{
	struct slot *slot;

	if (strcmp(name, DBPS_OWN_NAME) == 0) {
		dbps_own_view(ret);
		return 0;
	}
	pthread_mutex_lock(&registry->lock);
	slot = slot_by_name(registry, name);
	if (slot)
		fill_view(registry, slot, ret);
	pthread_mutex_unlock(&registry->lock);
	return slot ? 0 : -ENOENT;
}

/* --- links --- */

/* A reference to a server's link, so that it is used without `lock`. */
static int get_link(struct dbps_registry *registry, uint32_t server, struct dbps_link **ret_link,
		    struct dbps_link_error *ret_error)
{
	struct slot *slot = NULL;
	struct dbps_link *link = NULL;

	ret_error->code = 0;
	pthread_mutex_lock(&registry->lock);
	if (server < registry->n_slots)
		slot = registry->slots[server];
	if (slot && slot->link)
		link = dbps_link_ref(slot->link);
	else if (slot && slot->pid && why_needs_no_link(slot->engine))
		snprintf(ret_error->text, sizeof(ret_error->text),
			 "a server of the engine %s has none", dbps_engine_name(slot->engine));
	else
		snprintf(ret_error->text, sizeof(ret_error->text), "%s",
			 registry->link_enabled ? "the server has gone" : "switched off");
	pthread_mutex_unlock(&registry->lock);
	if (!link)
		return -ENOTCONN;
	*ret_link = link;
	return 0;
}

static void unref_link(struct dbps_link **link)
{
	dbps_link_unref(*link);
}

int dbps_link_ping(struct dbps_registry *registry, uint32_t server, int timeout_ms,
		   struct dbps_link_error *ret_error)
{
	_cleanup_(unref_link) struct dbps_link *link = NULL;
	int r = get_link(registry, server, &link, ret_error);

	return r < 0 ? r : dbps_link_use_ping(link, timeout_ms, ret_error);
}

int dbps_link_query_id(struct dbps_registry *registry, uint32_t server, uint64_t id, int timeout_ms,
		       uint64_t *ret_query_id, bool *ret_killed, struct dbps_link_error *ret_error)
{
	_cleanup_(unref_link) struct dbps_link *link = NULL;
	int r = get_link(registry, server, &link, ret_error);

	return r < 0 ? r
		     : dbps_link_use_query_id(link, id, timeout_ms, ret_query_id, ret_killed,
					      ret_error);
}

int dbps_link_query_ids(struct dbps_registry *registry, uint32_t server, const uint64_t *ids,
			size_t n, int timeout_ms, uint64_t *ret_query_ids,
			struct dbps_link_error *ret_error)
{
	_cleanup_(unref_link) struct dbps_link *link = NULL;
	int r = get_link(registry, server, &link, ret_error);

	return r < 0 ? r
		     : dbps_link_use_query_ids(link, ids, n, timeout_ms, ret_query_ids, ret_error);
}

int dbps_link_find_query(struct dbps_registry *registry, uint32_t server, uint64_t query_id,
			 int timeout_ms, uint64_t *ret_id, struct dbps_link_error *ret_error)
{
	_cleanup_(unref_link) struct dbps_link *link = NULL;
	int r = get_link(registry, server, &link, ret_error);

	return r < 0 ? r : dbps_link_use_find_query(link, query_id, timeout_ms, ret_id, ret_error);
}

int dbps_link_kill(struct dbps_registry *registry, uint32_t server, const char *what, uint64_t id,
		   int timeout_ms, struct dbps_link_error *ret_error)
{
	_cleanup_(unref_link) struct dbps_link *link = NULL;
	int r = get_link(registry, server, &link, ret_error);

	return r < 0 ? r : dbps_link_use_kill(link, what, id, timeout_ms, ret_error);
}

int dbps_link_adopt(struct dbps_registry *registry, uint32_t server, int timeout_ms,
		    struct dbps_link_error *ret_error)
{
	_cleanup_(unref_link) struct dbps_link *link = NULL;
	int r = get_link(registry, server, &link, ret_error);

	return r < 0 ? r : dbps_link_use_adopt(link, timeout_ms, ret_error);
}

int dbps_link_limits(struct dbps_registry *registry, uint32_t server, int timeout_ms,
		     struct dbps_server_limits *ret_limits, struct dbps_link_error *ret_error)
{
	_cleanup_(unref_link) struct dbps_link *link = NULL;
	int r = get_link(registry, server, &link, ret_error);

	return r < 0 ? r : dbps_link_use_limits(link, timeout_ms, ret_limits, ret_error);
}
