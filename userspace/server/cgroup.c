/*
 * Paths of control groups, component by component. Where the names come from: docker-ID.scope or
 * docker/ID (moby, daemon/oci_linux.go), libpod-ID.scope, libpod-ID and, in the group of its unit,
 * libpod-payload-ID (podman, libpod/container_internal_linux.go), crio-ID.scope (cri-o,
 * internal/config/cgmgr), cri-containerd-ID.scope (containerd), a bare ID below kubepods (cgroupfs
 * driver), lxc.payload.NAME and lxc/NAME (lxc, src/lxc/cgroups), machine-NAME.scope and
 * systemd-nspawn@NAME.service (systemd, src/machine).
 */
#include "cgroup.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"

#define ID_DIGITS	64
#define ID_DIGITS_SHOWN 12

struct part {
	const char *at;
	size_t len;
};

/* ---------------------------------------------------------------- the path ------------------ */

/* Of a line "0::/path" or "4:name=systemd:/path": the controllers and the path. */
static bool parse_line(const char *line, struct part *ret_controllers, struct part *ret_path)
{
	size_t len = strcspn(line, "\n");
	const char *first = memchr(line, ':', len), *second;

	second = first ? memchr(first + 1, ':', len - (size_t)(first + 1 - line)) : NULL;
	if (!second)
		return false;
	*ret_controllers = (struct part){first + 1, (size_t)(second - first - 1)};
	*ret_path = (struct part){second + 1, len - (size_t)(second + 1 - line)};
	return ret_path->len < DBPS_CGROUP_MAX;
}

static int rank_of(const struct part *controllers, const struct part *path)
{
	static const char systemd[] = "name=systemd";

	if (path->len <= 1)
		return 0;
	if (!controllers->len)
		return 3;
	return controllers->len == strlen(systemd) &&
			       !memcmp(controllers->at, systemd, strlen(systemd))
		       ? 2
		       : 1;
}

void dbps_cgroup_path(const char *text, char ret_path[static DBPS_CGROUP_MAX])
{
	struct part best = {"/", 1};
	int best_rank = 0;

	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line != '\0') {
		struct part controllers, path;
		int rank;

		if (!parse_line(line, &controllers, &path))
			continue;
		rank = rank_of(&controllers, &path);
		if (rank < best_rank || !rank || (rank == best_rank && path.len <= best.len))
			continue;
		best_rank = rank;
		best = path;
	}
	memcpy(ret_path, best.at, best.len);
	ret_path[best.len] = '\0';
}

int dbps_cgroup_of(pid_t pid, char ret_path[static DBPS_CGROUP_MAX])
{
	_cleanup_close_ int fd = -1;
	char path[64], text[4096];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	dbps_cgroup_path(text, ret_path);
	return 0;
}

/* ---------------------------------------------------------------- parts --------------------- */

/* The part that ends at `end`, without its slash; an empty one at the begin of the path. */
static struct part part_before(const char *path, const char *end)
{
	const char *at = end;

	while (at > path && at[-1] != '/')
		at--;
	return (struct part){at, (size_t)(end - at)};
}

/* What is before that. */
static const char *end_before(const char *path, const struct part *part)
{
	return part->at > path ? part->at - 1 : path;
}

static bool takes_prefix(struct part *part, const char *prefix)
{
	size_t len = strlen(prefix);

	if (part->len <= len || memcmp(part->at, prefix, len) != 0)
		return false;
	*part = (struct part){part->at + len, part->len - len};
	return true;
}

static bool takes_suffix(struct part *part, const char *suffix)
{
	size_t len = strlen(suffix);

	if (part->len <= len || memcmp(part->at + part->len - len, suffix, len) != 0)
		return false;
	part->len -= len;
	return true;
}

static bool is(const struct part *part, const char *word)
{
	return part->len == strlen(word) && memcmp(part->at, word, part->len) == 0;
}

/*
 * Whose name ends with an id, "docker-ID.scope" or ID alone: where a manager asked for its group
 * in words that its driver did not understand, these are the name, "SLICE:cri-containerd:ID".
 */
static bool takes_id(struct part *part)
{
	struct part before = *part, id;

	takes_suffix(&before, ".scope");
	if (before.len < ID_DIGITS)
		return false;
	before.len -= ID_DIGITS;
	id = (struct part){before.at + before.len, ID_DIGITS};
	for (size_t i = 0; i < id.len; i++)
		if (!isxdigit((unsigned char)id.at[i]))
			return false;
	if (before.len && !strchr("-:", id.at[-1]))
		return false;
	if (takes_suffix(&before, "conmon-"))
		return false; /* who watches the container is not in it */
	*part = id;
	return true;
}

/* ---------------------------------------------------------------- the unit ------------------ */

static bool is_of_manager(struct part part)
{
	return takes_id(&part) || takes_prefix(&part, "machine-");
}

bool dbps_cgroup_unit(const char *path, char *ret_unit, size_t size)
{
	struct part part = part_before(path, path + strlen(path));

	for (; part.at > path; part = part_before(path, end_before(path, &part))) {
		struct part name = part;

		if (!takes_suffix(&name, ".service") &&
		    (!takes_suffix(&name, ".scope") || is_of_manager(part)))
			continue;
		snprintf(ret_unit, size, "%.*s", (int)part.len, part.at);
		return true;
	}
	return false;
}

/* ---------------------------------------------------------------- the container ------------- */

/* Names in units have \x2d for a dash (systemd.unit(5)). */
static void unescape(const struct part *part, char *ret, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < part->len && n + 1 < size; i++) {
		unsigned int byte;

		if (part->len - i >= 4 && sscanf(part->at + i, "\\x%2x", &byte) == 1) {
			ret[n++] = (char)byte;
			i += 3;
		} else {
			ret[n++] = part->at[i];
		}
	}
	ret[n] = '\0';
}

static bool has_name(struct part *part, const struct part *parent)
{
	struct part name = *part;

	if ((takes_prefix(&name, "machine-") && takes_suffix(&name, ".scope")) ||
	    (takes_prefix(&name, "systemd-nspawn@") && takes_suffix(&name, ".service")) ||
	    takes_prefix(&name, "lxc.payload.") || is(parent, "lxc")) {
		*part = name;
		return true;
	}
	return false;
}

bool dbps_cgroup_container(const char *path, char *ret_name, size_t size)
{
	struct part part = part_before(path, path + strlen(path));

	for (; part.at > path; part = part_before(path, end_before(path, &part))) {
		struct part parent = part_before(path, end_before(path, &part));

		if (takes_id(&part)) {
			snprintf(ret_name, size, "%.*s", ID_DIGITS_SHOWN, part.at);
			return true;
		}
		if (has_name(&part, &parent)) {
			unescape(&part, ret_name, size);
			return true;
		}
	}
	return false;
}
