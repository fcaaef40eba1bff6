/*
 * The console's socket and its threads. Numbered invariants:
 *
 * 1. A connection is in the list from before its thread starts until the thread takes it out and
 *    closes its descriptor, both under the lock: who holds the lock may shut down any in the list.
 * 2. A thread that ends joins the one that ended before it, and leaves itself to the next: at most
 *    one ended thread is not joined, whatever the number of connections was.
 * 3. Accepting never blocks: no name service is asked there, no byte waited for.
 */
#include "daemon/console.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "cleanup.h"
#include "daemon/daemon.h"
#include "daemon/listener.h"
#include "log/log.h"
#include "mysql/result.h"
#include "sql/connection.h"

#define STACK_BYTES (256 << 10)

struct client {
	struct client *next;
	struct dbps_console *console;
	int fd;
	struct sql_connection connection;
};

struct dbps_console {
	const struct dbps_daemon *daemon;
	struct dbps_listener listener;
	int spare_fd; /* given up to accept and refuse when there are no descriptors left */
	uint32_t last_id;
	struct sql_counters counters;
	pthread_attr_t thread_attr;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t ended; /* a client left the list */
	struct client *clients;
	pthread_t unjoined;
	bool has_unjoined;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int open_spare(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

int dbps_console_new(struct dbps_daemon *daemon, struct dbps_console **ret_console)
{
	struct dbps_console *console = calloc(1, sizeof(*console));
	int r;

	if (!console)
		return -ENOMEM;
	console->daemon = daemon;
	console->listener.fd = -1;
	console->spare_fd = open_spare();
	console->counters.started_ns = now_ns();
	pthread_mutex_init(&console->lock, NULL);
	pthread_cond_init(&console->ended, NULL);
	pthread_attr_init(&console->thread_attr);
	pthread_attr_setstacksize(&console->thread_attr, STACK_BYTES);
	r = dbps_listener_open(daemon->config.socket, SOCK_STREAM, &console->listener);
	if (r) {
		dbps_console_free(console);
		return r;
	}
	*ret_console = console;
	return 0;
}

int dbps_console_fd(const struct dbps_console *console)
{
	return console->listener.fd;
}

static void unlist(struct dbps_console *console, const struct client *client)
{
	struct client **at = &console->clients;

	while (*at != client)
		at = &(*at)->next;
	*at = client->next;
	atomic_fetch_sub(&console->counters.live, 1);
	pthread_cond_signal(&console->ended);
}

static void *serve_client(void *data)
{
	struct client *client = data;
	struct dbps_console *console = client->console;
	pthread_t before;
	bool has_before;

	pthread_setname_np(pthread_self(), "console");
	sql_serve(&client->connection, client->fd);
	pthread_mutex_lock(&console->lock);
	has_before = console->has_unjoined;
	before = console->unjoined;
	console->unjoined = pthread_self();
	console->has_unjoined = true;
	close(client->fd);
	unlist(console, client);
	pthread_mutex_unlock(&console->lock);
	free(client);
	if (has_before)
		pthread_join(before, NULL);
	return NULL;
}

/* An error in place of the greeting; a socket that was just accepted has room for it. */
static void refuse(struct dbps_console *console, int fd, const char *text)
{
	_cleanup_(wire_writer_done) struct wire_writer writer = {0};

	atomic_fetch_add(&console->counters.refused, 1);
	wire_error(&writer, ER_CON_COUNT_ERROR, wire_sqlstate(ER_CON_COUNT_ERROR), text);
	if (!writer.error && send(fd, writer.bytes, writer.len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		dbps_log(LOG_DEBUG, "console: a refused client has gone already");
}

static bool is_root(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) && peer.uid == 0;
}

/* One more than the cap is root's, so that it gets in when a monitor has leaked all the others. */
static bool is_full(const struct dbps_console *console, int fd)
{
	unsigned int live = atomic_load(&console->counters.live);
	unsigned int cap = console->daemon->config.max_connections;

	return live > cap || (live == cap && !is_root(fd));
}

static int start_client(struct dbps_console *console, int fd)
{
	struct client *client = calloc(1, sizeof(*client));
	pthread_t thread;
	int r;

	if (!client)
		return -ENOMEM;
	client->console = console;
	client->fd = fd;
	client->connection.daemon = console->daemon;
	client->connection.counters = &console->counters;
	client->connection.id = DBPS_ID_CONSOLE | (++console->last_id & ~DBPS_ID_CONSOLE);
	pthread_mutex_lock(&console->lock);
	client->next = console->clients;
	console->clients = client;
	atomic_fetch_add(&console->counters.live, 1);
	atomic_fetch_add(&console->counters.connections, 1);
	r = -pthread_create(&thread, &console->thread_attr, serve_client, client);
	if (r)
		unlist(console, client);
	pthread_mutex_unlock(&console->lock);
	if (r)
		free(client);
	return r;
}

/* Without descriptors the queue would stay readable for ever: give one up, to say so and close. */
static void accept_with_spare(struct dbps_console *console)
{
	int fd;

	if (console->spare_fd < 0)
		return;
	close(console->spare_fd);
	fd = accept4(console->listener.fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0) {
		refuse(console, fd, "Too many connections: no file descriptors left");
		close(fd);
	}
	console->spare_fd = open_spare();
}

void dbps_console_accept(struct dbps_console *console)
{
	_cleanup_close_ int fd = accept4(console->listener.fd, NULL, NULL, SOCK_CLOEXEC);
	int r;

	if (fd < 0 && (errno == EMFILE || errno == ENFILE))
		accept_with_spare(console);
	if (fd < 0)
		return;
	if (is_full(console, fd)) {
		refuse(console, fd, "Too many connections");
		return;
	}
	r = start_client(console, fd);
	if (r) {
		log_errno(r, "start a console connection");
		refuse(console, fd, "Too many connections: no thread can be started");
		return;
	}
	(void)TAKE_FD(fd);
}

static void end_clients(struct dbps_console *console)
{
	pthread_mutex_lock(&console->lock);
	for (struct client *client = console->clients; client; client = client->next)
		shutdown(client->fd, SHUT_RDWR);
	while (console->clients)
		pthread_cond_wait(&console->ended, &console->lock);
	pthread_mutex_unlock(&console->lock);
	if (console->has_unjoined)
		pthread_join(console->unjoined, NULL);
}

void dbps_console_free(struct dbps_console *console)
{
	if (!console)
		return;
	dbps_listener_close(&console->listener);
	end_clients(console);
	if (console->spare_fd >= 0)
		close(console->spare_fd);
	pthread_attr_destroy(&console->thread_attr);
	pthread_cond_destroy(&console->ended);
	pthread_mutex_destroy(&console->lock);
	free(console);
}
