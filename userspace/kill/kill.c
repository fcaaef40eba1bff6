/*
 * One kill from the request to the answer: find and authorise, arm the cancel entry, judge the
 * session as it is after that, let enactors act, wait for what the kernel saw, say it.
 *
 * 1. The entry is armed before anything acts and given back when the answer is made, whatever it
 * is.
 * 2. What ended before the entry was there is not settled by the kernel (bpf/cancel.bpf.h, 4.), so
 * the session is read again after arming: either the statement still executes and its end will be
 * seen, or it is over and nothing is done.
 * 3. Kills of the same statement, and kills of the same session, share an entry, and
 * each is answered with what was seen. One of another statement waits for the entry to go, which it
 * does at once, as its own statement is over.
 * 4. The socket's storage can vanish without the kernel settling the entry: a server that could not
 * send its answer closes the socket without reading it. A session that is in no snapshot any more
 * has closed, which is looked for soon.
 * 5. Of those that share a statement's entry one tells the server. A second one could reach it just
 * when the statement ends by the first, and so meet the next one (enactor.c, 3.).
 * 6. An idle session can begin a statement just before its socket is cut: that one is cancelled as
 * well, as soon as it is seen.
 * 7. Some servers drop what asks them to cancel, in moments in which they execute nothing though
 * their statement has begun: they are asked again while it executes.
 */
#include <errno.h>
#include <string.h>
#include <sys/param.h>

#include "cleanup.h"
#include "demote.h"
#include "drain.h"
#include "kernel/kernel.h"
#include "one.h"
#include "server/client.h"

/* How long a statement that took a kill by id instead of another one may take to show it. */
#define LATER_MS       20
#define LATER_SLICE_MS 5

#define SLICE_MIN_MS 1
#define SLICE_MAX_MS 200
#define AGAIN_NS     5000000

static void free_rows(struct dbps_rows **rows)
{
	dbps_rows_free(*rows);
}

void kill_begin(struct kill *kill, struct dbps_kernel *kernel, struct dbps_registry *registry,
		const struct dbps_kill_request *request, struct dbps_kill_answer *answer)
{
	*kill = (struct kill){
		.request = request,
		.answer = answer,
		.id = request->id,
		.begin_ns = dbps_clock_ns(),
		.target = {.kernel = kernel,
			   .registry = registry,
			   .connection = request->connection,
			   .soft = request->soft},
	};
	kill->target.deadline_ns =
		kill->begin_ns + (uint64_t)MAX(request->timeout_ms, 0) * 1000000u;
}

/* --- the audit --- */

void kill_make_record(const struct kill *kill, struct dbps_audit_record *record)
{
	struct dbps_kill_request request = *kill->request;

	request.id = kill->id;
	if (kill->record)
		*record = *kill->record;
	else
		dbps_audit_asked(record, &request);
	if (kill->row)
		dbps_audit_found(record, kill->row, kill->seen);
	record->number = kill->audit_number;
	if (kill->audit_us)
		record->time_us = kill->audit_us;
}

/* It is about to act. */
void kill_audit_begun(struct kill *kill)
{
	struct dbps_audit_record record;

	if (!kill->request->audit || kill->audit_number)
		return;
	kill_make_record(kill, &record);
	dbps_audit_begun(kill->request->audit, &record);
	kill->audit_number = record.number;
	kill->audit_us = record.time_us;
}

void kill_audit_ended(struct kill *kill)
{
	struct dbps_audit_record record;

	if (!kill->request->audit)
		return;
	kill_make_record(kill, &record);
	dbps_audit_ended(kill->request->audit, &record, kill->answer, kill->acted);
	kill->audit_number = record.number;
	kill->audit_us = record.time_us;
}

/* --- finding the session --- */

/* As MariaDB: existence first, also for those who may not see the session (protocol.md 3.1). */
static bool authorise(struct kill *kill, const struct dbps_row *row)
{
	unsigned long long id = kill->id;

	if (!row)
		kill_refuse(kill, ER_NO_SUCH_THREAD, "Unknown thread id: %llu", id);
	else if (!dbps_caller_kills(kill->request->caller, row))
		kill_refuse(kill, ER_KILL_DENIED, "You are not owner of thread %llu", id);
	else if (row->own)
		kill_refuse(kill, ER_UNKNOWN,
			    "this is the control link of dbpsd to %s, by which it kills",
			    row->server_name);
	else
		return true;
	return false;
}

static void answer_changed(struct kill *kill)
{
	kill_answer(kill, DBPS_KILL_MISSED, "missed: session %llu has changed since it was chosen",
		    (unsigned long long)kill->id);
}

bool kill_as_chosen(struct kill *kill, const struct dbps_session *now)
{
	const struct dbps_kill_item *item = kill->item;

	if (!item || (now && now->cookie == item->cookie && now->sequence == item->sequence &&
		      dbps_session_executes(now) == item->executes))
		return true;
	answer_changed(kill);
	return false;
}

bool kill_take(struct kill *kill, const struct dbps_row *row, const struct dbps_server_view *server)
{
	kill->row = row;
	kill->seen = row && dbps_caller_sees(kill->request->caller, row);
	if (!kill_as_chosen(kill, row ? row->session : NULL) || !authorise(kill, row))
		return false;
	kill->target.session = *row->session;
	kill->target.server = server;
	return true;
}

/* At once, where the kernel side knows the id. */
static int read_by_id(struct kill *kill, struct dbps_rows **ret_rows)
{
	const struct dbps_kill_target *target = &kill->target;
	struct dbps_server_view server;
	struct dbps_place place;
	int r;

	if (kill->id & DBPS_ID_UNKNOWN)
		return -ENOENT;
	r = dbps_registry_by_index(target->registry, (uint32_t)(kill->id >> 32), &server);
	if (r == 0)
		r = dbps_kernel_find(target->kernel, server.pid, (uint32_t)kill->id, &place);
	if (r == 0)
		r = dbps_rows_read_at(target->kernel, target->registry, &place,
				      kill->request->audit ? DBPS_ROWS_TEXT : 0, ret_rows);
	return r;
}

static int read_rows(struct kill *kill, struct dbps_rows **ret_rows)
{
	_cleanup_(free_rows) struct dbps_rows *rows = NULL;
	int r = read_by_id(kill, &rows);

	/* It is there: to look for it in the whole list may not find it. */
	if (r == -EBUSY)
		return r;
	if (r == 0 && dbps_rows_find(rows, kill->id)) {
		*ret_rows = TAKE_PTR(rows);
		return 0;
	}
	return dbps_rows_read(kill->target.kernel, kill->target.registry, 0,
			      kill->request->audit ? DBPS_ROWS_TEXT : 0, ret_rows);
}

/* Read the session again, as the kernel has it now. -ENOENT: it has closed. */
static int reread(struct kill *kill, struct dbps_session *ret_session)
{
	_cleanup_(free_rows) struct dbps_rows *rows = NULL;
	struct dbps_place place = dbps_place_of(&kill->target.session);
	int r = dbps_rows_read_at(kill->target.kernel, kill->target.registry, &place, 0, &rows);

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

	if (!(target->session.flags & DBPS_JOINED) && target->session.flags & DBPS_KNOWN_ID)
		return;
	if (!target->server ||
	    (target->session.flags & DBPS_KNOWN_ID && target->session.phase != DBPS_PHASE_UNKNOWN))
		return;
	if (dbps_link_adopt(target->registry, target->server->index, dbps_kill_ms_left(target),
			    &error) == 0 &&
	    reread(kill, &session) == 0)
		target->session = session;
}

/* --- judging --- */

/* Whether it executes, and which statement, is not known. */
static bool is_opaque(const struct dbps_session *session)
{
	return session->phase == DBPS_PHASE_UNKNOWN ||
	       (dbps_session_is_dark(session) && !dbps_session_executes(session) &&
		session->phase != DBPS_PHASE_CLOSED);
}

static const char *why_opaque(const struct dbps_session *session)
{
	return dbps_session_is_dark(session)	? "TLS"
	       : session->flags & DBPS_LEFT_OUT ? "the kernel left out an event"
						: "it is older than dbps";
}

bool kill_has_statement(struct kill *kill)
{
	const struct dbps_session *session = &kill->target.session;

	if (is_opaque(session))
		kill_refuse(kill, ER_UNKNOWN,
			    "what this session executes cannot be seen (%s); KILL CONNECTION "
			    "closes it",
			    why_opaque(session));
	else if (!dbps_session_executes(session))
		kill_answer(kill, DBPS_KILL_MISSED, "missed: nothing is running in this session");
	else
		return true;
	return false;
}

bool kill_judge(struct kill *kill, const struct dbps_session *now)
{
	const struct dbps_session *before = &kill->target.session;

	if (!kill_as_chosen(kill, now))
		return false;
	if (!kill->target.connection &&
	    (now->sequence != before->sequence || !dbps_session_executes(now))) {
		dbps_kernel_watch_get(kill->target.kernel, before->cookie, DBPS_CANCEL_QUERY,
				      &kill->cancel);
		kill_answer_over(kill);
		return false;
	}
	kill->target.session = *now;
	return true;
}

/* Of one that was chosen: whether anything has begun or ended in it since it was armed. */
static bool has_moved(struct kill *kill)
{
	const struct dbps_kill_item *item = kill->item;
	struct dbps_cancel cancel;

	return item &&
	       dbps_kernel_watch_get(kill->target.kernel, item->cookie,
				     dbps_kill_action(&kill->target), &cancel) == 0 &&
	       (cancel.settled_ns || cancel.begun > item->sequence ||
		(item->executes && cancel.ended >= item->sequence));
}

/* --- acting --- */

static void note_acted(struct kill *kill, const struct dbps_enactor *enactor)
{
	size_t len = strlen(kill->acted);
	struct dbps_cancel cancel;

	if (!strstr(kill->acted, enactor->name))
		snprintf(kill->acted + len, sizeof(kill->acted) - len, "%s%s", len ? ", " : "",
			 enactor->name);
	kill->again = enactor->again;
	kill->acted_ns = dbps_clock_ns();
	kill->inexact = !enactor->exact;
	kill->passing = enactor->passing;
	if (dbps_kernel_watch_get(kill->target.kernel, kill->target.session.cookie,
				  dbps_kill_action(&kill->target), &cancel) < 0)
		return;
	kill->last_begun = cancel.begun > cancel.sequence ? cancel.begun : 0;
	kill->inexact |= cancel.signalled == DBPS_SIGNAL_LATE;
	kill->cancel.signalled = cancel.signalled;
	kill->cancel.sends = cancel.sends;
}

/* Try enactors in their order until one acts. Errors as their `act`; -ENOTCONN when none could. */
static int run(struct kill *kill, const struct dbps_enactor *const *enactors, size_t n,
	       struct dbps_link_error *ret_error)
{
	bool in_progress = false;
	int r = -ENOTCONN;

	for (size_t i = 0; i < n; i++) {
		/* SOFT is for the server to understand. */
		if (kill->request->soft && enactors[i] == &dbps_cooperative)
			continue;
		if (!enactors[i]->probe(&kill->target, ret_error->text))
			continue;
		/* What comes behind one that is under way only tells how that one went. */
		if (!in_progress)
			kill->sent_ns = dbps_clock_ns();
		r = enactors[i]->act(&kill->target, ret_error);
		if (r == 0 || r == -ETIMEDOUT || r == -EINPROGRESS)
			note_acted(kill, enactors[i]);
		in_progress |= r == -EINPROGRESS;
		if (r != -EAGAIN && r != -EINPROGRESS)
			break;
	}
	/* One that acted has done so, whatever became of those after it. */
	return in_progress ? 0 : r;
}

/* Invariant 5. */
static int interrupt(struct kill *kill, struct dbps_link_error *ret_error)
{
	const struct dbps_kill_target *target = &kill->target;
	uint64_t cookie = target->session.cookie;
	int force = target->soft ? 1 : 2;
	int r = dbps_kernel_watch_turn(target->kernel, cookie, DBPS_CANCEL_QUERY, force,
				       dbps_kill_ms_left(target));

	if (r == -EEXIST || r == -ETIMEDOUT) {
		snprintf(kill->acted, sizeof(kill->acted), "as another kill asked");
		return 0;
	}
	if (r < 0)
		return -EALREADY;
	r = run(kill, dbps_interrupters, dbps_n_interrupters, ret_error);
	dbps_kernel_watch_pass(target->kernel, cookie, DBPS_CANCEL_QUERY,
			       r == 0 || r == -ETIMEDOUT ? force : 0);
	return r;
}

static bool acted(int r)
{
	return r == 0 || r == -EALREADY || r == -ETIMEDOUT;
}

/*
 * The socket first: from then on no further statement can come, so that what the server's own KILL
 * ends is the last.
 */
static bool cuts_socket(const struct kill *kill)
{
	return kill->target.connection && !kill->request->soft;
}

void kill_close_begun(struct kill *kill, struct kill_errors *errors)
{
	*errors = (struct kill_errors){.socket = -EAGAIN, .server = -EAGAIN};
	kill_audit_begun(kill);
}

void kill_close_ended(struct kill *kill, struct kill_errors *errors,
		      const struct dbps_enactor *closer, int r)
{
	if (r == -ECANCELED)
		answer_changed(kill);
	if (r == 0)
		note_acted(kill, closer);
	errors->socket = r;
}

/* The one that would be tried first. */
const struct dbps_enactor *kill_closer_of_many(const struct kill *kill)
{
	char why[256];

	if (!cuts_socket(kill))
		return NULL;
	for (size_t i = 0; i < dbps_n_closers; i++)
		if (dbps_closers[i]->probe(&kill->target, why))
			return dbps_closers[i]->act_many ? dbps_closers[i] : NULL;
	return NULL;
}

void kill_act_socket(struct kill *kill, struct kill_errors *errors)
{
	kill_close_begun(kill, errors);
	if (has_moved(kill))
		answer_changed(kill);
	else if (cuts_socket(kill))
		errors->socket = run(kill, dbps_closers, dbps_n_closers, &errors->socket_error);
}

/* An idle connection reads its socket by itself. */
static bool needs_server(const struct kill *kill, const struct kill_errors *errors)
{
	const struct dbps_session *session = &kill->target.session;

	return !kill->target.connection || dbps_session_executes(session) ||
	       session->phase == DBPS_PHASE_UNKNOWN || !acted(errors->socket);
}

void kill_act_server(struct kill *kill, struct kill_errors *errors)
{
	struct dbps_link_error *error = &errors->server_error;

	if (kill->answered || !needs_server(kill, errors))
		return;
	/* It shall end soon, and roll back. */
	dbps_demotions_lift(kill->request->demotions, kill->target.session.cookie);
	if (!kill->target.connection) {
		errors->server = interrupt(kill, error);
		return;
	}
	errors->server = run(kill, dbps_enders, dbps_n_enders, error);
	if (errors->server == 0 || errors->server == -EALREADY)
		error->text[0] = '\0';
}

/* --- waiting --- */

bool kill_wait(struct kill *kill, int timeout_ms)
{
	const struct dbps_kill_target *target = &kill->target;
	int r = dbps_kernel_watch_wait(target->kernel, target->session.cookie,
				       dbps_kill_action(target), timeout_ms, &kill->cancel);

	if (r < 0)
		kill->cancel.settled_ns = 0;
	return r == 0;
}

/* What its backend has not taken when nobody waits any longer is sent from outside then. */
static bool is_last_chance(const struct kill *kill)
{
	return kill->cancel.signalled == DBPS_SIGNAL_HANDED &&
	       (dbps_kill_ms_left(&kill->target) == 0 || kill_interrupted(kill->request));
}

/* Invariant 7. The first time counts for when it was sent. */
static void act_again(struct kill *kill, struct kill_errors *errors)
{
	uint64_t sent_ns = kill->sent_ns;

	if (is_last_chance(kill))
		kill->target.deadline_ns = 0;
	run(kill, dbps_interrupters, dbps_n_interrupters, &errors->server_error);
	kill->sent_ns = sent_ns;
}

static bool is_due(const struct kill *kill)
{
	return dbps_clock_ns() - kill->acted_ns >= AGAIN_NS || is_last_chance(kill);
}

/* Invariants 4, 6 and 7. */
void kill_look(struct kill *kill, struct kill_errors *errors, const struct dbps_session *now)
{
	if (!now) {
		kill->cancel.outcome = DBPS_OUTCOME_CLOSED;
		kill->cancel.settled_ns = dbps_clock_ns();
		return;
	}
	/* Its end is about to be told; what tells how far its answer was followed is kept. */
	if (!kill->target.connection &&
	    (now->sequence != kill->target.session.sequence || !dbps_session_executes(now)))
		return;
	kill->target.session = *now;
	if (kill->again && !kill->target.connection && dbps_session_executes(now) && is_due(kill))
		act_again(kill, errors);
	if (kill->target.connection && errors->server == -EAGAIN && dbps_session_executes(now))
		kill_act_server(kill, errors);
}

/* One look at a session that was not settled. */
static void look(struct kill *kill, struct kill_errors *errors)
{
	struct dbps_session session;
	int r = reread(kill, &session);

	if (r == 0 || r == -ENOENT)
		kill_look(kill, errors, r == 0 ? &session : NULL);
}

bool kill_interrupted(const struct dbps_kill_request *request)
{
	return request->interrupted && request->interrupted(request->interrupted_data);
}

static void await_outcome(struct kill *kill, struct kill_errors *errors)
{
	bool interrupted;
	int left_ms;

	for (int slice_ms = SLICE_MIN_MS;; slice_ms = MIN(slice_ms * 2, SLICE_MAX_MS)) {
		left_ms = dbps_kill_ms_left(&kill->target);
		if (kill_wait(kill, MIN(slice_ms, left_ms)))
			return;
		/* Before the look, which is the last then. */
		interrupted = kill_interrupted(kill->request);
		look(kill, errors);
		if (kill->cancel.settled_ns || left_ms == 0 || interrupted)
			return;
	}
}

bool kill_reached(struct kill *kill, const struct kill_errors *errors)
{
	struct dbps_session session;

	if (acted(errors->server) || (kill->target.connection && acted(errors->socket)) ||
	    dbps_kill_settled(&kill->target) || reread(kill, &session) == -ENOENT)
		return true;
	kill_answer_unreached(kill, errors);
	return false;
}

/*
 * By its connection it may have met a later statement, one that had begun when the server took it.
 * By its id it can have done so when the statement ended meanwhile (enactor.c, 3.), and that shows
 * at once.
 */
static void await_later(struct kill *kill)
{
	const struct dbps_kill_target *target = &kill->target;
	struct dbps_cancel *cancel = &kill->cancel;
	int left_ms = dbps_kill_ms_left(target);

	if (cancel->outcome == DBPS_OUTCOME_CLOSED || cancel->settled_ns > kill->acted_ns)
		return;
	if (!kill->inexact)
		left_ms = kill_is_interruption(cancel->error) ? 0 : MIN(left_ms, LATER_MS);
	for (; !cancel->struck && cancel->ended < kill->last_begun && left_ms > 0;
	     left_ms -= LATER_SLICE_MS)
		if (dbps_kernel_watch_next(target->kernel, target->session.cookie,
					   DBPS_CANCEL_QUERY, MIN(LATER_SLICE_MS, left_ms),
					   cancel) == -ENOENT)
			return;
}

void kill_conclude(struct kill *kill, const struct kill_errors *errors)
{
	/* Its backend may have taken it since the last look. */
	if (!kill->cancel.settled_ns && kill->cancel.signalled == DBPS_SIGNAL_HANDED)
		kill_wait(kill, 0);
	if (kill->cancel.settled_ns) {
		await_later(kill);
		kill_answer_settled(kill);
	} else {
		kill_answer_pending(kill, errors);
		kill->answer->interrupted = kill_interrupted(kill->request);
	}
}

/* --- one kill --- */

static int arm(struct kill *kill, struct dbps_session *ret_now)
{
	const struct dbps_kill_target *target = &kill->target;
	struct dbps_place place = dbps_place_of(&target->session);
	struct dbps_cancel wanted = {
		.sequence = target->session.sequence,
		.uid = kill->request->caller->uid,
	};
	int r = dbps_kernel_watch_arm(target->kernel, &place, dbps_kill_action(target), &wanted,
				      dbps_kill_ms_left(target), ret_now);

	kill->armed = r == 0;
	return r;
}

static void kill_found(struct kill *kill)
{
	struct kill_errors errors;
	struct dbps_session now;
	int r;

	if (kill_is_drain(kill->request)) {
		kill_drain((struct kill *const[]){kill}, 1);
		return;
	}
	learn(kill);
	if (!kill->target.connection && !kill_has_statement(kill))
		return;
	r = arm(kill, &now); /* invariant 2 */
	if (r < 0) {
		kill_answer_not_armed(kill, r);
		return;
	}
	if (!kill_judge(kill, &now))
		return;
	kill_act_socket(kill, &errors);
	kill_act_server(kill, &errors);
	if (kill->answered || !kill_reached(kill, &errors))
		return;
	await_outcome(kill, &errors);
	kill_conclude(kill, &errors);
}

void kill_end(struct kill *kill)
{
	if (kill->armed)
		dbps_kernel_watch_disarm(kill->target.kernel, kill->target.session.cookie,
					 dbps_kill_action(&kill->target));
	kill->armed = false;
	if (!kill->drained)
		kill_audit_ended(kill);
}

void dbps_kill(struct dbps_kernel *kernel, struct dbps_registry *registry,
	       const struct dbps_kill_request *request, struct dbps_kill_answer *ret_answer)
{
	_cleanup_(free_rows) struct dbps_rows *rows = NULL;
	struct dbps_server_view server;
	const struct dbps_row *row;
	struct kill kill;
	bool known;
	int r;

	kill_begin(&kill, kernel, registry, request, ret_answer);
	r = read_rows(&kill, &rows);
	if (r < 0) {
		kill_refuse(&kill, ER_UNKNOWN, "cannot read the sessions: %s", strerror(-r));
	} else {
		row = dbps_rows_find(rows, request->id);
		known = row && row->server != UINT32_MAX &&
			dbps_registry_by_index(registry, row->server, &server) == 0;
		if (kill_take(&kill, row, known ? &server : NULL))
			kill_found(&kill);
	}
	kill_end(&kill);
}
