/*
 * Appending to the audit's file.
 *
 * 1. Lines have one writer: the daemon that holds the file's lock (flock(2)). Another one that is
 *    given the same file keeps its kills in memory, and says so.
 * 2. A write that was cut (full disk, crash) leaves a line without end. The next line begins with a
 *    line end then, so that only the torn one is lost; a reader skips and counts it.
 * 3. A disk that hangs holds up the one kill that writes: others wait for LOCK_WAIT_NS, then go on
 *    unwritten.
 */
#include "kill/audit_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

#include "cleanup.h"
#include "log/log.h"

#define LOCK_WAIT_NS 100000000
/* Of the file's end; two lines for each of the kills that are kept, and more. */
#define LOAD_BYTES (4u << 20)

struct dbps_audit_file {
	char *path; /* NULL: none */
	char *old_path;
	uint64_t max_bytes;
	pthread_mutex_t lock; /* of what follows, and of writing */
	int fd;
	bool torn; /* invariant 2 */
	int error;
	uint64_t unread;
	atomic_ullong unwritten;
};

/* ---------------------------------------------------------------- trouble ------------------- */

const char *dbps_audit_error_text(int error)
{
	if (error == -EWOULDBLOCK)
		return "another dbpsd writes it";
	if (error == -ETIMEDOUT)
		return "a write to it hangs";
	return error ? strerror(-error) : "";
}

/* Told once, until a line could be written again. */
static void note_error(struct dbps_audit_file *file, int r)
{
	if (r == file->error)
		return;
	if (r)
		dbps_log(LOG_ERR, "audit file '%s': kills are not written to it: %s", file->path,
			 dbps_audit_error_text(r));
	else
		dbps_log(LOG_NOTICE, "audit file '%s': kills are written to it again", file->path);
	file->error = r;
}

/* ---------------------------------------------------------------- opening ------------------- */

static void make_directory(const char *path)
{
	_cleanup_free_ char *copy = strdup(path);

	/* Whether that was of use shows when the file is opened. */
	if (copy && mkdir(dirname(copy), 0755) < 0 && errno != EEXIST)
		dbps_log(LOG_DEBUG, "make directory of '%s': %s", path, strerror(errno));
}

static bool ends_torn(int fd, const struct stat *st)
{
	char last = '\n';

	return S_ISREG(st->st_mode) && st->st_size > 0 &&
	       pread(fd, &last, 1, st->st_size - 1) == 1 && last != '\n';
}

static int open_file(struct dbps_audit_file *file)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	make_directory(file->path);
	fd = open(file->path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY,
		  0600);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	/* A pipe would block. */
	if (!S_ISREG(st.st_mode) && !S_ISCHR(st.st_mode))
		return -EINVAL;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	file->torn = ends_torn(fd, &st);
	file->fd = TAKE_FD(fd);
	return 0;
}

static void close_file(struct dbps_audit_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	file->fd = -1;
}

/* ---------------------------------------------------------------- loading ------------------- */

static int load_lines(struct dbps_audit_file *file, char *text, size_t len, dbps_audit_load *load,
		      void *data)
{
	while (len) {
		char *end = memchr(text, '\n', len);
		size_t n = end ? (size_t)(end - text) : len;
		int r = n ? load(text, n, data) : 0;

		if (r == -EBADMSG)
			file->unread++;
		else if (r)
			return r;
		n += end != NULL;
		text += n;
		len -= n;
	}
	return 0;
}

/* The end of one file, whole lines only. One that is not there, or cannot be read, has none. */
static int load_end(struct dbps_audit_file *file, const char *path, dbps_audit_load *load,
		    void *data)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	_cleanup_free_ char *text = NULL;
	char *start;
	struct stat st;
	ssize_t len;
	off_t from;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || !st.st_size)
		return 0;
	from = st.st_size > LOAD_BYTES ? st.st_size - LOAD_BYTES : 0;
	text = malloc(LOAD_BYTES);
	if (!text)
		return -ENOMEM;
	len = pread(fd, text, LOAD_BYTES, from);
	if (len <= 0)
		return 0;
	start = from ? memchr(text, '\n', (size_t)len) : text;
	if (!start)
		return 0;
	return load_lines(file, start, (size_t)(len - (start - text)), load, data);
}

int dbps_audit_file_open(const struct dbps_audit_options *options, dbps_audit_load *load,
			 void *data, struct dbps_audit_file **ret_file)
{
	struct dbps_audit_file *file = calloc(1, sizeof(*file));
	int r = 0;

	*ret_file = file;
	if (!file)
		return -ENOMEM;
	pthread_mutex_init(&file->lock, NULL);
	file->fd = -1;
	file->max_bytes = options->max_bytes;
	if (!options->file)
		return 0;
	file->path = strdup(options->file);
	if (!file->path || asprintf(&file->old_path, "%s.1", options->file) < 0)
		return -ENOMEM;
	note_error(file, open_file(file));
	/* Those of another daemon that runs are not ours to tell of. */
	if (file->error == -EWOULDBLOCK)
		return 0;
	r = load_end(file, file->old_path, load, data);
	return r ? r : load_end(file, file->path, load, data);
}

/* ---------------------------------------------------------------- writing ------------------- */

static int write_whole(struct dbps_audit_file *file, const char *line)
{
	struct iovec parts[] = {
		{"\n", file->torn},
		{(char *)line, strlen(line)},
		{"\n", 1},
	};
	size_t len = parts[0].iov_len + parts[1].iov_len + parts[2].iov_len;
	ssize_t written = writev(file->fd, parts, ARRAY_SIZE(parts));

	if (written < 0)
		return -errno;
	file->torn = (size_t)written < len;
	return file->torn ? -ENOSPC : 0;
}

/* The file under the descriptor is the one of that name; a new one when it was taken away, or is
 * full. */
static int prepare(struct dbps_audit_file *file, size_t len)
{
	struct stat st;

	if (file->fd >= 0 && fstat(file->fd, &st) < 0)
		return -errno;
	if (file->fd >= 0 && !st.st_nlink)
		close_file(file);
	else if (file->fd >= 0 && S_ISREG(st.st_mode) && st.st_size &&
		 (uint64_t)st.st_size + len > file->max_bytes) {
		/* One that cannot be renamed is written on. */
		if (rename(file->path, file->old_path) == 0)
			close_file(file);
	}
	return file->fd >= 0 ? 0 : open_file(file);
}

static void write_line(struct dbps_audit_file *file, const char *line)
{
	int r = prepare(file, strlen(line));

	if (!r)
		r = write_whole(file, line);
	if (r)
		atomic_fetch_add(&file->unwritten, 1);
	note_error(file, r);
}

/* Invariant 3. */
static int take_lock(struct dbps_audit_file *file)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += LOCK_WAIT_NS;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	return -pthread_mutex_timedlock(&file->lock, &until);
}

void dbps_audit_file_write(struct dbps_audit_file *file, const char *line)
{
	if (!file->path)
		return;
	if (!line || take_lock(file) < 0) {
		atomic_fetch_add(&file->unwritten, 1);
		return;
	}
	write_line(file, line);
	pthread_mutex_unlock(&file->lock);
}

void dbps_audit_file_status(struct dbps_audit_file *file, struct dbps_audit_status *ret_status)
{
	bool hangs = take_lock(file) < 0;

	*ret_status = (struct dbps_audit_status){
		.file = file->path,
		.error = hangs ? -ETIMEDOUT : file->error,
		.unwritten = atomic_load(&file->unwritten),
		.unread = file->unread,
	};
	if (!hangs)
		pthread_mutex_unlock(&file->lock);
}

void dbps_audit_file_close(struct dbps_audit_file *file)
{
	if (!file)
		return;
	close_file(file);
	pthread_mutex_destroy(&file->lock);
	free(file->path);
	free(file->old_path);
	free(file);
}
