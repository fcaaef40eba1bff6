/*
 * Finds client processes in three steps, each of which proves what it says:
 *
 * 1. The client's socket, by the kernel's own pairing of the two ends (access/owner.c).
 * 2. The process that holds a descriptor of that socket, with the time when it began
 *    (bpf/holder.bpf.h). Of several it is the one that connected, which the kernel keeps for Unix
 *    sockets, else the oldest: children inherit descriptors.
 * 3. /proc/PID, opened as a directory, which stays that of one process, and dies with it. It is
 *    looked into only when its process began at the same time as the holder, so a number that was
 *    given anew is found out.
 */
#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "kernel/kernel.h"
#include "server/own.h"
#include "server/registry.h"

struct dbps_clients {
	struct dbps_owner *owners; /* of each row */
	size_t *process;	   /* of each row: its place below, or SIZE_MAX */
	struct dbps_client_process *processes;
	size_t n_processes;
};

void dbps_clients_free(struct dbps_clients *clients)
{
	if (!clients)
		return;
	free(clients->owners);
	free(clients->process);
	free(clients->processes);
	free(clients);
}

/* ---------------------------------------------------------------- one process --------------- */

static ssize_t read_file(int dir_fd, const char *name, char *buf, size_t size)
{
	_cleanup_close_ int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);

	if (n < 0)
		return -errno;
	buf[n] = '\0';
	return n;
}

/* The 22nd field of stat, in ticks; fields are counted behind the command, which may hold anything.
 */
static bool began_at(int dir_fd, uint64_t start_ns)
{
	uint64_t tick_ns = 1000000000 / (uint64_t)sysconf(_SC_CLK_TCK);
	unsigned long long ticks;
	char stat[1024];
	const char *at;

	if (read_file(dir_fd, "stat", stat, sizeof(stat)) < 0)
		return false;
	at = strrchr(stat, ')');
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	return at && sscanf(at, "%llu", &ticks) == 1 && ticks == start_ns / tick_ns;
}

static void read_exe(int dir_fd, struct dbps_client_process *process)
{
	static const char deleted[] = " (deleted)";
	char target[sizeof(process->exe) + sizeof(deleted)];
	ssize_t len = readlinkat(dir_fd, "exe", target, sizeof(target) - 1);
	size_t cut = strlen(deleted);

	if (len < 0)
		return;
	target[len] = '\0';
	if ((size_t)len > cut && !strcmp(target + (size_t)len - cut, deleted))
		target[(size_t)len - cut] = '\0';
	snprintf(process->exe, sizeof(process->exe), "%.*s", (int)sizeof(process->exe) - 1, target);
}

static void read_cgroup(int dir_fd, struct dbps_client_process *process)
{
	char text[4096];

	if (read_file(dir_fd, "cgroup", text, sizeof(text)) < 0)
		return;
	dbps_cgroup_path(text, process->cgroup);
	dbps_cgroup_unit(process->cgroup, process->unit, sizeof(process->unit));
	dbps_cgroup_container(process->cgroup, process->container, sizeof(process->container));
}

/* Whether the process is there; its server is filled in by the caller. */
static bool read_process(const struct dbps_holder *holder, struct dbps_client_process *ret)
{
	_cleanup_close_ int dir_fd = -1;
	char path[32];

	snprintf(path, sizeof(path), "/proc/%u", holder->pid);
	dir_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0 || !began_at(dir_fd, holder->start_ns))
		return false;
	*ret = (struct dbps_client_process){.pid = holder->pid, .start_ns = holder->start_ns};
	memcpy(ret->command, holder->command, sizeof(ret->command) - 1);
	read_exe(dir_fd, ret);
	read_cgroup(dir_fd, ret);
	return true;
}

/* A server's process, or a backend of PostgreSQL, which is a client where it is one's proxy. */
static void name_server(const struct dbps_rows *rows, struct dbps_client_process *process)
{
	struct dbps_server_view view;
	const char *name = "";

	if (dbps_registry_by_pid(rows->registry, (pid_t)process->pid, &view) == 0)
		name = view.index == DBPS_OWN_INDEX ? "" : view.name;
	for (size_t i = 0; !*name && i < rows->n; i++)
		if (rows->row[i].session->tgid == process->pid)
			name = rows->row[i].server_name;
	snprintf(process->server, sizeof(process->server), "%s", name);
}

/* ---------------------------------------------------------------- all of them --------------- */

static int compare_holders(const void *a, const void *b)
{
	const struct dbps_holder *x = a, *y = b;

	if (x->cookie != y->cookie)
		return x->cookie < y->cookie ? -1 : 1;
	if (x->start_ns != y->start_ns)
		return x->start_ns < y->start_ns ? -1 : 1;
	return (x->pid > y->pid) - (x->pid < y->pid);
}

/* Of those of one session: step 2. */
static const struct dbps_holder *choose(const struct dbps_holder *holders, size_t n,
					const struct dbps_session *session)
{
	const struct dbps_holder *first = NULL;

	for (size_t low = 0, high = n; low < high;) {
		size_t middle = low + (high - low) / 2;

		if (holders[middle].cookie < session->cookie) {
			low = middle + 1;
		} else {
			first = &holders[middle];
			high = middle;
		}
	}
	if (!first || first->cookie != session->cookie)
		return NULL;
	for (const struct dbps_holder *h = first; h < holders + n && h->cookie == session->cookie;
	     h++)
		if (session->client_pid && h->pid == session->client_pid)
			return h;
	return first;
}

static int compare_places(const void *a, const void *b)
{
	const struct dbps_holder *x = *(const struct dbps_holder *const *)a;
	const struct dbps_holder *y = *(const struct dbps_holder *const *)b;

	return (x->pid > y->pid) - (x->pid < y->pid);
}

/* Each process once: the chosen holders, sorted by process. NULL: none. */
static int read_processes(struct dbps_rows *rows, const struct dbps_holder **chosen, size_t n,
			  struct dbps_clients *clients)
{
	uint32_t last = 0;

	clients->processes = calloc(n + 1, sizeof(*clients->processes));
	if (!clients->processes)
		return -ENOMEM;
	qsort(chosen, n, sizeof(const struct dbps_holder *), compare_places);
	for (size_t i = 0; i < n; i++) {
		struct dbps_client_process *process = &clients->processes[clients->n_processes];

		if (i && chosen[i]->pid == last)
			continue;
		last = chosen[i]->pid;
		if (!read_process(chosen[i], process))
			continue;
		name_server(rows, process);
		clients->n_processes++;
	}
	return 0;
}

static int compare_pid(const void *pid, const void *process)
{
	uint32_t a = *(const uint32_t *)pid, b = ((const struct dbps_client_process *)process)->pid;

	return a < b ? -1 : a > b;
}

static size_t find_process(const struct dbps_clients *clients, uint32_t pid, uint64_t start_ns)
{
	const struct dbps_client_process *found;

	if (!clients->n_processes)
		return SIZE_MAX;
	found = bsearch(&pid, clients->processes, clients->n_processes, sizeof(*found),
			compare_pid);
	return found && found->start_ns == start_ns ? (size_t)(found - clients->processes)
						    : SIZE_MAX;
}

static int find_holders(struct dbps_rows *rows, struct dbps_clients *clients,
			struct dbps_holder **ret_holders, size_t *ret_n)
{
	_cleanup_free_ struct dbps_client_end *ends = calloc(rows->n + 1, sizeof(*ends));
	size_t n = 0;

	if (!ends)
		return -ENOMEM;
	for (size_t i = 0; i < rows->n; i++) {
		const struct dbps_session *session = rows->row[i].session;
		bool is_unix = session->family == DBPS_FAMILY_UNIX;

		/* A Unix client that has connected and passed its socket on is found, too. */
		if (!is_unix && !clients->owners[i].known)
			continue;
		ends[n++] = (struct dbps_client_end){
			is_unix ? session->cookie : clients->owners[i].cookie, session->cookie};
	}
	return dbps_kernel_holders(rows->kernel, ends, n, ret_holders, ret_n);
}

static int find_owners(const struct dbps_rows *rows, struct dbps_clients *clients)
{
	_cleanup_free_ const struct dbps_session **sessions = NULL;

	sessions = calloc(rows->n + 1, sizeof(const struct dbps_session *));
	clients->owners = calloc(rows->n + 1, sizeof(*clients->owners));
	if (!sessions || !clients->owners)
		return -ENOMEM;
	for (size_t i = 0; i < rows->n; i++)
		sessions[i] = rows->row[i].session;
	dbps_owners_find(sessions, rows->n, clients->owners);
	return 0;
}

static int find_processes(struct dbps_rows *rows, struct dbps_clients *clients)
{
	_cleanup_free_ struct dbps_holder *holders = NULL;
	_cleanup_free_ const struct dbps_holder **chosen = NULL, **each = NULL;
	size_t n_holders = 0, n = 0;
	int r;

	clients->process = malloc((rows->n + 1) * sizeof(*clients->process));
	chosen = calloc(rows->n + 1, sizeof(const struct dbps_holder *));
	each = calloc(rows->n + 1, sizeof(const struct dbps_holder *));
	if (!clients->process || !chosen || !each)
		return -ENOMEM;
	r = find_holders(rows, clients, &holders, &n_holders);
	if (r < 0)
		return r;
	if (n_holders)
		qsort(holders, n_holders, sizeof(*holders), compare_holders);
	for (size_t i = 0; i < rows->n; i++) {
		each[i] = choose(holders, n_holders, rows->row[i].session);
		if (each[i])
			chosen[n++] = each[i];
	}
	r = read_processes(rows, chosen, n, clients);
	for (size_t i = 0; r == 0 && i < rows->n; i++)
		clients->process[i] =
			each[i] ? find_process(clients, each[i]->pid, each[i]->start_ns) : SIZE_MAX;
	return r;
}

/* Once for all rows. What fails leaves nothing known. */
static const struct dbps_clients *clients_of(const struct dbps_row *row)
{
	struct dbps_rows *rows = row->all;
	struct dbps_clients *clients;

	if (!rows || rows->clients || rows->clients_failed)
		return rows ? rows->clients : NULL;
	clients = calloc(1, sizeof(*clients));
	if (!clients || find_owners(rows, clients) < 0 || find_processes(rows, clients) < 0) {
		dbps_clients_free(clients);
		rows->clients_failed = true;
		return NULL;
	}
	return rows->clients = clients;
}

const struct dbps_client_process *dbps_row_client(const struct dbps_row *row)
{
	const struct dbps_clients *clients = clients_of(row);
	size_t process = clients ? clients->process[row - row->all->row] : SIZE_MAX;

	return process == SIZE_MAX ? NULL : &clients->processes[process];
}

struct dbps_owner dbps_row_owner(const struct dbps_row *row)
{
	const struct dbps_clients *clients = clients_of(row);

	return clients ? clients->owners[row - row->all->row] : (struct dbps_owner){0};
}
