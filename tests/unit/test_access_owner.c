/*
 * Whose client is at the other end: loopback sockets of this process, in each family, and every way
 * in which an address may have become somebody else's.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "access/owner.h"
#include "server/process.h"

#ifndef SO_COOKIE
#define SO_COOKIE 57
#endif

#define OTHER_UID 65533

struct ends {
	int listener;
	int server;
	int client;
};

union address {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

static socklen_t size_of(const union address *address)
{
	return address->any.sa_family == AF_INET ? sizeof(address->in) : sizeof(address->in6);
}

static union address make_address(int family, const char *text, uint16_t port)
{
	union address address = {.any.sa_family = (sa_family_t)family};

	/* The port is at the same place in both. */
	address.in.sin_port = htons(port);
	assert_int_equal(inet_pton(family, text,
				   family == AF_INET ? (void *)&address.in.sin_addr
						     : (void *)&address.in6.sin6_addr),
			 1);
	return address;
}

static uint16_t port_of(int fd)
{
	union address address;
	socklen_t len = sizeof(address);

	assert_int_equal(getsockname(fd, &address.any, &len), 0);
	return ntohs(address.in.sin_port);
}

static int make_socket(int family)
{
	int one = 1, fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	return fd;
}

/* From `from`, or any port of the loopback address when that is 0. */
static int connect_to(const union address *to, const char *from_text, uint16_t from_port)
{
	int fd = make_socket(to->any.sa_family);
	union address from = make_address(to->any.sa_family, from_text, from_port);

	assert_int_equal(bind(fd, &from.any, size_of(&from)), 0);
	assert_int_equal(connect(fd, &to->any, size_of(to)), 0);
	return fd;
}

static struct ends connect_ends(int listen_family, const char *listen_text, int client_family,
				const char *client_text)
{
	union address at = make_address(listen_family, listen_text, 0);
	struct ends ends = {.listener = make_socket(listen_family)};
	union address to;

	assert_int_equal(bind(ends.listener, &at.any, size_of(&at)), 0);
	assert_int_equal(listen(ends.listener, 4), 0);
	to = make_address(client_family, client_family == AF_INET ? "127.0.0.1" : "::1",
			  port_of(ends.listener));
	ends.client = connect_to(&to, client_text, 0);
	ends.server = accept(ends.listener, NULL, NULL);
	assert_true(ends.server >= 0);
	return ends;
}

static void close_ends(struct ends *ends)
{
	close(ends->client);
	close(ends->server);
	close(ends->listener);
}

static void note_address(const union address *address, uint8_t *ret_addr, uint16_t *ret_port)
{
	*ret_port = ntohs(address->in.sin_port);
	if (address->any.sa_family == AF_INET)
		memcpy(ret_addr, &address->in.sin_addr, 4);
	else
		memcpy(ret_addr, &address->in6.sin6_addr, 16);
}

/* What the kernel side would have noted of the server's end. */
static struct dbps_session describe(int fd)
{
	struct dbps_session s = {.tgid = (uint32_t)getpid()};
	union address local, remote;
	socklen_t len = sizeof(local);

	assert_int_equal(getsockname(fd, &local.any, &len), 0);
	len = sizeof(remote);
	assert_int_equal(getpeername(fd, &remote.any, &len), 0);
	s.family = local.any.sa_family == AF_INET ? DBPS_FAMILY_INET : DBPS_FAMILY_INET6;
	note_address(&local, s.local_addr, &s.local_port);
	note_address(&remote, s.remote_addr, &s.remote_port);
	len = sizeof(s.cookie);
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &s.cookie, &len), 0);
	assert_int_equal(dbps_process_namespace(0, "net", &s.netns), 0);
	return s;
}

static void assert_owner(const struct dbps_session *session, uid_t expected)
{
	assert_true(dbps_owner_is(session, expected));
	assert_false(dbps_owner_is(session, expected + 1));
}

static void assert_no_owner(const struct dbps_session *session)
{
	assert_false(dbps_owner_is(session, geteuid()));
	assert_false(dbps_owner_is(session, 0));
	assert_false(dbps_owner_is(session, OTHER_UID));
}

static void a_loopback_client_is_its_sockets_user(void **state)
{
	static const struct {
		int listen_family;
		const char *listen;
		int client_family;
		const char *client;
	} cases[] = {
		{AF_INET, "127.0.0.1", AF_INET, "127.0.0.1"},
		{AF_INET, "0.0.0.0", AF_INET, "127.9.8.7"},
		{AF_INET6, "::1", AF_INET6, "::1"},
		{AF_INET6, "::", AF_INET, "127.0.0.1"}, /* mapped */
		{AF_INET6, "::", AF_INET, "127.1.1.1"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ends ends = connect_ends(cases[i].listen_family, cases[i].listen,
						cases[i].client_family, cases[i].client);
		struct dbps_session session = describe(ends.server);

		assert_owner(&session, geteuid());
		close_ends(&ends);
		assert_no_owner(&session);
	}
}

/* In any order with others, more than are asked at once. */
static void many_are_told_apart(void **state)
{
	enum { N = 200 };
	struct ends ends = connect_ends(AF_INET, "127.0.0.1", AF_INET, "127.0.0.1");
	struct dbps_session own = describe(ends.server), gone = own,
			    unix_peer = {.family = DBPS_FAMILY_UNIX,
					 .client_pid = 5,
					 .client_uid = geteuid()};
	const struct dbps_session *const kinds[] = {&own, &gone, &unix_peer, &own};
	const struct dbps_session *sessions[N];
	bool are[N];

	(void)state;
	gone.cookie++;
	for (size_t n = 0; n <= N; n += 25) {
		for (size_t i = 0; i < n; i++)
			sessions[i] = kinds[(i * 7 + n / 25) % 4];
		memset(are, 0x55, sizeof(are));
		dbps_owners_are(sessions, n, geteuid(), are);
		for (size_t i = 0; i < n; i++)
			assert_int_equal(are[i], sessions[i] != &gone);
		dbps_owners_are(sessions, n, geteuid() + 1, are);
		for (size_t i = 0; i < n; i++)
			assert_false(are[i]);
	}
	close_ends(&ends);
}

static void it_is_the_user_who_made_the_socket(void **state)
{
	struct ends ends;
	struct dbps_session session;

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(seteuid(OTHER_UID), 0);
	ends = connect_ends(AF_INET, "127.0.0.1", AF_INET, "127.0.0.1");
	assert_int_equal(seteuid(0), 0);
	session = describe(ends.server);
	assert_owner(&session, OTHER_UID);
	close_ends(&ends);
}

static void a_unix_client_is_in_the_record(void **state)
{
	struct dbps_session session = {
		.family = DBPS_FAMILY_UNIX, .client_pid = 5, .client_uid = 1000};

	(void)state;
	assert_owner(&session, 1000);
	session.client_pid = 0;
	session.client_uid = 0;
	assert_no_owner(&session);
}

static void another_cookie_is_another_session(void **state)
{
	struct ends ends = connect_ends(AF_INET, "127.0.0.1", AF_INET, "127.0.0.1");
	struct dbps_session session = describe(ends.server);

	(void)state;
	session.cookie++;
	assert_no_owner(&session);
	session.cookie = 0;
	assert_no_owner(&session);
	close_ends(&ends);
}

/* The client's own end, or the listener behind its port, is no session's client. */
static void the_listener_is_nobodys_client(void **state)
{
	struct ends ends = connect_ends(AF_INET, "127.0.0.1", AF_INET, "127.0.0.1");
	struct dbps_session session = describe(ends.server);

	(void)state;
	/* As if the listener's port were the client's. */
	session.remote_port = session.local_port;
	assert_no_owner(&session);
	close_ends(&ends);
}

static void a_client_that_closed_its_end_owns_nothing(void **state)
{
	struct ends ends = connect_ends(AF_INET, "127.0.0.1", AF_INET, "127.0.0.1");
	struct dbps_session session = describe(ends.server);

	(void)state;
	close(ends.client);
	assert_no_owner(&session);
	close(ends.server);
	close(ends.listener);
}

/*
 * A server that executes does not read its socket, so it still has the session of a client that was
 * reset, whose address anybody may have taken meanwhile.
 */
static void who_takes_the_address_does_not_take_the_session(void **state)
{
	struct ends ends = connect_ends(AF_INET, "127.0.0.1", AF_INET, "127.0.0.1");
	struct dbps_session orphan = describe(ends.server), heir;
	union address to = make_address(AF_INET, "127.0.0.1", port_of(ends.listener));
	struct linger abort = {.l_onoff = 1};
	int client, server;

	(void)state;
	setsockopt(ends.client, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
	close(ends.client);
	client = connect_to(&to, "127.0.0.1", orphan.remote_port);
	server = accept(ends.listener, NULL, NULL);
	assert_true(server >= 0);
	heir = describe(server);
	assert_int_equal(heir.remote_port, orphan.remote_port);
	assert_no_owner(&orphan);
	assert_owner(&heir, geteuid());
	close(client);
	close(server);
	close(ends.server);
	close(ends.listener);
}

/* In a network namespace of its own: tells of its session, and waits to be told to end. */
static void serve_elsewhere(int fd)
{
	struct ifreq lo = {.ifr_name = "lo"};
	struct dbps_session session = {0};
	struct ends ends;
	int control;

	if (unshare(CLONE_NEWNET) == 0) {
		control = socket(AF_INET, SOCK_DGRAM, 0);
		lo.ifr_flags = IFF_UP | IFF_RUNNING;
		assert_int_equal(ioctl(control, SIOCSIFFLAGS, &lo), 0);
		assert_int_equal(seteuid(OTHER_UID), 0);
		ends = connect_ends(AF_INET, "127.0.0.1", AF_INET, "127.0.0.1");
		assert_int_equal(seteuid(0), 0);
		session = describe(ends.server);
	}
	if (write(fd, &session, sizeof(session)) == sizeof(session))
		(void)!read(fd, &session, 1);
	_exit(0);
}

static void a_server_of_another_network_namespace_is_asked_there(void **state)
{
	struct dbps_session session;
	int fds[2];
	pid_t pid;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	pid = fork();
	if (pid == 0) {
		close(fds[0]); /* its end is what the child waits for */
		serve_elsewhere(fds[1]);
	}
	close(fds[1]);
	assert_int_equal(read(fds[0], &session, sizeof(session)), sizeof(session));
	if (session.cookie) {
		uint32_t own;

		assert_owner(&session, OTHER_UID);
		/* And this thread is where it was. */
		assert_int_equal(dbps_process_namespace(0, "net", &own), 0);
		assert_int_not_equal(own, session.netns);
	}
	close(fds[0]);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	if (!session.cookie)
		skip();
}

static void who_comes_from_elsewhere_is_not_asked_for(void **state)
{
	struct ends ends = connect_ends(AF_INET, "127.0.0.1", AF_INET, "127.0.0.1");
	struct dbps_session session = describe(ends.server);

	(void)state;
	session.remote_addr[0] = 10;
	assert_no_owner(&session);
	session.family = DBPS_FAMILY_UNKNOWN;
	assert_no_owner(&session);
	close_ends(&ends);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_loopback_client_is_its_sockets_user),
		cmocka_unit_test(many_are_told_apart),
		cmocka_unit_test(it_is_the_user_who_made_the_socket),
		cmocka_unit_test(a_unix_client_is_in_the_record),
		cmocka_unit_test(another_cookie_is_another_session),
		cmocka_unit_test(the_listener_is_nobodys_client),
		cmocka_unit_test(a_client_that_closed_its_end_owns_nothing),
		cmocka_unit_test(who_takes_the_address_does_not_take_the_session),
		cmocka_unit_test(a_server_of_another_network_namespace_is_asked_there),
		cmocka_unit_test(who_comes_from_elsewhere_is_not_asked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
