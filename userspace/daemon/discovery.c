#include "daemon/discovery.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "cleanup.h"
#include "daemon/daemon.h"
#include "kernel/kernel.h"
#include "log/log.h"
#include "server/registry.h"

struct dbps_discovery {
	struct dbps_daemon *daemon;
	int stop_fd;
	pthread_t thread;
	bool has_thread;
};

static void on_server(pid_t tgid, void *data)
{
	struct dbps_daemon *daemon = data;
	int r = dbps_registry_greeted(daemon->registry, tgid);

	if (r < 0)
		dbps_log(LOG_INFO, "process %d greeted, but is no server: %s", tgid, strerror(-r));
}

static int find_servers(struct dbps_daemon *daemon)
{
	_cleanup_free_ pid_t *tgids = NULL;
	size_t n = 0;
	int r = dbps_kernel_servers(daemon->kernel, &tgids, &n);

	if (r)
		return r;
	for (size_t i = 0; i < n; i++) {
		if (tgids[i] != getpid())
			on_server(tgids[i], daemon);
	}
	return dbps_registry_scan(daemon->registry);
}

static void *discover(void *data)
{
	struct dbps_discovery *discovery = data;
	struct dbps_daemon *daemon = discovery->daemon;
	struct pollfd fds[] = {
		{.fd = discovery->stop_fd, .events = POLLIN},
		{.fd = dbps_kernel_event_fd(daemon->kernel), .events = POLLIN},
		{.fd = dbps_registry_fd(daemon->registry), .events = POLLIN},
	};

	pthread_setname_np(pthread_self(), "discovery");
	for (;;) {
		if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR) {
			log_errno(-errno, "poll for servers");
			return NULL;
		}
		if (fds[0].revents)
			return NULL;
		if (fds[1].revents)
			dbps_kernel_events(daemon->kernel, on_server, daemon);
		if (fds[2].revents)
			dbps_registry_reap(daemon->registry);
	}
}

int dbps_discovery_new(struct dbps_daemon *daemon, struct dbps_discovery **ret_discovery)
{
	struct dbps_discovery *discovery = calloc(1, sizeof(*discovery));
	int r;

	if (!discovery)
		return -ENOMEM;
	discovery->daemon = daemon;
	discovery->stop_fd = eventfd(0, EFD_CLOEXEC);
	r = discovery->stop_fd < 0 ? -errno : find_servers(daemon);
	if (r >= 0)
		r = -pthread_create(&discovery->thread, NULL, discover, discovery);
	discovery->has_thread = r == 0;
	if (r < 0) {
		dbps_discovery_free(discovery);
		return r;
	}
	*ret_discovery = discovery;
	return 0;
}

void dbps_discovery_free(struct dbps_discovery *discovery)
{
	if (!discovery)
		return;
	if (discovery->has_thread) {
		eventfd_write(discovery->stop_fd, 1);
		pthread_join(discovery->thread, NULL);
	}
	if (discovery->stop_fd >= 0)
		close(discovery->stop_fd);
	free(discovery);
}
