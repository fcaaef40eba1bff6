/*
 * The caller is who the kernel says it was when it connected: SO_PEERCRED for user and group,
 * SO_PEERGROUPS for the rest. Names are resolved only where the config holds any to compare with.
 */
#include "access/access.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"

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

static bool is_in_group(const struct identity *identity, const char *name)
{
	_cleanup_free_ char *buffer = malloc(NAME_BUFFER);
	struct group entry, *found = NULL;

	if (!buffer || getgrnam_r(name, &entry, buffer, NAME_BUFFER, &found) || !found)
		return false;
	for (size_t i = 0; i < identity->n_gids; i++)
		if (identity->gids[i] == found->gr_gid)
			return true;
	return false;
}

/* Whether one of the names in `list` ("monitor @dba") is the caller's or one of its groups'. */
static bool is_listed(const struct identity *identity, const char *list)
{
	char name[sizeof(identity->caller->user)];

	for (; list && *list; list += strcspn(list, SEPARATORS)) {
		list += strspn(list, SEPARATORS);
		size_t len = strcspn(list, SEPARATORS);

		if (!len || len >= sizeof(name))
			continue;
		memcpy(name, list, len);
		name[len] = '\0';
		if (name[0] == '@' ? is_in_group(identity, name + 1)
				   : !strcmp(name, identity->caller->user))
			return true;
	}
	return false;
}

static unsigned int find_rights(const struct identity *identity,
				const struct dbps_access_options *options)
{
	unsigned int rights = 0;

	if (identity->caller->uid == 0)
		return DBPS_RIGHT_PROCESS | DBPS_RIGHT_SUPER;
	if (is_listed(identity, options->process))
		rights |= DBPS_RIGHT_PROCESS;
	if (is_listed(identity, options->super))
		rights |= DBPS_RIGHT_SUPER;
	return rights;
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
	caller.rights = find_rights(&identity, options);
	*ret_caller = caller;
	return 0;
}

static bool is_own(const struct dbps_caller *caller, const struct dbps_row *row)
{
	return row->session->client_pid && row->session->client_uid == caller->uid;
}

bool dbps_caller_sees(const struct dbps_caller *caller, const struct dbps_row *row)
{
	return (caller->rights & DBPS_RIGHT_PROCESS) || is_own(caller, row);
}

bool dbps_caller_kills(const struct dbps_caller *caller, const struct dbps_row *row)
{
	return (caller->rights & DBPS_RIGHT_SUPER) || is_own(caller, row);
}
