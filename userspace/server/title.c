/*
 * Reads titles from /proc/PID/cmdline and hands over what they tell.
 *
 * 1. User and database may hold any character. They end where the client's address begins, which
 * the socket tells too; what is before it is split only where there is a single blank.
 * 2. A backend writes its title before it sends ReadyForQuery, and after it has read the next
 * message (set_ps_display() in tcop/postgres.c). So what it says is handed over only for a session
 * of which nothing was seen meanwhile; the kernel side compares.
 */
#include "title.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "dbps/kernel.h"
#include "kernel/kernel.h"

#define TITLE_MAX 512
#define COM_QUERY 0x03

static const struct {
	const char *text;
	bool executes;
	uint32_t flags;
} activities[] = {
	{"idle", false, 0},
	{"idle in transaction", false, DBPS_IN_TRANSACTION},
	{"idle in transaction (aborted)", false, DBPS_IN_TRANSACTION | DBPS_ABORTED},
};

/* As the title has the client's address. */
static void format_host(const struct dbps_session *session, char *buf, size_t size)
{
	char address[INET6_ADDRSTRLEN] = "";
	int family = session->family == DBPS_FAMILY_INET6 ? AF_INET6 : AF_INET;

	if (session->family == DBPS_FAMILY_UNIX) {
		snprintf(buf, size, " [local] ");
		return;
	}
	inet_ntop(family, session->remote_addr, address, sizeof(address));
	snprintf(buf, size, " %s(%u) ", address, session->remote_port);
}

/* "user database", or "cluster: user database". */
static bool parse_names(const char *names, size_t len, struct dbps_adoption *adoption)
{
	const char *cluster = memmem(names, len, ": ", 2), *blank;
	size_t user, db;

	if (cluster) {
		len -= (size_t)(cluster + 2 - names);
		names = cluster + 2;
	}
	blank = memchr(names, ' ', len);
	if (!blank || memchr(blank + 1, ' ', len - (size_t)(blank + 1 - names)))
		return false;
	user = (size_t)(blank - names);
	db = len - user - 1;
	if (user > sizeof(adoption->user) || db > sizeof(adoption->db))
		return false;
	memcpy(adoption->user, names, user);
	memcpy(adoption->db, blank + 1, db);
	adoption->user_len = (uint8_t)user;
	adoption->db_len = (uint8_t)db;
	return true;
}

bool dbps_title_parse(const char *title, const struct dbps_session *session,
		      struct dbps_adoption *ret_adoption)
{
	static const char prefix[] = "postgres: ";
	struct dbps_adoption adoption = {
		.id = session->tgid, .sequence = session->sequence, .command = COM_QUERY};
	const char *at, *activity;
	char host[80];

	if (strncmp(title, prefix, strlen(prefix)) != 0)
		return false;
	title += strlen(prefix);
	format_host(session, host, sizeof(host));
	at = strstr(title, host);
	if (!at || !parse_names(title, (size_t)(at - title), &adoption))
		return false;
	activity = at + strlen(host);
	if (strcmp(activity, "authentication") == 0 || strcmp(activity, "startup") == 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(activities); i++) {
		if (strcmp(activity, activities[i].text) != 0)
			continue;
		adoption.command = 0;
		adoption.flags = activities[i].flags;
	}
	*ret_adoption = adoption;
	return true;
}

static int read_title(pid_t pid, char title[static TITLE_MAX])
{
	_cleanup_close_ int fd = -1;
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, title, TITLE_MAX - 1);
	if (n < 0)
		return -errno;
	/* What was the environment is filled with NULs, or blanks. */
	title[n] = '\0';
	for (n = (ssize_t)strlen(title); n > 0 && title[n - 1] == ' ';)
		title[--n] = '\0';
	return 0;
}

/* The process id as the backend has it itself, which may live in a pid namespace of its own. */
static uint64_t own_number(pid_t pid)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[64], line[256];
	const char *last;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "NSpid:", 6) != 0)
			continue;
		last = strrchr(line, '\t');
		return last ? strtoull(last + 1, NULL, 10) : (uint64_t)pid;
	}
	return (uint64_t)pid;
}

static bool wants(const struct dbps_session *session, pid_t server)
{
	return session->server_tgid == (uint32_t)server && session->flags & DBPS_PGSQL &&
	       session->flags & DBPS_JOINED && ~session->flags & DBPS_KNOWN_LOGIN;
}

static int adopt_one(struct dbps_kernel *kernel, const struct dbps_session *session)
{
	__u64 cookie = session->cookie;
	struct dbps_adoption adoption;
	char title[TITLE_MAX];

	if (read_title((pid_t)session->tgid, title) < 0 ||
	    !dbps_title_parse(title, session, &adoption))
		return 0;
	adoption.id = own_number((pid_t)session->tgid);
	return dbps_kernel_adopt(kernel, &cookie, &adoption, 1);
}

int dbps_title_adopt(struct dbps_kernel *kernel, pid_t server)
{
	const struct dbps_snapshot_row *row;
	_cleanup_free_ void *data = NULL;
	size_t len = 0;
	int r = dbps_kernel_snapshot(kernel, 0, 0, false, &data, &len);

	for (size_t at = 0; r == 0 && at + sizeof(*row) <= len; at += row->size) {
		row = (const void *)((const char *)data + at);
		if (row->size < sizeof(*row))
			return -EPROTO;
		if (wants(&row->session, server))
			r = adopt_one(kernel, &row->session);
	}
	return r;
}
