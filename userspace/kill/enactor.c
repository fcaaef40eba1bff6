/*
 * The enactors.
 *
 * Why KILL QUERY ID (MariaDB) interrupts the statement that was meant, and no other:
 * 1. The entry for (cookie, n) is armed before the query id is read. The kernel settles it when the
 * last byte of n's answer leaves or when n + 1 is read, in the thread that does it.
 * 2. The id q is read first, and after that the entry is seen unsettled. So statement n was not
 * over when q was read, and q is the id of n, or of a part of n (a statement of several in one
 * packet, of a stored procedure): ids are given to one statement once (next_query_id(),
 * sql/mysqld.h).
 * 3. KILL QUERY ID q finds a thread whose current id is q (find_thread_by_id(), sql/sql_parse.cc).
 * When n has ended by then, there is none, or its thread is idle and forgets the kill when it
 * begins the next command (reset_kill_query() in dispatch_command()). So a kill that comes late,
 * even one that a stopped server reads hours later, hits nothing. What is left is the time between
 * the server's comparison of the id and its mark on the thread, in which n can end and n + 1 begin:
 * of 100,000 kills at clients that run statements of 0 to 10 ms without pause, none to two met n +
 * 1, and it was said. Hence 8, and one kill at a time for a statement (kill.c, 5.).
 *
 * Where it does not reach n, tried on 10.11:
 * 4. The parts of a stored procedure change their id faster than it can be read and used: ERROR
 * 1957 time and again.
 * 5. Ping and the like take the id that the next statement of anybody will get (get_query_id()), so
 * an idle connection can have the same id, and the server takes the first it finds: the kill is
 * answered with OK and n goes on. This is seen in n's Command, which is not "Killed". Then, as for
 * all other engines, the statement is interrupted by its connection:
 * 6. The server is seen to answer first, so that the kill is read at once and not at some later
 * time.
 * 7. The entry is seen unsettled right before the kill is sent. n can end and n + 1 begin in the
 * time of one round trip; if so, the entry tells it, and the answer says so.
 *
 * 8. A statement that is younger than a few ms is given the time to end by itself, before anything
 * is sent: nearly all that would end while a kill is under way are such.
 */
#include "enactor.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/param.h>

#include "cleanup.h"
#include "kernel/kernel.h"
#include "reset.h"
#include "server/client.h"

#define EXACT_TRIES 3

/* Invariant 8. */
#define YOUNG_NS 3000000u

/* How long an interrupted statement may take to show it, before its Command is looked at. */
#define ARRIVAL_MS 20

int dbps_kill_ms_left(const struct dbps_kill_target *target)
{
	uint64_t now_ns = dbps_clock_ns();

	return now_ns < target->deadline_ns ? (int)((target->deadline_ns - now_ns) / 1000000) : 0;
}

bool dbps_kill_settled(const struct dbps_kill_target *target)
{
	struct dbps_cancel cancel;

	return dbps_kernel_watch_get(target->kernel, target->session.cookie,
				     dbps_kill_action(target), &cancel) < 0 ||
	       cancel.settled_ns;
}

/* --- the control link --- */

static bool probe_link(const struct dbps_kill_target *target, char *ret_why)
{
	const char *why = NULL;

	if (!target->server)
		why = "its server is not known";
	else if (target->server->link == DBPS_LINK_NONE)
		why = target->server->link_text;
	else if (!(target->session.flags & DBPS_KNOWN_ID))
		why = "its connection id is not known";
	else if (target->soft && target->server->engine != DBPS_ENGINE_MARIADB)
		why = "only MariaDB knows SOFT";
	if (why)
		snprintf(ret_why, 256, "%s", why);
	return !why;
}

static bool probe_query_id(const struct dbps_kill_target *target, char *ret_why)
{
	if (!probe_link(target, ret_why))
		return false;
	if (target->server->engine == DBPS_ENGINE_MARIADB)
		return true;
	snprintf(ret_why, 256, "only MariaDB numbers its statements");
	return false;
}

/* No answer to a question that kills nothing: there is no link to speak of. */
static int unanswered(int r)
{
	return r == -ETIMEDOUT ? -ENOTCONN : r;
}

/* Invariant 8. Returns whether it has ended. */
static bool ends_young(const struct dbps_kill_target *target)
{
	uint64_t age_ns = dbps_clock_ns() - target->session.start_ns;
	struct dbps_cancel cancel;

	if (age_ns >= YOUNG_NS)
		return dbps_kill_settled(target);
	return dbps_kernel_watch_wait(target->kernel, target->session.cookie, DBPS_CANCEL_QUERY,
				      (int)((YOUNG_NS - age_ns) / 1000000) + 1, &cancel) == 0;
}

/* Invariant 2, then the kill. -ESRCH: that id was over. */
static int kill_query_id_once(const struct dbps_kill_target *target, uint64_t query_id,
			      struct dbps_link_error *ret_error)
{
	bool killed = false;
	int r = 0;

	if (!query_id)
		r = dbps_link_query_id(target->registry, target->server->index, target->session.id,
				       dbps_kill_ms_left(target), &query_id, &killed, ret_error);
	if (dbps_kill_settled(target))
		return -EALREADY;
	if (r < 0 || killed)
		return unanswered(r);
	return dbps_link_kill(target->registry, target->server->index,
			      target->soft ? "SOFT QUERY ID" : "QUERY ID", query_id,
			      dbps_kill_ms_left(target), ret_error);
}

/* Invariant 5. */
static int check_arrival(const struct dbps_kill_target *target, struct dbps_link_error *ret_error)
{
	struct dbps_cancel cancel;
	uint64_t query_id;
	bool killed;
	int r;

	r = dbps_kernel_watch_wait(target->kernel, target->session.cookie, DBPS_CANCEL_QUERY,
				   MIN(ARRIVAL_MS, dbps_kill_ms_left(target)), &cancel);
	if (r != -ETIMEDOUT)
		return 0;
	r = dbps_link_query_id(target->registry, target->server->index, target->session.id,
			       dbps_kill_ms_left(target), &query_id, &killed, ret_error);
	return r < 0 || killed || dbps_kill_settled(target) ? 0 : -EINPROGRESS;
}

static int act_query_id(const struct dbps_kill_target *target, struct dbps_link_error *ret_error)
{
	if (ends_young(target))
		return -EALREADY;
	for (int i = 0; i < EXACT_TRIES; i++) {
		int r = kill_query_id_once(target, i ? 0 : target->query_id, ret_error);

		if (r == 0)
			return check_arrival(target, ret_error);
		if (r != -ESRCH)
			return r;
	}
	return -EAGAIN;
}

/* Invariants 6 and 7. */
static int act_by_connection(const struct dbps_kill_target *target,
			     struct dbps_link_error *ret_error)
{
	int r;

	if (ends_young(target))
		return -EALREADY;
	r = dbps_link_ping(target->registry, target->server->index, dbps_kill_ms_left(target),
			   ret_error);
	if (dbps_kill_settled(target))
		return -EALREADY;
	if (r < 0)
		return unanswered(r);
	return dbps_link_kill(target->registry, target->server->index,
			      target->soft ? "SOFT QUERY" : "QUERY", target->session.id,
			      dbps_kill_ms_left(target), ret_error);
}

/*
 * Connection ids are not given anew while the connection is there, and its end would have been
 * seen: servers hand them out in a circle of 2^32, OceanBase of 2^18.
 */
static int act_link_close(const struct dbps_kill_target *target, struct dbps_link_error *ret_error)
{
	int r = dbps_link_ping(target->registry, target->server->index, dbps_kill_ms_left(target),
			       ret_error);

	if (dbps_kill_settled(target))
		return -EALREADY;
	if (r < 0)
		return unanswered(r);
	r = dbps_link_kill(target->registry, target->server->index,
			   target->soft ? "SOFT CONNECTION" : "CONNECTION", target->session.id,
			   dbps_kill_ms_left(target), ret_error);
	return r == -ESRCH ? -EALREADY : r;
}

/* --- the socket --- */

static bool probe_tcp(const struct dbps_kill_target *target, char *ret_why)
{
	bool is_tcp = target->session.family == DBPS_FAMILY_INET ||
		      target->session.family == DBPS_FAMILY_INET6;

	if (!is_tcp)
		snprintf(ret_why, 256, "not a TCP session");
	return is_tcp;
}

static bool probe_any(const struct dbps_kill_target *target, char *ret_why)
{
	(void)target;
	(void)ret_why;
	return true;
}

static int told(int r, const char *what, struct dbps_link_error *ret_error)
{
	if (r == -ESTALE)
		return -EALREADY;
	if (r < 0)
		snprintf(ret_error->text, sizeof(ret_error->text), "%s: %s", what, strerror(-r));
	return r;
}

static int act_reset(const struct dbps_kill_target *target, struct dbps_link_error *ret_error)
{
	int r = dbps_reset_tcp(&target->session);

	/* A kernel without it, or a socket in a namespace out of reach: shut it down instead. */
	return told(r == -EOPNOTSUPP ? -EAGAIN : r, "reset", ret_error);
}

static void act_reset_many(const struct dbps_kill_target *const *targets, int *ret_results,
			   size_t n)
{
	_cleanup_free_ const struct dbps_session **sessions = calloc(n, sizeof(*sessions));

	for (size_t i = 0; i < n; i++) {
		ret_results[i] = -EAGAIN;
		if (sessions)
			sessions[i] = &targets[i]->session;
	}
	if (sessions && n)
		dbps_kernel_reset_many(targets[0]->kernel, sessions, ret_results, n);
	for (size_t i = 0; i < n; i++)
		if (ret_results[i] && ret_results[i] != -ECANCELED)
			ret_results[i] = -EAGAIN;
}

static int act_shutdown(const struct dbps_kill_target *target, struct dbps_link_error *ret_error)
{
	return told(dbps_reset_shutdown(&target->session), "shutdown", ret_error);
}

static const struct dbps_enactor by_query_id = {
	.name = "control link",
	.describe = "the server's own KILL QUERY ID over the control link: hits the statement that "
		    "was meant, or the answer tells",
	.exact = true,
	.by_link = true,
	.probe = probe_query_id,
	.act = act_query_id,
};

static const struct dbps_enactor by_connection = {
	.name = "control link, by connection",
	.describe = "the server's own KILL QUERY over the control link, by connection id: may hit "
		    "the next statement",
	.by_link = true,
	.probe = probe_link,
	.act = act_by_connection,
};

static const struct dbps_enactor reset = {
	.name = "reset",
	.describe = "the TCP session is reset",
	.exact = true,
	.probe = probe_tcp,
	.act = act_reset,
	.act_many = act_reset_many,
};

static const struct dbps_enactor shut_down = {
	.name = "shutdown",
	.describe = "the socket is shut down",
	.exact = true,
	.probe = probe_any,
	.act = act_shutdown,
};

static const struct dbps_enactor link_close = {
	.name = "control link",
	.describe = "the server's own KILL over the control link cancels what runs",
	.exact = true,
	.by_link = true,
	.probe = probe_link,
	.act = act_link_close,
};

const struct dbps_enactor *const dbps_interrupters[] = {
	&dbps_cooperative, &dbps_signal, &dbps_signal_checked, &by_query_id, &by_connection,
};
const size_t dbps_n_interrupters = ARRAY_SIZE(dbps_interrupters);

const struct dbps_enactor *const dbps_closers[] = {&dbps_terminate, &dbps_signal_checked, &reset,
						   &shut_down};
const size_t dbps_n_closers = ARRAY_SIZE(dbps_closers);

const struct dbps_enactor *const dbps_enders[] = {&dbps_cooperative, &link_close};
const size_t dbps_n_enders = ARRAY_SIZE(dbps_enders);
