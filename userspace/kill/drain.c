/*
 * A drain watches until the statement or the transaction is over, and then shuts down the receiving
 * side of the server's socket: a server that looks for the next command reads end-of-file and
 * closes.
 *
 * 1. Not before the end: MariaDB and MySQL look for end-of-file in some waits (protocol.md 3.3),
 * and would abort what shall finish.
 * 2. Not by a reset: should the next statement have begun in that very moment, it is not torn. It
 * finishes as well, and the session closes after it.
 * 3. The session is judged after the entry of the closing is armed. When it is not idle then, or in
 * a transaction that it shall finish, the end of that is waited for.
 */
#include "drain.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/param.h>
#include <time.h>

#include "audit.h"
#include "cleanup.h"
#include "kernel/kernel.h"
#include "one.h"
#include "reset.h"
#include "server/client.h"

/* How often one is looked at whose event may have been lost, or whose socket vanished. */
#define LOOK_MS 1000
/* How often and how long a session is looked at that has read its end-of-file, before others get
 * their turn. */
#define GONE_LOOKS   10
#define GONE_LOOK_MS 1
/* How often who waits for it is asked whether to wait on. */
#define ASK_MS 200

/* Has all that its kill refers to, as it outlives the request. */
struct drain {
	struct drain *next;
	struct kill kill;
	struct dbps_kill_request request;
	struct dbps_caller caller;
	struct dbps_kill_answer answer;
	struct dbps_server_view server;
	struct dbps_audit_record record;
	uint32_t watch; /* the action that is armed, 0: none */
	bool closing;	/* it was shut down */
	uint64_t looked_ns;
};

struct dbps_drains {
	struct dbps_kernel *kernel;
	pthread_mutex_t lock; /* for all below */
	pthread_cond_t changed;
	pthread_t thread;
	bool has_thread;
	bool stops;
	struct drain *first; /* the thread's alone, but for new ones at the front */
	size_t n;
};

static bool waits_for_transaction(const struct drain *drain)
{
	return drain->request.when == DBPS_KILL_AFTER_TRANSACTION;
}

static bool is_busy(const struct drain *drain, const struct dbps_session *s)
{
	return dbps_session_executes(s) || s->phase == DBPS_PHASE_UNKNOWN ||
	       (waits_for_transaction(drain) && s->flags & DBPS_IN_TRANSACTION);
}

/* --- one step --- */

static void disarm(struct drain *drain)
{
	if (drain->watch)
		dbps_kernel_watch_disarm(drain->kill.target.kernel,
					 drain->kill.target.session.cookie, drain->watch);
	drain->watch = 0;
}

static int arm(struct drain *drain, uint32_t action)
{
	const struct dbps_kill_target *target = &drain->kill.target;
	struct dbps_place place = dbps_place_of(&target->session);
	struct dbps_cancel wanted = {
		.sequence = target->session.sequence,
		.uid = drain->caller.uid,
	};
	struct dbps_session now;
	int r = dbps_kernel_watch_arm(target->kernel, &place, action, &wanted, 0, &now);

	if (r < 0)
		return r;
	drain->watch = action;
	drain->kill.target.session = now;
	return 0;
}

static void answer_closed_by_itself(struct drain *drain)
{
	kill_answer(&drain->kill, DBPS_KILL_MISSED, "missed: the session had closed by itself");
}

static void answer_closed(struct drain *drain)
{
	struct kill *kill = &drain->kill;
	unsigned long long last = kill->target.session.sequence;
	char after[96] = "";

	if (kill->cancel.begun > last)
		snprintf(after, sizeof(after), " after statement %llu, which had begun just then,",
			 (unsigned long long)kill->cancel.begun);
	else if (last)
		snprintf(after, sizeof(after), " after statement %llu,", last);
	kill_answer(kill, DBPS_KILL_CONFIRMED, "confirmed: session closed%s after %.1f ms (%s)",
		    after, (double)(kill->cancel.settled_ns - kill->begin_ns) / 1e6, kill->acted);
}

static void refuse(struct drain *drain, int r)
{
	kill_refuse(&drain->kill, ER_UNKNOWN, "cannot close the session when it is idle: %s",
		    strerror(-r));
}

/* Invariant 3. The entry of the closing is armed. */
static void shut(struct drain *drain)
{
	struct kill *kill = &drain->kill;
	int r;

	kill_audit_begun(kill);
	r = dbps_reset_receiving(&kill->target.session);
	if (r < 0 && r != -ESTALE) {
		refuse(drain, r);
		return;
	}
	snprintf(kill->acted, sizeof(kill->acted), "shutdown when idle");
	drain->closing = true;
}

/* Watch what is under way, or close what is idle. */
static void proceed(struct drain *drain)
{
	uint32_t action =
		waits_for_transaction(drain) ? DBPS_WATCH_TRANSACTION : DBPS_WATCH_STATEMENT;
	int r;

	disarm(drain);
	if (is_busy(drain, &drain->kill.target.session)) {
		r = arm(drain, action);
		if (r < 0 || is_busy(drain, &drain->kill.target.session))
			goto out;
		disarm(drain);
	}
	r = arm(drain, DBPS_CANCEL_CONNECTION);
	if (r < 0)
		goto out;
	if (!is_busy(drain, &drain->kill.target.session)) {
		shut(drain);
		return;
	}
	disarm(drain);
	r = arm(drain, action);
out:
	if (r == -ESRCH)
		answer_closed_by_itself(drain);
	else if (r < 0 && r != -ETIMEDOUT)
		refuse(drain, r);
}

/* As the kernel has it now; false when it is gone, which is answered. */
static bool look(struct drain *drain)
{
	const struct dbps_place place = dbps_place_of(&drain->kill.target.session);
	_cleanup_free_ void *data = NULL;
	size_t len = 0;

	drain->looked_ns = dbps_clock_ns();
	if (dbps_kernel_snapshot_at(drain->kill.target.kernel, &place, 0, &data, &len) < 0)
		return true;
	if (len && !drain->closing)
		drain->kill.target.session = ((const struct dbps_snapshot_row *)data)->session;
	if (len)
		return true;
	drain->kill.cancel.settled_ns = drain->looked_ns;
	if (drain->closing)
		answer_closed(drain);
	else
		answer_closed_by_itself(drain);
	return false;
}

/*
 * The server has read end-of-file. That alone is not the end: what the client sent in that moment
 * is still given to a server that reads once more (tcp_recvmsg() looks at its queue before it
 * looks at the shutdown), so the session is over when its socket is gone.
 */
static void await_gone(struct drain *drain)
{
	const struct timespec moment = {.tv_nsec = GONE_LOOK_MS * 1000000L};

	for (int i = 0; i < GONE_LOOKS && look(drain); i++)
		nanosleep(&moment, NULL);
}

/* Do what can be done now. The kill is answered when it is over. */
static void step(struct drain *drain)
{
	struct kill *kill = &drain->kill;
	bool overdue = dbps_clock_ns() - drain->looked_ns > LOOK_MS * 1000000ull;

	if (!drain->watch) { /* at first, and while another's entry is in the way */
		if (look(drain))
			proceed(drain);
		return;
	}
	if (dbps_kernel_watch_get(kill->target.kernel, kill->target.session.cookie, drain->watch,
				  &kill->cancel) < 0)
		return;
	if (!kill->cancel.settled_ns) {
		if (overdue && look(drain) && !drain->closing &&
		    !is_busy(drain, &kill->target.session))
			proceed(drain); /* an end that was not seen as such */
		return;
	}
	if (drain->closing)
		await_gone(drain);
	else if (kill->cancel.outcome == DBPS_OUTCOME_CLOSED)
		answer_closed_by_itself(drain);
	else if (look(drain))
		proceed(drain);
}

/* --- drains --- */

static struct drain *drain_new(const struct kill *kill)
{
	struct drain *drain = calloc(1, sizeof(*drain));

	if (!drain)
		return NULL;
	drain->kill = *kill;
	drain->request = *kill->request;
	drain->request.interrupted = NULL; /* nobody waits for it */
	drain->caller = *kill->request->caller;
	kill_make_record(kill, &drain->record);
	drain->kill.record = &drain->record;
	drain->kill.row = NULL;
	drain->kill.item = NULL; /* judged when it was taken; it may well go on meanwhile */
	drain->kill.answer = &drain->answer;
	drain->request.caller = &drain->caller;
	drain->request.statement = drain->request.reason = NULL; /* they are in the record */
	drain->kill.request = &drain->request;
	if (kill->target.server)
		drain->server = *kill->target.server;
	drain->kill.target.server = kill->target.server ? &drain->server : NULL;
	return drain;
}

static void drain_free(struct drain *drain)
{
	disarm(drain);
	free(drain);
}

static void end(struct drain *drain)
{
	kill_audit_ended(&drain->kill);
	drain_free(drain);
}

/* --- after the answer --- */

static void *run(void *data)
{
	struct dbps_drains *drains = data;
	struct drain **at, *drain;
	__u64 seen = 0;

	pthread_setname_np(pthread_self(), "drains");
	pthread_mutex_lock(&drains->lock);
	while (!drains->stops) {
		if (!drains->first) {
			pthread_cond_wait(&drains->changed, &drains->lock);
			continue;
		}
		at = &drains->first;
		while ((drain = *at)) {
			step(drain);
			if (!drain->kill.answered) {
				at = &drain->next;
				continue;
			}
			*at = drain->next;
			drains->n--;
			end(drain);
		}
		pthread_mutex_unlock(&drains->lock);
		dbps_kernel_watch_any(drains->kernel, LOOK_MS, &seen);
		pthread_mutex_lock(&drains->lock);
	}
	pthread_mutex_unlock(&drains->lock);
	return NULL;
}

int dbps_drains_new(struct dbps_kernel *kernel, struct dbps_drains **ret_drains)
{
	struct dbps_drains *drains = calloc(1, sizeof(*drains));

	if (!drains)
		return -ENOMEM;
	drains->kernel = kernel;
	pthread_mutex_init(&drains->lock, NULL);
	pthread_cond_init(&drains->changed, NULL);
	*ret_drains = drains;
	return 0;
}

static void give_up(struct drain *drain)
{
	kill_answer(&drain->kill, DBPS_KILL_MISSED,
		    "missed: dbpsd was stopped before the session was idle");
	end(drain);
}

void dbps_drains_free(struct dbps_drains *drains)
{
	struct drain *next;

	if (!drains)
		return;
	pthread_mutex_lock(&drains->lock);
	drains->stops = true;
	pthread_cond_signal(&drains->changed);
	pthread_mutex_unlock(&drains->lock);
	dbps_kernel_watch_poke(drains->kernel);
	if (drains->has_thread)
		pthread_join(drains->thread, NULL);
	for (struct drain *drain = drains->first; drain; drain = next) {
		next = drain->next;
		give_up(drain);
	}
	pthread_mutex_destroy(&drains->lock);
	pthread_cond_destroy(&drains->changed);
	free(drains);
}

/* The thread has it from now on. */
static int hand_over(struct dbps_drains *drains, struct drain *drain)
{
	int r = 0;

	pthread_mutex_lock(&drains->lock);
	if (drains->stops || drains->n >= DBPS_DRAINS_MAX)
		r = -ENOSPC;
	if (!r && !drains->has_thread)
		r = -pthread_create(&drains->thread, NULL, run, drains);
	if (!r) {
		drains->has_thread = true;
		drain->kill.answered = false;
		drain->next = drains->first;
		drains->first = drain;
		drains->n++;
		pthread_cond_signal(&drains->changed);
	}
	pthread_mutex_unlock(&drains->lock);
	return r;
}

static void answer_pending(struct drain *drain)
{
	struct kill *kill = &drain->kill;
	unsigned long long sequence = kill->target.session.sequence;

	if (drain->closing)
		kill_answer(kill, DBPS_KILL_PENDING,
			    "pending: the session is idle and shut down, but the server has not "
			    "closed its end yet (%s)",
			    kill->acted);
	else if (waits_for_transaction(drain))
		kill_answer(kill, DBPS_KILL_PENDING,
			    "pending: waits for the end of the transaction, at statement %llu; the "
			    "session will be closed then",
			    sequence);
	else
		kill_answer(kill, DBPS_KILL_PENDING,
			    "pending: waits for the end of statement %llu; the session will be "
			    "closed then",
			    sequence);
}

/* The time to answer has come. */
static void leave(struct drain *drain, struct dbps_kill_answer *ret_answer)
{
	struct dbps_drains *drains = drain->request.drains;

	answer_pending(drain);
	*ret_answer = drain->answer;
	kill_audit_ended(&drain->kill);
	if (drains && hand_over(drains, drain) == 0)
		return;
	kill_answer(&drain->kill, DBPS_KILL_MISSED,
		    "missed: statement %llu has not ended in time, and no more drains can go on "
		    "(%d); nothing was done",
		    (unsigned long long)drain->kill.target.session.sequence, DBPS_DRAINS_MAX);
	*ret_answer = drain->answer;
	end(drain);
}

/* --- until the answer --- */

static struct drain **start_all(struct kill *const *kills, size_t n)
{
	struct drain **drains = calloc(n, sizeof(struct drain *));

	for (size_t i = 0; drains && i < n; i++) {
		if (kills[i]->answered)
			continue;
		drains[i] = drain_new(kills[i]);
		kills[i]->drained = drains[i] != NULL;
		if (!drains[i])
			kill_refuse(kills[i], ER_UNKNOWN, "out of memory");
	}
	return drains;
}

/* @return How many are not over. */
static size_t step_all(struct drain **drains, struct kill *const *kills, size_t n)
{
	size_t left = 0;

	for (size_t i = 0; i < n; i++) {
		if (!drains[i])
			continue;
		step(drains[i]);
		if (!drains[i]->kill.answered) {
			left++;
			continue;
		}
		*kills[i]->answer = drains[i]->answer;
		kills[i]->answered = true;
		end(TAKE_PTR(drains[i]));
	}
	return left;
}

void kill_drain(struct kill *const *kills, size_t n)
{
	_cleanup_free_ struct drain **drains = start_all(kills, n);
	__u64 seen = 0;
	int left_ms = n ? dbps_kill_ms_left(&kills[0]->target) : 0;

	while (drains && step_all(drains, kills, n) && left_ms &&
	       !kill_interrupted(kills[0]->request)) {
		dbps_kernel_watch_any(kills[0]->target.kernel, MIN(left_ms, ASK_MS), &seen);
		left_ms = dbps_kill_ms_left(&kills[0]->target);
	}
	for (size_t i = 0; i < n; i++) {
		if (drains && drains[i]) {
			leave(drains[i], kills[i]->answer);
			kills[i]->answer->interrupted = kill_interrupted(kills[i]->request);
			kills[i]->answered = true;
		} else if (!kills[i]->answered) {
			kill_refuse(kills[i], ER_UNKNOWN, "out of memory");
		}
	}
}
