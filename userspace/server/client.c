/*
 * libmariadb's non-blocking calls run on a stack of their own and return when they would block,
 * with what they wait for. Here they are driven with poll(), a deadline and a stop descriptor.
 */
#include "client.h"

#include <errmsg.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"

/*
 * Ways to log in that never show a password to the other end. Without this list a process that only
 * poses as a server could ask for it in clear text (mysql_clear_password, dialog).
 */
#define LOGIN_PLUGINS                                                                              \
	"mysql_native_password,client_ed25519,caching_sha2_password,auth_gssapi_client"

enum op { OP_NONE, OP_CONNECT, OP_QUERY, OP_STORE, OP_PING };

struct dbps_client {
	MYSQL mysql;
	int stop_fd;
	bool lost;
	enum op op;    /* under way, left by a call whose deadline passed */
	int waits_for; /* MYSQL_WAIT_* of it */
	char *text;    /* of the statement, which the library reads while it sends */
	struct dbps_client_target target;
	/* What an operation returned. */
	MYSQL *connected;
	MYSQL_RES *result;
	int failed;
};

uint64_t dbps_clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int set_error(struct dbps_link_error *error, int r, unsigned int code, const char *format,
		     ...) __attribute__((format(printf, 4, 5)));

static int set_error(struct dbps_link_error *error, int r, unsigned int code, const char *format,
		     ...)
{
	va_list args;

	error->code = code;
	va_start(args, format);
	vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	return r;
}

/*
 * Connects to a Unix socket as another effective user, whom the kernel notes as the peer (net/unix/
 * af_unix.c, init_peercred()) in the connect(2) that is made before this returns.
 *
 * 1. Of this thread alone, by the system call: glibc's seteuid() changes all of the process.
 * 2. The real and the saved user stay: nobody but root may signal or trace the thread meanwhile.
 * 3. Such a change leaves the process without core dumps (kernel/cred.c, commit_creds()); they are
 * given back when no thread is anybody else, as /proc/TID/ would be that user's.
 */
static int start_as(struct dbps_client *client, uid_t uid, const struct dbps_client_target *to)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	uid_t own = geteuid();
	int waits_for, dumpable;
	bool changed;

	pthread_mutex_lock(&lock);
	dumpable = prctl(PR_GET_DUMPABLE);
	changed = syscall(SYS_setresuid, -1, uid, -1) == 0;
	waits_for = mysql_real_connect_start(&client->connected, &client->mysql, "localhost",
					     to->user, NULL, NULL, 0, to->socket, 0);
	if (changed && syscall(SYS_setresuid, -1, own, -1) < 0)
		abort(); /* nothing else of dbpsd may run as somebody else */
	if (changed && dumpable == 1)
		prctl(PR_SET_DUMPABLE, dumpable);
	pthread_mutex_unlock(&lock);
	return waits_for;
}

static int start_connect(struct dbps_client *client)
{
	const struct dbps_client_target *to = &client->target;

	if (to->socket && to->uid)
		return start_as(client, to->uid, to);
	return mysql_real_connect_start(&client->connected, &client->mysql,
					to->socket ? "localhost" : to->host, to->user, NULL, NULL,
					to->port, to->socket, 0);
}

static int start(struct dbps_client *client, enum op op)
{
	MYSQL *mysql = &client->mysql;

	switch (op) {
	case OP_CONNECT:
		return start_connect(client);
	case OP_QUERY:
		return mysql_real_query_start(&client->failed, mysql, client->text,
					      strlen(client->text));
	case OP_STORE:
		return mysql_store_result_start(&client->result, mysql);
	case OP_PING:
		return mysql_ping_start(&client->failed, mysql);
	case OP_NONE:
		break;
	}
	return 0;
}

static int resume(struct dbps_client *client, enum op op, int events)
{
	MYSQL *mysql = &client->mysql;

	switch (op) {
	case OP_CONNECT:
		return mysql_real_connect_cont(&client->connected, mysql, events);
	case OP_QUERY:
		return mysql_real_query_cont(&client->failed, mysql, events);
	case OP_STORE:
		return mysql_store_result_cont(&client->result, mysql, events);
	case OP_PING:
		return mysql_ping_cont(&client->failed, mysql, events);
	case OP_NONE:
		break;
	}
	return 0;
}

static int poll_timeout_ms(uint64_t deadline_ns)
{
	uint64_t now_ns = dbps_clock_ns();

	if (now_ns >= deadline_ns)
		return 0;
	if (deadline_ns - now_ns > 3600 * 1000000000ull)
		return 3600 * 1000;
	return (int)((deadline_ns - now_ns + 999999) / 1000000);
}

/** @return MYSQL_WAIT_* that came true; -ETIMEDOUT; -ECANCELED. */
static int await(struct dbps_client *client, int waits_for, uint64_t deadline_ns)
{
	struct pollfd fds[2] = {
		{.fd = mysql_get_socket(&client->mysql)},
		{.fd = client->stop_fd, .events = POLLIN},
	};
	int n;

	fds[0].events = (short)((waits_for & MYSQL_WAIT_READ ? POLLIN : 0) |
				(waits_for & MYSQL_WAIT_WRITE ? POLLOUT : 0) |
				(waits_for & MYSQL_WAIT_EXCEPT ? POLLPRI : 0));
	do
		n = poll(fds, 2, poll_timeout_ms(deadline_ns));
	while (n < 0 && errno == EINTR);
	if (fds[1].revents)
		return -ECANCELED;
	if (n <= 0)
		return -ETIMEDOUT;
	/* An error or a hang-up shows itself to whichever call the library makes next. */
	if (fds[0].revents & (POLLERR | POLLHUP | POLLNVAL))
		return waits_for & (MYSQL_WAIT_READ | MYSQL_WAIT_WRITE | MYSQL_WAIT_EXCEPT);
	return (fds[0].revents & POLLIN ? MYSQL_WAIT_READ : 0) |
	       (fds[0].revents & POLLOUT ? MYSQL_WAIT_WRITE : 0) |
	       (fds[0].revents & POLLPRI ? MYSQL_WAIT_EXCEPT : 0);
}

/* Let the operation under way fail, so that the library's own stack is unwound. */
static void abandon(struct dbps_client *client)
{
	while (client->op != OP_NONE && client->waits_for)
		client->waits_for = resume(client, client->op, MYSQL_WAIT_TIMEOUT);
	client->op = OP_NONE;
	client->lost = true;
}

/* Go on with the operation under way until it is done: then 0 and client->op is OP_NONE. */
static int finish(struct dbps_client *client, uint64_t deadline_ns)
{
	while (client->waits_for) {
		int events = await(client, client->waits_for, deadline_ns);

		if (events < 0)
			return events;
		client->waits_for = resume(client, client->op, events);
	}
	client->op = OP_NONE;
	return 0;
}

static int run(struct dbps_client *client, enum op op, uint64_t deadline_ns)
{
	client->op = op;
	client->failed = 0;
	client->result = NULL;
	client->waits_for = start(client, op);
	return finish(client, deadline_ns);
}

static void drop_result(struct dbps_client *client)
{
	if (client->result)
		mysql_free_result(client->result);
	client->result = NULL;
}

/* Take in and drop the answer that an earlier call did not wait for. */
static int drain(struct dbps_client *client, uint64_t deadline_ns)
{
	enum op op = client->op;
	int r;

	if (op == OP_NONE)
		return 0;
	r = finish(client, deadline_ns);
	if (r == 0 && op == OP_QUERY && !client->failed)
		r = run(client, OP_STORE, deadline_ns);
	if (r == 0)
		drop_result(client);
	return r;
}

static int broken(struct dbps_client *client, int r, uint64_t begin_ns,
		  struct dbps_link_error *ret_error)
{
	if (r == -ETIMEDOUT)
		return set_error(ret_error, r, 0, "no answer within %.0f ms",
				 (double)(dbps_clock_ns() - begin_ns) / 1e6);
	client->lost = true;
	return set_error(ret_error, r, 0, "called off");
}

/* Errors that the library makes itself, not those that a server sent. */
static bool is_library_error(unsigned int code)
{
	return (code >= CR_MIN_ERROR && code <= CR_MAX_ERROR) ||
	       (code >= CER_MIN_ERROR && code <= CER_MAX_ERROR);
}

/* An error of the server leaves the connection good; one of the library means that it broke. */
static int failed(struct dbps_client *client, struct dbps_link_error *ret_error)
{
	unsigned int code = mysql_errno(&client->mysql);
	const char *text = mysql_error(&client->mysql);

	if (is_library_error(code)) {
		client->lost = true;
		return set_error(ret_error, -ENOTCONN, 0, "%s", text);
	}
	return set_error(ret_error, -EIO, code, "%s", text);
}

static int prepare(struct dbps_client *client)
{
	const struct dbps_client_target *to = &client->target;
	MYSQL *mysql = &client->mysql;
	unsigned int no = 0;

	if (!mysql_init(mysql))
		return -ENOMEM;
	/* A server may ask its client for any file at any time (protocol.md 1.8): not from here. */
	mysql_options(mysql, MYSQL_OPT_LOCAL_INFILE, &no);
	mysql_options(mysql, MARIADB_OPT_RESTRICTED_AUTH, LOGIN_PLUGINS);
	mysql_options(mysql, MYSQL_OPT_NONBLOCK, NULL);
	mysql_options(mysql, MYSQL_SET_CHARSET_NAME, "utf8mb4");
	mysql_optionsv(mysql, MYSQL_OPT_CONNECT_ATTR_ADD, "program_name", "dbpsd");
	if (to->option_file) {
		mysql_options(mysql, MYSQL_READ_DEFAULT_FILE, to->option_file);
		mysql_options(mysql, MYSQL_READ_DEFAULT_GROUP, to->group);
	}
	return 0;
}

int dbps_client_open(const struct dbps_client_target *target, int stop_fd, uint64_t deadline_ns,
		     struct dbps_client **ret_client, struct dbps_link_error *ret_error)
{
	uint64_t begin_ns = dbps_clock_ns();
	struct dbps_client *client = calloc(1, sizeof(*client));
	int r;

	if (!client)
		return set_error(ret_error, -ENOMEM, 0, "out of memory");
	client->stop_fd = stop_fd;
	client->target = *target;
	r = prepare(client);
	if (r < 0) {
		free(client);
		return set_error(ret_error, r, 0, "out of memory");
	}
	r = run(client, OP_CONNECT, deadline_ns);
	client->target = (struct dbps_client_target){0}; /* the caller's strings end here */
	if (r == 0 && client->connected) {
		*ret_client = client;
		return 0;
	}
	if (r < 0)
		broken(client, r, begin_ns, ret_error);
	else
		r = set_error(ret_error, -EIO, mysql_errno(&client->mysql), "%s",
			      mysql_error(&client->mysql));
	dbps_client_close(client);
	return r;
}

void dbps_client_close(struct dbps_client *client)
{
	if (!client)
		return;
	abandon(client);
	drop_result(client);
	mysql_close(&client->mysql);
	free(client->text);
	free(client);
}

int dbps_client_query(struct dbps_client *client, const char *sql, uint64_t deadline_ns,
		      MYSQL_RES **ret_result, struct dbps_link_error *ret_error)
{
	uint64_t begin_ns = dbps_clock_ns();
	int r = drain(client, deadline_ns);

	if (r < 0)
		return broken(client, r, begin_ns, ret_error);
	free(client->text);
	client->text = strdup(sql);
	if (!client->text)
		return set_error(ret_error, -ENOMEM, 0, "out of memory");
	r = run(client, OP_QUERY, deadline_ns);
	if (r < 0)
		return broken(client, r, begin_ns, ret_error);
	if (client->failed)
		return failed(client, ret_error);
	r = run(client, OP_STORE, deadline_ns);
	if (r < 0)
		return broken(client, r, begin_ns, ret_error);
	if (!client->result && mysql_errno(&client->mysql))
		return failed(client, ret_error);
	if (ret_result)
		*ret_result = TAKE_PTR(client->result);
	drop_result(client);
	return 0;
}

int dbps_client_ping(struct dbps_client *client, uint64_t deadline_ns,
		     struct dbps_link_error *ret_error)
{
	uint64_t begin_ns = dbps_clock_ns();
	int r = drain(client, deadline_ns);

	if (r == 0)
		r = run(client, OP_PING, deadline_ns);
	if (r < 0)
		return broken(client, r, begin_ns, ret_error);
	return client->failed ? failed(client, ret_error) : 0;
}

bool dbps_client_lost(const struct dbps_client *client)
{
	return client->lost;
}

int dbps_client_fd(const struct dbps_client *client)
{
	return mysql_get_socket((MYSQL *)&client->mysql);
}

uint64_t dbps_client_id(const struct dbps_client *client)
{
	return mysql_thread_id((MYSQL *)&client->mysql);
}

const char *dbps_client_version(const struct dbps_client *client)
{
	return mysql_get_server_info((MYSQL *)&client->mysql);
}

const char *dbps_client_user(const struct dbps_client *client)
{
	return client->mysql.user ? client->mysql.user : "";
}
