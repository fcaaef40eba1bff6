/*
 * What /proc tells: lines of the socket tables, and the sockets of this process itself.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/process.h"

static const char tcp_listens[] =
	"   3: 0100007F:0CEA 00000000:0000 0A 00000000:00000000 00:00000000 00000000   107"
	"        0 98765 1 0000000000000000 100 0 0 10 0\n";
static const char tcp_established[] =
	"   4: 0100007F:0CEA 0100007F:B1C4 01 00000000:00000000 00:00000000 00000000   107"
	"        0 98766 1 0000000000000000 20 4 30 10 -1\n";
static const char tcp6_listens[] =
	"   0: 00000000000000000000000001000000:0CEA 00000000000000000000000000000000:0000 0A "
	"00000000:00000000 00:00000000 00000000     0        0 4242 1 0000000000000000 100 0 0 10 "
	"0\n";
static const char tcp_heading[] = "  sl  local_address rem_address   st tx_queue rx_queue tr "
				  "tm->when retrnsmt   uid  timeout "
				  "inode\n";

static void a_tcp_listener_is_read(void **state)
{
	static const uint8_t loopback[16] = {127, 0, 0, 1};
	struct dbps_listener listener;

	(void)state;
	assert_true(dbps_listener_parse_tcp(tcp_listens, false, &listener));
	assert_int_equal(listener.family, DBPS_FAMILY_INET);
	assert_int_equal(listener.port, 3306);
	assert_int_equal(listener.inode, 98765);
	assert_memory_equal(listener.addr, loopback, sizeof(loopback));
}

static void a_tcp6_listener_is_read(void **state)
{
	static const uint8_t loopback[16] = {[15] = 1};
	struct dbps_listener listener;

	(void)state;
	assert_true(dbps_listener_parse_tcp(tcp6_listens, true, &listener));
	assert_int_equal(listener.family, DBPS_FAMILY_INET6);
	assert_int_equal(listener.port, 3306);
	assert_int_equal(listener.inode, 4242);
	assert_memory_equal(listener.addr, loopback, sizeof(loopback));
}

static void other_tcp_lines_are_no_listeners(void **state)
{
	struct dbps_listener listener, untouched;

	(void)state;
	memset(&listener, 0x5a, sizeof(listener));
	untouched = listener;
	assert_false(dbps_listener_parse_tcp(tcp_established, false, &listener));
	assert_false(dbps_listener_parse_tcp(tcp_heading, false, &listener));
	assert_false(dbps_listener_parse_tcp("", false, &listener));
	assert_false(dbps_listener_parse_tcp(tcp_listens, true, &listener));
	assert_false(dbps_listener_parse_tcp(tcp6_listens, false, &listener));
	assert_memory_equal(&listener, &untouched, sizeof(listener));
}

static void truncated_tcp_lines_are_no_listeners(void **state)
{
	struct dbps_listener listener;
	char line[sizeof(tcp_listens)];
	size_t inode_at = (size_t)(strstr(tcp_listens, "98765") - tcp_listens);

	(void)state;
	for (size_t n = 0; n <= inode_at; n++) {
		memcpy(line, tcp_listens, n);
		line[n] = '\0';
		assert_false(dbps_listener_parse_tcp(line, false, &listener));
	}
}

static void a_unix_listener_is_read(void **state)
{
	struct dbps_listener listener;

	(void)state;
	assert_true(dbps_listener_parse_unix(
		"0000000000000000: 00000002 00000000 00010000 0001 01 31415 /run/my sql/m.sock\n",
		&listener));
	assert_int_equal(listener.family, DBPS_FAMILY_UNIX);
	assert_int_equal(listener.port, 0);
	assert_int_equal(listener.inode, 31415);
	assert_string_equal(listener.path, "/run/my sql/m.sock");
	assert_true(dbps_listener_parse_unix(
		"0000000000000000: 00000002 00000000 00010000 0001 01 7 @abstract\n", &listener));
	assert_string_equal(listener.path, "@abstract");
}

static void other_unix_lines_are_no_listeners(void **state)
{
	struct dbps_listener listener;

	(void)state;
	/* connected, datagram, without a path, heading */
	assert_false(dbps_listener_parse_unix(
		"0000000000000000: 00000003 00000000 00000000 0001 03 7 /run/m.sock\n", &listener));
	assert_false(dbps_listener_parse_unix(
		"0000000000000000: 00000002 00000000 00010000 0002 01 7 /run/log\n", &listener));
	assert_false(dbps_listener_parse_unix(
		"0000000000000000: 00000002 00000000 00010000 0001 01 7\n", &listener));
	assert_false(dbps_listener_parse_unix(
		"Num       RefCount Protocol Flags    Type St Inode Path\n", &listener));
}

static void the_longest_unix_path_fits(void **state)
{
	struct dbps_listener listener;
	char line[512], path[200];

	(void)state;
	memset(path, 'p', sizeof(path));
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	snprintf(line, sizeof(line), "0000000000000000: 00000002 00000000 00010000 0001 01 7 %s\n",
		 path);
	assert_true(dbps_listener_parse_unix(line, &listener));
	assert_int_equal(strlen(listener.path), 108);
}

static void addresses_are_formatted(void **state)
{
	struct dbps_listener at[3] = {
		{.family = DBPS_FAMILY_INET, .port = 3306},
		{.family = DBPS_FAMILY_INET6, .port = 3306},
		{.family = DBPS_FAMILY_UNIX, .path = "/run/m.sock"},
	};
	struct dbps_listeners listeners = {3, at};
	char buf[128], small[20];

	(void)state;
	dbps_listeners_format(&listeners, buf, sizeof(buf));
	assert_string_equal(buf, "0.0.0.0:3306 [::]:3306 /run/m.sock");
	dbps_listeners_format(&listeners, small, sizeof(small));
	assert_string_equal(small, "0.0.0.0:3306");
}

static uint32_t inode_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (uint32_t)st.st_ino;
}

static void own_listeners_are_found_and_other_sockets_are_not(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct dbps_listeners listeners;
	bool found_tcp = false, found_unix = false;
	int tcp = socket(AF_INET, SOCK_STREAM, 0), unix_fd = socket(AF_UNIX, SOCK_STREAM, 0);
	int idle = socket(AF_INET, SOCK_STREAM, 0);

	(void)state;
	snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "dbps-test-%d", getpid());
	assert_int_equal(bind(unix_fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(tcp, 1), 0);
	assert_int_equal(listen(unix_fd, 1), 0);
	assert_int_equal(dbps_process_listeners(getpid(), &listeners), 0);
	for (size_t i = 0; i < listeners.n; i++) {
		found_tcp |= listeners.at[i].inode == inode_of(tcp) && listeners.at[i].port;
		found_unix |= listeners.at[i].inode == inode_of(unix_fd);
		assert_int_not_equal(listeners.at[i].inode, inode_of(idle));
	}
	assert_true(found_tcp);
	assert_true(found_unix);
	assert_int_equal(listeners.at[listeners.n - 1].family, DBPS_FAMILY_UNIX);
	dbps_listeners_done(&listeners);
	close(tcp);
	close(unix_fd);
	close(idle);
}

static void a_process_that_is_gone_is_an_error(void **state)
{
	struct dbps_listeners listeners = {7, NULL};
	uint32_t inode = 9;
	char name[16] = "untouched";

	(void)state;
	assert_true(dbps_process_listeners(1 << 30, &listeners) < 0);
	assert_int_equal(listeners.n, 7);
	assert_true(dbps_process_name(1 << 30, name, sizeof(name)) < 0);
	assert_string_equal(name, "untouched");
	assert_true(dbps_process_namespace(1 << 30, "net", &inode) < 0);
	assert_int_equal(inode, 9);
	assert_false(dbps_process_stopped(1 << 30));
}

static void the_executable_is_named(void **state)
{
	char name[64];

	(void)state;
	assert_int_equal(dbps_process_name(getpid(), name, sizeof(name)), 0);
	assert_string_equal(name, "test_server_process");
}

struct waiter {
	int fd;
	pid_t tid;
};

static void *wait_in_poll(void *arg)
{
	struct waiter *waiter = arg;
	struct pollfd p = {.fd = waiter->fd, .events = POLLIN};

	__atomic_store_n(&waiter->tid, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
	poll(&p, 1, -1);
	return NULL;
}

static void the_socket_that_a_thread_polls_is_found(void **state)
{
	struct waiter waiter;
	uint32_t inode = 0;
	pthread_t thread;
	int fds[2], r = -ENODATA;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	waiter = (struct waiter){.fd = fds[0]};
	assert_int_equal(pthread_create(&thread, NULL, wait_in_poll, &waiter), 0);
	for (int i = 0; i < 1000 && r == -ENODATA; i++) {
		pid_t tid = __atomic_load_n(&waiter.tid, __ATOMIC_ACQUIRE);

		usleep(1000);
		if (tid)
			r = dbps_thread_polled_socket(getpid(), tid, &inode);
	}
	close(fds[1]);
	pthread_join(thread, NULL);
	if (r == -EPERM || r == -EACCES)
		skip();
	assert_int_equal(r, 0);
	assert_int_equal(inode, inode_of(fds[0]));
	close(fds[0]);
}

static void a_thread_that_does_something_else_polls_nothing(void **state)
{
	uint32_t inode = 5;

	(void)state;
	assert_true(dbps_thread_polled_socket(getpid(), getpid(), &inode) < 0);
	assert_int_equal(inode, 5);
}

/* Of a process in a user namespace of its own, which has this map. */
static uid_t root_with(const char *map)
{
	int to_child[2], from_child[2];
	char path[64], byte = 0;
	uid_t root;
	FILE *f;
	pid_t pid;

	assert_int_equal(pipe(to_child) | pipe(from_child), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		byte = unshare(CLONE_NEWUSER) == 0 ? 1 : 0;
		if (write(from_child[1], &byte, 1) == 1)
			_exit(read(to_child[0], &byte, 1) != 1);
		_exit(1);
	}
	assert_int_equal(read(from_child[0], &byte, 1), 1);
	snprintf(path, sizeof(path), "/proc/%d/uid_map", pid);
	f = byte ? fopen(path, "w") : NULL;
	if (f && (fputs(map, f) < 0 || fclose(f) != 0))
		byte = 0;
	root = byte ? dbps_process_root(pid) : UINT32_MAX;
	assert_int_equal(write(to_child[1], &byte, 1), 1);
	waitpid(pid, NULL, 0);
	for (int i = 0; i < 2; i++) {
		close(to_child[i]);
		close(from_child[i]);
	}
	return root;
}

static void who_is_root_in_a_user_namespace(void **state)
{
	(void)state;
	assert_int_equal(dbps_process_root(getpid()), 0);
	assert_int_equal(dbps_process_root(-1), 0);
	if (geteuid() != 0 || root_with("0 0 1\n") == UINT32_MAX)
		skip(); /* only root may make any map */
	assert_int_equal(root_with("0 0 1\n"), 0);
	assert_int_equal(root_with("0 4711 10\n"), 4711);
	assert_int_equal(root_with("5 100 10\n0 4711 1\n"), 4711);
	assert_int_equal(root_with("5 4711 10\n"), 0);
	assert_int_equal(root_with(""), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_tcp_listener_is_read),
		cmocka_unit_test(a_tcp6_listener_is_read),
		cmocka_unit_test(other_tcp_lines_are_no_listeners),
		cmocka_unit_test(truncated_tcp_lines_are_no_listeners),
		cmocka_unit_test(a_unix_listener_is_read),
		cmocka_unit_test(other_unix_lines_are_no_listeners),
		cmocka_unit_test(the_longest_unix_path_fits),
		cmocka_unit_test(addresses_are_formatted),
		cmocka_unit_test(own_listeners_are_found_and_other_sockets_are_not),
		cmocka_unit_test(a_process_that_is_gone_is_an_error),
		cmocka_unit_test(the_executable_is_named),
		cmocka_unit_test(the_socket_that_a_thread_polls_is_found),
		cmocka_unit_test(a_thread_that_does_something_else_polls_nothing),
		cmocka_unit_test(who_is_root_in_a_user_namespace),
	};

	return cmocka_run_group_tests_name("server_process", tests, NULL, NULL);
}
