/*
 * The registry with real processes, children of this one that listen, and a kernel side that is
 * played here.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "kernel/kernel.h"
#include "server/registry.h"

/* --- the kernel side --- */

#define MAX_SERVERS 64

static struct {
	pid_t tgid;
	struct dbps_server_seen seen;
} map[MAX_SERVERS];
static unsigned int n_joins;

static int map_find(pid_t tgid)
{
	for (int i = 0; i < MAX_SERVERS; i++)
		if (map[i].tgid == tgid)
			return i;
	return -1;
}

int dbps_kernel_server_get(struct dbps_kernel *kernel, pid_t tgid, struct dbps_server_seen *ret)
{
	int i = map_find(tgid);

	(void)kernel;
	if (i < 0)
		return -ENOENT;
	*ret = map[i].seen;
	return 0;
}

int dbps_kernel_server_add(struct dbps_kernel *kernel, pid_t tgid,
			   const struct dbps_server_seen *seen)
{
	int i = map_find(tgid) >= 0 ? map_find(tgid) : map_find(0);

	(void)kernel;
	assert_true(i >= 0);
	map[i].tgid = tgid;
	map[i].seen = *seen;
	return 0;
}

int dbps_kernel_server_remove(struct dbps_kernel *kernel, pid_t tgid)
{
	int i = map_find(tgid);

	(void)kernel;
	if (i < 0)
		return -ENOENT;
	map[i].tgid = 0;
	return 0;
}

int dbps_kernel_servers(struct dbps_kernel *kernel, pid_t **ret_tgids, size_t *ret_n)
{
	(void)kernel;
	*ret_tgids = calloc(MAX_SERVERS, sizeof(pid_t));
	*ret_n = 0;
	for (int i = 0; i < MAX_SERVERS; i++)
		if (map[i].tgid)
			(*ret_tgids)[(*ret_n)++] = map[i].tgid;
	return 0;
}

void dbps_kernel_expect_postgres(struct dbps_kernel *kernel)
{
	(void)kernel;
}

/* The processes here use no TLS. */
int dbps_kernel_library_open(struct dbps_kernel *kernel, pid_t pid, bool forks,
			     struct dbps_library **ret_library, char *ret_text)
{
	(void)kernel;
	(void)pid;
	(void)forks;
	(void)ret_library;
	snprintf(ret_text, 256, "none");
	return -ENOENT;
}

void dbps_kernel_library_close(struct dbps_library *library)
{
	assert_null(library);
}

int dbps_kernel_join(struct dbps_kernel *kernel, pid_t tgid)
{
	(void)kernel;
	(void)tgid;
	n_joins++;
	return 0;
}

int dbps_kernel_snapshot(struct dbps_kernel *kernel, __u64 cookie, unsigned int text_bytes,
			 bool threads, void **ret_data, size_t *ret_len)
{
	(void)threads, (void)kernel;
	(void)cookie;
	(void)text_bytes;
	*ret_data = NULL;
	*ret_len = 0;
	return 0;
}

int dbps_kernel_adopt(struct dbps_kernel *kernel, const __u64 *cookies,
		      const struct dbps_adoption *adoptions, size_t n)
{
	(void)kernel;
	(void)cookies;
	(void)adoptions;
	(void)n;
	return 0;
}

/* --- servers --- */

struct child {
	pid_t pid;
	uint16_t port; /* 0: listens on nothing */
};

static uint16_t listen_on(uint16_t port, int *ret_fd)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons(port),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int one = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 1), 0);
	getsockname(fd, (struct sockaddr *)&address, &len);
	*ret_fd = fd;
	return ntohs(address.sin_port);
}

static void start_child_with(struct child *child, int fd)
{
	child->pid = fork();
	assert_true(child->pid >= 0);
	if (child->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	if (fd >= 0)
		close(fd);
}

static struct child start_listener(uint16_t port)
{
	struct child child = {0};
	int fd;

	child.port = listen_on(port, &fd);
	start_child_with(&child, fd);
	return child;
}

static struct child start_other(void)
{
	struct child child = {0};

	start_child_with(&child, -1);
	return child;
}

static void end_child(const struct child *child)
{
	kill(child->pid, SIGKILL);
	waitpid(child->pid, NULL, 0);
}

/* The kernel saw it greet. */
static void greet(const struct child *child, const char *version)
{
	struct dbps_server_seen seen = {.state = DBPS_SERVER_NEW,
					.port = child->port,
					.family = DBPS_FAMILY_INET,
					.version_len = (uint8_t)strlen(version)};

	memcpy(seen.version, version, strlen(version));
	dbps_kernel_server_add(NULL, child->pid, &seen);
}

static struct dbps_registry *registry;

static int set_up(void **state)
{
	struct dbps_registry_options options = {.link_enabled = false};

	(void)state;
	memset(map, 0, sizeof(map));
	n_joins = 0;
	return dbps_registry_new(NULL, &options, &registry);
}

static int tear_down(void **state)
{
	(void)state;
	dbps_registry_free(registry);
	return 0;
}

static bool has_ended_server(int timeout_ms)
{
	struct pollfd p = {.fd = dbps_registry_fd(registry), .events = POLLIN};

	return poll(&p, 1, timeout_ms) == 1;
}

static uint32_t seen_state(const struct child *child)
{
	struct dbps_server_seen seen;

	return dbps_kernel_server_get(NULL, child->pid, &seen) < 0 ? 0 : seen.state;
}

/* --- tests --- */

static void a_process_that_greeted_and_listens_is_a_server(void **state)
{
	struct child child = start_listener(0);
	struct dbps_server_view view;
	char name[64], address[64];

	(void)state;
	greet(&child, "5.5.5-10.11.19-MariaDB");
	assert_int_equal(dbps_registry_greeted(registry, child.pid), 0);
	assert_int_equal(dbps_registry_by_pid(registry, child.pid, &view), 0);
	snprintf(name, sizeof(name), "mariadb-%u", child.port);
	snprintf(address, sizeof(address), "127.0.0.1:%u", child.port);
	assert_string_equal(view.name, name);
	assert_string_equal(view.addresses, address);
	assert_string_equal(view.version, "10.11.19-MariaDB");
	assert_int_equal(view.engine, DBPS_ENGINE_MARIADB);
	assert_int_equal(view.index, 0);
	assert_int_equal(view.link, DBPS_LINK_NONE);
	assert_int_equal(seen_state(&child), DBPS_SERVER_ADOPTED);
	assert_int_equal(n_joins, 1);
	end_child(&child);
}

static void the_same_greeting_twice_is_one_server(void **state)
{
	struct child child = start_listener(0);
	_cleanup_free_ struct dbps_server_view *views = NULL;
	size_t n;

	(void)state;
	greet(&child, "8.0.36");
	assert_int_equal(dbps_registry_greeted(registry, child.pid), 0);
	assert_int_equal(dbps_registry_greeted(registry, child.pid), 0);
	assert_int_equal(dbps_registry_scan(registry), 0);
	assert_int_equal(dbps_registry_by_index(registry, 0, &(struct dbps_server_view){0}), 0);
	assert_int_equal(dbps_registry_list(registry, &views, &n), 0);
	assert_int_equal(n_joins, n); /* other servers of this host may have been found */
	end_child(&child);
}

static void who_listens_on_nothing_is_no_server(void **state)
{
	struct child child = start_other();
	struct dbps_server_view view = {.index = 77};

	(void)state;
	greet(&child, "5.5.5-10.11.19-MariaDB");
	assert_int_equal(dbps_registry_greeted(registry, child.pid), 0);
	assert_int_equal(dbps_registry_by_pid(registry, child.pid, &view), -ENOENT);
	assert_int_equal(view.index, 77);
	assert_int_equal(seen_state(&child), DBPS_SERVER_IGNORED);
	end_child(&child);
	assert_true(has_ended_server(5000));
	dbps_registry_reap(registry);
	assert_int_equal(seen_state(&child), 0);
}

static void who_greeted_elsewhere_than_it_listens_is_no_server(void **state)
{
	struct child child = start_listener(0), greets = child;

	(void)state;
	greets.port++;
	greet(&greets, "5.5.5-10.11.19-MariaDB");
	assert_int_equal(dbps_registry_greeted(registry, child.pid), 0);
	assert_int_equal(seen_state(&child), DBPS_SERVER_IGNORED);
	end_child(&child);
}

static void a_child_that_inherited_the_listener_is_no_server(void **state)
{
	struct child parent = {0}, worker = {0};
	struct dbps_server_view view;
	int fd;

	(void)state;
	parent.port = worker.port = listen_on(0, &fd);
	start_child_with(&parent, -1);
	start_child_with(&worker, fd);
	greet(&parent, "8.0.36");
	greet(&worker, "8.0.36");
	assert_int_equal(dbps_registry_greeted(registry, parent.pid), 0);
	assert_int_equal(dbps_registry_greeted(registry, worker.pid), 0);
	assert_int_equal(dbps_registry_by_pid(registry, parent.pid, &view), 0);
	assert_int_equal(dbps_registry_by_pid(registry, worker.pid, &view), -ENOENT);
	end_child(&worker);
	end_child(&parent);
}

static void an_ended_server_is_gone_and_its_name_stays(void **state)
{
	struct child child = start_listener(0);
	struct dbps_server_view view;
	char name[64];

	(void)state;
	greet(&child, "5.5.5-10.11.19-MariaDB");
	assert_int_equal(dbps_registry_greeted(registry, child.pid), 0);
	assert_int_equal(dbps_registry_by_pid(registry, child.pid, &view), 0);
	memcpy(name, view.name, sizeof(name));
	assert_false(has_ended_server(0));
	end_child(&child);
	assert_true(has_ended_server(5000));
	dbps_registry_reap(registry);
	assert_false(has_ended_server(0));
	assert_int_equal(seen_state(&child), 0);
	assert_int_equal(dbps_registry_by_pid(registry, child.pid, &view), -ENOENT);
	assert_int_equal(dbps_registry_by_name(registry, name, &view), 0);
	assert_int_equal(view.pid, 0);
}

static void a_restarted_server_gets_its_index_back(void **state)
{
	struct child first = start_listener(0), other = start_listener(0), again;
	struct dbps_server_view view;

	(void)state;
	greet(&first, "5.5.5-10.11.19-MariaDB");
	greet(&other, "5.5.5-10.11.19-MariaDB");
	assert_int_equal(dbps_registry_greeted(registry, first.pid), 0);
	assert_int_equal(dbps_registry_greeted(registry, other.pid), 0);
	end_child(&first);
	again = start_listener(first.port);
	greet(&again, "5.5.5-10.11.20-MariaDB");
	/* Without a reap before: the end is noticed first all the same. */
	assert_int_equal(dbps_registry_greeted(registry, again.pid), 0);
	assert_int_equal(dbps_registry_by_pid(registry, again.pid, &view), 0);
	assert_int_equal(view.index, 0);
	assert_string_equal(view.version, "10.11.20-MariaDB");
	assert_int_equal(dbps_registry_by_pid(registry, other.pid, &view), 0);
	assert_int_equal(view.index, 1);
	end_child(&again);
	end_child(&other);
}

static void a_process_that_is_gone_is_taken_out_of_the_map(void **state)
{
	struct child child = start_listener(0);

	(void)state;
	greet(&child, "8.0.36");
	end_child(&child);
	assert_true(dbps_registry_greeted(registry, child.pid) < 0);
	assert_int_equal(seen_state(&child), 0);
}

static void unknown_servers_are_not_found(void **state)
{
	struct dbps_server_view view = {.index = 5};
	struct dbps_link_error error;

	(void)state;
	assert_int_equal(dbps_registry_by_index(registry, 0, &view), -ENOENT);
	assert_int_equal(dbps_registry_by_name(registry, "mariadb-1", &view), -ENOENT);
	assert_int_equal(view.index, 5);
	assert_int_equal(dbps_link_ping(registry, 3, 100, &error), -ENOTCONN);
	assert_true(error.text[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_process_that_greeted_and_listens_is_a_server,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_same_greeting_twice_is_one_server, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(who_listens_on_nothing_is_no_server, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(who_greeted_elsewhere_than_it_listens_is_no_server,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_child_that_inherited_the_listener_is_no_server,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_ended_server_is_gone_and_its_name_stays, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_restarted_server_gets_its_index_back, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_process_that_is_gone_is_taken_out_of_the_map,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(unknown_servers_are_not_found, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("server_registry", tests, NULL, NULL);
}
