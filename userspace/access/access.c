/*
 * The caller is who the kernel says it was when it connected: SO_PEERCRED for user and group,
 * SO_PEERGROUPS for the rest. Names are resolved only where the config holds any to compare with.
 */
#include "access/access.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "access/owner.h"
#include "cleanup.h"
#include "mysql/utf8.h"

/* A group's members come with it: large directories need more than sysconf() suggests. */
#define NAME_BUFFER (64 << 10)
#define SEPARATORS  " ,\t"

struct identity {
	const struct dbps_caller *caller;
	const gid_t *gids; /* all of them, the primary one too */
	size_t n_gids;
};

static void name_user(uid_t uid, char *ret_name, size_t size)
{
	_cleanup_free_ char *buffer = malloc(NAME_BUFFER);
	struct passwd entry, *found = NULL;

	if (!buffer || getpwuid_r(uid, &entry, buffer, NAME_BUFFER, &found) || !found)
		snprintf(ret_name, size, "%u", uid);
	else
		snprintf(ret_name, size, "%s", found->pw_name);
}

/* All digits: an id, whoever else may have such a name. */
static bool is_number(const char *text, unsigned int *ret_number)
{
	char *end = NULL;
	unsigned long number;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	number = strtoul(text, &end, 10);
	*ret_number = (unsigned int)number;
	return !*end && !errno && number <= UINT32_MAX;
}

static bool find_group(const char *name, gid_t *ret_gid)
{
	_cleanup_free_ char *buffer = malloc(NAME_BUFFER);
	struct group entry, *found = NULL;

	if (is_number(name, ret_gid))
		return true;
	if (!buffer || getgrnam_r(name, &entry, buffer, NAME_BUFFER, &found) || !found)
		return false;
	*ret_gid = found->gr_gid;
	return true;
}

static bool is_in_group(const struct identity *identity, const char *name)
{
	gid_t gid;

	if (!find_group(name, &gid))
		return false;
	for (size_t i = 0; i < identity->n_gids; i++)
		if (identity->gids[i] == gid)
			return true;
	return false;
}

static bool is_user(const struct identity *identity, const char *name)
{
	unsigned int uid;

	if (is_number(name, &uid))
		return uid == identity->caller->uid;
	return !strcmp(name, identity->caller->user);
}

/* The one of the names in `list` ("monitor @dba 1000 @27") that is the caller's or one of its
 * groups'.
 */
static bool find_listed(const struct identity *identity, const char *list,
			char ret_name[DBPS_RULE_MAX])
{
	for (; list && *list; list += strcspn(list, SEPARATORS)) {
		list += strspn(list, SEPARATORS);
		size_t len = strcspn(list, SEPARATORS);
		char name[DBPS_RULE_MAX];

		if (!len || len >= sizeof(name))
			continue;
		memcpy(name, list, len);
		name[len] = '\0';
		if (name[0] == '@' ? !is_in_group(identity, name + 1) : !is_user(identity, name))
			continue;
		memcpy(ret_name, name, len + 1);
		return true;
	}
	return false;
}

static void find_rights(const struct identity *identity, const struct dbps_access_options *options,
			struct dbps_caller *caller)
{
	caller->rights = 0;
	if (caller->uid == 0) {
		caller->rights = DBPS_RIGHT_PROCESS | DBPS_RIGHT_SUPER;
		return;
	}
	if (find_listed(identity, options->process, caller->process_rule))
		caller->rights |= DBPS_RIGHT_PROCESS;
	if (find_listed(identity, options->super, caller->super_rule))
		caller->rights |= DBPS_RIGHT_SUPER;
}

/* Supplementary groups of the peer and `primary`. */
static int read_groups(int fd, gid_t primary, gid_t **ret_gids, size_t *ret_n)
{
	_cleanup_free_ gid_t *gids = NULL;
	socklen_t len = 0;

	/* The first call is told how many there are: -ERANGE, or 0 when there are none. */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &len) && errno != ERANGE)
		return -errno;
	gids = malloc(len + sizeof(gid_t));
	if (!gids)
		return -ENOMEM;
	if (len && getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, gids, &len))
		return -errno;
	*ret_n = len / sizeof(gid_t) + 1;
	gids[*ret_n - 1] = primary;
	*ret_gids = TAKE_PTR(gids);
	return 0;
}

/* ---------------------------------------------------------------- its program --------------- */

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

static bool has_ended(int pidfd)
{
	struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};

	return poll(&poll_fd, 1, 0) != 0;
}

/*
 * What /proc says of a process number is of the peer while the peer lives, which its pidfd tells
 * afterwards. A kernel without SO_PEERPIDFD cannot say that: nothing is told then.
 */
static void find_program(int fd, const struct ucred *peer, char *ret_program, size_t size)
{
	_cleanup_close_ int pidfd = -1;
	socklen_t len = sizeof(pidfd);
	char path[64], program[PATH_MAX];
	ssize_t n;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &len)) {
		pidfd = -1;
		return;
	}
	snprintf(path, sizeof(path), "/proc/%d/exe", peer->pid);
	n = readlink(path, program, sizeof(program));
	if (n > 0 && !has_ended(pidfd))
		utf8_copy(ret_program, size, program, (size_t)n);
}

int dbps_caller_from_socket(int fd, const struct dbps_access_options *options,
			    struct dbps_caller *ret_caller)
{
	_cleanup_free_ gid_t *gids = NULL;
	struct dbps_caller caller = {0};
	struct identity identity = {.caller = &caller};
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int r;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len))
		return -errno;
	r = read_groups(fd, peer.gid, &gids, &identity.n_gids);
	if (r)
		return r;
	identity.gids = gids;
	caller.uid = peer.uid;
	caller.gid = peer.gid;
	caller.pid = peer.pid;
	name_user(peer.uid, caller.user, sizeof(caller.user));
	find_rights(&identity, options, &caller);
	find_program(fd, &peer, caller.program, sizeof(caller.program));
	*ret_caller = caller;
	return 0;
}

static bool is_own(const struct dbps_caller *caller, const struct dbps_row *row)
{
	return dbps_owner_is(row->session, caller->uid);
}

bool dbps_caller_sees(const struct dbps_caller *caller, const struct dbps_row *row)
{
	return (caller->rights & DBPS_RIGHT_PROCESS) || is_own(caller, row);
}

int dbps_caller_sees_each(const struct dbps_caller *caller, const struct dbps_rows *rows,
			  bool *ret_seen)
{
	_cleanup_free_ const struct dbps_session **sessions = NULL;

	if (caller->rights & DBPS_RIGHT_PROCESS) {
		memset(ret_seen, true, rows->n);
		return 0;
	}
	sessions = calloc(rows->n + 1, sizeof(*sessions));
	if (!sessions)
		return -ENOMEM;
	for (size_t i = 0; i < rows->n; i++)
		sessions[i] = rows->row[i].session;
	dbps_owners_are(sessions, rows->n, caller->uid, ret_seen);
	return 0;
}

bool dbps_caller_kills(const struct dbps_caller *caller, const struct dbps_row *row)
{
	return (caller->rights & DBPS_RIGHT_SUPER) || is_own(caller, row);
}
