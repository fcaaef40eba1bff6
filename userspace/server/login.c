/*
 * The ways to a server, one after the other: as the socket's own user over Unix sockets first, then
 * with the option file, also over TCP. What answers has to be the server itself, and to know the
 * user.
 */
#include "login.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "client.h"

#define OPEN_TIMEOUT_NS 3000000000ull

static bool is_called_off(const struct dbps_login *to)
{
	struct pollfd p = {.fd = to->stop_fd, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

/*
 * The socket as the server's own mount namespace and root directory have it, opened by path only:
 * connecting to /proc/self/fd/N then reaches it, however long the path is and whatever links it
 * has.
 */
static int open_socket_path(pid_t pid, const char *path)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC};
	_cleanup_close_ int base = -1;
	char dir[64];
	long fd;

	if (path[0] == '/')
		how.resolve = RESOLVE_IN_ROOT;
	snprintf(dir, sizeof(dir), "/proc/%d/%s", pid, path[0] == '/' ? "root" : "cwd");
	base = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (base < 0)
		return -errno;
	fd = syscall(SYS_openat2, base, path, &how, sizeof(how));
	return fd < 0 ? -errno : (int)fd;
}

/* 1: the listener belongs to systemd and was handed over (socket activation). */
static bool is_server(const struct dbps_login *to, int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return false;
	return peer.pid == to->pid || peer.pid == 1;
}

static int open_unix(const struct dbps_login *to, const struct dbps_listener *listener,
		     struct dbps_client_target *target, struct dbps_client **ret_client,
		     struct dbps_link_error *error)
{
	_cleanup_close_ int path_fd = -1;
	struct dbps_client *client = NULL;
	char path[sizeof(listener->path)];
	int r;

	snprintf(path, sizeof(path), "%s", listener->path);
	if (path[0] != '@') {
		path_fd = open_socket_path(to->pid, listener->path);
		if (path_fd < 0) {
			snprintf(error->text, sizeof(error->text), "%s", strerror(-path_fd));
			return path_fd;
		}
		snprintf(path, sizeof(path), "/proc/self/fd/%d", path_fd);
	}
	target->socket = path;
	/* The option file is this root's to read, and names a user with a password. */
	target->uid = target->option_file ? 0 : dbps_process_root(to->pid);
	r = dbps_client_open(target, to->stop_fd, dbps_clock_ns() + OPEN_TIMEOUT_NS, &client,
			     error);
	target->socket = NULL;
	if (r == 0 && !is_server(to, dbps_client_fd(client))) {
		dbps_client_close(client);
		snprintf(error->text, sizeof(error->text), "another process answers there");
		return -ESTALE;
	}
	if (r == 0)
		*ret_client = client;
	return r;
}

static bool is_unspecified(const struct dbps_listener *listener)
{
	static const uint8_t zero[16];

	return memcmp(listener->addr, zero, sizeof(zero)) == 0;
}

static int open_address(const struct dbps_login *to, const char *address, uint16_t port,
			struct dbps_client_target *target, struct dbps_client **ret_client,
			struct dbps_link_error *error)
{
	int r;

	target->host = address;
	target->port = port;
	r = dbps_client_open(target, to->stop_fd, dbps_clock_ns() + OPEN_TIMEOUT_NS, ret_client,
			     error);
	target->host = NULL;
	return r;
}

/*
 * From inside the server's network namespace. A listener on [::] may take IPv4 too, and accounts
 * are made for 127.0.0.1 rather than for ::1.
 */
static int open_tcp(const struct dbps_login *to, const struct dbps_listener *listener,
		    struct dbps_client_target *target, struct dbps_client **ret_client,
		    struct dbps_link_error *error)
{
	int family = listener->family == DBPS_FAMILY_INET6 ? AF_INET6 : AF_INET;
	char address[INET6_ADDRSTRLEN] = "127.0.0.1";
	int r;

	if (!is_unspecified(listener))
		inet_ntop(family, listener->addr, address, sizeof(address));
	r = open_address(to, address, listener->port, target, ret_client, error);
	if (r == -EIO && family == AF_INET6 && is_unspecified(listener))
		r = open_address(to, "::1", listener->port, target, ret_client, error);
	return r;
}

static void describe(const struct dbps_login *to, const struct dbps_listener *listener,
		     const char *before, const char *after, char *buf, size_t size)
{
	struct dbps_listeners one = {1, (struct dbps_listener *)listener};
	char where[128];

	dbps_listeners_format(&one, where, sizeof(where));
	snprintf(buf, size, "%.80s over %s%s%.120s", before ? before : to->user, where,
		 after ? ": " : "", after ? after : "");
}

/*
 * Where an account without a name exists, any user without an account of its own becomes that one,
 * which can do nothing: no link. Engines that do not tell are taken at their word.
 */
static int refuse_anonymous(const struct dbps_login *to, struct dbps_client **client,
			    struct dbps_link_error *error)
{
	MYSQL_RES *result = NULL;
	struct dbps_link_error ignored;
	bool anonymous = false;
	MYSQL_ROW row;

	if (dbps_client_query(*client, "SELECT CURRENT_USER()", dbps_clock_ns() + OPEN_TIMEOUT_NS,
			      &result, &ignored) == 0 &&
	    result) {
		row = mysql_fetch_row(result);
		anonymous = row && row[0] && row[0][0] == '@';
		mysql_free_result(result);
	}
	if (!anonymous)
		return is_called_off(to) ? -ECANCELED : 0;
	dbps_client_close(TAKE_PTR(*client));
	snprintf(error->text, sizeof(error->text), "the server knows only an anonymous user");
	return -EACCES;
}

/* The port that the other end of a connection knows the client by; 0: of a Unix socket. */
static unsigned int local_port(int fd)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} own = {0};
	socklen_t len = sizeof(own);

	if (getsockname(fd, &own.any, &len) < 0)
		return 0;
	if (own.any.sa_family == AF_INET6)
		return ntohs(own.v6.sin6_port);
	return own.any.sa_family == AF_INET ? ntohs(own.v4.sin_port) : 0;
}

/*
 * A program that passes on what it is sent, to one server or another: the ids of its sessions are
 * not those that this connection ends up among, so that a kill would hit a stranger. The server at
 * the end has another client's port for it. One that does not tell is taken at its word.
 */
static int refuse_relay(const struct dbps_login *to, struct dbps_client **client,
			struct dbps_link_error *error)
{
	unsigned int own = local_port(dbps_client_fd(*client)), told = own;
	struct dbps_link_error ignored;
	MYSQL_RES *result = NULL;
	const char *port;
	MYSQL_ROW row;

	if (dbps_client_query(*client,
			      "SELECT HOST FROM information_schema.PROCESSLIST"
			      " WHERE ID = CONNECTION_ID()",
			      dbps_clock_ns() + OPEN_TIMEOUT_NS, &result, &ignored) == 0 &&
	    result) {
		row = mysql_fetch_row(result);
		port = row && row[0] ? strrchr(row[0], ':') : NULL;
		if (port)
			told = (unsigned int)strtoul(port + 1, NULL, 10);
		mysql_free_result(result);
	}
	if (told == own)
		return is_called_off(to) ? -ECANCELED : 0;
	dbps_client_close(TAKE_PTR(*client));
	snprintf(error->text, sizeof(error->text), "it is a proxy: another process is the server");
	return -ESTALE;
}

/* The group of the option file for this server: its own, [dbps-NAME], where there is one. */
static const char *option_group(const struct dbps_login *to, const char *option_file,
				char group[static sizeof("dbps-") + sizeof(to->name)])
{
	_cleanup_fclose_ FILE *file = option_file ? fopen(option_file, "re") : NULL;
	char line[256], wanted[sizeof("[dbps-]") + sizeof(to->name)];

	snprintf(wanted, sizeof(wanted), "[dbps-%s]", to->name);
	while (file && fgets(line, sizeof(line), file)) {
		const char *at = line + strspn(line, " \t");

		if (strncmp(at, wanted, strlen(wanted)) != 0)
			continue;
		sprintf(group, "dbps-%s", to->name);
		return group;
	}
	return "dbps";
}

/* One way to log in. On success the link's text says which, on failure why not. */
static int attempt(const struct dbps_login *to, const struct dbps_listener *listener,
		   const char *option_file, struct dbps_client **ret_client, char *text,
		   size_t size)
{
	char group[sizeof("dbps-") + sizeof(to->name)];
	struct dbps_client_target target = {.option_file = option_file,
					    .user = option_file ? NULL : to->user,
					    .group = option_group(to, option_file, group)};
	struct dbps_link_error error = {0};
	struct dbps_client *client = NULL;
	int r;

	if (listener->family == DBPS_FAMILY_UNIX)
		r = open_unix(to, listener, &target, &client, &error);
	else
		r = open_tcp(to, listener, &target, &client, &error);
	if (r == 0)
		r = refuse_anonymous(to, &client, &error);
	if (r == 0)
		r = refuse_relay(to, &client, &error);
	if (r < 0) {
		dbps_client_close(client);
		describe(to, listener, option_file ? option_file : NULL, error.text, text, size);
		return r;
	}
	describe(to, listener, dbps_client_user(client), NULL, text, size);
	*ret_client = client;
	return 0;
}

static bool is_candidate(const struct dbps_login *to, const struct dbps_listener *listener,
			 bool with_file)
{
	if (listener->family == DBPS_FAMILY_UNIX)
		return true;
	/* Over TCP only with the option file, and only where it speaks the protocol. */
	return with_file && (listener->port == to->greeted_port ||
			     (!to->greeted_port && listener->port == to->listeners.at[0].port));
}

static int open_each(const struct dbps_login *to, const char *option_file,
		     struct dbps_client **ret_client, char *text, size_t size)
{
	int r = -ENOENT;

	for (size_t i = 0; i < to->listeners.n; i++) {
		if (!is_candidate(to, &to->listeners.at[i], option_file))
			continue;
		r = attempt(to, &to->listeners.at[i], option_file, ret_client, text, size);
		if (r == 0 || r == -ECANCELED)
			return r;
	}
	return r;
}

int dbps_login_open(const struct dbps_login *to, struct dbps_client **ret_client, char *text,
		    size_t size)
{
	int r;

	snprintf(text, size, "no Unix socket to reach it by, and no option file");
	r = open_each(to, NULL, ret_client, text, size);
	if (r == 0 || r == -ECANCELED || !to->option_file)
		return r;
	return open_each(to, to->option_file, ret_client, text, size);
}

static int copy_listeners(struct dbps_listeners *to, const struct dbps_listeners *from)
{
	to->at = calloc(from->n + 1, sizeof(*to->at));
	if (!to->at)
		return -ENOMEM;
	memcpy(to->at, from->at, from->n * sizeof(*to->at));
	to->n = from->n;
	return 0;
}

int dbps_login_init(struct dbps_login *to, const struct dbps_registry_options *options,
		    const struct dbps_link_target *target, int stop_fd)
{
	to->pid = target->pid;
	to->greeted_port = target->greeted_port;
	to->stop_fd = stop_fd;
	snprintf(to->name, sizeof(to->name), "%s", target->name);
	to->user = strdup(options->link_user ? options->link_user : "root");
	if (options->link_option_file)
		to->option_file = strdup(options->link_option_file);
	if (!to->user || (options->link_option_file && !to->option_file))
		return -ENOMEM;
	return copy_listeners(&to->listeners, target->listeners);
}

void dbps_login_done(struct dbps_login *to)
{
	dbps_listeners_done(&to->listeners);
	free(to->user);
	free(to->option_file);
}
