/*
 * A server of the MySQL protocol that moves its bytes by io_uring, which no tap sees: uring_server
 * PORT, or uring_server try, which tells by its exit code whether this kernel lets it. It answers
 * one client, everything with OK. It bears a database server's name, as nothing else tells of it.
 */
#include <arpa/inet.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

static struct io_uring ring;

static int complete(void)
{
	struct io_uring_cqe *cqe;
	int r;

	io_uring_submit(&ring);
	r = io_uring_wait_cqe(&ring, &cqe);
	if (r < 0)
		return r;
	r = cqe->res;
	io_uring_cqe_seen(&ring, cqe);
	return r;
}

static int ring_send(int fd, const void *bytes, size_t n)
{
	io_uring_prep_send(io_uring_get_sqe(&ring), fd, bytes, n, 0);
	return complete();
}

static int ring_recv(int fd, void *bytes, size_t n)
{
	io_uring_prep_recv(io_uring_get_sqe(&ring), fd, bytes, n, 0);
	return complete();
}

static int listen_on(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons((unsigned short)port),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 8))
		return -1;
	return fd;
}

static void serve(int fd)
{
	static const char greeting[] = "\x4f\0\0\0\x0a"
				       "5.7.0-uring\0\7\0\0\0"
				       "01234567\0\x0d\xa2\x2d\2\0\x08\0\x15\0\0\0\0\0\0\0\0\0\0"
				       "890123456789\0mysql_native_password";
	char request[4096], ok[] = "\7\0\0\0\0\0\0\2\0\0\0";

	if (ring_send(fd, greeting, sizeof(greeting)) < 0)
		return;
	while (ring_recv(fd, request, sizeof(request)) > 4) {
		ok[3] = (char)(request[3] + 1);
		if (ring_send(fd, ok, sizeof(ok) - 1) < 0)
			return;
	}
}

int main(int argc, char **argv)
{
	int listener, fd;

	if (argc < 2 || io_uring_queue_init(8, &ring, 0) < 0)
		return 1;
	if (strcmp(argv[1], "try") == 0)
		return 0;
	prctl(PR_SET_NAME, "mysqld-uring");
	listener = listen_on(atoi(argv[1]));
	if (listener < 0)
		return 1;
	puts("ready");
	fflush(stdout);
	while ((fd = accept(listener, NULL, NULL)) >= 0)
		serve(fd);
	return 0;
}
