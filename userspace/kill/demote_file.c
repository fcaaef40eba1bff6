/*
 * A line of text for each thread, behind one that names the boot. Written to a new file that takes
 * the old one's place, so that it is whole whenever dbpsd dies.
 */
#include "kill/demote_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"

#define HEAD	       "dbps-demoted 1 "
#define LINE_MAX_BYTES 256
#define MAX_THREADS    4096 /* more are not believed */

static int read_boot_id(char ret_id[64])
{
	_cleanup_fclose_ FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");

	if (!f)
		return -errno;
	return fscanf(f, "%63s", ret_id) == 1 ? 0 : -EPROTO;
}

/* ---------------------------------------------------------------- writing ------------------- */

static void print(FILE *f, const struct dbps_demoted *d)
{
	fprintf(f, "%d %" PRIu64 " %d %" PRIu64 " %" PRIu64 " %d %d\n", d->process.pid,
		d->process.start_ticks, d->thread.tid, d->thread.start_ticks, d->since_ticks,
		d->saved.policy, d->saved.ioprio);
}

static int write_new(const char *path, const struct dbps_demoted *list, size_t n)
{
	_cleanup_close_ int fd = -1;
	FILE *f;
	char boot_id[64];
	int r = read_boot_id(boot_id);

	if (r < 0)
		return r;
	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	f = fdopen(fd, "w");
	if (!f)
		return -errno;
	TAKE_FD(fd);
	fprintf(f, HEAD "%s\n", boot_id);
	for (size_t i = 0; i < n; i++)
		print(f, &list[i]);
	r = ferror(f) ? -EIO : 0;
	return fclose(f) ? -errno : r;
}

int dbps_demoted_save(const char *file, const struct dbps_demoted *list, size_t n)
{
	char path[PATH_MAX];
	int r;

	if (!n)
		return unlink(file) && errno != ENOENT ? -errno : 0;
	if (snprintf(path, sizeof(path), "%s.new", file) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	r = write_new(path, list, n);
	if (!r && rename(path, file))
		r = -errno;
	if (r)
		unlink(path);
	return r;
}

/* ---------------------------------------------------------------- reading ------------------- */

/* Whoever could write it could have any thread changed. */
static int check_owner(int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	return S_ISREG(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & 022) ? 0 : -EPERM;
}

static bool parse(const char *line, struct dbps_demoted *ret)
{
	struct dbps_demoted d;

	if (sscanf(line, "%d %" SCNu64 " %d %" SCNu64 " %" SCNu64 " %d %d", &d.process.pid,
		   &d.process.start_ticks, &d.thread.tid, &d.thread.start_ticks, &d.since_ticks,
		   &d.saved.policy, &d.saved.ioprio) != 7 ||
	    d.process.pid <= 0 || d.thread.tid <= 0)
		return false;
	d.process.tid = d.thread.pid = d.process.pid;
	*ret = d;
	return true;
}

static int read_lines(FILE *f, struct dbps_demoted **ret_list, size_t *ret_n)
{
	_cleanup_free_ struct dbps_demoted *list = NULL;
	char line[LINE_MAX_BYTES], head[sizeof(HEAD) + 64], boot_id[64];
	size_t n = 0;
	int r = read_boot_id(boot_id);

	if (r < 0)
		return r;
	snprintf(head, sizeof(head), HEAD "%s\n", boot_id);
	if (fgets(line, sizeof(line), f) && strcmp(line, head) == 0) {
		list = calloc(MAX_THREADS, sizeof(*list));
		if (!list)
			return -ENOMEM;
		while (n < MAX_THREADS && fgets(line, sizeof(line), f))
			n += parse(line, &list[n]);
	}
	*ret_list = TAKE_PTR(list);
	*ret_n = n;
	return 0;
}

int dbps_demoted_load(const char *file, struct dbps_demoted **ret_list, size_t *ret_n)
{
	_cleanup_close_ int fd = open(file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	_cleanup_fclose_ FILE *f = NULL;
	int r;

	if (fd < 0)
		return -errno;
	r = check_owner(fd);
	if (r < 0)
		return r;
	f = fdopen(fd, "r");
	if (!f)
		return -errno;
	TAKE_FD(fd);
	return read_lines(f, ret_list, ret_n);
}
