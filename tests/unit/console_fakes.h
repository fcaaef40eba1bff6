/*
 * A kernel, a registry and a kill that are not there: what the console asks of them is answered
 * from variables that a test sets. Include in one file only; session rows and columns are the real
 * ones.
 */
#ifndef DBPS_CONSOLE_FAKES_H
#define DBPS_CONSOLE_FAKES_H

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dbps/cancel.h"
#include "kernel/kernel.h"
#include "kill/demote.h"
#include "kill/enactor.h"
#include "kill/kill.h"
#include "server/registry.h"

#define FAKE_MAX_ROWS 16

struct fake_session {
	uint64_t cookie, id;
	uint32_t tgid, uid, pid;
	const char *user, *db, *text;
	uint32_t peer;	    /* enum dbps_peer */
	uint32_t age_s;	    /* of its statement, or since its end; 0: 7 */
	const char *remote; /* address of a TCP client; NULL: a Unix socket */
	uint32_t flags;	    /* more of them */
};

static struct {
	struct dbps_server_view servers[4];
	size_t n_servers;
	struct fake_session sessions[FAKE_MAX_ROWS];
	size_t n_sessions;
	int snapshot_error;
	struct dbps_kill_answer kill_answer;
	struct dbps_kill_request kill_request; /* the last one; id 0: none came */
	const char *act;		       /* it was no kill: "demote", "restore" */
	size_t n_killed_as_many;
	struct dbps_server_limits limits; /* of every server; no max_connections: not known */
	char kill_statement[256], kill_reason[256];
	struct dbps_kill_item kill_items[FAKE_MAX_ROWS]; /* of the last kill of many */
	size_t n_kill_items;
	struct dbps_kill_answer kill_answers[FAKE_MAX_ROWS]; /* theirs; those unset: kill_answer */
	uint64_t query_ids[4];				     /* of session 41, on each server */
	int link_errors[4];
} fake;

static uint64_t fake_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void fake_fill(const struct fake_session *from, struct dbps_snapshot_row *row)
{
	struct dbps_session *session = &row->session;

	row->now_ns = fake_now_ns();
	row->peer = from->peer;
	session->flags = DBPS_KNOWN_LOGIN | DBPS_KNOWN_CAPS | DBPS_FRAMED_IN;
	session->flags |= from->flags | (from->id ? DBPS_KNOWN_ID : 0);
	session->flags |= from->text ? DBPS_HAS_TEXT : 0;
	session->phase = from->text ? DBPS_PHASE_FIRST : DBPS_PHASE_IDLE;
	session->command = 0x03;
	session->family = from->remote ? DBPS_FAMILY_INET6 : DBPS_FAMILY_UNIX;
	if (from->remote && inet_pton(AF_INET6, from->remote, session->remote_addr) != 1) {
		session->family = DBPS_FAMILY_INET;
		assert_int_equal(inet_pton(AF_INET, from->remote, session->remote_addr), 1);
	}
	session->tgid = from->tgid;
	session->cookie = from->cookie;
	session->id = from->id;
	session->client_pid = from->pid;
	session->client_uid = from->uid;
	session->sequence = 1;
	session->start_ns = session->end_ns = row->now_ns - (from->age_s ?: 7) * 1000000000ULL;
	session->user_len = (uint8_t)strlen(from->user);
	memcpy(session->user, from->user, session->user_len);
	session->db_len = from->db ? (uint8_t)strlen(from->db) : 0;
	memcpy(session->db, from->db ? from->db : "", session->db_len);
}

/* The text follows the head, padded to 8 bytes. */
static size_t fake_put_row(const struct fake_session *from, char *at)
{
	struct dbps_snapshot_row *row = (struct dbps_snapshot_row *)at;
	size_t len = from->text ? strlen(from->text) : 0;

	fake_fill(from, row);
	row->session.text_len = (uint32_t)len;
	row->text_have = (uint32_t)len;
	memcpy(at + sizeof(*row), from->text ? from->text : "", len);
	row->size = (uint32_t)((sizeof(*row) + len + 7) & ~7ULL);
	return row->size;
}

int dbps_kernel_snapshot(struct dbps_kernel *kernel, __u64 cookie, unsigned int text_bytes,
			 bool threads, void **ret_data, size_t *ret_len)
{
	char *data = calloc(FAKE_MAX_ROWS, sizeof(struct dbps_snapshot_row) + 4096);
	size_t len = 0;

	(void)threads, (void)kernel;
	(void)text_bytes;
	if (fake.snapshot_error) {
		free(data);
		return fake.snapshot_error;
	}
	for (size_t i = 0; i < fake.n_sessions; i++)
		if (!cookie || cookie == fake.sessions[i].cookie)
			len += fake_put_row(&fake.sessions[i], data + len);
	*ret_data = data;
	*ret_len = len;
	return 0;
}

int dbps_kernel_snapshot_at(struct dbps_kernel *kernel, const struct dbps_place *place,
			    unsigned int text_bytes, void **ret_data, size_t *ret_len)
{
	return dbps_kernel_snapshot(kernel, place->cookie, text_bytes, false, ret_data, ret_len);
}

int dbps_kernel_signal(struct dbps_kernel *kernel, const struct dbps_place *place, __u64 sequence,
		       int sig, bool now)
{
	(void)kernel, (void)place, (void)sequence, (void)sig, (void)now;
	return -EOPNOTSUPP;
}

void dbps_kernel_signal_stats(const struct dbps_kernel *kernel, struct dbps_signal_stats *ret_stats)
{
	(void)kernel;
	*ret_stats = (struct dbps_signal_stats){.sent = 3, .late = 1, .window_max_ns = 700};
}

int dbps_kernel_prepared(struct dbps_kernel *kernel, const struct dbps_prepared_key *key,
			 char **ret_text, size_t *ret_len, size_t *ret_whole_len)
{
	(void)kernel, (void)key, (void)ret_text, (void)ret_len, (void)ret_whole_len;
	return -ENOENT;
}

const char *const dbps_loss_names[DBPS_LOSS_N] = {
	"no_storage", "contended",     "unreadable", "unknown_call", "bad_packet",
	"resync",     "prepared_text", "event",	     "torn",	     "left_out",
};

int dbps_kernel_losses(struct dbps_kernel *kernel, __u64 ret_losses[DBPS_LOSS_N])
{
	(void)kernel;
	memset(ret_losses, 0, DBPS_LOSS_N * sizeof(*ret_losses));
	ret_losses[DBPS_LOSS_BAD_PACKET] = 3;
	return 0;
}

int dbps_kernel_features(struct dbps_feature **ret_features, size_t *ret_n)
{
	static const struct dbps_feature features[] = {
		{"tp_btf/sock_recv_length", "the tap", true, true, NULL, NULL, false, "", "6.3"},
		{"fast_thing", "speed", false, false, "slow_thing", "time", false, "kernel too old",
		 "9.9"},
		{"no_thing", "luck", false, false, NULL, "luck itself", false, "", NULL},
		{"old_thing", "age", true, false, NULL, "all", true, "too new", NULL},
	};

	*ret_features = malloc(sizeof(features));
	memcpy(*ret_features, features, sizeof(features));
	*ret_n = sizeof(features) / sizeof(features[0]);
	return 0;
}

int dbps_registry_list(struct dbps_registry *registry, struct dbps_server_view **ret_views,
		       size_t *ret_n)
{
	(void)registry;
	*ret_views = malloc(sizeof(fake.servers));
	memcpy(*ret_views, fake.servers, sizeof(fake.servers));
	*ret_n = fake.n_servers;
	return 0;
}

int dbps_registry_by_pid(struct dbps_registry *registry, pid_t pid, struct dbps_server_view *ret)
{
	(void)registry;
	for (size_t i = 0; i < fake.n_servers; i++) {
		if (fake.servers[i].pid != pid)
			continue;
		*ret = fake.servers[i];
		return 0;
	}
	return -ENOENT;
}

int dbps_kernel_holders(struct dbps_kernel *kernel, const struct dbps_client_end *ends, size_t n,
			struct dbps_holder **ret_holders, size_t *ret_n)
{
	(void)kernel, (void)ends, (void)n;
	*ret_holders = NULL;
	*ret_n = 0;
	return 0;
}

int dbps_registry_by_name(struct dbps_registry *registry, const char *name,
			  struct dbps_server_view *ret)
{
	(void)registry;
	for (size_t i = 0; i < fake.n_servers; i++) {
		if (strcmp(fake.servers[i].name, name))
			continue;
		*ret = fake.servers[i];
		return 0;
	}
	return -ENOENT;
}

/* The texts are not there any more when a test looks. */
static void fake_keep_request(const struct dbps_kill_request *request)
{
	fake.kill_request = *request;
	snprintf(fake.kill_statement, sizeof(fake.kill_statement), "%s",
		 request->statement ? request->statement : "");
	snprintf(fake.kill_reason, sizeof(fake.kill_reason), "%s",
		 request->reason ? request->reason : "\\N");
}

static struct dbps_cancel_table fake_cancels;

const struct dbps_cancel_watch *dbps_kernel_cancel_watch(const struct dbps_kernel *kernel)
{
	static const struct dbps_cancel_watch watch = {.table = &fake_cancels, .alive_fd = -1};

	(void)kernel;
	return &watch;
}

int dbps_kernel_cancel_poll(struct dbps_kernel *kernel, __u64 cookie, int timeout_ms)
{
	(void)timeout_ms;
	return dbps_cancel_pending(dbps_kernel_cancel_watch(kernel), cookie);
}

static bool fake_probe_link(const struct dbps_kill_target *target, char *ret_why)
{
	(void)ret_why;
	return target->server->engine == DBPS_ENGINE_MARIADB;
}

static bool fake_probe(const struct dbps_kill_target *target, char *ret_why)
{
	(void)target, (void)ret_why;
	return true;
}

static const struct dbps_enactor fake_exact = {.name = "exactly",
					       .describe = "this one",
					       .exact = true,
					       .by_link = true,
					       .probe = fake_probe_link};
static const struct dbps_enactor fake_inexact = {.name = "roughly",
						 .describe = "this one or the next",
						 .by_link = true,
						 .probe = fake_probe};
static const struct dbps_enactor fake_cut = {
	.name = "cut", .describe = "its socket", .exact = true, .probe = fake_probe};
const struct dbps_enactor *const dbps_interrupters[] = {&fake_exact, &fake_inexact};
const size_t dbps_n_interrupters = 2;
const struct dbps_enactor *const dbps_closers[] = {&fake_cut};
const size_t dbps_n_closers = 1;
const struct dbps_enactor *const dbps_enders[] = {&fake_inexact};
const size_t dbps_n_enders = 1;

void dbps_kill(struct dbps_kernel *kernel, struct dbps_registry *registry,
	       const struct dbps_kill_request *request, struct dbps_kill_answer *ret_answer)
{
	(void)kernel, (void)registry;
	fake_keep_request(request);
	*ret_answer = fake.kill_answer;
}

void dbps_demote(struct dbps_demotions *demotions, const struct dbps_kill_request *request,
		 struct dbps_kill_answer *ret_answer)
{
	(void)demotions;
	fake.act = "demote";
	fake_keep_request(request);
	*ret_answer = fake.kill_answer;
}

void dbps_demote_undo(struct dbps_demotions *demotions, const struct dbps_kill_request *request,
		      struct dbps_kill_answer *ret_answer)
{
	(void)demotions;
	fake.act = "restore";
	fake_keep_request(request);
	*ret_answer = fake.kill_answer;
}

void dbps_kill_many(struct dbps_kernel *kernel, struct dbps_registry *registry,
		    const struct dbps_kill_request *request, struct dbps_kill_item *items, size_t n)
{
	(void)kernel, (void)registry;
	fake_keep_request(request);
	fake.n_kill_items = n;
	fake.n_killed_as_many += n;
	for (size_t i = 0; i < n; i++) {
		bool set = fake.kill_answers[i].text[0];

		items[i].answer = set ? fake.kill_answers[i] : fake.kill_answer;
		fake.kill_items[i] = items[i];
	}
}

int dbps_link_find_query(struct dbps_registry *registry, uint32_t server, uint64_t query_id,
			 int timeout_ms, uint64_t *ret_id, struct dbps_link_error *ret_error)
{
	(void)registry, (void)timeout_ms;
	snprintf(ret_error->text, sizeof(ret_error->text), "server %u is silent", server);
	if (fake.link_errors[server])
		return fake.link_errors[server];
	*ret_id = 41;
	return fake.query_ids[server] == query_id ? 0 : -ENOENT;
}

int dbps_link_limits(struct dbps_registry *registry, uint32_t server, int timeout_ms,
		     struct dbps_server_limits *ret_limits, struct dbps_link_error *ret_error)
{
	(void)registry, (void)server, (void)timeout_ms;
	if (!fake.limits.max_connections) {
		snprintf(ret_error->text, sizeof(ret_error->text), "no way in");
		return -ENOTCONN;
	}
	*ret_limits = fake.limits;
	return 0;
}

/* Two servers: the first one's ids are plain, those of the second one begin at 1 << 32. */
static void fake_reset(void)
{
	memset(&fake, 0, sizeof(fake));
	fake.n_servers = 2;
	fake.servers[0] =
		(struct dbps_server_view){.index = 0,
					  .pid = 100,
					  .engine = DBPS_ENGINE_MARIADB,
					  .name = "mariadb-3306",
					  .version = "10.11.19-MariaDB",
					  .addresses = "0.0.0.0:3306",
					  .link = DBPS_LINK_UP,
					  .link_text = "root over /run/mysqld/mysqld.sock"};
	fake.servers[1] =
		(struct dbps_server_view){.index = 1,
					  .pid = 200,
					  .engine = DBPS_ENGINE_MYSQL,
					  .name = "mysql-3307",
					  .link = DBPS_LINK_DOWN,
					  .link_text = "Access denied for user 'root'@'localhost'"};
	fake.n_sessions = 4;
	fake.sessions[0] = (struct fake_session){.cookie = 1001,
						 .id = 41,
						 .tgid = 100,
						 .uid = 1000,
						 .pid = 5000,
						 .user = "admin",
						 .db = "test",
						 .text = "select sleep(60)"};
	fake.sessions[1] = (struct fake_session){
		.cookie = 1002, .id = 42, .tgid = 100, .uid = 1001, .pid = 5001, .user = "app"};
	fake.sessions[2] = (struct fake_session){.cookie = 1003,
						 .id = 41,
						 .tgid = 200,
						 .uid = 1001,
						 .pid = 5002,
						 .user = "other",
						 .db = "x",
						 .text = "do 1"};
	fake.sessions[3] = (struct fake_session){
		.cookie = 1004, .tgid = 200, .uid = 1001, .pid = 5003, .user = "early"};
	fake.kill_answer = (struct dbps_kill_answer){
		.outcome = DBPS_KILL_CONFIRMED,
		.elapsed_ms = 1.4,
		.text = "confirmed: statement 3 interrupted after 1.4 ms (control link)"};
}

#endif
