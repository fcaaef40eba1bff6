/*
 * Matching sessions of the kernel with rows of the server's processlist, and handing the result
 * over.
 *
 * Why a match is right:
 * 1. Every session that is matched was in a snapshot before the rows were read (S1) and is in one
 * after the threads were looked at (S2), so it lived all the while, and its connection is one of
 * the rows.
 * 2. A TCP session has one remote address, and the server shows it as Host. Where the server shows
 * a name instead, the port alone decides, if no other session and no other row has it.
 * 3. A server with a thread per connection keeps a connection on one thread for life. The thread of
 * an idle one waits in poll() for its socket; the thread of a busy one was seen reading the
 * statement. A pool of threads shows TID 0, which never matches.
 * 4. Rows of sessions whose id is known belong to them. So if after all that one Unix session and
 * one Unix row are left, they belong together by 1.
 * 5. A statement's text is handed over only if the session's statement number is the same in S1 and
 * S2 and S2 has not seen it end; the kernel side compares the number again.
 */
#include "adopt.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/param.h>

#include "cleanup.h"
#include "kernel/kernel.h"
#include "process.h"

#define BATCH 64

static const struct {
	const char *name;
	uint8_t byte;
} commands[] = {
	{"Sleep", 0x00},	  {"Quit", 0x01},	 {"Init DB", 0x02},
	{"Query", 0x03},	  {"Field List", 0x04},	 {"Refresh", 0x07},
	{"Statistics", 0x09},	  {"Processlist", 0x0a}, {"Ping", 0x0e},
	{"Change user", 0x11},	  {"Binlog Dump", 0x12}, {"Table Dump", 0x13},
	{"Register Slave", 0x15}, {"Prepare", 0x16},	 {"Execute", 0x17},
	{"Long Data", 0x18},	  {"Close stmt", 0x19},	 {"Reset stmt", 0x1a},
	{"Set option", 0x1b},	  {"Fetch", 0x1c},	 {"Binlog Dump GTID", 0x1e},
	{"Bulk_execute", 0xfa},
};

int dbps_adopt_command(const char *command)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (strcmp(commands[i].name, command) == 0)
			return commands[i].byte;
	return -1;
}

bool dbps_adopt_wants(const struct dbps_session *session)
{
	/* One whose id the greeting did not tell whole: TiDB's of 64 bits. */
	bool half = !(session->flags & DBPS_KNOWN_ID) && session->phase >= DBPS_PHASE_IDLE;

	if (session->flags & DBPS_PGSQL || session->phase == DBPS_PHASE_CLOSED)
		return false;
	return half || (session->flags & DBPS_JOINED &&
			~session->flags & (DBPS_KNOWN_ID | DBPS_KNOWN_LOGIN));
}

/* --- matching --- */

struct address {
	bool is_unix; /* "localhost" without a port */
	bool numeric; /* `addr` is valid */
	uint16_t port;
	uint8_t addr[16]; /* IPv4 as ::ffff:a.b.c.d */
};

struct matching {
	const struct dbps_session *const *sessions;
	size_t n_sessions;
	const struct dbps_server_row *rows;
	size_t n_rows;
	struct address *host; /* of each row */
	bool *taken;	      /* of each row */
	int *row;	      /* of each session: index, or -1 */
};

static void map_ipv4(const uint8_t *ipv4, uint8_t ret_addr[16])
{
	memset(ret_addr, 0, 10);
	memset(ret_addr + 10, 0xff, 2);
	memcpy(ret_addr + 12, ipv4, 4);
}

static bool parse_numeric(const char *text, uint8_t ret_addr[16])
{
	uint8_t ipv4[4];

	if (inet_pton(AF_INET, text, ipv4) == 1) {
		map_ipv4(ipv4, ret_addr);
		return true;
	}
	return inet_pton(AF_INET6, text, ret_addr) == 1;
}

static struct address parse_host(const char *host)
{
	struct address address = {0};
	const char *colon = strrchr(host, ':');
	char name[256];
	unsigned long port;
	char *end;

	address.is_unix = strcmp(host, "localhost") == 0;
	if (!colon || colon == host || (size_t)(colon - host) >= sizeof(name))
		return address;
	port = strtoul(colon + 1, &end, 10);
	if (*end || port == 0 || port > 65535)
		return address;
	address.port = (uint16_t)port;
	memcpy(name, host, (size_t)(colon - host));
	name[colon - host] = '\0';
	address.numeric = parse_numeric(name, address.addr);
	return address;
}

static bool is_tcp(const struct dbps_session *session)
{
	return session->family == DBPS_FAMILY_INET || session->family == DBPS_FAMILY_INET6;
}

static bool wants(const struct matching *m, size_t i)
{
	return m->row[i] < 0 && dbps_adopt_wants(m->sessions[i]);
}

static void pair(struct matching *m, size_t i, size_t j)
{
	m->row[i] = (int)j;
	m->taken[j] = true;
}

/* Rows of sessions whose id is known belong to them, and to nobody else. */
static void claim_known(struct matching *m)
{
	for (size_t i = 0; i < m->n_sessions; i++)
		for (size_t j = 0; m->sessions[i]->flags & DBPS_KNOWN_ID && j < m->n_rows; j++) {
			if (m->rows[j].id != m->sessions[i]->id)
				continue;
			pair(m, i, j);
			break;
		}
}

static void match_address(struct matching *m, size_t i)
{
	const struct dbps_session *session = m->sessions[i];
	uint8_t addr[16];

	if (session->family == DBPS_FAMILY_INET)
		map_ipv4(session->remote_addr, addr);
	else
		memcpy(addr, session->remote_addr, sizeof(addr));
	for (size_t j = 0; j < m->n_rows; j++) {
		const struct address *host = &m->host[j];

		if (host->port != session->remote_port || m->taken[j] || !host->numeric ||
		    memcmp(host->addr, addr, sizeof(addr)) != 0)
			continue;
		pair(m, i, j);
		return;
	}
}

static void match_port(struct matching *m, size_t i)
{
	uint16_t port = m->sessions[i]->remote_port;
	size_t n = 0, found = 0;

	for (size_t k = 0; k < m->n_sessions; k++)
		if (is_tcp(m->sessions[k]) && m->sessions[k]->remote_port == port && k != i)
			return;
	for (size_t j = 0; j < m->n_rows; j++)
		if (m->host[j].port == port) {
			found = j;
			n++;
		}
	if (n == 1 && !m->taken[found] && !m->host[found].numeric)
		pair(m, i, found);
}

static void match_thread(struct matching *m, size_t i)
{
	const struct dbps_session *session = m->sessions[i];

	for (size_t j = 0; j < m->n_rows; j++) {
		const struct dbps_server_row *row = &m->rows[j];

		if (m->taken[j] || !row->tid || !m->host[j].is_unix)
			continue;
		if ((row->inode && row->inode == session->inode) || row->tid == session->tid) {
			pair(m, i, j);
			return;
		}
	}
}

static void match_last(struct matching *m)
{
	size_t n_sessions = 0, n_rows = 0, session = 0, row = 0;

	for (size_t i = 0; i < m->n_sessions; i++)
		if (wants(m, i) && !is_tcp(m->sessions[i])) {
			session = i;
			n_sessions++;
		}
	for (size_t j = 0; j < m->n_rows; j++)
		if (!m->taken[j] && m->host[j].is_unix) {
			row = j;
			n_rows++;
		}
	if (n_sessions == 1 && n_rows == 1)
		pair(m, session, row);
}

void dbps_adopt_match(const struct dbps_session *const *sessions, size_t n_sessions,
		      const struct dbps_server_row *rows, size_t n_rows, int *ret_row)
{
	_cleanup_free_ struct address *host = calloc(n_rows + 1, sizeof(*host));
	_cleanup_free_ bool *taken = calloc(n_rows + 1, sizeof(*taken));
	struct matching m = {sessions, n_sessions, rows, n_rows, host, taken, ret_row};

	for (size_t i = 0; i < n_sessions; i++)
		ret_row[i] = -1;
	if (!host || !taken)
		return;
	for (size_t j = 0; j < n_rows; j++)
		host[j] = parse_host(rows[j].host);
	claim_known(&m);
	for (size_t i = 0; i < n_sessions; i++)
		if (wants(&m, i) && is_tcp(sessions[i]))
			match_address(&m, i);
	for (size_t i = 0; i < n_sessions; i++)
		if (wants(&m, i) && is_tcp(sessions[i]))
			match_port(&m, i);
		else if (wants(&m, i))
			match_thread(&m, i);
	match_last(&m);
}

/* --- the server's rows --- */

/* Columns: id, user, host, db, command, age in ms, text, its length, thread. */
static const char *const statements[] = {
	[DBPS_ENGINE_MARIADB] =
		"SELECT ID, USER, HOST, DB, COMMAND, TIME_MS, LEFT(INFO_BINARY, 512),"
		" LENGTH(INFO_BINARY), TID FROM information_schema.processlist",
	[DBPS_ENGINE_MYSQL] =
		"SELECT p.ID, p.USER, p.HOST, p.DB, p.COMMAND, p.TIME * 1000, LEFT(p.INFO, 512),"
		" LENGTH(p.INFO), t.THREAD_OS_ID FROM information_schema.processlist p"
		" LEFT JOIN performance_schema.threads t ON t.PROCESSLIST_ID = p.ID",
};

static const char any_engine[] =
	"SELECT ID, USER, HOST, DB, COMMAND, TIME * 1000, LEFT(INFO, 512), LENGTH(INFO), 0"
	" FROM information_schema.processlist";

static int read_processlist(enum dbps_engine engine, struct dbps_client *client,
			    uint64_t deadline_ns, MYSQL_RES **ret_result,
			    struct dbps_link_error *ret_error)
{
	int r = -EIO;

	if ((size_t)engine < ARRAY_SIZE(statements) && statements[engine])
		r = dbps_client_query(client, statements[engine], deadline_ns, ret_result,
				      ret_error);
	if (r == -EIO)
		r = dbps_client_query(client, any_engine, deadline_ns, ret_result, ret_error);
	return r;
}

static uint64_t number(const char *text)
{
	return text ? strtoull(text, NULL, 10) : 0;
}

static void fill_row(MYSQL_ROW from, const unsigned long *lengths, struct dbps_server_row *row)
{
	double age_ms = from[5] ? strtod(from[5], NULL) : 0;

	*row = (struct dbps_server_row){
		.id = number(from[0]),
		.user = from[1] ? from[1] : "",
		.host = from[2] ? from[2] : "",
		.db = from[3],
		.command = from[4] ? from[4] : "",
		.age_ns = age_ms > 0 ? (uint64_t)(age_ms * 1e6) : 0,
		.text = from[6],
		.text_have = from[6] ? lengths[6] : 0,
		.text_len = number(from[7]),
		.tid = (uint32_t)number(from[8]),
	};
}

static int collect_rows(MYSQL_RES *result, struct dbps_server_row **ret_rows, size_t *ret_n)
{
	size_t max = mysql_num_rows(result), n = 0;
	struct dbps_server_row *rows = calloc(max + 1, sizeof(*rows));
	MYSQL_ROW row;

	if (!rows || mysql_num_fields(result) < 9) {
		free(rows);
		return rows ? -EPROTO : -ENOMEM;
	}
	while (n < max && (row = mysql_fetch_row(result)))
		fill_row(row, mysql_fetch_lengths(result), &rows[n++]);
	*ret_rows = rows;
	*ret_n = n;
	return 0;
}

static void find_thread_sockets(pid_t pid, struct dbps_server_row *rows, size_t n)
{
	for (size_t j = 0; j < n; j++)
		if (rows[j].tid && strcmp(rows[j].host, "localhost") == 0)
			dbps_thread_polled_socket(pid, (pid_t)rows[j].tid, &rows[j].inode);
}

/* --- snapshots --- */

struct view {
	void *data;
	const struct dbps_session **sessions; /* into data, those of one server */
	size_t n;
};

static void view_done(struct view *view)
{
	free(view->data);
	free(view->sessions);
}

static int view_read(struct dbps_kernel *kernel, pid_t pid, struct view *view)
{
	const struct dbps_snapshot_row *row;
	size_t len = 0, at, max;
	int r = dbps_kernel_snapshot(kernel, 0, 0, false, &view->data, &len);

	if (r < 0)
		return r;
	max = len / sizeof(*row) + 1;
	view->sessions = calloc(max, sizeof(*view->sessions));
	if (!view->sessions)
		return -ENOMEM;
	for (at = 0; at + sizeof(*row) <= len; at += row->size) {
		row = (const void *)((const char *)view->data + at);
		if (row->size < sizeof(*row))
			return -EPROTO;
		if (row->session.tgid == (uint32_t)pid)
			view->sessions[view->n++] = &row->session;
	}
	return 0;
}

static size_t count_wanting(const struct view *view)
{
	size_t n = 0;

	for (size_t i = 0; i < view->n; i++)
		n += dbps_adopt_wants(view->sessions[i]);
	return n;
}

static const struct dbps_session *find_session(const struct view *view, uint64_t cookie)
{
	for (size_t i = 0; i < view->n; i++)
		if (view->sessions[i]->cookie == cookie)
			return view->sessions[i];
	return NULL;
}

int dbps_adopt_find_cookie(struct dbps_kernel *kernel, pid_t pid, uint64_t id, uint64_t *ret_cookie)
{
	_cleanup_(view_done) struct view view = {0};
	int r = view_read(kernel, pid, &view);

	if (r < 0)
		return r;
	for (size_t i = 0; i < view.n; i++)
		if (view.sessions[i]->flags & DBPS_KNOWN_ID && view.sessions[i]->id == id) {
			*ret_cookie = view.sessions[i]->cookie;
			return 0;
		}
	return -ENOENT;
}

/* Sessions that were there before the rows were read, or that need none (invariants 1 and 4). */
static void keep_old(struct view *after, const struct view *before)
{
	size_t n = 0;

	for (size_t i = 0; i < after->n; i++) {
		const struct dbps_session *session = after->sessions[i];

		if (!dbps_adopt_wants(session) || find_session(before, session->cookie))
			after->sessions[n++] = session;
	}
	after->n = n;
}

/* --- handing over --- */

static uint8_t copy_name(const char *name, char *to, size_t size)
{
	size_t len = MIN(strlen(name), size);

	memcpy(to, name, len);
	return (uint8_t)len;
}

/*
 * Invariant 5. Any request that is read takes the session out of UNKNOWN, and so does the next wait
 * for a request; but a pool of threads does not read to wait, so there its answer's bytes tell.
 */
static bool same_state(const struct dbps_session *before, const struct dbps_session *after,
		       const struct dbps_server_row *row)
{
	return before && before->phase == DBPS_PHASE_UNKNOWN &&
	       after->phase == DBPS_PHASE_UNKNOWN && before->sequence == after->sequence &&
	       (row->tid || before->bytes_out == after->bytes_out);
}

static void adopt_statement(const struct dbps_server_row *row, uint8_t command, uint64_t now_ns,
			    struct dbps_adoption *adoption)
{
	adoption->command = command;
	adoption->start_ns = row->age_ns < now_ns ? now_ns - row->age_ns : 1;
	if (!row->text)
		return;
	adoption->has_text = 1;
	adoption->text_len = (uint32_t)MIN(row->text_len, UINT32_MAX);
	memcpy(adoption->text, row->text, MIN(row->text_have, sizeof(adoption->text)));
}

static void make_adoption(const struct dbps_server_row *row, const struct dbps_session *before,
			  const struct dbps_session *after, uint64_t now_ns,
			  struct dbps_adoption *adoption)
{
	int command = dbps_adopt_command(row->command);

	/* A number that no statement has: names only. */
	*adoption = (struct dbps_adoption){.id = row->id, .sequence = UINT64_MAX};
	adoption->user_len = copy_name(row->user, adoption->user, sizeof(adoption->user));
	adoption->db_len = copy_name(row->db ? row->db : "", adoption->db, sizeof(adoption->db));
	if (command < 0 || !same_state(before, after, row))
		return;
	adoption->sequence = after->sequence;
	if (command > 0)
		adopt_statement(row, (uint8_t)command, now_ns, adoption);
}

static bool is_logged_in(const struct dbps_server_row *row)
{
	return strcmp(row->command, "Connect") != 0;
}

static int hand_over(struct dbps_kernel *kernel, const struct view *before,
		     const struct view *after, const struct dbps_server_row *rows, const int *match,
		     uint64_t now_ns)
{
	_cleanup_free_ struct dbps_adoption *adoptions = calloc(BATCH, sizeof(*adoptions));
	__u64 cookies[BATCH];
	size_t n = 0;
	int r = 0;

	if (!adoptions)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < after->n; i++) {
		const struct dbps_session *session = after->sessions[i];

		if (match[i] >= 0 && dbps_adopt_wants(session) && is_logged_in(&rows[match[i]])) {
			make_adoption(&rows[match[i]], find_session(before, session->cookie),
				      session, now_ns, &adoptions[n]);
			cookies[n++] = session->cookie;
		}
		if (n == BATCH || (n && i + 1 == after->n)) {
			r = dbps_kernel_adopt(kernel, cookies, adoptions, n);
			n = 0;
		}
	}
	return r;
}

static int match_and_hand_over(struct dbps_kernel *kernel, pid_t pid, const struct view *before,
			       MYSQL_RES *result, uint64_t now_ns, size_t *ret_left)
{
	_cleanup_(view_done) struct view after = {0};
	_cleanup_free_ struct dbps_server_row *rows = NULL;
	_cleanup_free_ int *match = NULL;
	size_t n_rows, left = 0;
	int r;

	r = collect_rows(result, &rows, &n_rows);
	if (r < 0)
		return r;
	find_thread_sockets(pid, rows, n_rows);
	r = view_read(kernel, pid, &after);
	if (r < 0)
		return r;
	keep_old(&after, before);
	match = calloc(after.n + 1, sizeof(*match));
	if (!match)
		return -ENOMEM;
	dbps_adopt_match(after.sessions, after.n, rows, n_rows, match);
	r = hand_over(kernel, before, &after, rows, match, now_ns);
	if (r < 0)
		return r;
	for (size_t i = 0; i < after.n; i++)
		left += dbps_adopt_wants(after.sessions[i]) &&
			(match[i] < 0 || !is_logged_in(&rows[match[i]]));
	*ret_left = left;
	return 0;
}

int dbps_adopt(struct dbps_kernel *kernel, pid_t pid, enum dbps_engine engine,
	       struct dbps_client *client, uint64_t deadline_ns, size_t *ret_left,
	       struct dbps_link_error *ret_error)
{
	_cleanup_(view_done) struct view before = {0};
	MYSQL_RES *result = NULL;
	uint64_t asked_ns;
	int r;

	r = view_read(kernel, pid, &before);
	if (r < 0)
		return r;
	if (count_wanting(&before) == 0) {
		*ret_left = 0;
		return 0;
	}
	asked_ns = dbps_clock_ns();
	r = read_processlist(engine, client, deadline_ns, &result, ret_error);
	if (r < 0)
		return r;
	if (!result)
		return -EPROTO;
	/* The server looked at its clock somewhere in between. */
	r = match_and_hand_over(kernel, pid, &before, result, (asked_ns + dbps_clock_ns()) / 2,
				ret_left);
	mysql_free_result(result);
	return r;
}
