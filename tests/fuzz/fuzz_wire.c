/*
 * The console's wire under any bytes that a client may send: a login, then commands. The packets
 * are the same however the bytes arrive, and what is read of them lies in them.
 *
 * The input: a byte that is the seed of the cuts, then the client's bytes.
 */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "check.h"
#include "mysql/channel.h"
#include "mysql/handshake.h"

#define PACKETS_MAX 256
#define LARGEST	    8192

/* What a client sent: the whole of it at once, or in pieces. */
static struct {
	const uint8_t *at;
	size_t left;
	size_t most;	     /* bytes a call */
	unsigned int silent; /* calls until the next that finds nothing */
} client;

/* The linker puts these in the place of the system calls (--wrap). */
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout_ms);
ssize_t __wrap_recv(int fd, void *buffer, size_t n, int flags);

int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	(void)timeout_ms;
	CHECK(n == 1);
	fds->revents = fds->events;
	return 1;
}

ssize_t __wrap_recv(int fd, void *buffer, size_t n, int flags)
{
	(void)fd;
	CHECK(n && flags == MSG_DONTWAIT);
	if (client.most != SIZE_MAX && client.silent++ % 3 == 1) {
		errno = client.silent & 1 ? EAGAIN : EINTR;
		return -1;
	}
	if (n > client.left)
		n = client.left;
	if (n > client.most)
		n = client.most;
	memcpy(buffer, client.at, n);
	client.at += n;
	client.left -= n;
	return (ssize_t)n;
}

static void check_slice(const struct wire_slice *slice, const void *packet, size_t len)
{
	CHECK(!slice->len || lies_in(slice->data, slice->len, packet, len));
}

static void check_login(const struct wire_login *login, const void *packet, size_t len)
{
	check_slice(&login->user, packet, len);
	check_slice(&login->auth, packet, len);
	check_slice(&login->db, packet, len);
	check_slice(&login->plugin, packet, len);
	wire_login_wants_sha2_word(login);
}

/* Everything that a cursor can read, one after the other. It moves on success only. */
static void read_all(const void *packet, size_t len)
{
	struct wire_cursor cursor = wire_cursor(packet, len), before;
	struct wire_slice slice;
	uint64_t number;
	int r;

	do {
		before = cursor;
		slice = (struct wire_slice){0};
		r = wire_read_lenenc_bytes(&cursor, &slice);
		if (r)
			r = wire_read_zero_ended(&cursor, &slice);
		if (r)
			r = wire_read_lenenc(&cursor, &number);
		if (r)
			r = wire_read_bytes(&cursor, 3, &slice);
		check_slice(&slice, packet, len);
		CHECK(cursor.at + cursor.left == (const uint8_t *)packet + len);
		CHECK(r ? cursor.left == before.left : cursor.left < before.left);
	} while (!r);
}

static void read_packet(const struct wire_slice *payload, uint32_t *caps)
{
	uint8_t *packet = exact_copy(payload->data, payload->len);
	struct wire_login login;

	if (!*caps && !wire_login_read(packet, payload->len, &login)) {
		check_login(&login, packet, payload->len);
		*caps = login.caps;
	} else if (!wire_change_user_read(packet, payload->len, *caps, &login)) {
		check_login(&login, packet, payload->len);
	}
	read_all(packet, payload->len);
	free(packet);
}

/* Of each packet its length and a hash, then the error that ended it. Without padding: compared as
 * bytes. */
struct story {
	size_t n;
	struct {
		size_t len;
		uint64_t hash;
	} packet[PACKETS_MAX];
	int64_t end;
};

static uint64_t hash(const struct wire_slice *slice)
{
	uint64_t h = 0xcbf29ce484222325;

	for (size_t i = 0; i < slice->len; i++)
		h = (h ^ (uint8_t)slice->data[i]) * 0x100000001b3;
	return h;
}

static void listen_to(const uint8_t *bytes, size_t n, size_t most, struct story *ret_story)
{
	struct wire_channel channel;
	struct wire_slice payload;
	struct story *story = ret_story;
	uint32_t caps = 0;

	memset(story, 0, sizeof(*story));
	client.at = bytes;
	client.left = n;
	client.most = most;
	client.silent = 0;
	wire_channel_init(&channel, -1);
	while (!story->end && story->n < PACKETS_MAX) {
		story->end = wire_channel_read(&channel, story->n ? 0 : 1, LARGEST, WIRE_FOREVER,
					       &payload);
		if (story->end)
			break;
		story->packet[story->n].len = payload.len;
		story->packet[story->n++].hash = hash(&payload);
		CHECK(channel.in_at <= channel.in_end && channel.in_end <= channel.in_cap);
		CHECK(channel.in_cap <= WIRE_HEADER_LEN + LARGEST);
		read_packet(&payload, &caps);
	}
	if (story->end == -EPROTO || story->end == -EMSGSIZE)
		wire_channel_drain(&channel);
	wire_channel_done(&channel);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct story whole, cut;

	if (!size)
		return 0;
	listen_to(data + 1, size - 1, SIZE_MAX, &whole);
	listen_to(data + 1, size - 1, *data % 64 + 1, &cut);
	CHECK(!memcmp(&whole, &cut, sizeof(whole)));
	return 0;
}
