/*
 * The client of a server that does not behave: one that says nothing, goes away, or answers late.
 * The other end is a thread of this process that plays the server.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "server/client.h"

#define MS 1000000ull

/* What the server does after the login, a step for each command that it reads. */
struct script {
	int listener;
	pthread_t thread;
	char path[64];
	int answer_after_ms[4];
	bool ask_for_file; /* LOCAL INFILE as the answer to a query */
	ssize_t got_file;  /* bytes that the client sent for it, -1: none */
};

static const uint8_t ok[] = {7, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0};
static const uint8_t want_file[] = {12,	 0,   0,   1,	0xfb, '/', 'e', 't',
				    'c', '/', 'p', 'a', 's',  's', 'w', 'd'};

static void write_all(int fd, const void *bytes, size_t n, uint8_t sequence)
{
	uint8_t packet[128];

	memcpy(packet, bytes, n);
	packet[3] = sequence;
	if (send(fd, packet, n, MSG_NOSIGNAL) < 0)
		return;
}

static void greet(int fd)
{
	static const char version[] = "5.5.5-10.11.19-MariaDB";
	uint8_t packet[128] = {0, 0, 0, 0, 10};
	size_t n = 5;

	memcpy(packet + n, version, sizeof(version));
	n += sizeof(version);
	memcpy(packet + n, "\x2a\0\0\0", 4); /* connection id 42 */
	memcpy(packet + n + 4, "12345678", 9);
	memcpy(packet + n + 13, "\xfe\xf7\x21\x02\0\xff\x81\x15", 8);
	n += 31; /* to the rest of the scramble */
	memcpy(packet + n, "123456789012", 13);
	memcpy(packet + n + 13, "mysql_native_password", 22);
	n += 35;
	packet[0] = (uint8_t)(n - 4);
	write_all(fd, packet, n, 0);
}

static void *play(void *arg)
{
	struct script *script = arg;
	uint8_t buf[4096];
	int fd = accept(script->listener, NULL, NULL);

	greet(fd);
	if (recv(fd, buf, sizeof(buf), 0) > 0)
		write_all(fd, ok, sizeof(ok), 2);
	for (int i = 0; i < 4; i++) {
		if (recv(fd, buf, sizeof(buf), 0) <= 0 || script->answer_after_ms[i] < 0)
			break;
		usleep((useconds_t)script->answer_after_ms[i] * 1000);
		if (script->ask_for_file) {
			write_all(fd, want_file, sizeof(want_file), 1);
			script->got_file = recv(fd, buf, sizeof(buf), 0);
			/* An empty packet is what a client that refuses sends. */
			write_all(fd, ok, sizeof(ok), 3);
		} else {
			write_all(fd, ok, sizeof(ok), 1);
		}
	}
	close(fd);
	return NULL;
}

static void listen_at(struct script *script)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(script->path, sizeof(script->path), "/tmp/dbps-test-client-%d", getpid());
	unlink(script->path);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", script->path);
	script->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(script->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(script->listener, 1), 0);
}

static void start(struct script *script)
{
	listen_at(script);
	assert_int_equal(pthread_create(&script->thread, NULL, play, script), 0);
}

static void stop_listening(struct script *script)
{
	close(script->listener);
	unlink(script->path);
}

static void finish(struct script *script, struct dbps_client *client)
{
	dbps_client_close(client);
	pthread_join(script->thread, NULL);
	stop_listening(script);
}

static int open_client(const struct script *script, int stop_fd, int timeout_ms,
		       struct dbps_client **ret, struct dbps_link_error *error)
{
	struct dbps_client_target target = {.socket = script->path, .user = "root"};

	return dbps_client_open(&target, stop_fd, dbps_clock_ns() + (uint64_t)timeout_ms * MS, ret,
				error);
}

static void a_server_that_says_nothing_is_given_up(void **state)
{
	struct script script = {0};
	struct dbps_client *client = (void *)&script;
	struct dbps_link_error error;
	uint64_t begin_ns = dbps_clock_ns();

	(void)state;
	listen_at(&script);
	assert_int_equal(open_client(&script, -1, 50, &client, &error), -ETIMEDOUT);
	assert_true(dbps_clock_ns() - begin_ns < 5000 * MS);
	assert_non_null(strstr(error.text, "no answer"));
	assert_ptr_equal(client, (void *)&script);
	stop_listening(&script);
}

static void the_stop_descriptor_calls_off(void **state)
{
	struct script script = {0};
	struct dbps_client *client = NULL;
	struct dbps_link_error error;
	uint64_t begin_ns = dbps_clock_ns();
	int stop_fd = eventfd(1, EFD_CLOEXEC);

	(void)state;
	listen_at(&script);
	assert_int_equal(open_client(&script, stop_fd, 60000, &client, &error), -ECANCELED);
	assert_true(dbps_clock_ns() - begin_ns < 5000 * MS);
	assert_null(client);
	close(stop_fd);
	stop_listening(&script);
}

static void nobody_there_is_an_error_with_its_text(void **state)
{
	struct script script = {.path = "/tmp/dbps-test-nobody"};
	struct dbps_client *client = NULL;
	struct dbps_link_error error;

	(void)state;
	assert_int_equal(open_client(&script, -1, 1000, &client, &error), -EIO);
	assert_true(error.text[0]);
	assert_null(client);
}

static void login_tells_id_and_version(void **state)
{
	struct script script = {.answer_after_ms = {0, -1}};
	struct dbps_client *client = NULL;
	struct dbps_link_error error;

	(void)state;
	start(&script);
	assert_int_equal(open_client(&script, -1, 5000, &client, &error), 0);
	assert_int_equal(dbps_client_id(client), 42);
	assert_string_equal(dbps_client_version(client), "10.11.19-MariaDB");
	assert_string_equal(dbps_client_user(client), "root");
	assert_int_equal(
		dbps_client_query(client, "SET x=1", dbps_clock_ns() + 5000 * MS, NULL, &error), 0);
	finish(&script, client);
}

static void a_late_answer_is_taken_in_before_the_next_statement(void **state)
{
	struct script script = {.answer_after_ms = {300, 0, 0, -1}};
	struct dbps_client *client = NULL;
	struct dbps_link_error error;

	(void)state;
	start(&script);
	assert_int_equal(open_client(&script, -1, 5000, &client, &error), 0);
	assert_int_equal(dbps_client_query(client, "DO 1", dbps_clock_ns() + 30 * MS, NULL, &error),
			 -ETIMEDOUT);
	assert_false(dbps_client_lost(client));
	/* Still not there: the next one gives up as well, and sends nothing. */
	assert_int_equal(dbps_client_ping(client, dbps_clock_ns() + 30 * MS, &error), -ETIMEDOUT);
	assert_false(dbps_client_lost(client));
	assert_int_equal(dbps_client_ping(client, dbps_clock_ns() + 5000 * MS, &error), 0);
	assert_int_equal(
		dbps_client_query(client, "DO 2", dbps_clock_ns() + 5000 * MS, NULL, &error), 0);
	finish(&script, client);
}

static void a_server_that_goes_away_breaks_the_connection(void **state)
{
	struct script script = {.answer_after_ms = {-1}};
	struct dbps_client *client = NULL;
	struct dbps_link_error error;

	(void)state;
	start(&script);
	assert_int_equal(open_client(&script, -1, 5000, &client, &error), 0);
	assert_int_equal(
		dbps_client_query(client, "DO 1", dbps_clock_ns() + 5000 * MS, NULL, &error),
		-ENOTCONN);
	assert_true(dbps_client_lost(client));
	assert_int_equal(
		dbps_client_query(client, "DO 1", dbps_clock_ns() + 5000 * MS, NULL, &error),
		-ENOTCONN);
	finish(&script, client);
}

static void a_server_that_asks_for_a_file_gets_none(void **state)
{
	struct script script = {.ask_for_file = true, .answer_after_ms = {0, -1}, .got_file = -1};
	struct dbps_client *client = NULL;
	struct dbps_link_error error;

	(void)state;
	start(&script);
	assert_int_equal(open_client(&script, -1, 5000, &client, &error), 0);
	assert_true(dbps_client_query(client, "SELECT 1", dbps_clock_ns() + 5000 * MS, NULL,
				      &error) < 0);
	finish(&script, client);
	assert_true(script.got_file <= 4); /* no more than the header of an empty packet */
}

static void closing_with_an_answer_outstanding_does_not_wait(void **state)
{
	struct script script = {.answer_after_ms = {500, -1}};
	struct dbps_client *client = NULL;
	struct dbps_link_error error;
	uint64_t begin_ns;

	(void)state;
	start(&script);
	assert_int_equal(open_client(&script, -1, 5000, &client, &error), 0);
	assert_int_equal(dbps_client_query(client, "DO 1", dbps_clock_ns() + 20 * MS, NULL, &error),
			 -ETIMEDOUT);
	begin_ns = dbps_clock_ns();
	dbps_client_close(client);
	assert_true(dbps_clock_ns() - begin_ns < 300 * MS);
	finish(&script, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_server_that_says_nothing_is_given_up),
		cmocka_unit_test(the_stop_descriptor_calls_off),
		cmocka_unit_test(nobody_there_is_an_error_with_its_text),
		cmocka_unit_test(login_tells_id_and_version),
		cmocka_unit_test(a_late_answer_is_taken_in_before_the_next_statement),
		cmocka_unit_test(a_server_that_goes_away_breaks_the_connection),
		cmocka_unit_test(a_server_that_asks_for_a_file_gets_none),
		cmocka_unit_test(closing_with_an_answer_outstanding_does_not_wait),
	};

	return cmocka_run_group_tests_name("server_client", tests, NULL, NULL);
}
