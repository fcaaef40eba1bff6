/*
 * A database server that is not dbpsd and ends its statements when dbps asks for it: MySQL's
 * protocol, as much as a test needs, and the library of dbps/cancel.h. A thread a connection.
 *
 * usage: polling_server PORT CONSOLE [deaf]: serves at 127.0.0.1:PORT, polls what the dbpsd at
 * CONSOLE wants, or says that it does and never looks. Statements: "run MS" works for so long,
 * "poll N" polls N times, "doze MS" does not poll for so long; any other is answered at once.
 * Prints "ready".
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <time.h>
#include <unistd.h>

#include <dbps/cancel.h>

#define PACKET_MAX 65536

static struct dbps_cancel_watch *watch;
static bool deaf;

static void send_packet(int fd, uint8_t sequence, const void *body, size_t len)
{
	uint8_t packet[4 + 512] = {(uint8_t)len, (uint8_t)(len >> 8), 0, sequence};

	memcpy(packet + 4, body, len);
	(void)!send(fd, packet, 4 + len, MSG_NOSIGNAL);
}

static void send_ok(int fd, uint8_t sequence)
{
	send_packet(fd, sequence, "\0\0\0\2\0\0\0", 7);
}

static void send_interrupted(int fd)
{
	static const char error[] = "\xff\x25\x05#70100Query execution was interrupted";

	send_packet(fd, 1, error, sizeof(error) - 1);
}

static void greet(int fd, uint32_t id)
{
	char body[128] = "\n9.9.9-polling";
	char *at = body + strlen(body) + 1;

	memcpy(at, &id, 4);
	memcpy(at + 4, "scramble", 9);
	memcpy(at + 13, "\x08\xa2\x21\x02\x00\x08\x00\x15", 8); /* 4.1, plugin authentication */
	memcpy(at + 31, "scramble4321\0mysql_native_password", 35);
	send_packet(fd, 0, body, (size_t)(at + 66 - body));
}

/* Header and body apart, as MariaDB reads them. Length of the body, or -1 at the end. */
static ssize_t read_packet(int fd, char *body)
{
	uint8_t header[4];
	size_t len;

	if (recv(fd, header, 4, MSG_WAITALL) != 4)
		return -1;
	len = header[0] | (size_t)header[1] << 8 | (size_t)header[2] << 16;
	if (len >= PACKET_MAX || recv(fd, body, len, MSG_WAITALL) != (ssize_t)len)
		return -1;
	body[len] = '\0';
	return (ssize_t)len;
}

static double now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* enum dbps_cancel_wanted that ended it, or NONE when it ran to its end. */
static int run(uint64_t cookie, const char *text)
{
	double end = now_ms() + (strncmp(text, "run ", 4) == 0 ? atof(text + 4) : 0);
	long polls = strncmp(text, "poll ", 5) == 0 ? atol(text + 5) : 0;
	int wanted = DBPS_CANCEL_NONE;

	if (strncmp(text, "doze ", 5) == 0)
		usleep((useconds_t)atoi(text + 5) * 1000);
	while (!wanted && (polls-- > 0 || now_ms() < end))
		wanted = deaf ? DBPS_CANCEL_NONE : dbps_cancel_pending(watch, cookie);
	return wanted;
}

/* @return Whether the connection lives on. */
static bool execute(int fd, uint64_t cookie, const char *text)
{
	switch (run(cookie, text)) {
	case DBPS_CANCEL_SESSION:
		return false;
	case DBPS_CANCEL_STATEMENT:
		send_interrupted(fd);
		return true;
	default:
		send_ok(fd, 1);
		return true;
	}
}

static void *serve(void *data)
{
	static uint32_t last_id;
	int fd = (int)(intptr_t)data;
	uint64_t cookie;
	char *body = malloc(PACKET_MAX);
	bool lives = body;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	greet(fd, __atomic_add_fetch(&last_id, 1, __ATOMIC_RELAXED));
	cookie = dbps_cancel_cookie(watch, fd);
	if (lives && read_packet(fd, body) > 0)
		send_ok(fd, 2);
	while (lives && read_packet(fd, body) > 0) {
		if (body[0] == 1) /* COM_QUIT */
			break;
		if (body[0] == 3) /* COM_QUERY */
			lives = execute(fd, cookie, body + 1);
		else
			send_ok(fd, 1);
	}
	free(body);
	close(fd);
	return NULL;
}

static int listen_at(uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons(port),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 100))
		return -1;
	return fd;
}

int main(int argc, char **argv)
{
	int fd = argc > 2 ? listen_at((uint16_t)atoi(argv[1])) : -1;

	if (fd < 0)
		return fprintf(stderr, "polling_server: %s\n", strerror(errno)), 1;
	deaf = argc > 3;
	watch = dbps_cancel_open(argv[2]);
	if (!watch)
		return fprintf(stderr, "polling_server: %s\n", strerror(errno)), 1;
	puts("ready");
	fflush(stdout);
	for (;;) {
		int client = accept(fd, NULL, NULL);
		pthread_t thread;

		if (client < 0 || pthread_create(&thread, NULL, serve, (void *)(intptr_t)client))
			return 1;
		pthread_detach(thread);
	}
}
