/*
 * Packets come off a socket however they were cut, what breaks the protocol is named, and neither a
 * silent nor a deaf peer holds a thread beyond its time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "mysql/channel.h"

struct pair {
	struct wire_channel channel;
	int ours;
	int peer;
};

static int set_up(void **state)
{
	struct pair *pair = calloc(1, sizeof(*pair));
	int fds[2];

	if (!pair || socketpair(AF_UNIX, SOCK_STREAM, 0, fds))
		return -1;
	pair->ours = fds[0];
	pair->peer = fds[1];
	wire_channel_init(&pair->channel, pair->ours);
	*state = pair;
	return 0;
}

static int tear_down(void **state)
{
	struct pair *pair = *state;

	wire_channel_done(&pair->channel);
	close(pair->ours);
	if (pair->peer >= 0)
		close(pair->peer);
	free(pair);
	return 0;
}

static void say(struct pair *pair, const char *bytes, size_t len)
{
	assert_int_equal(send(pair->peer, bytes, len, 0), len);
}

static void hang_up(struct pair *pair)
{
	close(pair->peer);
	pair->peer = -1;
}

static void packets_sent_at_once_are_read_one_by_one(void **state)
{
	struct pair *pair = *state;
	struct wire_slice packet;

	say(pair, "\3\0\0\0abc\0\0\0\0\1\0\0\5x", 16);
	assert_int_equal(wire_channel_read(&pair->channel, 0, 100, 1000, &packet), 0);
	assert_int_equal(packet.len, 3);
	assert_memory_equal(packet.data, "abc", 3);
	assert_int_equal(pair->channel.out.seq, 1);
	assert_int_equal(wire_channel_read(&pair->channel, 0, 100, 1000, &packet), 0);
	assert_int_equal(packet.len, 0);
	assert_int_equal(wire_channel_read(&pair->channel, 5, 100, 1000, &packet), 0);
	assert_int_equal(packet.len, 1);
	assert_int_equal(pair->channel.out.seq, 6);
}

struct dribble {
	int fd;
	const char *bytes;
	size_t len;
};

static void *dribble(void *data)
{
	struct dribble *drops = data;

	for (size_t i = 0; i < drops->len; i++) {
		usleep(2000);
		if (send(drops->fd, drops->bytes + i, 1, 0) != 1)
			break;
	}
	return NULL;
}

static void a_packet_may_come_byte_by_byte(void **state)
{
	struct pair *pair = *state;
	struct dribble drops = {pair->peer, "\5\0\0\0hello", 9};
	struct wire_slice packet;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, dribble, &drops), 0);
	assert_int_equal(wire_channel_read(&pair->channel, 0, 100, WIRE_FOREVER, &packet), 0);
	assert_memory_equal(packet.data, "hello", 5);
	pthread_join(thread, NULL);
}

static void the_end_between_packets_is_no_error(void **state)
{
	struct pair *pair = *state;
	struct wire_slice packet = {.len = 77};

	hang_up(pair);
	assert_int_equal(wire_channel_read(&pair->channel, 0, 100, 1000, &packet), -ENODATA);
	assert_int_equal(packet.len, 77);
}

static void the_end_within_a_packet_is_one(void **state)
{
	static const char bytes[] = "\5\0\0\0hell";

	for (size_t len = 1; len < sizeof(bytes); len++) {
		struct pair *pair;
		struct wire_slice packet;

		assert_int_equal(tear_down(state), 0);
		assert_int_equal(set_up(state), 0);
		pair = *state;
		say(pair, bytes, len);
		hang_up(pair);
		assert_int_equal(wire_channel_read(&pair->channel, 0, 100, 1000, &packet),
				 -EBADMSG);
	}
}

static void another_sequence_id_is_refused(void **state)
{
	struct pair *pair = *state;
	struct wire_slice packet;

	say(pair, "\1\0\0\1x", 5);
	assert_int_equal(wire_channel_read(&pair->channel, 0, 100, 1000, &packet), -EPROTO);
	assert_int_equal(pair->channel.out.seq, 2); /* of the error that follows */
}

static void a_length_over_the_cap_is_refused_before_its_bytes_come(void **state)
{
	struct pair *pair = *state;
	struct wire_slice packet;

	say(pair, "\x65\0\0\0", 4);
	assert_int_equal(wire_channel_read(&pair->channel, 0, 100, 1000, &packet), -EMSGSIZE);
}

static void a_length_of_the_cap_is_taken(void **state)
{
	struct pair *pair = *state;
	struct wire_slice packet;
	char bytes[4 + 70000] = {0x70, 0x11, 0x01, 0};

	memset(bytes + 4, 'x', sizeof(bytes) - 4);
	say(pair, bytes, sizeof(bytes));
	assert_int_equal(wire_channel_read(&pair->channel, 0, 70000, 1000, &packet), 0);
	assert_int_equal(packet.len, 70000);
	assert_memory_equal(packet.data, bytes + 4, 70000);
	/* The large buffer goes when the next packet is waited for. */
	say(pair, "\1\0\0\0y", 5);
	assert_int_equal(wire_channel_read(&pair->channel, 0, 70000, 1000, &packet), 0);
	assert_true(pair->channel.in_cap < 70000);
}

static void silence_ends_with_its_time(void **state)
{
	struct pair *pair = *state;
	struct wire_slice packet;

	assert_int_equal(wire_channel_read(&pair->channel, 0, 100, 20, &packet), -ETIMEDOUT);
	say(pair, "\5\0\0", 3);
	assert_int_equal(wire_channel_read(&pair->channel, 0, 100, 20, &packet), -ETIMEDOUT);
}

static void *shut_soon(void *data)
{
	usleep(20000);
	shutdown(*(int *)data, SHUT_RDWR);
	return NULL;
}

static void shutdown_wakes_a_reader_that_waits_for_ever(void **state)
{
	struct pair *pair = *state;
	struct wire_slice packet;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, shut_soon, &pair->ours), 0);
	assert_int_equal(wire_channel_read(&pair->channel, 0, 100, WIRE_FOREVER, &packet),
			 -ENODATA);
	pthread_join(thread, NULL);
}

static void shutdown_wakes_a_writer_that_is_not_read(void **state)
{
	struct pair *pair = *state;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, shut_soon, &pair->ours), 0);
	wire_begin(&pair->channel.out);
	wire_put_zeros(&pair->channel.out, 4 << 20);
	wire_end(&pair->channel.out);
	assert_int_equal(wire_channel_flush(&pair->channel), -EPIPE);
	pthread_join(thread, NULL);
}

static void a_peer_that_has_gone_is_an_error_and_no_signal(void **state)
{
	struct pair *pair = *state;

	hang_up(pair);
	wire_begin(&pair->channel.out);
	wire_end(&pair->channel.out);
	assert_int_equal(wire_channel_flush(&pair->channel), -EPIPE);
}

static void draining_ends_with_the_peer(void **state)
{
	struct pair *pair = *state;

	say(pair, "whatever is left", 16);
	hang_up(pair);
	wire_channel_drain(&pair->channel);
	assert_int_equal(recv(pair->ours, &(char){0}, 1, MSG_DONTWAIT), 0);
}

#define test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(packets_sent_at_once_are_read_one_by_one),
		test(a_packet_may_come_byte_by_byte),
		test(the_end_between_packets_is_no_error),
		test(the_end_within_a_packet_is_one),
		test(another_sequence_id_is_refused),
		test(a_length_over_the_cap_is_refused_before_its_bytes_come),
		test(a_length_of_the_cap_is_taken),
		test(silence_ends_with_its_time),
		test(shutdown_wakes_a_reader_that_waits_for_ever),
		test(shutdown_wakes_a_writer_that_is_not_read),
		test(a_peer_that_has_gone_is_an_error_and_no_signal),
		test(draining_ends_with_the_peer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
