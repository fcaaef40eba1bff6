/*
 * Who may do what is decided by peer credentials, so the socket is everybody's. Anything at its
 * path that is not the socket of a daemon that is gone is left alone.
 */
#include "daemon/listener.h"

#include <errno.h>
#include <libgen.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "log/log.h"

#define BACKLOG 128

static int make_address(const char *path, struct sockaddr_un *ret_address)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int len = snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);

	if (len >= (int)sizeof(address.sun_path))
		return log_errno(-ENAMETOOLONG, "console socket '%s'", path);
	*ret_address = address;
	return 0;
}

static int make_directory(const char *path)
{
	_cleanup_free_ char *copy = strdup(path);
	const char *directory;

	if (!copy)
		return -ENOMEM;
	directory = dirname(copy);
	if (mkdir(directory, 0755) && errno != EEXIST)
		return log_errno(-errno, "make directory '%s'", directory);
	return 0;
}

/* Whether somebody listens: 1, 0 or a negative errno. */
static int is_live(const struct sockaddr_un *address, int type)
{
	_cleanup_close_ int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (!connect(fd, (const struct sockaddr *)address, sizeof(*address)))
		return 1;
	/* -EAGAIN: its queue is full; -EPROTOTYPE: of another type; so it is there. */
	if (errno == EAGAIN || errno == EPROTOTYPE)
		return 1;
	return errno == ECONNREFUSED || errno == ENOENT ? 0 : -errno;
}

/* Take away the socket file of a daemon that is gone. Anything else at that path is not ours. */
static int clear_path(const struct sockaddr_un *address, int type)
{
	const char *path = address->sun_path;
	struct stat stat;
	int r;

	if (lstat(path, &stat))
		return errno == ENOENT ? 0 : log_errno(-errno, "look at '%s'", path);
	if (!S_ISSOCK(stat.st_mode))
		return log_errno(-EEXIST, "console socket '%s' is another kind of file", path);
	r = is_live(address, type);
	if (r)
		return log_errno(r > 0 ? -EADDRINUSE : r, "console socket '%s'", path);
	if (unlink(path) && errno != ENOENT)
		return log_errno(-errno, "remove '%s'", path);
	return 0;
}

static int listen_at(const struct sockaddr_un *address, int type,
		     struct dbps_listener *ret_listener)
{
	const char *path = address->sun_path;
	_cleanup_close_ int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat stat;

	if (fd < 0)
		return log_errno(-errno, "make the socket '%s'", path);
	if (bind(fd, (const struct sockaddr *)address, sizeof(*address)))
		return log_errno(-errno, "bind '%s'", path);
	/* Nobody can connect before listen(), so nobody meets the mode that bind() gave. */
	if (chmod(path, 0666) || lstat(path, &stat) || listen(fd, BACKLOG))
		return log_errno(-errno, "listen on '%s'", path);
	*ret_listener =
		(struct dbps_listener){.fd = TAKE_FD(fd), .dev = stat.st_dev, .ino = stat.st_ino};
	memcpy(ret_listener->path, path, sizeof(ret_listener->path));
	return 0;
}

int dbps_listener_open(const char *path, int type, struct dbps_listener *ret_listener)
{
	struct sockaddr_un address;
	int r;

	r = make_address(path, &address);
	if (!r)
		r = make_directory(path);
	if (!r)
		r = clear_path(&address, type);
	return r ? r : listen_at(&address, type, ret_listener);
}

void dbps_listener_close(struct dbps_listener *listener)
{
	struct stat stat;

	if (listener->fd < 0)
		return;
	if (!lstat(listener->path, &stat) && stat.st_dev == listener->dev &&
	    stat.st_ino == listener->ino)
		unlink(listener->path);
	close(listener->fd);
	listener->fd = -1;
}
