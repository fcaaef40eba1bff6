/*
 * Log lines: one write(2) a line, so that lines of several threads do not mix. A line that goes to
 * the journal carries its level as `<n>` (sd-daemon(3)).
 */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include "cleanup.h"

static int max_level = LOG_NOTICE;

void dbps_log_set_level(int level)
{
	max_level = level;
}

static void print_line(int level, int r, const char *format, va_list args)
{
	char line[1024];
	int saved_errno = errno;
	int n = 0;

	if (getenv("JOURNAL_STREAM"))
		n = snprintf(line, sizeof(line), "<%d>", level);
	n += vsnprintf(line + n, sizeof(line) - (size_t)n - 1, format, args);
	if (n > (int)sizeof(line) - 2)
		n = (int)sizeof(line) - 2;
	if (r)
		n += snprintf(line + n, sizeof(line) - (size_t)n - 1, ": %s", strerror(-r));
	if (n > (int)sizeof(line) - 2)
		n = (int)sizeof(line) - 2;
	line[n++] = '\n';
	/* A log that cannot be written has nowhere to say so. */
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		errno = saved_errno;
	errno = saved_errno;
}

void dbps_log(int level, const char *format, ...)
{
	va_list args;

	if (level > max_level)
		return;
	va_start(args, format);
	print_line(level, 0, format, args);
	va_end(args);
}

/* systemd names in JOURNAL_STREAM the file that it gave as stderr, which may be another by now. */
bool dbps_log_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

static int send_to_journal(int level, const char *line, const struct iovec *fields, int n)
{
	_cleanup_free_ struct iovec *all = calloc((size_t)n + 2, sizeof(*all));
	_cleanup_free_ char *message = NULL;
	char priority[16];

	if (!all || asprintf(&message, "MESSAGE=%s", line) < 0)
		return -ENOMEM;
	snprintf(priority, sizeof(priority), "PRIORITY=%d", level);
	all[0] = (struct iovec){message, strlen(message)};
	all[1] = (struct iovec){priority, strlen(priority)};
	memcpy(all + 2, fields, (size_t)n * sizeof(*fields));
	return sd_journal_sendv(all, n + 2);
}

void dbps_log_fields(int level, const char *line, const struct iovec *fields, int n)
{
	if (level > max_level)
		return;
	if (!dbps_log_is_journal() || send_to_journal(level, line, fields, n) < 0)
		dbps_log(level, "%s", line);
}

int log_errno(int r, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	print_line(LOG_ERR, r, format, args);
	va_end(args);
	return r;
}
