/*
 * One kill from the request to the answer: find and authorise, arm the cancel entry, read the
 * session once more, let enactors act, wait for what the kernel saw, say it.
 *
 * 1. The entry is armed before anything acts and taken away when the answer is made, whatever it
 * is.
 * 2. What ended before the entry was there is not settled by the kernel (bpf/cancel.bpf.h, 3.), so
 * the session is read again after arming: either the statement still executes and its end will be
 * seen, or it is over and nothing is done.
 * 3. Kills of the same statement, and kills of the same session, share an entry: each acts, and
 * each is answered with what was seen. One of another statement waits for the entry to go, which it
 * does at once, as its own statement is over.
 * 4. The socket's storage can vanish without the kernel settling the entry, as the server may close
 * a socket without reading it: a session that is in no snapshot any more has closed.
 */
#include "kill.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/param.h>

#include "audit.h"
#include "cleanup.h"
#include "enactor.h"
#include "kernel/kernel.h"
#include "server/client.h"
#include "server/process.h"
#include "session/rows.h"

/* MySQL error codes (protocol.md 3.1). */
enum {
	ER_NO_SUCH_THREAD = 1094,
	ER_KILL_DENIED = 1095,
	ER_UNKNOWN = 1105,
	ER_QUERY_INTERRUPTED = 1317,
	ER_CONNECTION_KILLED = 1927,
};

#define SLICE_MIN_MS 5
#define SLICE_MAX_MS 200

struct kill {
	const struct dbps_kill_request *request;
	const struct dbps_kill_item *item; /* what was chosen, NULL: only an id was given */
	struct dbps_kill_answer *answer;
	struct dbps_audit_record record;
	struct dbps_kill_target target;
	uint64_t begin_ns;
	bool armed;
	char acted[96]; /* names of the enactors that acted */
	bool inexact;	/* one of them could have met the next statement */
	uint64_t acted_ns;
	struct dbps_cancel cancel; /* as settled */
};

static void free_rows(struct dbps_rows **rows)
{
	dbps_rows_free(*rows);
}

/* --- answers --- */

static void answer(struct kill *kill, enum dbps_kill_outcome outcome, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static void refuse(struct kill *kill, unsigned int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void answer(struct kill *kill, enum dbps_kill_outcome outcome, const char *format, ...)
{
	struct dbps_kill_answer *a = kill->answer;
	uint64_t end_ns = kill->cancel.settled_ns ? kill->cancel.settled_ns : dbps_clock_ns();
	va_list args;

	*a = (struct dbps_kill_answer){.outcome = outcome};
	a->elapsed_ms = end_ns > kill->begin_ns ? (double)(end_ns - kill->begin_ns) / 1e6 : 0;
	va_start(args, format);
	vsnprintf(a->text, sizeof(a->text), format, args);
	va_end(args);
}

static void refuse(struct kill *kill, unsigned int error, const char *format, ...)
{
	struct dbps_kill_answer *a = kill->answer;
	va_list args;

	*a = (struct dbps_kill_answer){.outcome = DBPS_KILL_REFUSED, .error = error};
	memcpy(a->sqlstate, "HY000", sizeof("HY000"));
	a->elapsed_ms = (double)(dbps_clock_ns() - kill->begin_ns) / 1e6;
	va_start(args, format);
	vsnprintf(a->text, sizeof(a->text), format, args);
	va_end(args);
}

static unsigned long long shown_id(const struct kill *kill)
{
	return (unsigned long long)kill->request->id;
}

static unsigned long long statement(const struct kill *kill)
{
	return (unsigned long long)kill->target.session.sequence;
}

static double settled_ms(const struct kill *kill)
{
	return kill->cancel.settled_ns > kill->begin_ns
		       ? (double)(kill->cancel.settled_ns - kill->begin_ns) / 1e6
		       : 0;
}

/* "; statement 3 still executes in thread 1234, for 7.0 s" */
static void describe_running(const struct kill *kill, char *buf, size_t size)
{
	const struct dbps_session *session = &kill->target.session;
	uint64_t now_ns = dbps_clock_ns();

	buf[0] = '\0';
	if (!dbps_session_executes(session))
		return;
	snprintf(buf, size, "statement %llu still executes in thread %u, for %.1f s",
		 statement(kill), session->tid,
		 now_ns > session->start_ns ? (double)(now_ns - session->start_ns) / 1e9 : 0);
}

/* --- finding the session --- */

static void refuse_unknown(struct kill *kill)
{
	refuse(kill, ER_NO_SUCH_THREAD, "Unknown thread id: %llu", shown_id(kill));
}

/* As MariaDB: existence first, also for those who may not see the session (protocol.md 3.1). */
static bool authorise(struct kill *kill, const struct dbps_row *row)
{
	const struct dbps_caller *caller = kill->request->caller;
	bool kills = row && dbps_caller_kills(caller, row);

	if (!row)
		refuse_unknown(kill);
	else if (!kills)
		refuse(kill, ER_KILL_DENIED, "You are not owner of thread %llu", shown_id(kill));
	else if (row->own)
		refuse(kill, ER_UNKNOWN,
		       "this is the control link of dbpsd to %s, by which it kills",
		       row->server_name);
	else
		return true;
	return false;
}

/* Whether it still is as it was when it was chosen; if not, that is the answer. */
static bool as_chosen(struct kill *kill, const struct dbps_session *now)
{
	const struct dbps_kill_item *item = kill->item;

	if (!item || (now && now->cookie == item->cookie && now->sequence == item->sequence &&
		      dbps_session_executes(now) == item->executes))
		return true;
	answer(kill, DBPS_KILL_MISSED, "missed: session %llu has changed since it was chosen",
	       shown_id(kill));
	return false;
}

/* At once, where the kernel side knows the id. */
static int read_by_id(struct kill *kill, struct dbps_rows **ret_rows)
{
	const struct dbps_kill_target *target = &kill->target;
	uint64_t id = kill->request->id;
	struct dbps_server_view server;
	struct dbps_place place;
	int r;

	if (id & DBPS_ID_UNKNOWN)
		return -ENOENT;
	r = dbps_registry_by_index(target->registry, (uint32_t)(id >> 32), &server);
	if (r == 0)
		r = dbps_kernel_find(target->kernel, server.pid, (uint32_t)id, &place);
	if (r == 0)
		r = dbps_rows_read_at(target->kernel, target->registry, &place, true, ret_rows);
	return r;
}

static int read_rows(struct kill *kill, struct dbps_rows **ret_rows)
{
	_cleanup_(free_rows) struct dbps_rows *rows = NULL;

	if (read_by_id(kill, &rows) == 0 && dbps_rows_find(rows, kill->request->id)) {
		*ret_rows = TAKE_PTR(rows);
		return 0;
	}
	return dbps_rows_read(kill->target.kernel, kill->target.registry, 0, false, ret_rows);
}

/* The audit has the statement's text, which a list of all sessions was read without. */
static void note_session(struct kill *kill, const struct dbps_row *row)
{
	_cleanup_(free_rows) struct dbps_rows *rows = NULL;
	struct dbps_place place = dbps_place_of(row->session);

	if (!kill->request->audit)
		return;
	if (!row->info && dbps_session_executes(row->session) &&
	    dbps_rows_read_at(kill->target.kernel, kill->target.registry, &place, true, &rows) ==
		    0 &&
	    rows->n && rows->row[0].session->sequence == row->session->sequence)
		row = &rows->row[0];
	dbps_audit_found(&kill->record, kill->request->caller, row);
}

static bool find_session(struct kill *kill)
{
	_cleanup_(free_rows) struct dbps_rows *rows = NULL;
	struct dbps_kill_target *target = &kill->target;
	const struct dbps_row *row;
	int r = read_rows(kill, &rows);

	if (r < 0) {
		refuse(kill, ER_UNKNOWN, "cannot read the sessions: %s", strerror(-r));
		return false;
	}
	row = dbps_rows_find(rows, kill->request->id);
	if (row)
		note_session(kill, row);
	if (!as_chosen(kill, row ? row->session : NULL) || !authorise(kill, row))
		return false;
	target->session = *row->session;
	if (row->server == UINT32_MAX ||
	    dbps_registry_by_index(target->registry, row->server, &target->server) < 0)
		target->server.pid = 0;
	return true;
}

/* Read the session again, as the kernel has it now. -ENOENT: it has closed. */
static int reread(struct kill *kill, struct dbps_session *ret_session)
{
	_cleanup_(free_rows) struct dbps_rows *rows = NULL;
	struct dbps_place place = dbps_place_of(&kill->target.session);
	int r = dbps_rows_read_at(kill->target.kernel, kill->target.registry, &place, false, &rows);

	if (r < 0)
		return r;
	if (rows->n == 0)
		return -ENOENT;
	*ret_session = *rows->row[0].session;
	return 0;
}

/* One that is older than dbps may be named now: its server is asked again. */
static void learn(struct kill *kill)
{
	struct dbps_kill_target *target = &kill->target;
	struct dbps_link_error error;
	struct dbps_session session;

	if (!(target->session.flags & DBPS_JOINED) || !target->server.pid ||
	    (target->session.flags & DBPS_KNOWN_ID && target->session.phase != DBPS_PHASE_UNKNOWN))
		return;
	if (dbps_link_adopt(target->registry, target->server.index, dbps_kill_ms_left(target),
			    &error) == 0 &&
	    reread(kill, &session) == 0)
		target->session = session;
}

/* --- arming --- */

/* Invariant 3. @return 0; -ESRCH the session has closed; -ETIMEDOUT; other negative errno. */
static int arm(struct kill *kill)
{
	const struct dbps_kill_target *target = &kill->target;
	struct dbps_place place = dbps_place_of(&target->session);
	struct dbps_cancel wanted = {
		.sequence = target->session.sequence,
		.uid = kill->request->caller->uid,
	};
	int r;

	/* A server that polls ends what is armed by itself: arming is an act. */
	dbps_audit_begun(kill->request->audit, &kill->record);
	r = dbps_kernel_watch_arm(target->kernel, &place, dbps_kill_action(target), &wanted,
				  dbps_kill_ms_left(target));
	kill->armed = r == 0;
	return r;
}

static void disarm(struct kill *kill)
{
	if (kill->armed)
		dbps_kernel_watch_disarm(kill->target.kernel, kill->target.session.cookie,
					 dbps_kill_action(&kill->target));
	kill->armed = false;
}

/* --- acting --- */

static void note_acted(struct kill *kill, const char *name)
{
	size_t len = strlen(kill->acted);

	snprintf(kill->acted + len, sizeof(kill->acted) - len, "%s%s", len ? ", " : "", name);
	kill->acted_ns = dbps_clock_ns();
}

/* Try enactors in their order until one acts. Errors as their `act`; -ENOTCONN when none could. */
static int run(struct kill *kill, const struct dbps_enactor *const *enactors, size_t n,
	       struct dbps_link_error *ret_error)
{
	int r = -ENOTCONN;

	for (size_t i = 0; i < n; i++) {
		if (!enactors[i]->probe(&kill->target, ret_error->text))
			continue;
		r = enactors[i]->act(&kill->target, ret_error);
		if (r == 0 || r == -ETIMEDOUT)
			note_acted(kill, enactors[i]->name);
		if (r != -EAGAIN)
			return r;
	}
	return r;
}

/* --- waiting --- */

/* Invariant 4. */
static bool has_closed(struct kill *kill)
{
	struct dbps_session session;
	int r = reread(kill, &session);

	if (r == 0)
		kill->target.session = session;
	if (r != -ENOENT)
		return false;
	kill->cancel.outcome = DBPS_OUTCOME_CLOSED;
	kill->cancel.settled_ns = dbps_clock_ns();
	return true;
}

/** @return Whether it was settled in time; then kill->cancel says how. */
static bool await_outcome(struct kill *kill)
{
	const struct dbps_kill_target *target = &kill->target;
	struct dbps_session before = target->session;

	for (int slice_ms = SLICE_MIN_MS;; slice_ms = MIN(slice_ms * 2, SLICE_MAX_MS)) {
		int left_ms = dbps_kill_ms_left(target);
		int r = dbps_kernel_watch_wait(target->kernel, before.cookie,
					       dbps_kill_action(target), MIN(slice_ms, left_ms),
					       &kill->cancel);

		if (r == 0)
			break;
		kill->cancel.settled_ns = 0;
		if (has_closed(kill))
			break;
		if (left_ms == 0 || r != -ETIMEDOUT)
			return false;
	}
	kill->target.session = before;
	return true;
}

/* --- KILL QUERY --- */

static bool is_interruption(unsigned int error)
{
	return error == ER_QUERY_INTERRUPTED || error == ER_CONNECTION_KILLED;
}

/* The answer was not followed, so how the statement ended is not known. */
static bool is_unreadable(const struct dbps_session *session)
{
	return session->phase == DBPS_PHASE_OPAQUE || session->phase == DBPS_PHASE_UNFRAMED ||
	       session->flags & (DBPS_TLS | DBPS_COMPRESSED);
}

/*
 * KILL QUERY ID was answered with OK, so the statement was still there when the server took it:
 * some, as BENCHMARK(), end early and yet without an error (protocol.md 1.13). By its connection it
 * cannot be told which one was met.
 */
static void answer_missed(struct kill *kill)
{
	const struct dbps_cancel *cancel = &kill->cancel;
	char how[64] = " without an error";

	if (cancel->outcome == DBPS_OUTCOME_ENDED && cancel->error)
		snprintf(how, sizeof(how), " with error %u", cancel->error);
	if (!kill->acted[0] && is_interruption(cancel->error))
		answer(kill, DBPS_KILL_MISSED, "missed: statement %llu had been interrupted%s",
		       statement(kill), how);
	else if (!kill->acted[0])
		answer(kill, DBPS_KILL_MISSED, "missed: statement %llu had ended by itself%s",
		       statement(kill), cancel->error ? how : "");
	else if (cancel->outcome == DBPS_OUTCOME_ENDED &&
		 (!kill->inexact || cancel->settled_ns > kill->acted_ns))
		answer(kill, DBPS_KILL_MISSED,
		       "missed: statement %llu ended%s when the server had taken the kill, after "
		       "%.1f ms (%s)",
		       statement(kill), how, settled_ms(kill), kill->acted);
	else
		answer(kill, DBPS_KILL_MISSED,
		       "missed: statement %llu had ended by itself when the kill came%s (%s)",
		       statement(kill),
		       kill->inexact ? ", which may have met the one after it" : "", kill->acted);
}

static void answer_settled_query(struct kill *kill)
{
	const struct dbps_cancel *cancel = &kill->cancel;
	bool acted = kill->acted[0];

	if (cancel->outcome == DBPS_OUTCOME_CLOSED)
		answer(kill, DBPS_KILL_CONFIRMED,
		       "confirmed: session closed, and statement %llu with it, after %.1f "
		       "ms%s%s%s",
		       statement(kill), settled_ms(kill), acted ? " (" : "", kill->acted,
		       acted ? ")" : "");
	else if (acted && cancel->outcome == DBPS_OUTCOME_ENDED && is_interruption(cancel->error))
		answer(kill, DBPS_KILL_CONFIRMED,
		       "confirmed: statement %llu interrupted after %.1f ms (%s)", statement(kill),
		       settled_ms(kill), kill->acted);
	else if (acted && cancel->outcome == DBPS_OUTCOME_ENDED && !cancel->error &&
		 is_unreadable(&kill->target.session))
		answer(kill, DBPS_KILL_CONFIRMED,
		       "confirmed: statement %llu ended after %.1f ms; its answer cannot be read "
		       "(%s)",
		       statement(kill), settled_ms(kill), kill->acted);
	else
		answer_missed(kill);
}

static void answer_pending_query(struct kill *kill)
{
	char running[96];

	describe_running(kill, running, sizeof(running));
	answer(kill, DBPS_KILL_PENDING, "pending: %s; the server has the kill (%s)",
	       running[0] ? running : "the statement has not been seen to end", kill->acted);
}

/* The end of a link's error, where the cause stands; the names of files and sockets are before it.
 */
static const char *cause(const char *text)
{
	const size_t max = 150, len = strlen(text);

	return len > max ? text + len - max : text;
}

static void refuse_query(struct kill *kill, int r, const struct dbps_link_error *error)
{
	const char *why = error->text[0] ? error->text : strerror(-r);

	refuse(kill, ER_UNKNOWN,
	       "KILL QUERY needs a control link to %s: %s; KILL CONNECTION resets the socket "
	       "but the statement goes on executing",
	       kill->target.server.pid ? kill->target.server.name : "the server", cause(why));
}

/* Armed, and seen to execute after that. */
static void interrupt_statement(struct kill *kill)
{
	struct dbps_link_error error = {0};
	int r = run(kill, dbps_interrupters, dbps_n_interrupters, &error);

	kill->inexact = strstr(kill->acted, "by connection");
	if (r < 0 && r != -EALREADY && r != -ETIMEDOUT) {
		if (!dbps_kill_settled(&kill->target)) {
			refuse_query(kill, r, &error);
			return;
		}
	}
	if (await_outcome(kill))
		answer_settled_query(kill);
	else
		answer_pending_query(kill);
}

static bool is_our_statement(const struct kill *kill, const struct dbps_session *session)
{
	return session->sequence == kill->target.session.sequence && dbps_session_executes(session);
}

static void kill_query_armed(struct kill *kill)
{
	struct dbps_session now;
	int r = reread(kill, &now); /* invariant 2 */

	if (r < 0 && r != -ENOENT) {
		refuse(kill, ER_UNKNOWN, "cannot read the session: %s", strerror(-r));
		return;
	}
	if (r == 0 && !as_chosen(kill, &now))
		return;
	if (r == -ENOENT || !is_our_statement(kill, &now)) {
		dbps_kernel_watch_get(kill->target.kernel, kill->target.session.cookie,
				      DBPS_CANCEL_QUERY, &kill->cancel);
		answer_missed(kill);
		return;
	}
	kill->target.session = now;
	interrupt_statement(kill);
}

static void answer_no_arm(struct kill *kill, int r)
{
	if (r == -ESRCH)
		answer(kill, DBPS_KILL_MISSED, "missed: the session had closed by itself");
	else if (r == -ETIMEDOUT)
		answer(kill, DBPS_KILL_PENDING,
		       "pending: a kill of another statement of this session is under way");
	else
		refuse(kill, ER_UNKNOWN, "cannot watch the session: %s", strerror(-r));
}

/* Whether it executes, and which statement, is not known. */
static bool is_opaque(const struct dbps_session *session)
{
	return session->phase == DBPS_PHASE_UNKNOWN ||
	       (session->flags & DBPS_TLS && !dbps_session_executes(session) &&
		session->phase != DBPS_PHASE_CLOSED);
}

static void kill_query(struct kill *kill)
{
	int r;

	if (is_opaque(&kill->target.session)) {
		refuse(kill, ER_UNKNOWN,
		       "what this session executes cannot be seen (%s); KILL CONNECTION closes it",
		       kill->target.session.flags & DBPS_TLS ? "TLS" : "it is older than dbps");
		return;
	}
	if (!dbps_session_executes(&kill->target.session)) {
		answer(kill, DBPS_KILL_MISSED, "missed: nothing is running in this session");
		return;
	}
	r = arm(kill);
	if (r < 0)
		answer_no_arm(kill, r);
	else
		kill_query_armed(kill);
}

/* --- KILL CONNECTION --- */

static void answer_closed(struct kill *kill)
{
	answer(kill, DBPS_KILL_CONFIRMED, "confirmed: session closed after %.1f ms%s%s%s",
	       settled_ms(kill), kill->acted[0] ? " (" : "", kill->acted,
	       kill->acted[0] ? ")" : "");
}

static void answer_pending_connection(struct kill *kill, const struct dbps_link_error *link_error)
{
	char running[96];

	describe_running(kill, running, sizeof(running));
	if (!running[0])
		snprintf(running, sizeof(running), "the server %shas not closed its end yet",
			 dbps_process_stopped((pid_t)kill->target.session.tgid)
				 ? "is stopped by a signal and "
				 : "");
	answer(kill, DBPS_KILL_PENDING, "pending: the connection is cut, but %s (%s%s%s)", running,
	       kill->acted[0] ? kill->acted : "it was cut before",
	       link_error->text[0] ? "; no help from a control link: " : "",
	       cause(link_error->text));
}

/*
 * The socket first: from then on no further statement can come, so that what the server's own KILL
 * ends is the last. It is needed only for a session that may execute: an idle one reads its socket.
 */
static void close_connection(struct kill *kill)
{
	struct dbps_link_error socket_error = {0}, link_error = {0};
	int r = run(kill, dbps_closers, dbps_n_closers, &socket_error);
	int r_link = -EALREADY;

	if (dbps_session_executes(&kill->target.session) ||
	    kill->target.session.phase == DBPS_PHASE_UNKNOWN || (r < 0 && r != -EALREADY))
		r_link = run(kill, dbps_enders, dbps_n_enders, &link_error);
	if (r_link == 0 || r_link == -EALREADY)
		link_error.text[0] = '\0';
	if (r < 0 && r != -EALREADY && r_link < 0 && r_link != -ETIMEDOUT && !has_closed(kill)) {
		refuse(kill, ER_UNKNOWN, "the session cannot be closed: %.120s; %.120s",
		       socket_error.text, link_error.text);
		return;
	}
	if (await_outcome(kill))
		answer_closed(kill);
	else
		answer_pending_connection(kill, &link_error);
}

static void kill_connection(struct kill *kill)
{
	struct dbps_session now;
	int r = arm(kill);

	if (r < 0) {
		answer_no_arm(kill, r);
		return;
	}
	r = reread(kill, &now);
	if (r == 0) {
		kill->target.session = now;
		if (as_chosen(kill, &now))
			close_connection(kill);
	} else if (r == -ENOENT) {
		answer(kill, DBPS_KILL_MISSED, "missed: the session had closed by itself");
	} else {
		refuse(kill, ER_UNKNOWN, "cannot read the session: %s", strerror(-r));
	}
}

static void kill_one(struct dbps_kernel *kernel, struct dbps_registry *registry,
		     const struct dbps_kill_request *request, const struct dbps_kill_item *item,
		     struct dbps_kill_answer *ret_answer)
{
	struct kill kill = {
		.request = request,
		.item = item,
		.answer = ret_answer,
		.begin_ns = dbps_clock_ns(),
	};

	kill.target = (struct dbps_kill_target){
		.kernel = kernel,
		.registry = registry,
		.connection = request->connection,
		.deadline_ns = kill.begin_ns + (uint64_t)MAX(request->timeout_ms, 0) * 1000000u,
	};
	dbps_audit_asked(&kill.record, request);
	if (find_session(&kill)) {
		learn(&kill);
		if (request->connection)
			kill_connection(&kill);
		else
			kill_query(&kill);
		disarm(&kill);
	}
	dbps_audit_ended(request->audit, &kill.record, ret_answer, kill.acted);
}

void dbps_kill(struct dbps_kernel *kernel, struct dbps_registry *registry,
	       const struct dbps_kill_request *request, struct dbps_kill_answer *ret_answer)
{
	kill_one(kernel, registry, request, NULL, ret_answer);
}

void dbps_kill_many(struct dbps_kernel *kernel, struct dbps_registry *registry,
		    const struct dbps_kill_request *request, struct dbps_kill_item *items, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct dbps_kill_request one = *request;

		one.id = items[i].id;
		kill_one(kernel, registry, &one, &items[i], &items[i].answer);
	}
}
