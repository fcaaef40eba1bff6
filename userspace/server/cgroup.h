/*
 * What a control group's path tells of a process: its systemd unit, and the container that it runs
 * in, by the names that container managers give to their groups.
 */
#ifndef DBPS_CGROUP_H
#define DBPS_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define DBPS_CGROUP_MAX 512

/**
 * @brief The path of /proc/PID/cgroup that counts: of version 2; where that is empty, as on hosts
 * with both, of the hierarchy of systemd, else the longest.
 * @param text The whole file.
 * @param ret_path "/" when the process is in no group.
 */
void dbps_cgroup_path(const char *text, char ret_path[static DBPS_CGROUP_MAX]);

/**
 * @brief That of a process.
 * @return 0; -ENOENT or -ESRCH when the process is gone; other negative errno.
 */
int dbps_cgroup_of(pid_t pid, char ret_path[static DBPS_CGROUP_MAX]);

/**
 * @brief The innermost systemd unit in a path, as systemctl names it: "mariadb.service",
 * "session-3.scope". A container's own scope is its manager's, and is none.
 * @return Whether there is one.
 */
bool dbps_cgroup_unit(const char *path, char *ret_unit, size_t size);

/**
 * @brief The innermost container in a path: Docker, Podman, CRI-O, containerd, Kubernetes by the
 * first twelve digits of its id, LXC and systemd-nspawn by its name.
 * @return Whether there is one.
 */
bool dbps_cgroup_container(const char *path, char *ret_name, size_t size);

#endif
