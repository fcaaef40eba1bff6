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
#include <unistd.h>

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

int log_errno(int r, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	print_line(LOG_ERR, r, format, args);
	va_end(args);
	return r;
}
