/*
 * The demotions that there are, each with a thread that waits for the end of its statement.
 *
 * A thread that stayed lowered would be a harm that nobody sees: the server keeps it for later
 * connections, and may hold locks with it. So:
 * 1. The end is watched before anything is changed, and the session is read again after that: what
 * ended before is found there, what ends later settles the watch (bpf/cancel.bpf.h).
 * 2. What is to be undone is in the file before it is done, and leaves it after it was undone.
 * 3. Whatever ends a watch, or makes its entry vanish, gives the thread back: there is no outcome
 * that leaves it lowered. A watch that says nothing is not believed for longer than a slice: then
 * the session itself is read.
 * 4. The thread is known by number and start, and given back only when it still is as it was left
 * (priority.c). Acts are done under `lock`, so that one given back is not lowered after it.
 * 5. Threads that a lowered one makes inherit its policy (InnoDB starts I/O threads from whoever
 * needs one). They get back what their maker had: every second, when it is given back, and once
 * more a moment later, for one that was just being made.
 * 6. An end undoes it, in every order: of the statement (the keeper), by RESTORE, by a KILL before
 * it acts (or the statement would take long to end, and its rollback longer), of dbpsd (all are
 * given back before the kernel side is closed), of a dbpsd that was killed (the next one reads the
 * file before it serves).
 */
#include "kill/demote.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>
#include <time.h>

#include "cleanup.h"
#include "kernel/kernel.h"
#include "kill/audit.h"
#include "kill/demote_file.h"
#include "log/log.h"
#include "mysql/protocol.h"
#include "server/client.h"

#define SLICE_MS	200
#define ORPHAN_SLICE_MS 10 /* the end of one may not be told by its socket */
#define RETRY_NS	100000000
#define HEIR_NS		20000000
#define HEIRS_EVERY_NS	1000000000u /* looking through a server's threads takes a while */
#define KEEPER_STACK	262144ul
#define HOW		"SCHED_IDLE"

struct demotion {
	struct demotion *next;
	struct dbps_demotions *all;
	struct dbps_demoted what;
	struct dbps_place place;
	uint64_t sequence;
	int slice_ms;
	uint64_t heirs_ns; /* when they were looked for */
	bool over;	   /* given back, or there is nothing to give back to */
};

struct dbps_demotions {
	struct dbps_kernel *kernel;
	struct dbps_registry *registry;
	char *file;
	pthread_mutex_t lock; /* for all below */
	pthread_cond_t changed;
	struct demotion *first; /* each has a keeper, which takes it out */
	bool stopping;
};

static void pause_ns(long ns)
{
	const struct timespec t = {.tv_nsec = ns};

	nanosleep(&t, NULL);
}

static void free_rows(struct dbps_rows **rows)
{
	dbps_rows_free(*rows);
}

/* ---------------------------------------------------------------- the table ----------------- */

/* Invariant 2. With `lock` held. */
static int save(struct dbps_demotions *all)
{
	_cleanup_free_ struct dbps_demoted *list = NULL;
	size_t n = 0;

	for (struct demotion *d = all->first; d; d = d->next)
		n++;
	list = calloc(n + 1, sizeof(*list));
	if (!list)
		return -ENOMEM;
	n = 0;
	for (struct demotion *d = all->first; d; d = d->next)
		list[n++] = d->what;
	return dbps_demoted_save(all->file, list, n);
}

static struct demotion *find_demotion(struct dbps_demotions *all, uint64_t cookie)
{
	for (struct demotion *d = all->first; d; d = d->next)
		if (d->place.cookie == cookie && !d->over)
			return d;
	return NULL;
}

static void unlink_demotion(struct demotion *d)
{
	struct demotion **at = &d->all->first;

	while (*at && *at != d)
		at = &(*at)->next;
	if (*at)
		*at = d->next;
}

/* ---------------------------------------------------------------- giving back --------------- */

/* 0: it is as it was, or nothing is there any more. */
static int give_back_thread(const struct dbps_demoted *what)
{
	int r = dbps_priority_restore(&what->thread, &what->saved);

	if (r == -ESTALE)
		dbps_log(LOG_NOTICE,
			 "thread %d: somebody else has changed its priority, which is left so",
			 what->thread.tid);
	else if (r < 0 && r != -ESRCH)
		return log_errno(r, "give thread %d its priority back", what->thread.tid);
	return 0;
}

/* With `lock` held. */
static int give_back(struct demotion *d)
{
	int r = d->over ? 0 : give_back_thread(&d->what);

	d->over = r == 0;
	return r;
}

static bool is_lowered(pid_t tid, void *data)
{
	for (const struct demotion *d = ((struct dbps_demotions *)data)->first; d; d = d->next)
		if (d->what.thread.tid == tid && !d->over)
			return true;
	return false;
}

/* Invariant 5. With `lock` held. */
static void give_back_heirs(struct demotion *d)
{
	int n;

	d->heirs_ns = dbps_clock_ns();
	n = dbps_priority_restore_heirs(d->what.process.pid, d->what.since_ticks, &d->what.saved,
					is_lowered, d->all);

	if (n > 0)
		dbps_log(LOG_INFO, "%d thread(s) made by thread %d have its priority back", n,
			 d->what.thread.tid);
}

static void give_back_left_heirs(struct demotion *d)
{
	for (int i = 0; i < 2; i++) {
		if (i)
			pause_ns(HEIR_NS);
		pthread_mutex_lock(&d->all->lock);
		give_back_heirs(d);
		pthread_mutex_unlock(&d->all->lock);
	}
}

/* ---------------------------------------------------------------- the keeper ---------------- */

/* What the session itself says; where it cannot be read, the watch is relied on. */
static bool still_executes(struct demotion *d)
{
	_cleanup_(free_rows) struct dbps_rows *rows = NULL;
	const struct dbps_session *s;

	if (dbps_rows_read_at(d->all->kernel, d->all->registry, &d->place, 0, &rows) < 0)
		return true;
	if (!rows->n)
		return false;
	s = rows->row[0].session;
	d->slice_ms = dbps_row_orphan(&rows->row[0]) ? ORPHAN_SLICE_MS : SLICE_MS;
	return s->sequence == d->sequence && dbps_session_executes(s);
}

/* Invariant 3. */
static bool await_end(struct demotion *d)
{
	struct dbps_cancel cancel;
	int r = dbps_kernel_watch_wait(d->all->kernel, d->place.cookie, DBPS_WATCH_STATEMENT,
				       d->slice_ms, &cancel);

	return r != -ETIMEDOUT || !still_executes(d);
}

/* Whether the keeper has nothing left to do. */
static bool keep_on(struct demotion *d, bool ended)
{
	bool done;

	pthread_mutex_lock(&d->all->lock);
	if (ended)
		give_back(d);
	else if (!d->over && dbps_clock_ns() - d->heirs_ns >= HEIRS_EVERY_NS)
		give_back_heirs(d);
	done = d->over || d->all->stopping;
	pthread_mutex_unlock(&d->all->lock);
	return !done;
}

static void take_out(struct demotion *d)
{
	struct dbps_demotions *all = d->all;

	dbps_kernel_watch_disarm(all->kernel, d->place.cookie, DBPS_WATCH_STATEMENT);
	pthread_mutex_lock(&all->lock);
	unlink_demotion(d);
	if (d->over)
		save(all); /* else it stays in the file, for the next dbpsd to try */
	pthread_cond_broadcast(&all->changed);
	pthread_mutex_unlock(&all->lock);
	free(d);
}

static void *keep(void *arg)
{
	struct demotion *d = arg;
	bool ended = await_end(d);

	while (keep_on(d, ended)) {
		if (ended)
			pause_ns(RETRY_NS); /* it could not be given back */
		else
			ended = await_end(d);
	}
	give_back_left_heirs(d);
	take_out(d);
	return NULL;
}

/* Signals are the main thread's. */
static int start_keeper(struct demotion *d)
{
	pthread_attr_t attributes;
	sigset_t all, saved;
	pthread_t thread;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &saved);
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, KEEPER_STACK);
	r = pthread_create(&thread, &attributes, keep, d);
	pthread_attr_destroy(&attributes);
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	return -r;
}

/* ---------------------------------------------------------------- acts and answers ---------- */

struct act {
	struct dbps_demotions *all;
	const struct dbps_kill_request *request;
	struct dbps_kill_answer *answer;
	struct dbps_audit_record record;
	uint64_t begin_ns;
	struct dbps_rows *rows;	    /* owned */
	const struct dbps_row *row; /* the session, into them */
	bool acted;
};

static void answer(struct act *act, enum dbps_kill_outcome outcome, unsigned int error,
		   const char *format, ...) __attribute__((format(printf, 4, 5)));

static void answer(struct act *act, enum dbps_kill_outcome outcome, unsigned int error,
		   const char *format, ...)
{
	struct dbps_kill_answer *a = act->answer;
	va_list args;

	*a = (struct dbps_kill_answer){.outcome = outcome, .error = error};
	if (error)
		memcpy(a->sqlstate, "HY000", sizeof("HY000"));
	a->elapsed_ms = (double)(dbps_clock_ns() - act->begin_ns) / 1e6;
	va_start(args, format);
	vsnprintf(a->text, sizeof(a->text), format, args);
	va_end(args);
}

#define refuse(act, error, ...) answer((act), DBPS_KILL_REFUSED, (error), __VA_ARGS__)

static struct act begin_act(struct dbps_demotions *all, const struct dbps_kill_request *request,
			    struct dbps_kill_answer *ret_answer)
{
	struct act act = {
		.all = all, .request = request, .answer = ret_answer, .begin_ns = dbps_clock_ns()};

	dbps_audit_asked(&act.record, request);
	return act;
}

static void end_act(struct act *act)
{
	dbps_audit_ended(act->request->audit, &act->record, act->answer, act->acted ? HOW : "");
	dbps_rows_free(act->rows);
}

static unsigned long long statement(const struct act *act)
{
	return (unsigned long long)act->row->session->sequence;
}

/* Errors as KILL words them. */
static bool find_session(struct act *act)
{
	const struct dbps_caller *caller = act->request->caller;
	unsigned long long id = (unsigned long long)act->request->id;
	int r = dbps_rows_read(act->all->kernel, act->all->registry, 0, DBPS_ROWS_TEXT, &act->rows);

	if (r < 0) {
		refuse(act, ER_UNKNOWN_ERROR, "cannot read the sessions: %s", strerror(-r));
		return false;
	}
	act->row = dbps_rows_find(act->rows, act->request->id);
	if (act->row)
		dbps_audit_found(&act->record, act->row, dbps_caller_sees(caller, act->row));
	if (!act->row)
		refuse(act, ER_NO_SUCH_THREAD, "Unknown thread id: %llu", id);
	else if (!dbps_caller_kills(caller, act->row))
		refuse(act, ER_KILL_DENIED_ERROR, "You are not owner of thread %llu", id);
	else if (act->row->own)
		refuse(act, ER_UNKNOWN_ERROR, "this is the control link of dbpsd to %s",
		       act->row->server_name);
	else
		return true;
	return false;
}

/* ---------------------------------------------------------------- DEMOTE -------------------- */

static bool check_statement(struct act *act)
{
	const struct dbps_session *s = act->row->session;

	if (s->phase == DBPS_PHASE_UNKNOWN ||
	    (dbps_session_is_dark(s) && !dbps_session_executes(s)))
		refuse(act, ER_UNKNOWN_ERROR, "what this session executes cannot be seen (%s)",
		       dbps_session_is_dark(s) ? "TLS" : "it is older than dbps");
	else if (!dbps_session_executes(s))
		refuse(act, ER_UNKNOWN_ERROR, "nothing is running in this session");
	else if (!s->tid)
		refuse(act, ER_UNKNOWN_ERROR,
		       "the thread of statement %llu is not known: the statement is older than "
		       "dbps",
		       statement(act));
	else
		return true;
	return false;
}

/* In a pool a thread serves one session after the other, and a statement may change threads. */
static bool check_server(struct act *act)
{
	struct dbps_server_limits limits;
	struct dbps_link_error error = {0};
	int r = dbps_link_limits(act->all->registry, act->row->server, act->request->timeout_ms,
				 &limits, &error);

	if (r < 0)
		refuse(act, ER_UNKNOWN_ERROR,
		       "whether %s has a thread for each connection is not known, which needs its "
		       "control link: %.200s",
		       act->row->server_name[0] ? act->row->server_name : "the server",
		       error.text[0] ? error.text : strerror(-r));
	else if (!limits.thread_per_connection)
		refuse(act, ER_UNKNOWN_ERROR,
		       "%s does not have a thread for each connection (thread_handling): a thread "
		       "of it serves others, too",
		       act->row->server_name);
	else
		return true;
	return false;
}

static bool check_priority(struct act *act, struct dbps_demoted *what)
{
	const struct dbps_session *s = act->row->session;
	int r = dbps_thread_find((pid_t)s->tgid, (pid_t)s->tgid, &what->process);

	if (r == 0)
		r = dbps_thread_find((pid_t)s->tgid, (pid_t)s->tid, &what->thread);
	if (r == 0)
		r = dbps_priority_read(&what->thread, &what->saved);
	what->since_ticks = dbps_thread_now_ticks();
	if (r == -EALREADY)
		refuse(act, ER_UNKNOWN_ERROR,
		       "thread %u is at idle priority, and not by this dbpsd", s->tid);
	else if (r == -EOPNOTSUPP)
		refuse(act, ER_UNKNOWN_ERROR, "thread %u has a real-time priority, which is left",
		       s->tid);
	else if (r == -ESRCH)
		refuse(act, ER_UNKNOWN_ERROR, "the server has no thread %u any more", s->tid);
	else if (r < 0)
		refuse(act, ER_UNKNOWN_ERROR, "cannot read the priority of thread %u: %s", s->tid,
		       strerror(-r));
	return r == 0;
}

static void answer_done(struct act *act, const char *already)
{
	answer(act, DBPS_KILL_CONFIRMED, 0,
	       "demoted: statement %llu %sruns in thread %u at idle priority, until it ends",
	       statement(act), already, act->row->session->tid);
}

static void answer_ended(struct act *act)
{
	answer(act, DBPS_KILL_MISSED, 0, "missed: statement %llu had ended by itself",
	       statement(act));
}

/* Arm the watch. Invariant 1: the first half. */
static bool watch(struct act *act)
{
	struct dbps_place place = dbps_place_of(act->row->session);
	struct dbps_cancel wanted = {
		.sequence = act->row->session->sequence,
		.uid = act->request->caller->uid,
	};
	int r = dbps_kernel_watch_arm(act->all->kernel, &place, DBPS_WATCH_STATEMENT, &wanted,
				      act->request->timeout_ms, NULL);

	if (r == -ESRCH)
		answer_ended(act);
	else if (r < 0)
		refuse(act, ER_UNKNOWN_ERROR, "cannot watch the session: %s", strerror(-r));
	return r == 0;
}

/* The second half: it still executes, in the same thread. */
static bool is_unchanged(const struct act *act)
{
	_cleanup_(free_rows) struct dbps_rows *rows = NULL;
	const struct dbps_session *before = act->row->session, *now;
	struct dbps_place place = dbps_place_of(before);

	if (dbps_rows_read_at(act->all->kernel, act->all->registry, &place, 0, &rows) < 0 ||
	    !rows->n)
		return false;
	now = rows->row[0].session;
	return now->sequence == before->sequence && now->tid == before->tid &&
	       dbps_session_executes(now);
}

/* From here on the keeper owns it, and owes the disarming. With `lock` held. */
static int enter(struct act *act, const struct dbps_demoted *what)
{
	struct dbps_demotions *all = act->all;
	struct demotion *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	*d = (struct demotion){
		.next = all->first,
		.all = all,
		.what = *what,
		.place = dbps_place_of(act->row->session),
		.sequence = act->row->session->sequence,
		.slice_ms = SLICE_MS,
		.heirs_ns = dbps_clock_ns(),
	};
	all->first = d;
	r = save(all);
	if (!r)
		r = start_keeper(d);
	if (!r)
		return 0;
	unlink_demotion(d);
	free(d);
	save(all);
	return r;
}

/* With `lock` held; the keeper waits for it. */
static void lower(struct act *act, const struct dbps_demoted *what)
{
	struct demotion *d = act->all->first;
	struct dbps_cancel cancel = {0};
	int r = dbps_priority_lower(&what->thread, &what->saved);

	if (r < 0) {
		d->over = true;
		refuse(act, ER_UNKNOWN_ERROR, "cannot lower the priority of thread %d: %s",
		       what->thread.tid, strerror(-r));
		return;
	}
	act->acted = true;
	r = dbps_kernel_watch_get(act->all->kernel, d->place.cookie, DBPS_WATCH_STATEMENT, &cancel);
	if (r == 0 && !cancel.settled_ns) {
		answer_done(act, "");
		return;
	}
	give_back(d);
	answer_ended(act);
}

static bool enter_and_lower(struct act *act, const struct dbps_demoted *what)
{
	int r;

	dbps_audit_begun(act->request->audit, &act->record);
	r = enter(act, what);
	if (r < 0)
		refuse(act, ER_UNKNOWN_ERROR, "cannot keep in '%.200s' what has to be undone: %s",
		       act->all->file, strerror(-r));
	else
		lower(act, what);
	return r == 0;
}

/* With `lock` held. */
static bool check_others(struct act *act)
{
	const struct dbps_session *s = act->row->session;

	if (act->all->stopping)
		refuse(act, ER_UNKNOWN_ERROR, "dbpsd is stopping");
	else if (find_demotion(act->all, s->cookie))
		answer_done(act, "already "); /* by another one, meanwhile */
	else if (is_lowered((pid_t)s->tid, act->all))
		refuse(act, ER_UNKNOWN_ERROR, "somebody else has changed the priority of thread %u",
		       s->tid);
	else
		return true;
	return false;
}

static void demote_watched(struct act *act)
{
	struct dbps_demoted what;
	bool kept = false;

	if (!is_unchanged(act)) {
		answer_ended(act);
	} else {
		pthread_mutex_lock(&act->all->lock);
		kept = check_others(act) && check_priority(act, &what) &&
		       enter_and_lower(act, &what);
		pthread_mutex_unlock(&act->all->lock);
	}
	if (!kept)
		dbps_kernel_watch_disarm(act->all->kernel, act->row->session->cookie,
					 DBPS_WATCH_STATEMENT);
}

static bool is_demoted(struct act *act)
{
	const struct demotion *d;
	bool is;

	pthread_mutex_lock(&act->all->lock);
	d = find_demotion(act->all, act->row->session->cookie);
	is = d && d->sequence == act->row->session->sequence;
	pthread_mutex_unlock(&act->all->lock);
	return is;
}

void dbps_demote(struct dbps_demotions *demotions, const struct dbps_kill_request *request,
		 struct dbps_kill_answer *ret_answer)
{
	struct act act = begin_act(demotions, request, ret_answer);

	if (!find_session(&act) || !check_statement(&act))
		;
	else if (is_demoted(&act))
		answer_done(&act, "already ");
	else if (check_server(&act) && watch(&act))
		demote_watched(&act);
	end_act(&act);
}

/* ---------------------------------------------------------------- RESTORE ------------------- */

static void undo(struct act *act)
{
	struct demotion *d;
	int r = 0;

	pthread_mutex_lock(&act->all->lock);
	d = find_demotion(act->all, act->row->session->cookie);
	if (d) {
		r = give_back(d);
		give_back_heirs(d);
	}
	pthread_mutex_unlock(&act->all->lock);
	act->acted = d && r == 0;
	if (!d)
		answer(act, DBPS_KILL_MISSED, 0, "missed: nothing of this session is demoted");
	else if (r < 0)
		refuse(act, ER_UNKNOWN_ERROR, "cannot give thread %u its priority back: %s",
		       act->row->session->tid, strerror(-r));
	else
		answer(act, DBPS_KILL_CONFIRMED, 0,
		       "restored: statement %llu runs in thread %u at the priority it had",
		       statement(act), act->row->session->tid);
}

void dbps_demote_undo(struct dbps_demotions *demotions, const struct dbps_kill_request *request,
		      struct dbps_kill_answer *ret_answer)
{
	struct act act = begin_act(demotions, request, ret_answer);

	if (find_session(&act))
		undo(&act);
	end_act(&act);
}

void dbps_demotions_lift(struct dbps_demotions *demotions, uint64_t cookie)
{
	struct demotion *d;

	if (!demotions)
		return;
	pthread_mutex_lock(&demotions->lock);
	d = find_demotion(demotions, cookie);
	if (d)
		give_back(d);
	pthread_mutex_unlock(&demotions->lock);
}

/* ---------------------------------------------------------------- life ---------------------- */

/* What a dbpsd that was killed has left behind. */
static void undo_left(const char *file)
{
	_cleanup_free_ struct dbps_demoted *list = NULL;
	size_t n = 0, n_failed = 0;
	int r = dbps_demoted_load(file, &list, &n);

	if (r < 0 && r != -ENOENT)
		log_errno(r, "read '%s'", file);
	for (size_t i = 0; i < n; i++) {
		dbps_log(LOG_NOTICE,
			 "thread %d gets its priority back, which an earlier dbpsd took",
			 list[i].thread.tid);
		n_failed += give_back_thread(&list[i]) < 0;
	}
	for (size_t i = 0; i < n; i++)
		if (dbps_thread_is(&list[i].process))
			dbps_priority_restore_heirs(list[i].process.pid, list[i].since_ticks,
						    &list[i].saved, NULL, NULL);
	if (r == 0 && !n_failed)
		dbps_demoted_save(file, NULL, 0);
}

int dbps_demotions_new(struct dbps_kernel *kernel, struct dbps_registry *registry, const char *file,
		       struct dbps_demotions **ret_demotions)
{
	struct dbps_demotions *all = calloc(1, sizeof(*all));

	if (!all)
		return -ENOMEM;
	all->kernel = kernel;
	all->registry = registry;
	all->file = strdup(file);
	if (!all->file) {
		free(all);
		return -ENOMEM;
	}
	pthread_mutex_init(&all->lock, NULL);
	pthread_cond_init(&all->changed, NULL);
	undo_left(file);
	*ret_demotions = all;
	return 0;
}

void dbps_demotions_free(struct dbps_demotions *demotions)
{
	if (!demotions)
		return;
	pthread_mutex_lock(&demotions->lock);
	demotions->stopping = true;
	for (struct demotion *d = demotions->first; d; d = d->next)
		give_back(d);
	while (demotions->first) /* the keepers take them out */
		pthread_cond_wait(&demotions->changed, &demotions->lock);
	pthread_mutex_unlock(&demotions->lock);
	pthread_cond_destroy(&demotions->changed);
	pthread_mutex_destroy(&demotions->lock);
	free(demotions->file);
	free(demotions);
}
