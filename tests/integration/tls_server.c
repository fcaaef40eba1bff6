/*
 * A database server with OpenSSL linked into its program: MySQL's protocol through TLS, as much as
 * a test needs. A thread a connection.
 *
 * usage: tls_server PORT KEY CERTIFICATE [memory]: serves at 127.0.0.1:PORT whoever asks for TLS.
 * With "memory" the library never touches the socket: the program hands it the bytes. The statement
 * "sleep MS" takes so long, any other is answered at once. Prints "ready".
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PACKET_MAX 65536

static SSL_CTX *context;
static bool memory;

struct client {
	int fd;
	SSL *ssl;
};

static void send_all(int fd, const void *data, size_t len)
{
	(void)!send(fd, data, len, MSG_NOSIGNAL);
}

/* What the library wants to send, when it has no socket. */
static void flush(const struct client *client)
{
	char buf[4096];
	int n;

	while (memory && (n = BIO_read(SSL_get_wbio(client->ssl), buf, sizeof(buf))) > 0)
		send_all(client->fd, buf, (size_t)n);
}

/* Wait for the client's bytes, as a server does that found none. @return 0, -1 at the end. */
static int await(const struct client *client, int result)
{
	struct pollfd p = {.fd = client->fd, .events = POLLIN};
	char buf[4096];
	ssize_t n;

	if (SSL_get_error(client->ssl, result) != SSL_ERROR_WANT_READ)
		return -1;
	flush(client);
	if (!memory)
		return poll(&p, 1, -1) < 0 ? -1 : 0;
	while ((n = recv(client->fd, buf, sizeof(buf), MSG_DONTWAIT)) < 0) {
		if (errno != EAGAIN || poll(&p, 1, -1) < 0)
			return -1;
	}
	return n > 0 && BIO_write(SSL_get_rbio(client->ssl), buf, (int)n) == n ? 0 : -1;
}

static int read_all(const struct client *client, void *buf, int len)
{
	for (int have = 0, n; have < len;) {
		n = SSL_read(client->ssl, (char *)buf + have, len - have);
		if (n > 0)
			have += n;
		else if (await(client, n))
			return -1;
	}
	return 0;
}

/* Header and body apart, as MariaDB reads them. Length of the body, or -1 at the end. */
static int read_packet(const struct client *client, char *body)
{
	uint8_t header[4];
	int len;

	if (read_all(client, header, 4))
		return -1;
	len = header[0] | header[1] << 8 | header[2] << 16;
	if (len >= PACKET_MAX || read_all(client, body, len))
		return -1;
	body[len] = '\0';
	return len;
}

static void send_ok(const struct client *client, uint8_t sequence)
{
	char packet[] = "\7\0\0\0\0\0\0\2\0\0\0";

	packet[3] = (char)sequence;
	SSL_write(client->ssl, packet, sizeof(packet) - 1);
	flush(client);
}

static void greet(int fd, uint32_t id)
{
	char packet[128] = {0}, *body = packet + 4, *at;

	memcpy(body, "\n9.9.9-tls", 11);
	at = body + 11;
	memcpy(at, &id, 4);
	memcpy(at + 4, "scramble", 9);
	memcpy(at + 13, "\x08\xaa\x21\x02\x00\x08\x00\x15", 8); /* 4.1, TLS, plugin */
	memcpy(at + 31, "scramble4321\0mysql_native_password", 35);
	packet[0] = (char)(at + 66 - body);
	send_all(fd, packet, (size_t)(at + 66 - packet));
}

/* The client's request for TLS, and its handshake. */
static int accept_tls(struct client *client)
{
	char request[36];
	int r;

	if (recv(client->fd, request, 4, MSG_WAITALL) != 4 ||
	    recv(client->fd, request + 4, 32, MSG_WAITALL) != 32)
		return -1;
	if (fcntl(client->fd, F_SETFL, O_NONBLOCK))
		return -1;
	client->ssl = SSL_new(context);
	if (memory)
		SSL_set_bio(client->ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	else
		SSL_set_fd(client->ssl, client->fd);
	while ((r = SSL_accept(client->ssl)) <= 0) {
		if (await(client, r))
			return -1;
	}
	flush(client);
	return 0;
}

static void serve_client(struct client *client, char *body)
{
	if (accept_tls(client) || read_packet(client, body) < 0)
		return;
	send_ok(client, 3);
	while (read_packet(client, body) > 0 && body[0] != 1) {
		if (strncmp(body + 1, "sleep ", 6) == 0)
			usleep((useconds_t)atoi(body + 7) * 1000);
		send_ok(client, 1);
	}
}

static void *serve(void *data)
{
	static uint32_t last_id;
	struct client client = {.fd = (int)(intptr_t)data};
	char *body = malloc(PACKET_MAX);

	greet(client.fd, __atomic_add_fetch(&last_id, 1, __ATOMIC_RELAXED));
	serve_client(&client, body);
	SSL_free(client.ssl);
	close(client.fd);
	free(body);
	return NULL;
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
	pthread_t thread;

	if (argc < 4)
		return 2;
	memory = argc > 4;
	at.sin_port = htons((uint16_t)atoi(argv[1]));
	context = SSL_CTX_new(TLS_server_method());
	if (SSL_CTX_use_PrivateKey_file(context, argv[2], SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_use_certificate_file(context, argv[3], SSL_FILETYPE_PEM) != 1)
		return 1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) || listen(fd, 64))
		return 1;
	puts("ready");
	fflush(stdout);
	for (;;) {
		int client = accept4(fd, NULL, NULL, 0);

		if (client >= 0 &&
		    pthread_create(&thread, NULL, serve, (void *)(intptr_t)client) == 0)
			pthread_detach(thread);
	}
}
