/*
 * Readers of /proc. Each looks at one process at one moment: callers hold a pidfd where it matters
 * that the process number still means the same process.
 */
#include "process.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "cleanup.h"

#ifndef SO_COOKIE
#define SO_COOKIE 57
#endif

#define TCP_STATE_LISTEN    0x0A
#define UNIX_FLAG_ACCEPTCON 0x10000

static void closedir_p(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

void dbps_listeners_done(struct dbps_listeners *listeners)
{
	free(listeners->at);
	*listeners = (struct dbps_listeners){0};
}

/*
 * Addresses are printed as native 32-bit numbers of what lies in memory in network order: reading
 * the number back and copying its bytes gives network order on either byte order.
 */
static bool parse_address(const char *hex, size_t n_words, uint8_t ret_addr[16])
{
	uint8_t addr[16] = {0};

	if (strlen(hex) != n_words * 8)
		return false;
	for (size_t i = 0; i < n_words; i++) {
		uint32_t word;

		if (sscanf(hex + i * 8, "%8x", &word) != 1)
			return false;
		memcpy(addr + i * 4, &word, 4);
	}
	memcpy(ret_addr, addr, sizeof(addr));
	return true;
}

bool dbps_listener_parse_tcp(const char *line, bool v6, struct dbps_listener *ret)
{
	struct dbps_listener found = {.family = v6 ? DBPS_FAMILY_INET6 : DBPS_FAMILY_INET};
	char address[33];
	unsigned int port, state;

	if (sscanf(line,
		   " %*u: %32[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*x:%*x %*x:%*x %*x %*u %*u %u",
		   address, &port, &state, &found.inode) != 4)
		return false;
	if (state != TCP_STATE_LISTEN || port == 0 || port > 65535)
		return false;
	if (!parse_address(address, v6 ? 4 : 1, found.addr))
		return false;
	found.port = (uint16_t)port;
	*ret = found;
	return true;
}

bool dbps_listener_parse_unix(const char *line, struct dbps_listener *ret)
{
	struct dbps_listener found = {.family = DBPS_FAMILY_UNIX};
	unsigned int flags, type;
	int path_at = 0;

	if (sscanf(line, "%*[0-9A-Fa-f]: %*x %*x %x %x %*x %u %n", &flags, &type, &found.inode,
		   &path_at) < 3)
		return false;
	if (!(flags & UNIX_FLAG_ACCEPTCON) || type != SOCK_STREAM || path_at == 0)
		return false;
	snprintf(found.path, sizeof(found.path), "%s", line + path_at);
	found.path[strcspn(found.path, "\n")] = '\0';
	if (found.path[0] == '\0')
		return false;
	*ret = found;
	return true;
}

static bool parse_line(const char *file, const char *line, struct dbps_listener *ret)
{
	if (strcmp(file, "unix") == 0)
		return dbps_listener_parse_unix(line, ret);
	return dbps_listener_parse_tcp(line, strcmp(file, "tcp6") == 0, ret);
}

static int add_listener(struct dbps_listeners *listeners, const struct dbps_listener *listener)
{
	struct dbps_listener *at =
		realloc(listeners->at, (listeners->n + 1) * sizeof(*listeners->at));

	if (!at)
		return -ENOMEM;
	listeners->at = at;
	listeners->at[listeners->n++] = *listener;
	return 0;
}

/* All listeners of the process's network namespace that a file of /proc/PID/net names. */
static int read_namespace(pid_t pid, const char *file, struct dbps_listeners *listeners)
{
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	char path[64];
	int r = 0;

	snprintf(path, sizeof(path), "/proc/%d/net/%s", pid, file);
	f = fopen(path, "re");
	if (!f)
		return errno == ENOENT && strcmp(file, "tcp6") == 0 ? 0 : -errno;
	while (r == 0 && getline(&line, &size, f) >= 0) {
		struct dbps_listener listener;

		if (parse_line(file, line, &listener))
			r = add_listener(listeners, &listener);
	}
	return r;
}

/** @return The socket's inode, or 0 when the link is of something else. */
static uint32_t socket_inode(int dir_fd, const char *name)
{
	char target[64];
	ssize_t len = readlinkat(dir_fd, name, target, sizeof(target) - 1);
	uint32_t inode;

	if (len < 0)
		return 0;
	target[len] = '\0';
	return sscanf(target, "socket:[%u]", &inode) == 1 ? inode : 0;
}

static int open_fds(pid_t pid, DIR **ret_dir)
{
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	if (!dir)
		return -errno;
	*ret_dir = dir;
	return 0;
}

/* Keep the listeners that the process holds a descriptor of, each once. */
static int keep_held(pid_t pid, struct dbps_listeners *listeners)
{
	_cleanup_(closedir_p) DIR *dir = NULL;
	const struct dirent *entry;
	size_t n_held = 0;
	int r = open_fds(pid, &dir);

	if (r < 0)
		return r;
	while (n_held < listeners->n && (entry = readdir(dir))) {
		uint32_t inode = socket_inode(dirfd(dir), entry->d_name);

		for (size_t i = n_held; inode && i < listeners->n; i++) {
			struct dbps_listener held = listeners->at[i];

			if (held.inode != inode)
				continue;
			listeners->at[i] = listeners->at[n_held];
			listeners->at[n_held++] = held;
			break;
		}
	}
	listeners->n = n_held;
	return 0;
}

static int compare_listeners(const void *a, const void *b)
{
	const struct dbps_listener *x = a, *y = b;

	if ((x->family == DBPS_FAMILY_UNIX) != (y->family == DBPS_FAMILY_UNIX))
		return x->family == DBPS_FAMILY_UNIX ? 1 : -1;
	if (x->port != y->port)
		return x->port < y->port ? -1 : 1;
	if (x->family != y->family)
		return x->family < y->family ? -1 : 1;
	return strcmp(x->path, y->path);
}

int dbps_process_listeners(pid_t pid, struct dbps_listeners *ret_listeners)
{
	static const char *const files[] = {"tcp", "tcp6", "unix"};
	_cleanup_(dbps_listeners_done) struct dbps_listeners listeners = {0};
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		r = read_namespace(pid, files[i], &listeners);
		if (r < 0)
			return r;
	}
	r = keep_held(pid, &listeners);
	if (r < 0)
		return r;
	if (listeners.n)
		qsort(listeners.at, listeners.n, sizeof(*listeners.at), compare_listeners);
	*ret_listeners = listeners;
	listeners = (struct dbps_listeners){0};
	return 0;
}

static void format_listener(const struct dbps_listener *listener, char *buf, size_t size)
{
	char address[INET6_ADDRSTRLEN];

	if (listener->family == DBPS_FAMILY_UNIX) {
		snprintf(buf, size, "%s", listener->path);
		return;
	}
	inet_ntop(listener->family == DBPS_FAMILY_INET6 ? AF_INET6 : AF_INET, listener->addr,
		  address, sizeof(address));
	snprintf(buf, size, listener->family == DBPS_FAMILY_INET6 ? "[%s]:%u" : "%s:%u", address,
		 listener->port);
}

void dbps_listeners_format(const struct dbps_listeners *listeners, char *buf, size_t size)
{
	size_t len = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < listeners->n; i++) {
		char one[sizeof(listeners->at[i].path)];

		format_listener(&listeners->at[i], one, sizeof(one));
		if (len + strlen(one) + 2 > size)
			return;
		len += (size_t)sprintf(buf + len, "%s%s", i ? " " : "", one);
	}
}

static int read_command_name(pid_t pid, char *ret_name, size_t size)
{
	_cleanup_close_ int fd = -1;
	char path[64], name[32];
	ssize_t len;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	len = read(fd, name, sizeof(name) - 1);
	if (len < 0)
		return -errno;
	name[len] = '\0';
	name[strcspn(name, "\n")] = '\0';
	snprintf(ret_name, size, "%s", name);
	return 0;
}

int dbps_process_name(pid_t pid, char *ret_name, size_t size)
{
	static const char deleted[] = " (deleted)"; /* the package was upgraded under the server */
	char path[64], target[4096], *name;
	ssize_t len;

	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	len = readlink(path, target, sizeof(target) - 1);
	if (len < 0)
		return errno == EACCES || errno == EPERM ? read_command_name(pid, ret_name, size)
							 : -errno;
	target[len] = '\0';
	if ((size_t)len > strlen(deleted) && strcmp(target + len - strlen(deleted), deleted) == 0)
		target[(size_t)len - strlen(deleted)] = '\0';
	name = strrchr(target, '/');
	snprintf(ret_name, size, "%s", name ? name + 1 : target);
	return 0;
}

int dbps_process_namespace(pid_t pid, const char *name, uint32_t *ret_inode)
{
	struct stat st;
	char path[64];

	if (pid)
		snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, name);
	else
		snprintf(path, sizeof(path), "/proc/thread-self/ns/%s", name);
	if (stat(path, &st) < 0)
		return -errno;
	*ret_inode = (uint32_t)st.st_ino;
	return 0;
}

/* user_namespaces(7): "inside outside length" a line; outside is -1 where it is nobody here. */
uid_t dbps_process_root(pid_t pid)
{
	_cleanup_fclose_ FILE *f = NULL;
	uint32_t inside, outside, n;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/uid_map", pid);
	f = fopen(path, "re");
	while (f && fscanf(f, "%u %u %u", &inside, &outside, &n) == 3)
		if (!inside)
			return outside == UINT32_MAX ? 0 : outside;
	return 0;
}

bool dbps_process_stopped(pid_t pid)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[64], line[512];
	const char *end;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (!f || !fgets(line, sizeof(line), f))
		return false;
	end = strrchr(line, ')'); /* a command name may contain anything */
	return end && (strncmp(end, ") T", 3) == 0 || strncmp(end, ") t", 3) == 0);
}

int dbps_process_socket_fd(pid_t pid, uint32_t inode)
{
	_cleanup_(closedir_p) DIR *dir = NULL;
	const struct dirent *entry;
	int r = open_fds(pid, &dir);

	if (r < 0)
		return r;
	while ((entry = readdir(dir)))
		if (inode && socket_inode(dirfd(dir), entry->d_name) == inode)
			return atoi(entry->d_name);
	return -ENOENT;
}

static int check_cookie(int fd, uint64_t wanted)
{
	uint64_t cookie;
	socklen_t len = sizeof(cookie);

	if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) < 0)
		return errno == ENOTSOCK ? -ESTALE : -errno;
	return cookie == wanted ? 0 : -ESTALE;
}

int dbps_process_socket_copy(pid_t pid, int fd, uint64_t cookie)
{
	_cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), copy = -1;
	int r;

	if (pidfd < 0)
		return errno == ESRCH ? -ESTALE : -errno;
	copy = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0); /* close-on-exec by itself */
	if (copy < 0)
		return errno == EBADF || errno == ESRCH ? -ESTALE : -errno;
	r = check_cookie(copy, cookie);
	return r < 0 ? r : TAKE_FD(copy);
}

/* Read the system call that a thread is in: its number and its first two arguments. */
static int read_syscall(pid_t pid, pid_t tid, long *ret_number, unsigned long *ret_args)
{
	_cleanup_fclose_ FILE *f = NULL;
	unsigned long args[2];
	char path[64];
	long number;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", pid, tid);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	if (fscanf(f, "%ld %lx %lx", &number, &args[0], &args[1]) != 3)
		return -ENODATA; /* "running" */
	*ret_number = number;
	memcpy(ret_args, args, sizeof(args));
	return 0;
}

/*
 * A poll() that was interrupted by a stop and continued is a restart_syscall() with the same
 * arguments. Of the calls that are restarted so, only poll() can have 1 as its second argument
 * (futex(2) waits have another operation there, nanosleep(2) an address, clock_nanosleep(2) no
 * flags).
 */
static bool is_poll_of_one(long number, const unsigned long args[2])
{
	if (args[1] != 1)
		return false;
#ifdef SYS_poll
	if (number == SYS_poll)
		return true;
#endif
	return number == SYS_ppoll || number == SYS_restart_syscall;
}

int dbps_thread_polled_socket(pid_t pid, pid_t tid, uint32_t *ret_inode)
{
	_cleanup_close_ int dir_fd = -1;
	struct pollfd polled;
	struct iovec to = {&polled, sizeof(polled)}, from = {NULL, sizeof(polled)};
	unsigned long args[2];
	char path[64], name[16];
	long number = -1;
	uint32_t inode;
	ssize_t n;
	int r;

	r = read_syscall(pid, tid, &number, args);
	if (r < 0)
		return r;
	if (!is_poll_of_one(number, args))
		return -ENODATA;
	from.iov_base = (void *)args[0];
	n = process_vm_readv(pid, &to, 1, &from, 1, 0);
	if (n != (ssize_t)sizeof(polled))
		return n < 0 ? -errno : -ENODATA;
	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return -errno;
	snprintf(name, sizeof(name), "%d", polled.fd);
	inode = socket_inode(dir_fd, name);
	if (inode == 0)
		return -ENODATA;
	*ret_inode = inode;
	return 0;
}
