/*
 * Makes rows of a snapshot in one pass: the registry is asked once, the rows are one block, and a
 * text stays where the kernel wrote it unless a password has to be masked in it.
 */
#include "rows.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "client.h"
#include "kernel/kernel.h"
#include "server/own.h"
#include "server/registry.h"
#include "text.h"

#define COM_QUERY	       0x03
#define MYSQL_MULTI_STATEMENTS (1u << 16) /* protocol.md 1.3 */
#define MYSQL_NO_BACKSLASH     0x0200	  /* protocol.md 1.7 */

/* What all rows of one read share. */
struct reading {
	struct dbps_kernel *kernel;
	struct dbps_registry *registry;
	struct dbps_server_view *views;
	size_t n_views;
	struct dbps_server_view own;
	const struct dbps_server_view
		*last;	   /* most sessions are the same server's as the one before */
	unsigned int want; /* enum dbps_rows_want */
};

uint64_t dbps_row_id(const struct dbps_session *session, uint32_t server)
{
	if (!(session->flags & DBPS_KNOWN_ID) || server == UINT32_MAX ||
	    (server == 0 && session->id >= DBPS_ID_CONSOLE))
		return DBPS_ID_UNKNOWN | session->cookie;
	if (server == DBPS_OWN_INDEX)
		return session->id;
	if (session->id > UINT32_MAX) /* TiDB's of 64 bits (protocol.md 1.2) */
		return DBPS_ID_UNKNOWN | session->cookie;
	return (uint64_t)server << 32 | session->id;
}

static const struct dbps_server_view *find_view(struct reading *reading, uint32_t tgid)
{
	if (reading->last && (uint32_t)reading->last->pid == tgid)
		return reading->last;
	for (size_t i = 0; i < reading->n_views; i++)
		if ((uint32_t)reading->views[i].pid == tgid)
			return reading->last = &reading->views[i];
	if ((uint32_t)reading->own.pid == tgid)
		return reading->last = &reading->own;
	return NULL;
}

/* Refused before it had a connection id: never a session of the server (protocol.md 1.2). */
static bool was_refused(const struct dbps_session *s)
{
	return s->phase == DBPS_PHASE_CLOSED && !(s->flags & (DBPS_KNOWN_ID | DBPS_JOINED));
}

/* ---------------------------------------------------------------- host ---------------------- */

static char *put_number(char *at, unsigned int n)
{
	char digits[10];
	size_t len = 0;

	do
		digits[len++] = (char)('0' + n % 10);
	while (n /= 10);
	while (len)
		*at++ = digits[--len];
	return at;
}

static char *put_ipv4(char *at, const uint8_t *addr)
{
	for (int i = 0; i < 4; i++) {
		at = put_number(at, addr[i]);
		*at++ = '.';
	}
	return at - 1;
}

/* As MariaDB and MySQL print it: no brackets around IPv6, mapped IPv4 as IPv4. */
static void set_host(const struct dbps_session *s, char *host)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	char *at = host;

	switch (s->family) {
	case DBPS_FAMILY_UNIX:
		memcpy(host, "localhost", sizeof("localhost"));
		return;
	case DBPS_FAMILY_INET:
		at = put_ipv4(at, s->remote_addr);
		break;
	case DBPS_FAMILY_INET6:
		if (memcmp(s->remote_addr, mapped, sizeof(mapped)) == 0)
			at = put_ipv4(at, s->remote_addr + sizeof(mapped));
		else if (inet_ntop(AF_INET6, s->remote_addr, host, INET6_ADDRSTRLEN))
			at += strlen(host);
		break;
	default:
		host[0] = '\0';
		return;
	}
	*at++ = ':';
	*put_number(at, s->remote_port) = '\0';
}

/* The same of the server's end, without the port. */
static void set_local_address(const struct dbps_session *s, char *text)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (s->family == DBPS_FAMILY_INET)
		*put_ipv4(text, s->local_addr) = '\0';
	else if (s->family == DBPS_FAMILY_INET6 &&
		 memcmp(s->local_addr, mapped, sizeof(mapped)) == 0)
		*put_ipv4(text, s->local_addr + sizeof(mapped)) = '\0';
	else if (s->family != DBPS_FAMILY_INET6 ||
		 !inet_ntop(AF_INET6, s->local_addr, text, INET6_ADDRSTRLEN))
		text[0] = '\0';
}

/* ---------------------------------------------------------------- info ---------------------- */

#define UNSEEN "the server moves bytes in a way that no tap sees (io_uring, or the like)"

static const char *why_no_text(const struct dbps_session *s)
{
	if (dbps_session_is_dark(s))
		return "the connection is encrypted (TLS), and its library is not read: see dbps "
		       "doctor";
	if (dbps_session_is_hidden(s))
		return "the request was sent compressed";
	if (s->flags & DBPS_SPLICED_IN && !(s->flags & DBPS_FRAMED_IN))
		return UNSEEN;
	if (s->flags & DBPS_EXECUTES)
		return "the text of the prepared statement is not known";
	if (s->flags & DBPS_JOINED && !(s->flags & DBPS_FRAMED_IN))
		return "the statement is older than dbps";
	return "the command has no text";
}

/* Whether the packet may hold several statements: as agreed at login, or as its results say. */
static bool is_multiple(const struct dbps_session *s)
{
	if (s->flags & DBPS_PGSQL || s->command != COM_QUERY || s->phase == DBPS_PHASE_UNFRAMED)
		return false;
	return s->results || !(s->flags & DBPS_KNOWN_CAPS) || s->caps & MYSQL_MULTI_STATEMENTS;
}

/* Replaces the text by its masked form. */
static int mask(struct dbps_row *row, struct dbps_text *text)
{
	_cleanup_free_ char *masked = NULL;

	if (!dbps_text_may_hold_password(text->start, text->len))
		return 0;
	masked = malloc(DBPS_TEXT_MASKED_MAX(text->len));
	if (!masked)
		return -ENOMEM;
	text->len = dbps_text_mask(*text, masked);
	free(row->owned);
	text->start = row->owned = TAKE_PTR(masked);
	return 0;
}

/*
 * PostgreSQL shows a text as it was sent. Of a Parse there is more behind it: a NUL, and at least a
 * u16.
 */
static struct dbps_text pgsql_text(struct dbps_text text)
{
	const char *end = memchr(text.start, 0, text.len);

	text.no_backslash = true;
	if (end)
		text.len = text.whole = (size_t)(end - text.start);
	return text;
}

static int set_info(struct dbps_row *row, struct dbps_text text)
{
	int r;

	if (row->session->flags & DBPS_PGSQL) {
		text = pgsql_text(text);
	} else {
		text.no_backslash = row->session->status & MYSQL_NO_BACKSLASH;
		text = dbps_text_trim(text);
	}
	if (is_multiple(row->session))
		text = dbps_text_current(text, row->session->results);
	row->info_whole = text.whole;
	row->info_cut = text.len < text.whole;
	r = mask(row, &text);
	if (r < 0)
		return r;
	row->info = (char *)text.start;
	row->info_len = text.len;
	return 0;
}

/* A kept Parse: name NUL text NUL. */
static void skip_name(struct dbps_text *text)
{
	size_t len = strnlen(text->start, text->len);

	len += len < text->len;
	text->start += len;
	text->len -= len;
	text->whole -= len;
}

static int set_prepared(struct reading *reading, struct dbps_row *row)
{
	const struct dbps_session *s = row->session;
	struct dbps_prepared_key key = {s->cookie, s->prepare_era, s->stmt_id};
	struct dbps_text text = {0};
	int r = dbps_kernel_prepared(reading->kernel, &key, &row->owned, &text.len, &text.whole);

	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		row->why_no_info = why_no_text(s);
		return 0;
	}
	text.start = row->owned;
	if (s->flags & DBPS_PGSQL)
		skip_name(&text);
	return set_info(row, text);
}

/* Whatever it does just now, nothing of it is known. */
static bool is_unseen(const struct dbps_session *s)
{
	return s->flags & DBPS_SPLICED_IN && !(s->flags & DBPS_FRAMED_IN) &&
	       s->phase == DBPS_PHASE_UNKNOWN;
}

static int set_text(struct reading *reading, struct dbps_row *row,
		    const struct dbps_snapshot_row *raw)
{
	const struct dbps_session *s = row->session;
	struct dbps_text text = {(const char *)(raw + 1), raw->text_have, s->text_len, false};

	if (!(reading->want & DBPS_ROWS_TEXT))
		return 0;
	if (dbps_session_is_dark(s) || is_unseen(s))
		row->why_no_info = why_no_text(s);
	if (!dbps_session_executes(s))
		return 0;
	if (s->flags & DBPS_EXECUTES)
		return set_prepared(reading, row);
	if (s->flags & DBPS_HAS_TEXT)
		return set_info(row, text);
	row->why_no_info = why_no_text(s);
	return 0;
}

/* ---------------------------------------------------------------- login --------------------- */

/* Cut a name at the first `mark`; what is behind it. */
static struct dbps_name cut_name(struct dbps_name *name, char mark)
{
	const char *at = name->len ? memchr(name->start, mark, name->len) : NULL;
	struct dbps_name behind = {0};

	if (!at)
		return behind;
	behind.start = at + 1;
	behind.len = name->len - (size_t)(at + 1 - name->start);
	name->len = (size_t)(at - name->start);
	return behind;
}

/* user@tenant#cluster[:cluster_id], of which all but the user may be left out. */
struct dbps_login dbps_row_login(const struct dbps_row *row)
{
	struct dbps_login login = {.user = {row->session->user, row->session->user_len}};

	if (row->engine != DBPS_ENGINE_OCEANBASE)
		return login;
	login.cluster = cut_name(&login.user, '#');
	cut_name(&login.cluster, ':');
	login.tenant = cut_name(&login.user, '@');
	return login;
}

/* ---------------------------------------------------------------- rows ---------------------- */

/* By the connection id; a client knows the lower half of TiDB's of 64 bits, and so does a greeting.
 */
static bool is_link(const struct dbps_server_view *view, const struct dbps_session *s)
{
	bool known = s->flags & DBPS_KNOWN_ID || view->engine == DBPS_ENGINE_TIDB;

	return known && view->link_id && view->link_id == (uint32_t)s->id;
}

static int fill(struct reading *reading, struct dbps_row *row, const struct dbps_snapshot_row *raw)
{
	const struct dbps_session *s = &raw->session;
	const struct dbps_server_view *view = find_view(reading, dbps_session_server(s));

	row->session = s;
	row->now_ns = raw->now_ns;
	row->peer = (uint8_t)raw->peer;
	row->peer_ns = raw->peer_ns;
	row->thread = &raw->thread;
	row->server = view ? view->index : UINT32_MAX;
	row->id = dbps_row_id(s, row->server);
	set_host(s, row->host);
	set_local_address(s, row->local_address);
	if (view) {
		static_assert(sizeof(view->name) == sizeof(row->server_name),
			      "one length of names");
		memcpy(row->server_name, view->name, sizeof(row->server_name));
		row->engine = view->engine;
		row->own =
			(view->link_cookie && view->link_cookie == s->cookie) || is_link(view, s);
	}
	return set_text(reading, row, raw);
}

/* The place of a record, by the id that its row will have. */
struct place {
	uint64_t id;
	const struct dbps_snapshot_row *raw;
};

static int compare_places(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

static struct dbps_snapshot_row *next_record(struct dbps_snapshot_row *raw)
{
	return (void *)((char *)raw + raw->size);
}

/* All records that become rows, in the order of their ids. */
static int find_places(struct reading *reading, void *data, size_t len, struct place **ret_places,
		       size_t *ret_n)
{
	const struct dbps_snapshot_row *end = (const void *)((const char *)data + len);
	struct place *places = NULL;
	size_t n = 0;

	places = calloc(len / sizeof(struct dbps_snapshot_row) + 1, sizeof(*places));
	if (!places)
		return -ENOMEM;
	for (struct dbps_snapshot_row *raw = data; raw < end; raw = next_record(raw)) {
		const struct dbps_server_view *view =
			find_view(reading, dbps_session_server(&raw->session));

		if (was_refused(&raw->session))
			continue;
		/* Those of several servers behind it may be equal. */
		if (view && view->engine == DBPS_ENGINE_PROXY)
			raw->session.flags &= ~DBPS_KNOWN_ID;
		places[n++] = (struct place){
			dbps_row_id(&raw->session, view ? view->index : UINT32_MAX), raw};
	}
	qsort(places, n, sizeof(*places), compare_places);
	*ret_places = places;
	*ret_n = n;
	return 0;
}

static void cleanup_rows(struct dbps_rows **rows)
{
	dbps_rows_free(*rows);
}

/* Takes the snapshot over on success. */
static int make_rows(struct reading *reading, void *data, size_t len, struct dbps_rows **ret_rows)
{
	_cleanup_(cleanup_rows) struct dbps_rows *rows = NULL;
	_cleanup_free_ struct place *places = NULL;
	size_t n;
	int r;

	r = find_places(reading, data, len, &places, &n);
	if (r < 0)
		return r;
	rows = calloc(1, sizeof(*rows));
	if (!rows)
		return -ENOMEM;
	rows->kernel = reading->kernel;
	rows->registry = reading->registry;
	rows->row = calloc(n + 1, sizeof(*rows->row));
	if (!rows->row)
		return -ENOMEM;
	for (; rows->n < n; rows->n++) {
		struct dbps_row *row = &rows->row[rows->n];

		row->all = rows;
		r = fill(reading, row, places[rows->n].raw);
		if (r < 0) {
			free(row->owned);
			return r;
		}
	}
	rows->data = data;
	*ret_rows = TAKE_PTR(rows);
	return 0;
}

/* Takes the snapshot over on success. */
static int read_rows(struct reading *reading, struct dbps_registry *registry, void *data,
		     size_t len, struct dbps_rows **ret_rows)
{
	_cleanup_free_ struct dbps_server_view *views = NULL;
	/* After the snapshot, so that it knows the servers of all sessions in it. */
	int r = dbps_registry_list(registry, &views, &reading->n_views);

	if (r < 0)
		return r;
	reading->views = views;
	reading->registry = registry;
	dbps_own_view(&reading->own);
	return make_rows(reading, data, len, ret_rows);
}

int dbps_rows_read(struct dbps_kernel *kernel, struct dbps_registry *registry, uint64_t cookie,
		   unsigned int want, struct dbps_rows **ret_rows)
{
	_cleanup_free_ void *data = NULL;
	struct reading reading = {.kernel = kernel, .want = want};
	size_t len;
	int r;

	r = dbps_kernel_snapshot(kernel, cookie, want & DBPS_ROWS_TEXT ? DBPS_TEXT_MAX : 0,
				 want & DBPS_ROWS_THREADS, &data, &len);
	if (!r)
		r = read_rows(&reading, registry, data, len, ret_rows);
	if (!r)
		data = NULL; /* the rows have it */
	return r;
}

int dbps_rows_read_at(struct dbps_kernel *kernel, struct dbps_registry *registry,
		      const struct dbps_place *place, unsigned int want,
		      struct dbps_rows **ret_rows)
{
	_cleanup_free_ void *data = NULL;
	struct reading reading = {.kernel = kernel, .want = want};
	size_t len;
	int r;

	r = dbps_kernel_snapshot_at(kernel, place, want & DBPS_ROWS_TEXT ? DBPS_TEXT_MAX : 0, &data,
				    &len);
	if (!r)
		r = read_rows(&reading, registry, data, len, ret_rows);
	if (!r)
		data = NULL; /* the rows have it */
	return r;
}

void dbps_rows_free(struct dbps_rows *rows)
{
	if (!rows)
		return;
	for (size_t i = 0; i < rows->n; i++)
		free(rows->row[i].owned);
	dbps_clients_free(rows->clients);
	free(rows->row);
	free(rows->data);
	free(rows);
}

static int compare_id(const void *id, const void *row)
{
	uint64_t a = *(const uint64_t *)id, b = ((const struct dbps_row *)row)->id;

	return a < b ? -1 : a > b;
}

const struct dbps_row *dbps_rows_find(const struct dbps_rows *rows, uint64_t id)
{
	if (!rows->n)
		return NULL;
	return bsearch(&id, rows->row, rows->n, sizeof(*rows->row), compare_id);
}
