/*
 * A console connection from greeting to end, byte by byte: what is understood is answered, what
 * breaks the protocol is told and counted, and nothing that a client sends does more than end its
 * connection.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "cleanup.h"
#include "daemon/console.h"
#include "daemon/daemon.h"
#include "mysql/result.h"
#include "sql/connection.h"

#include "console_answer.h"
#include "console_fakes.h"

static struct dbps_daemon test_daemon = {
	.config = {.socket = (char *)"/none", .max_connections = 3, .kill_wait_ms = 10}};

struct serving {
	struct sql_counters counters;
	struct sql_connection connection;
	pthread_t thread;
	int server_fd;
	int fd; /* ours */
};

static void *serve(void *data)
{
	struct serving *serving = data;

	sql_serve(&serving->connection, serving->server_fd);
	close(serving->server_fd);
	return NULL;
}

static int set_up(void **state)
{
	struct serving *serving = calloc(1, sizeof(*serving));
	int fds[2];

	fake_reset();
	if (!serving || socketpair(AF_UNIX, SOCK_STREAM, 0, fds))
		return -1;
	serving->connection.daemon = &test_daemon;
	serving->connection.counters = &serving->counters;
	serving->connection.id = 9;
	serving->fd = fds[0];
	serving->server_fd = fds[1];
	*state = serving;
	return pthread_create(&serving->thread, NULL, serve, serving);
}

static int tear_down(void **state)
{
	struct serving *serving = *state;

	shutdown(serving->fd, SHUT_RDWR);
	pthread_join(serving->thread, NULL);
	close(serving->fd);
	free(serving);
	return 0;
}

static void say(const struct serving *serving, const void *bytes, size_t len)
{
	assert_int_equal(send(serving->fd, bytes, len, MSG_NOSIGNAL), len);
}

/* One packet with its header. */
static size_t hear_packet(int fd, uint8_t *ret, size_t size)
{
	size_t len;

	assert_int_equal(recv(fd, ret, 4, MSG_WAITALL), 4);
	len = ret[0] | (size_t)ret[1] << 8;
	assert_true(len + 4 <= size);
	assert_int_equal(recv(fd, ret + 4, len, MSG_WAITALL), len);
	return len + 4;
}

static void assert_hears(const struct serving *serving, const char *want)
{
	uint8_t bytes[4096];
	struct wire_cursor cursor =
		wire_cursor(bytes, hear_packet(serving->fd, bytes, sizeof(bytes)));
	_cleanup_free_ char *answer = answer_read(&cursor);

	assert_string_equal(answer, want);
}

static void assert_closed(const struct serving *serving)
{
	struct pollfd poll_fd = {.fd = serving->fd, .events = POLLIN};
	char byte;

	assert_int_equal(poll(&poll_fd, 1, 3000), 1);
	assert_true(recv(serving->fd, &byte, 1, MSG_DONTWAIT) <= 0);
}

static void assert_bad_packets(const struct serving *serving, unsigned int n)
{
	assert_int_equal(atomic_load(&serving->counters.bad_packets), n);
}

static void hear_greeting(const struct serving *serving)
{
	uint8_t bytes[512];
	size_t len = hear_packet(serving->fd, bytes, sizeof(bytes));

	assert_int_equal(bytes[3], 0);
	assert_int_equal(bytes[4], WIRE_PROTOCOL);
	assert_string_equal((char *)bytes + 5, SQL_SERVER_VERSION);
	assert_int_equal(bytes[5 + strlen(SQL_SERVER_VERSION) + 1], 9);
	assert_true(len < sizeof(bytes));
}

static void put_login(struct wire_writer *writer, const char *db, const char *plugin)
{
	writer->seq = 1;
	wire_begin(writer);
	wire_put_u32(writer, WIRE_CAP_PROTOCOL_41 | WIRE_CAP_SECURE_CONNECTION |
				     WIRE_CAP_PLUGIN_AUTH | WIRE_CAP_CONNECT_WITH_DB);
	wire_put_zeros(writer, 28);
	wire_put_zero_ended(writer, "me");
	wire_put_lenenc_bytes(writer, "pw", 2);
	wire_put_zero_ended(writer, db);
	wire_put_zero_ended(writer, plugin);
	wire_end(writer);
}

static void log_in(const struct serving *serving, const char *db, const char *plugin)
{
	_cleanup_(wire_writer_done) struct wire_writer writer = {0};

	hear_greeting(serving);
	put_login(&writer, db, plugin);
	say(serving, writer.bytes, writer.len);
}

static void begin(const struct serving *serving)
{
	log_in(serving, "", WIRE_AUTH_NATIVE);
	assert_hears(serving, "OK: ");
}

static void command(const struct serving *serving, const char *body, size_t len)
{
	_cleanup_(wire_writer_done) struct wire_writer writer = {0};

	wire_begin(&writer);
	wire_put_bytes(&writer, body, len);
	wire_end(&writer);
	say(serving, writer.bytes, writer.len);
}

#define command_text(serving, text) command(serving, text, sizeof(text) - 1)

static void anyone_who_reached_the_socket_is_in(void **state)
{
	begin(*state);
	assert_bad_packets(*state, 0);
}

static void a_database_at_login_is_a_server(void **state)
{
	log_in(*state, "mysql-3307", WIRE_AUTH_NATIVE);
	assert_hears(*state, "OK: ");
	command_text(*state, "\x0c\x29\0\0\0");
	assert_hears(*state, "OK: confirmed: statement 3 interrupted after 1.4 ms (control link)");
	assert_true(fake.kill_request.id == ((1ULL << 32) | 41));
	assert_true(fake.kill_request.connection);
}

static void an_unknown_database_ends_the_login(void **state)
{
	log_in(*state, "test", WIRE_AUTH_NATIVE);
	assert_hears(*state, "ERR 1049 42000: Unknown database 'test'");
	assert_closed(*state);
}

static void a_sha2_client_gets_its_word(void **state)
{
	struct serving *serving = *state;
	uint8_t bytes[64];

	log_in(serving, "", WIRE_AUTH_SHA2);
	assert_int_equal(hear_packet(serving->fd, bytes, sizeof(bytes)), 6);
	assert_memory_equal(bytes, "\2\0\0\2\1\3", 6);
	assert_int_equal(hear_packet(serving->fd, bytes, sizeof(bytes)), 11);
	assert_int_equal(bytes[3], 3);
	assert_int_equal(bytes[4], 0);
}

static void commands_are_answered_one_by_one(void **state)
{
	struct serving *serving = *state;
	uint8_t bytes[256];

	begin(serving);
	say(serving, "\1\0\0\0\x0e\1\0\0\0\x0e", 10); /* two pings at once */
	assert_hears(serving, "OK: ");
	assert_hears(serving, "OK: ");
	command_text(serving, "\x1f");
	assert_hears(serving, "OK: ");
	command_text(serving, "\x02mariadb-3306");
	assert_hears(serving, "OK: ");
	command_text(serving, "\x02nothing");
	assert_hears(serving, "ERR 1049 42000: Unknown database 'nothing'");
	command_text(serving, "\x16select ?");
	assert_hears(serving, "ERR 1295 HY000: dbps has no prepared statements: send the text");
	command_text(serving, "\x19\1\0\0\0"); /* closing a statement has no answer */
	command_text(serving, "\x1b\0\0");
	assert_int_equal(hear_packet(serving->fd, bytes, sizeof(bytes)), 9);
	command_text(serving, "\x09");
	assert_true(hear_packet(serving->fd, bytes, sizeof(bytes)) > 30);
	assert_memory_equal(bytes + 4, "Uptime: ", 8);
	command_text(serving, "\x11you\0\0mysql-3307");
	assert_hears(serving, "OK: ");
	assert_bad_packets(serving, 0);
	command_text(serving, "\x01");
	assert_closed(serving);
}

static void unknown_commands_leave_the_connection_open(void **state)
{
	struct serving *serving = *state;
	static const uint8_t unknown[] = {0x00, 0x05, 0x07, 0x08, 0x12, 0x1e, 0x7f, 0xfa, 0xff};

	begin(serving);
	for (size_t i = 0; i < ARRAY_SIZE(unknown); i++) {
		command(serving, (const char *)&unknown[i], 1);
		assert_hears(serving, "ERR 1047 08S01: Unknown command");
	}
	command(serving, "", 0);
	assert_hears(serving, "ERR 1047 08S01: Unknown command");
	assert_bad_packets(serving, ARRAY_SIZE(unknown) + 1);
	command_text(serving, "\x0e");
	assert_hears(serving, "OK: ");
}

static void a_packet_out_of_order_ends_it(void **state)
{
	struct serving *serving = *state;

	begin(serving);
	say(serving, "\1\0\0\1\x0e", 5);
	assert_hears(serving, "ERR 1156 08S01: Got packets out of order");
	assert_closed(serving);
	assert_bad_packets(serving, 1);
}

static void a_packet_too_large_ends_it(void **state)
{
	struct serving *serving = *state;

	begin(serving);
	say(serving, "\1\0\x10\0\x03select", 11); /* 1 MiB and 1 byte */
	assert_hears(serving,
		     "ERR 1153 08S01: Got a packet bigger than 'max_allowed_packet' bytes");
	shutdown(serving->fd, SHUT_WR);
	assert_closed(serving);
	assert_bad_packets(serving, 1);
}

static void the_largest_packet_is_taken(void **state)
{
	struct serving *serving = *state;
	_cleanup_free_ char *body = malloc(SQL_MAX_PACKET);

	begin(serving);
	memset(body, ' ', SQL_MAX_PACKET);
	body[0] = 0x03;
	for (size_t i = 0; i < 5; i++)
		body[SQL_MAX_PACKET - 5 + i] = "begin"[i];
	command(serving, body, SQL_MAX_PACKET);
	assert_hears(serving, "OK: ");
	assert_bad_packets(serving, 0);
}

static void a_kill_without_its_id_is_malformed(void **state)
{
	struct serving *serving = *state;

	begin(serving);
	command_text(serving, "\x0c\x29\0");
	assert_hears(serving, "ERR 1835 HY000: Malformed communication packet.");
	assert_closed(serving);
	assert_bad_packets(serving, 1);
}

static void a_cut_login_is_malformed(void **state)
{
	struct serving *serving = *state;

	hear_greeting(serving);
	say(serving, "\6\0\0\1\0\2\0\0\0\0", 10);
	assert_hears(serving, "ERR 1835 HY000: Malformed communication packet.");
	assert_closed(serving);
	assert_bad_packets(serving, 1);
}

static void an_old_client_is_told_what_is_missing(void **state)
{
	struct serving *serving = *state;

	hear_greeting(serving);
	say(serving, "\12\0\0\1\x85\0\0\0\1root\0", 14);
	assert_hears(serving, "ERR 1043 08S01: Bad handshake: protocol 4.1 is needed");
	assert_closed(serving);
}

static void a_statement_may_hold_any_byte(void **state)
{
	struct serving *serving = *state;
	char body[256];
	uint8_t bytes[4096];

	begin(serving);
	for (size_t i = 0; i < sizeof(body); i++)
		body[i] = (char)i;
	body[0] = 0x03;
	command(serving, body, sizeof(body));
	hear_packet(serving->fd, bytes, sizeof(bytes));
	assert_memory_equal(bytes + 4, "\xff\x28\4#42000", 9);
	assert_bad_packets(serving, 0);
}

/* Whatever random bytes after the login are: the connection answers or ends. */
static void random_bytes_end_at_most_their_connection(void **state)
{
	unsigned int seed = 1;

	for (int round = 0; round < 300; round++) {
		struct serving *serving = *state;
		uint8_t bytes[600], heard[4096];

		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)(rand_r(&seed) >> 7);
		/* Half of them with a header that holds, so that bodies are tried too. */
		if (round % 2)
			memcpy(bytes, (uint8_t[]){0x40, 0, 0, 0}, 4);
		if (round % 3)
			begin(serving);
		send(serving->fd, bytes, sizeof(bytes), MSG_NOSIGNAL);
		shutdown(serving->fd, SHUT_WR);
		while (recv(serving->fd, heard, sizeof(heard), 0) > 0)
			;
		assert_int_equal(tear_down(state), 0);
		assert_int_equal(set_up(state), 0);
	}
}

/* ---------------------------------------------------------------- the socket ---------------- */

#define DIRECTORY "/tmp/dbps-test-console-XXXXXX"

static char directory[] = DIRECTORY;
static char path[sizeof(directory) + 32];

static int make_directory(void **state)
{
	(void)state;
	fake_reset();
	memcpy(directory, DIRECTORY, sizeof(directory));
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/run/dbps.sock", directory);
	test_daemon.config.socket = path;
	return 0;
}

static int remove_directory(void **state)
{
	char run[sizeof(path)];

	(void)state;
	unlink(path);
	snprintf(run, sizeof(run), "%s/run", directory);
	rmdir(run);
	return rmdir(directory);
}

static int connect_to_console(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	memcpy(address.sun_path, path, sizeof(path));
	if (!connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return fd;
	close(fd);
	return -1;
}

static void the_socket_is_for_everyone_and_goes_with_the_console(void **state)
{
	struct dbps_console *console = NULL;
	struct stat stat;

	(void)state;
	assert_int_equal(dbps_console_new(&test_daemon, &console), 0);
	assert_int_equal(lstat(path, &stat), 0);
	assert_int_equal(stat.st_mode, S_IFSOCK | 0666);
	dbps_console_free(console);
	assert_int_equal(lstat(path, &stat), -1);
	dbps_console_free(NULL);
}

static void a_live_socket_is_left_alone(void **state)
{
	struct dbps_console *console, *other = NULL;
	int fd;

	(void)state;
	assert_int_equal(dbps_console_new(&test_daemon, &console), 0);
	assert_int_equal(dbps_console_new(&test_daemon, &other), -EADDRINUSE);
	assert_null(other);
	fd = connect_to_console();
	assert_true(fd >= 0);
	close(fd);
	dbps_console_free(console);
}

static void a_stale_socket_is_replaced_and_another_file_is_not(void **state)
{
	struct dbps_console *console = NULL;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)state;
	*strrchr(path, '/') = '\0';
	assert_int_equal(mkdir(path, 0755), 0);
	path[strlen(path)] = '/';
	memcpy(address.sun_path, path, sizeof(path));
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	assert_int_equal(dbps_console_new(&test_daemon, &console), 0);
	dbps_console_free(console);

	close(open(path, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(dbps_console_new(&test_daemon, &console), -EEXIST);
	assert_int_equal(access(path, F_OK), 0);
}

static void accept_waiting(struct dbps_console *console)
{
	struct pollfd poll_fd = {.fd = dbps_console_fd(console), .events = POLLIN};

	assert_int_equal(poll(&poll_fd, 1, 1000), 1);
	dbps_console_accept(console);
}

/* First byte behind the header of what the console says first: greeting or error. */
static uint8_t first_byte(int fd)
{
	uint8_t bytes[512];

	hear_packet(fd, bytes, sizeof(bytes));
	return bytes[4];
}

static void too_many_get_an_error_and_silent_ones_do_not_stop_the_end(void **state)
{
	/* One more than the cap is root's. */
	int cap = (int)test_daemon.config.max_connections + (geteuid() == 0);
	struct dbps_console *console;
	int fds[8] = {0};

	(void)state;
	assert_int_equal(dbps_console_new(&test_daemon, &console), 0);
	for (int i = 0; i <= cap; i++) {
		fds[i] = connect_to_console();
		accept_waiting(console);
		assert_int_equal(first_byte(fds[i]), i < cap ? WIRE_PROTOCOL : 0xff);
	}
	/* One that leaves makes room for another. */
	close(fds[0]);
	for (int i = 0; i < 100; i++) {
		usleep(10000);
		close(fds[cap]);
		fds[cap] = connect_to_console();
		accept_waiting(console);
		if (first_byte(fds[cap]) == WIRE_PROTOCOL)
			break;
		assert_true(i < 99);
	}
	dbps_console_free(console);
	for (int i = 1; i <= cap; i++)
		close(fds[i]);
}

static void many_connections_come_and_go(void **state)
{
	struct dbps_console *console;

	(void)state;
	assert_int_equal(dbps_console_new(&test_daemon, &console), 0);
	for (int i = 0; i < 500; i++) {
		int fd = connect_to_console();

		accept_waiting(console);
		first_byte(fd);
		close(fd);
	}
	dbps_console_free(console);
}

#define test(f)	       cmocka_unit_test_setup_teardown(f, set_up, tear_down)
#define test_socket(f) cmocka_unit_test_setup_teardown(f, make_directory, remove_directory)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(anyone_who_reached_the_socket_is_in),
		test(a_database_at_login_is_a_server),
		test(an_unknown_database_ends_the_login),
		test(a_sha2_client_gets_its_word),
		test(commands_are_answered_one_by_one),
		test(unknown_commands_leave_the_connection_open),
		test(a_packet_out_of_order_ends_it),
		test(a_packet_too_large_ends_it),
		test(the_largest_packet_is_taken),
		test(a_kill_without_its_id_is_malformed),
		test(a_cut_login_is_malformed),
		test(an_old_client_is_told_what_is_missing),
		test(a_statement_may_hold_any_byte),
		test(random_bytes_end_at_most_their_connection),
		test_socket(the_socket_is_for_everyone_and_goes_with_the_console),
		test_socket(a_live_socket_is_left_alone),
		test_socket(a_stale_socket_is_replaced_and_another_file_is_not),
		test_socket(too_many_get_an_error_and_silent_ones_do_not_stop_the_end),
		test_socket(many_connections_come_and_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
