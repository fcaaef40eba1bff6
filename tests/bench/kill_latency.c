/*
 * Times kills from the moment that they are asked for to the moment that the victim's client sees
 * it, in one process. `kill_latency CONSOLE SERVER PORT`; prints "ready"; for each line that it
 * reads it does one kill and prints "NS_VICTIM NS_ANSWER END TEXT" in one line.
 *
 * Lines: `console` sends KILL of a new idle session on a console connection that is open, `server`
 * the same on a connection to the server, `query` sends KILL QUERY of a SLEEP on the console, and
 * `run COMMAND` starts a process; in it %i is the victim's connection id, %p its port, %s the
 * server's.
 */
#include <errno.h>
#include <inttypes.h>
#include <mysql.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include <arpa/inet.h>
#include <fcntl.h>

#include "cleanup.h"

#define TIMEOUT_MS 10000

struct bench {
	MYSQL *console;
	MYSQL *server;
	MYSQL *sleeper;
	unsigned int port;
};

/* What came of one kill. */
struct seen {
	uint64_t victim_ns;
	uint64_t answer_ns;
	const char *end;
	char text[512];
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static MYSQL *fail(MYSQL *mysql, const char *what)
{
	fprintf(stderr, "kill_latency: %s: %s\n", what, mysql_error(mysql));
	mysql_close(mysql);
	return NULL;
}

static MYSQL *open_console(const char *path, const char *server)
{
	MYSQL *mysql = mysql_init(NULL);

	if (!mysql_real_connect(mysql, NULL, "root", NULL, server, 0, path, 0))
		return fail(mysql, path);
	return mysql;
}

static MYSQL *open_session(unsigned int port)
{
	MYSQL *mysql = mysql_init(NULL);

	if (!mysql_real_connect(mysql, "127.0.0.1", "bench", "bench", NULL, port, NULL, 0))
		return fail(mysql, "the server");
	return mysql;
}

/* --- raw packets --- */

static int send_query(int fd, const char *text)
{
	char packet[4096];
	size_t len = strlen(text) + 1;

	if (len > sizeof(packet) - 4)
		return -EMSGSIZE;
	packet[0] = (char)len;
	packet[1] = (char)(len >> 8);
	packet[2] = packet[3] = 0;
	packet[4] = 3;
	memcpy(packet + 5, text, len - 1);
	return send(fd, packet, len + 4, MSG_NOSIGNAL) == (ssize_t)len + 4 ? 0 : -errno;
}

/* One short packet; its text from the first printable word on. */
static int read_answer(int fd, struct seen *seen)
{
	unsigned char header[4];
	char body[sizeof(seen->text)];
	size_t len, at = 0;

	if (recv(fd, header, sizeof(header), MSG_WAITALL) != sizeof(header))
		return -EPIPE;
	len = header[0] | (size_t)header[1] << 8;
	if (len >= sizeof(body) || recv(fd, body, len, MSG_WAITALL) != (ssize_t)len)
		return -EPIPE;
	body[len] = '\0';
	while (at < len && (body[at] < 'A' || body[at] > 'z'))
		at++;
	snprintf(seen->text, sizeof(seen->text), "%s", body + at);
	return 0;
}

static const char *end_of(int fd)
{
	char bytes[4096];
	ssize_t n = recv(fd, bytes, sizeof(bytes), 0);

	if (n < 0)
		return errno == ECONNRESET ? "reset" : "error";
	return n == 0 ? "closed" : "answered";
}

/* Wait for the victim, and for an answer if there is a connection that shall give one. After
 * `missed` there is nothing to wait for. */
static int watch(int victim_fd, int answer_fd, uint64_t begin_ns, struct seen *seen)
{
	struct pollfd fds[] = {{.fd = victim_fd, .events = POLLIN},
			       {.fd = answer_fd, .events = POLLIN}};

	while (fds[0].fd >= 0 || fds[1].fd >= 0) {
		int r = poll(fds, ARRAY_SIZE(fds), TIMEOUT_MS);
		uint64_t took_ns = now_ns() - begin_ns;

		if (r <= 0)
			return r < 0 ? -errno : -ETIMEDOUT;
		if (fds[0].revents) {
			seen->victim_ns = took_ns;
			seen->end = end_of(victim_fd);
			fds[0].fd = -1;
		}
		if (fds[1].revents) {
			seen->answer_ns = took_ns;
			r = read_answer(answer_fd, seen);
			if (r < 0 || strncmp(seen->text, "missed", strlen("missed")) == 0)
				return r;
			fds[1].fd = -1;
		}
		fds[0].revents = fds[1].revents = 0;
	}
	return 0;
}

/* --- kinds of kills --- */

static int kill_by(MYSQL *killer, MYSQL *victim, const char *form, struct seen *seen)
{
	char text[64];
	uint64_t begin_ns;
	int r;

	snprintf(text, sizeof(text), form, mysql_thread_id(victim));
	begin_ns = now_ns();
	r = send_query(mysql_get_socket(killer), text);
	if (r < 0)
		return r;
	return watch(mysql_get_socket(victim), mysql_get_socket(killer), begin_ns, seen);
}

/* It does not execute yet when the server has not read it: such a kill touches nothing, and is done
 * again. */
static int kill_query(struct bench *bench, struct seen *seen)
{
	const struct timespec begun = {.tv_nsec = 5000000};
	int r = send_query(mysql_get_socket(bench->sleeper), "select sleep(60)");

	while (r == 0) {
		nanosleep(&begun, NULL);
		r = kill_by(bench->console, bench->sleeper, "KILL QUERY %lu", seen);
		if (r < 0 || strncmp(seen->text, "missed: nothing", strlen("missed: nothing")) != 0)
			break;
	}
	return r;
}

static unsigned int port_of(int fd)
{
	struct sockaddr_in address = {0};
	socklen_t len = sizeof(address);

	getsockname(fd, (struct sockaddr *)&address, &len);
	return ntohs(address.sin_port);
}

/* The words of a command, with %i, %p and %s replaced; they point into `text`. */
static void split(const struct bench *bench, MYSQL *victim, const char *command, char *text,
		  size_t size, char **words, size_t max)
{
	size_t at = 0, n = 0;

	for (; *command && at + 24 < size; command++) {
		if (command[0] != '%') {
			text[at++] = command[0];
			continue;
		}
		command++;
		at += (size_t)snprintf(text + at, size - at, "%lu",
				       *command == 'i'	 ? mysql_thread_id(victim)
				       : *command == 'p' ? port_of(mysql_get_socket(victim))
							 : bench->port);
	}
	text[at] = '\0';
	for (char *word = strtok(text, " "); word && n + 1 < max; word = strtok(NULL, " "))
		words[n++] = word;
	words[n] = NULL;
}

static int kill_by_process(struct bench *bench, MYSQL *victim, const char *command,
			   struct seen *seen)
{
	posix_spawn_file_actions_t actions;
	char text[4096], *words[64];
	uint64_t begin_ns;
	pid_t pid;
	int status, r;

	split(bench, victim, command, text, sizeof(text), words, ARRAY_SIZE(words));
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	begin_ns = now_ns();
	r = -posix_spawnp(&pid, words[0], &actions, NULL, words, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (r < 0)
		return r;
	r = watch(mysql_get_socket(victim), -1, begin_ns, seen);
	waitpid(pid, &status, 0);
	seen->answer_ns = now_ns() - begin_ns;
	return r;
}

static int kill_idle(struct bench *bench, const char *line, struct seen *seen)
{
	MYSQL *victim = open_session(bench->port);
	int r;

	if (!victim)
		return -ECONNREFUSED;
	if (strcmp(line, "console") == 0)
		r = kill_by(bench->console, victim, "KILL %lu", seen);
	else if (strcmp(line, "server") == 0)
		r = kill_by(bench->server, victim, "KILL %lu", seen);
	else if (strncmp(line, "run ", 4) == 0)
		r = kill_by_process(bench, victim, line + 4, seen);
	else
		r = -EINVAL;
	shutdown(mysql_get_socket(victim), SHUT_RDWR);
	mysql_close(victim);
	return r;
}

static int serve(struct bench *bench)
{
	char line[4096];

	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		struct seen seen = {.end = "nothing"};
		int r;

		line[strcspn(line, "\n")] = '\0';
		r = strcmp(line, "query") == 0 ? kill_query(bench, &seen)
					       : kill_idle(bench, line, &seen);
		if (r < 0) {
			fprintf(stderr, "kill_latency: %s: %s\n", line, strerror(-r));
			return r;
		}
		printf("%" PRIu64 " %" PRIu64 " %s %s\n", seen.victim_ns, seen.answer_ns, seen.end,
		       seen.text);
		fflush(stdout);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct bench bench = {0};

	if (argc != 4) {
		fprintf(stderr, "usage: kill_latency CONSOLE SERVER PORT\n");
		return 2;
	}
	bench.port = (unsigned int)atoi(argv[3]);
	bench.console = open_console(argv[1], argv[2]);
	bench.server = open_session(bench.port);
	bench.sleeper = open_session(bench.port);
	if (!bench.console || !bench.server || !bench.sleeper)
		return 1;
	return serve(&bench) < 0;
}
