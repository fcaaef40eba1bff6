/*
 * Resetting sockets by cookie: on a TCP connection and on a Unix socket pair of this process
 * itself, whose own end stands for the server's. Needs CAP_NET_ADMIN for TCP; without it these are
 * skipped by name.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kill/reset.h"
#include "server/process.h"

#ifndef SO_COOKIE
#define SO_COOKIE 57
#endif

struct pair {
	int server;
	int client;
};

static uint16_t local_port(int fd)
{
	struct sockaddr_in6 addr; /* the port is at the same place in both families */
	socklen_t len = sizeof(addr);

	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	return ntohs(addr.sin6_port);
}

/* Listen in one family, connect to 127.0.0.1 or ::1 in another. */
static struct pair connect_tcp(int listen_family, int client_family)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6,
				   .sin6_addr = listen_family == client_family ? in6addr_loopback
									       : in6addr_any};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr *at = listen_family == AF_INET ? (void *)&in : (void *)&in6;
	struct sockaddr *to = client_family == AF_INET ? (void *)&in : (void *)&in6;
	int listener = socket(listen_family, SOCK_STREAM, 0);
	struct pair pair = {.client = socket(client_family, SOCK_STREAM, 0)};

	assert_int_equal(bind(listener, at, listen_family == AF_INET ? sizeof(in) : sizeof(in6)),
			 0);
	assert_int_equal(listen(listener, 1), 0);
	in.sin_port = in6.sin6_port = htons(local_port(listener));
	assert_int_equal(
		connect(pair.client, to, client_family == AF_INET ? sizeof(in) : sizeof(in6)), 0);
	pair.server = accept(listener, NULL, NULL);
	assert_true(pair.server >= 0);
	close(listener);
	return pair;
}

/* What the kernel side would have noted of the server's end. */
static struct dbps_session describe(int fd, uint8_t family)
{
	struct dbps_session s = {.family = family, .tgid = (uint32_t)getpid()};
	struct sockaddr_storage local, remote;
	socklen_t len = sizeof(local);
	struct stat st;

	assert_int_equal(dbps_process_namespace(0, "net", &s.netns), 0);
	assert_int_equal(fstat(fd, &st), 0);
	s.inode = (uint32_t)st.st_ino;
	getsockname(fd, (struct sockaddr *)&local, &len);
	len = sizeof(remote);
	getpeername(fd, (struct sockaddr *)&remote, &len);
	if (family == DBPS_FAMILY_INET) {
		memcpy(s.local_addr, &((struct sockaddr_in *)&local)->sin_addr, 4);
		memcpy(s.remote_addr, &((struct sockaddr_in *)&remote)->sin_addr, 4);
	} else if (family == DBPS_FAMILY_INET6) {
		memcpy(s.local_addr, &((struct sockaddr_in6 *)&local)->sin6_addr, 16);
		memcpy(s.remote_addr, &((struct sockaddr_in6 *)&remote)->sin6_addr, 16);
	}
	s.local_port = ntohs(((struct sockaddr_in *)&local)->sin_port);
	s.remote_port = ntohs(((struct sockaddr_in *)&remote)->sin_port);
	len = sizeof(s.cookie);
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &s.cookie, &len), 0);
	return s;
}

static int socket_error(int fd)
{
	int error = 0;
	socklen_t len = sizeof(error);

	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
	return error;
}

static bool is_alive(const struct pair *pair)
{
	char byte = 'x';

	return send(pair->client, &byte, 1, MSG_NOSIGNAL) == 1 &&
	       recv(pair->server, &byte, 1, 0) == 1;
}

static void close_pair(struct pair *pair)
{
	close(pair->server);
	close(pair->client);
}

static void check_reset(int listen_family, int client_family, uint8_t family)
{
	struct pair pair = connect_tcp(listen_family, client_family);
	struct dbps_session s = describe(pair.server, family);
	int r = dbps_reset_tcp(&s);

	if (r == -EPERM || r == -EOPNOTSUPP) {
		print_message("[  SKIPPED ] no right or no support to destroy sockets\n");
		close_pair(&pair);
		skip();
	}
	assert_int_equal(r, 0);
	assert_int_equal(socket_error(pair.client), ECONNRESET);
	close_pair(&pair);
}

static void an_ipv4_session_is_reset(void **state)
{
	(void)state;
	check_reset(AF_INET, AF_INET, DBPS_FAMILY_INET);
}

static void an_ipv6_session_is_reset(void **state)
{
	(void)state;
	check_reset(AF_INET6, AF_INET6, DBPS_FAMILY_INET6);
}

static void an_ipv4_session_of_an_ipv6_listener_is_reset(void **state)
{
	(void)state;
	check_reset(AF_INET6, AF_INET, DBPS_FAMILY_INET6);
}

static void a_mapped_session_told_as_ipv4_is_reset(void **state)
{
	struct pair pair = connect_tcp(AF_INET6, AF_INET);
	struct dbps_session s = describe(pair.server, DBPS_FAMILY_INET6);
	int r;

	(void)state;
	s.family = DBPS_FAMILY_INET;
	memmove(s.local_addr, s.local_addr + 12, 4);
	memmove(s.remote_addr, s.remote_addr + 12, 4);
	r = dbps_reset_tcp(&s);
	close_pair(&pair);
	if (r == -EPERM || r == -EOPNOTSUPP)
		skip();
	assert_int_equal(r, 0);
}

static void another_cookie_at_the_same_address_is_left_alone(void **state)
{
	struct pair pair = connect_tcp(AF_INET, AF_INET);
	struct dbps_session s = describe(pair.server, DBPS_FAMILY_INET);
	int r;

	(void)state;
	s.cookie++;
	r = dbps_reset_tcp(&s);
	assert_true(r == -ESTALE || r == -EPERM || r == -EOPNOTSUPP);
	assert_int_equal(dbps_reset_shutdown(&s), -ESTALE);
	assert_true(is_alive(&pair));
	close_pair(&pair);
}

static void a_cookie_of_zero_matches_nothing(void **state)
{
	struct pair pair = connect_tcp(AF_INET, AF_INET);
	struct dbps_session s = describe(pair.server, DBPS_FAMILY_INET);

	(void)state;
	s.cookie = 0;
	assert_int_equal(dbps_reset_tcp(&s), -EINVAL);
	assert_true(is_alive(&pair));
	close_pair(&pair);
}

static void a_session_that_is_gone_is_stale(void **state)
{
	struct pair pair = connect_tcp(AF_INET, AF_INET);
	struct dbps_session s = describe(pair.server, DBPS_FAMILY_INET);
	int r;

	(void)state;
	close(pair.client); /* first, so that the server's end is not kept in TIME_WAIT */
	close(pair.server);
	r = dbps_reset_tcp(&s);
	assert_true(r == -ESTALE || r == -EPERM || r == -EOPNOTSUPP);
	assert_int_equal(dbps_reset_shutdown(&s), -ESTALE);
}

static void a_unix_session_is_shut_down_for_both_ends(void **state)
{
	struct dbps_session s;
	struct pair pair;
	int fds[2];
	char byte;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	pair = (struct pair){fds[0], fds[1]};
	s = describe(pair.server, DBPS_FAMILY_UNIX);
	assert_int_equal(dbps_reset_tcp(&s), -EOPNOTSUPP);
	assert_true(is_alive(&pair));
	assert_int_equal(dbps_reset_shutdown(&s), 0);
	assert_int_equal(recv(pair.server, &byte, 1, 0), 0);
	assert_int_equal(recv(pair.client, &byte, 1, 0), 0);
	close_pair(&pair);
}

static void a_tcp_session_can_be_shut_down_too(void **state)
{
	struct pair pair = connect_tcp(AF_INET, AF_INET);
	struct dbps_session s = describe(pair.server, DBPS_FAMILY_INET);
	char byte;

	(void)state;
	assert_int_equal(dbps_reset_shutdown(&s), 0);
	assert_int_equal(recv(pair.client, &byte, 1, 0), 0);
	close_pair(&pair);
}

static void a_process_that_is_gone_is_stale(void **state)
{
	struct dbps_session s = {.family = DBPS_FAMILY_UNIX, .tgid = 1 << 30, .inode = 1};

	(void)state;
	assert_int_equal(dbps_reset_shutdown(&s), -ESTALE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_ipv4_session_is_reset),
		cmocka_unit_test(an_ipv6_session_is_reset),
		cmocka_unit_test(an_ipv4_session_of_an_ipv6_listener_is_reset),
		cmocka_unit_test(a_mapped_session_told_as_ipv4_is_reset),
		cmocka_unit_test(another_cookie_at_the_same_address_is_left_alone),
		cmocka_unit_test(a_cookie_of_zero_matches_nothing),
		cmocka_unit_test(a_session_that_is_gone_is_stale),
		cmocka_unit_test(a_unix_session_is_shut_down_for_both_ends),
		cmocka_unit_test(a_tcp_session_can_be_shut_down_too),
		cmocka_unit_test(a_process_that_is_gone_is_stale),
	};

	return cmocka_run_group_tests_name("kill_reset", tests, NULL, NULL);
}
