/*
 * Reads take what is there, so a request of header and body is one system call, and requests that
 * were sent ahead wait in the buffer. Waiting is poll(2): without a deadline nothing wakes up.
 */
#include "mysql/channel.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "mysql/protocol.h"

#define IN_CAP	      4096 /* kept while the connection is silent */
#define FLUSH_AT      (32 << 10)
#define KEEP_OUT      (64 << 10)
#define REST_WAIT_MS  30000
#define WRITE_WAIT_MS 30000 /* without a byte taken */
#define DRAIN_MS      1000

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* Wait until `deadline` (now_ms(), or WIRE_FOREVER). 0, -ETIMEDOUT or another negative errno. */
static int wait_for(int fd, short events, int64_t deadline)
{
	for (;;) {
		struct pollfd poll_fd = {.fd = fd, .events = events};
		int64_t left = deadline == WIRE_FOREVER ? -1 : deadline - now_ms();
		int n;

		if (deadline != WIRE_FOREVER && left < 0)
			return -ETIMEDOUT;
		n = poll(&poll_fd, 1, (int)left);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

static int send_all(void *data, const uint8_t *bytes, size_t len)
{
	const struct wire_channel *channel = data;

	while (len) {
		ssize_t n = send(channel->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		int r;

		if (n >= 0) {
			bytes += n;
			len -= (size_t)n;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		r = wait_for(channel->fd, POLLOUT, now_ms() + WRITE_WAIT_MS);
		if (r)
			return r;
	}
	return 0;
}

void wire_channel_init(struct wire_channel *channel, int fd)
{
	*channel = (struct wire_channel){
		.fd = fd,
		.out = {.flush = send_all, .flush_data = channel, .flush_at = FLUSH_AT},
	};
}

void wire_channel_done(struct wire_channel *channel)
{
	free(channel->in);
	channel->in = NULL;
	wire_writer_done(&channel->out);
}

/* Make the buffer `cap` bytes, what is unread first in it. */
static int resize_in(struct wire_channel *channel, size_t cap)
{
	size_t have = channel->in_end - channel->in_at;
	uint8_t *in = malloc(cap);

	if (!in)
		return -ENOMEM;
	if (have)
		memcpy(in, channel->in + channel->in_at, have);
	free(channel->in);
	channel->in = in;
	channel->in_cap = cap;
	channel->in_at = 0;
	channel->in_end = have;
	return 0;
}

/* Room for `need` unread bytes; a large buffer is given back once it is empty. */
static int make_room(struct wire_channel *channel, size_t need)
{
	size_t have = channel->in_end - channel->in_at;

	if (need > channel->in_cap || (!have && channel->in_cap > IN_CAP && need <= IN_CAP))
		return resize_in(channel, need > IN_CAP ? need : IN_CAP);
	if (channel->in_at + need > channel->in_cap) {
		memmove(channel->in, channel->in + channel->in_at, have);
		channel->in_at = 0;
		channel->in_end = have;
	}
	return 0;
}

/* Receive until `need` bytes are unread. -ENODATA at the end of the stream. */
static int fill(struct wire_channel *channel, size_t need, int64_t deadline)
{
	int r = make_room(channel, need);

	while (!r && channel->in_end - channel->in_at < need) {
		ssize_t n;

		r = wait_for(channel->fd, POLLIN, deadline);
		if (r)
			return r;
		n = recv(channel->fd, channel->in + channel->in_end,
			 channel->in_cap - channel->in_end, MSG_DONTWAIT);
		if (n > 0)
			channel->in_end += (size_t)n;
		else if (n == 0)
			return -ENODATA;
		else if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}
	return r;
}

static int64_t rest_deadline(int wait_ms)
{
	return now_ms() + (wait_ms < 0 || wait_ms > REST_WAIT_MS ? REST_WAIT_MS : wait_ms);
}

/* The header, of which the first byte may take `wait_ms` and the rest not much longer. */
static int read_header(struct wire_channel *channel, int wait_ms, int64_t *ret_deadline)
{
	int64_t first = wait_ms == WIRE_FOREVER ? WIRE_FOREVER : now_ms() + wait_ms;
	int64_t deadline;
	int r;

	r = fill(channel, 1, first);
	if (r)
		return r;
	deadline = rest_deadline(wait_ms);
	r = fill(channel, WIRE_HEADER_LEN, deadline);
	if (r)
		return r == -ENODATA ? -EBADMSG : r;
	*ret_deadline = deadline;
	return 0;
}

int wire_channel_read(struct wire_channel *channel, uint8_t seq, size_t max_bytes, int wait_ms,
		      struct wire_slice *ret_payload)
{
	const uint8_t *header;
	int64_t deadline;
	size_t len;
	int r;

	r = read_header(channel, wait_ms, &deadline);
	if (r)
		return r;
	header = channel->in + channel->in_at;
	len = header[0] | (size_t)header[1] << 8 | (size_t)header[2] << 16;
	channel->out.seq = (uint8_t)(header[3] + 1);
	if (header[3] != seq)
		return -EPROTO;
	if (len > max_bytes)
		return -EMSGSIZE;
	r = fill(channel, WIRE_HEADER_LEN + len, deadline);
	if (r)
		return r == -ENODATA ? -EBADMSG : r;
	*ret_payload = (struct wire_slice){
		.data = (const char *)channel->in + channel->in_at + WIRE_HEADER_LEN, .len = len};
	channel->in_at += WIRE_HEADER_LEN + len;
	return 0;
}

void wire_channel_drain(struct wire_channel *channel)
{
	int64_t deadline = now_ms() + DRAIN_MS;
	size_t left = WIRE_HEADER_LEN + WIRE_PACKET_MAX;
	ssize_t n = 1;

	channel->in_at = channel->in_end = 0;
	if (make_room(channel, IN_CAP))
		return;
	while (n > 0 && left && !wait_for(channel->fd, POLLIN, deadline)) {
		n = recv(channel->fd, channel->in, channel->in_cap, MSG_DONTWAIT);
		left -= n > 0 && (size_t)n < left ? (size_t)n : left;
	}
}

int wire_channel_flush(struct wire_channel *channel)
{
	int r = wire_writer_flush(&channel->out);

	if (channel->out.cap > KEEP_OUT && !channel->out.len)
		wire_writer_done(&channel->out);
	return r;
}
