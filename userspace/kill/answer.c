/*
 * What a kill is answered with: one sentence that says what the kernel saw, what acted, and what
 * goes on. Nothing is said that was not seen.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "one.h"
#include "server/client.h"
#include "server/process.h"

void kill_answer(struct kill *kill, enum dbps_kill_outcome outcome, const char *format, ...)
{
	struct dbps_kill_answer *a = kill->answer;
	uint64_t end_ns = kill->cancel.settled_ns ? kill->cancel.settled_ns : dbps_clock_ns();
	va_list args;

	*a = (struct dbps_kill_answer){.outcome = outcome};
	a->elapsed_ms = end_ns > kill->begin_ns ? (double)(end_ns - kill->begin_ns) / 1e6 : 0;
	va_start(args, format);
	vsnprintf(a->text, sizeof(a->text), format, args);
	va_end(args);
	kill->answered = true;
}

void kill_refuse(struct kill *kill, unsigned int error, const char *format, ...)
{
	struct dbps_kill_answer *a = kill->answer;
	va_list args;

	*a = (struct dbps_kill_answer){.outcome = DBPS_KILL_REFUSED, .error = error};
	memcpy(a->sqlstate, "HY000", sizeof("HY000"));
	a->elapsed_ms = (double)(dbps_clock_ns() - kill->begin_ns) / 1e6;
	va_start(args, format);
	vsnprintf(a->text, sizeof(a->text), format, args);
	va_end(args);
	kill->answered = true;
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

/* What was handed to a backend is sent when that runs, unless its statement has ended by then. */
static bool is_unsent(const struct kill *kill)
{
	return kill->cancel.signalled != DBPS_SIGNAL_NONE && !kill->cancel.sends;
}

/* " (reset, control link)", or nothing when nothing acted. */
static const char *by_whom(const struct kill *kill, char buf[static 100])
{
	buf[0] = '\0';
	if (kill->acted[0] && !is_unsent(kill))
		snprintf(buf, 100, " (%s)", kill->acted);
	return buf;
}

/* "statement 3 still executes in thread 1234, for 7.0 s"; of one that is older than dbpsd neither
 * is known. */
static void describe_running(const struct kill *kill, char *buf, size_t size)
{
	const struct dbps_session *session = &kill->target.session;
	uint64_t now_ns = dbps_clock_ns();
	char thread[32] = "", since[32] = "";

	buf[0] = '\0';
	if (!dbps_session_executes(session))
		return;
	if (session->tid)
		snprintf(thread, sizeof(thread), " in thread %u", session->tid);
	if (session->start_ns)
		snprintf(since, sizeof(since), ", for %.1f s",
			 now_ns > session->start_ns ? (double)(now_ns - session->start_ns) / 1e9
						    : 0);
	snprintf(buf, size, "statement %llu still executes%s%s", statement(kill), thread, since);
}

/* The end of a link's error, where the cause stands; the names of files and sockets are before it.
 */
static const char *cause(const char *text)
{
	const size_t max = 150, len = strlen(text);

	return len > max ? text + len - max : text;
}

/* --- KILL QUERY --- */

/* The answer was not followed, so how the statement ended is not known. */
static bool is_unreadable(const struct dbps_session *session)
{
	return session->phase == DBPS_PHASE_OPAQUE || session->phase == DBPS_PHASE_UNFRAMED ||
	       session->flags & DBPS_COMPRESSED || dbps_session_is_dark(session);
}

/* A code of MySQL, or a SQLSTATE. */
static void format_error(unsigned int error, char buf[static 64])
{
	char state[6] = "";

	for (int i = 0; i < 5; i++)
		state[i] = (char)('0' + (error >> (6 * i) & 63));
	if (error > UINT16_MAX)
		snprintf(buf, 64, " with SQLSTATE %s", state);
	else
		snprintf(buf, 64, " with error %u", error);
}

static const char *how_it_ended(const struct kill *kill, const char *without, char buf[static 64])
{
	const struct dbps_cancel *cancel = &kill->cancel;

	snprintf(buf, 64, "%s", without);
	if (cancel->outcome == DBPS_OUTCOME_ENDED && cancel->error)
		format_error(cancel->error, buf);
	return buf;
}

/* What ended before the entry was there was not seen to end, and may have been interrupted. */
void kill_answer_over(struct kill *kill)
{
	const char *what = kill_is_interruption(kill->cancel.error) ? "been interrupted"
			   : kill->cancel.settled_ns		    ? "ended by itself"
								    : "ended before the kill";
	char how[64];

	kill_answer(kill, DBPS_KILL_MISSED, "missed: statement %llu had %s%s%s", statement(kill),
		    what, how_it_ended(kill, "", how),
		    is_unsent(kill) ? "; no signal was sent" : "");
}

/* What a kill did to the statements after the one that was meant. */
static void describe_later(const struct kill *kill, char *buf, size_t size)
{
	const struct dbps_cancel *cancel = &kill->cancel;

	buf[0] = '\0';
	if (cancel->struck)
		snprintf(buf, size, ", and met statement %llu instead, which was interrupted",
			 (unsigned long long)cancel->struck);
	else if (!kill->inexact)
		return;
	else if (!kill->last_begun)
		snprintf(buf, size, "; nothing else was running");
	else if (cancel->ended >= kill->last_begun)
		snprintf(buf, size, "; nothing else was interrupted");
	else
		snprintf(buf, size, ", and may have met statement %llu, which still executes",
			 (unsigned long long)kill->last_begun);
}

/*
 * KILL QUERY ID was answered with OK, so the statement was still there when the server took it:
 * some, as BENCHMARK(), end early and yet without an error (protocol.md 1.13).
 */
static void answer_missed(struct kill *kill)
{
	const struct dbps_cancel *cancel = &kill->cancel;
	char how[64], later[128];

	describe_later(kill, later, sizeof(later));
	if (!kill->acted[0] || is_unsent(kill))
		kill_answer_over(kill);
	else if (cancel->outcome == DBPS_OUTCOME_ENDED &&
		 (!kill->inexact || cancel->settled_ns > kill->acted_ns))
		kill_answer(kill, DBPS_KILL_MISSED,
			    "missed: statement %llu ended%s when the server had taken the kill, "
			    "after %.1f ms%s (%s)",
			    statement(kill), how_it_ended(kill, " without an error", how),
			    settled_ms(kill), later, kill->acted);
	else
		kill_answer(kill, DBPS_KILL_MISSED,
			    "missed: statement %llu had ended by itself when the kill came%s (%s)",
			    statement(kill), later, kill->acted);
}

/* Interrupted after the kill was sent: by it, as far as can be seen. */
static bool is_ours(const struct kill *kill)
{
	const struct dbps_cancel *cancel = &kill->cancel;

	return kill->acted[0] && !is_unsent(kill) && cancel->outcome == DBPS_OUTCOME_ENDED &&
	       kill_is_interruption(cancel->error) &&
	       (!kill->inexact || cancel->settled_ns >= kill->sent_ns);
}

static void answer_interrupted(struct kill *kill)
{
	char later[64] = "";

	if (kill->inexact && kill->cancel.struck)
		snprintf(later, sizeof(later), ", and statement %llu as well",
			 (unsigned long long)kill->cancel.struck);
	kill_answer(kill, DBPS_KILL_CONFIRMED,
		    "confirmed: statement %llu interrupted after %.1f ms%s (%s)", statement(kill),
		    settled_ms(kill), later, kill->acted);
}

static void answer_settled_query(struct kill *kill)
{
	const struct dbps_cancel *cancel = &kill->cancel;
	char whom[100];

	if (cancel->outcome == DBPS_OUTCOME_CLOSED)
		kill_answer(kill, DBPS_KILL_CONFIRMED,
			    "confirmed: session closed, and statement %llu with it, after %.1f "
			    "ms%s",
			    statement(kill), settled_ms(kill), by_whom(kill, whom));
	else if (is_ours(kill))
		answer_interrupted(kill);
	else if (kill->acted[0] && !is_unsent(kill) && cancel->outcome == DBPS_OUTCOME_ENDED &&
		 !cancel->error && is_unreadable(&kill->target.session))
		kill_answer(kill, DBPS_KILL_CONFIRMED,
			    "confirmed: statement %llu ended after %.1f ms; its answer cannot be "
			    "read (%s)",
			    statement(kill), settled_ms(kill), kill->acted);
	else
		answer_missed(kill);
}

/* KILL QUERY does not wake a thread that waits for its client (protocol.md 3.1). */
static const char *what_helps(const struct dbps_session *session)
{
	switch (session->phase) {
	case DBPS_PHASE_ROWS:
		return "; while its client does not read the rows, only KILL CONNECTION ends it";
	case DBPS_PHASE_INFILE:
		return "; while its client does not send the file, only KILL CONNECTION ends it";
	default:
		return "";
	}
}

/* What another kill has asked for goes on with that one. */
static const char *what_the_server_has(const struct kill *kill)
{
	if (!kill->passing && !is_unsent(kill))
		return "the kill";
	return kill->passing || kill->again ? "not taken the kill, which is given up"
					    : "not taken the kill yet";
}

static void answer_pending_query(struct kill *kill)
{
	char running[96];

	describe_running(kill, running, sizeof(running));
	kill_answer(kill, DBPS_KILL_PENDING, "pending: %s; the server has %s (%s)%s",
		    running[0] ? running : "the statement has not been seen to end",
		    what_the_server_has(kill), kill->acted, what_helps(&kill->target.session));
}

/* --- KILL CONNECTION --- */

static void answer_closed(struct kill *kill)
{
	char whom[100];

	kill_answer(kill, DBPS_KILL_CONFIRMED, "confirmed: session closed after %.1f ms%s",
		    settled_ms(kill), by_whom(kill, whom));
}

/* Whether its server, or its backend, was asked, and its socket not touched. */
static bool is_told(const struct kill *kill)
{
	return kill->request->soft ||
	       (kill->target.session.flags & (DBPS_PGSQL | DBPS_READS_AHEAD)) == DBPS_PGSQL;
}

static void answer_pending_connection(struct kill *kill, const struct kill_errors *errors)
{
	const char *why = errors->server_error.text;
	char running[96];

	describe_running(kill, running, sizeof(running));
	if (!running[0])
		snprintf(running, sizeof(running), "the server %shas not closed its end yet",
			 dbps_process_stopped((pid_t)kill->target.session.tgid)
				 ? "is stopped by a signal and "
				 : "");
	kill_answer(kill, DBPS_KILL_PENDING, "pending: %s%s (%s%s%s)",
		    is_told(kill) ? "" : "the connection is cut, but ", running,
		    kill->acted[0] ? kill->acted : "it was cut before",
		    why[0] ? "; no help from a control link: " : "", cause(why));
}

/* --- either --- */

void kill_answer_settled(struct kill *kill)
{
	if (kill->target.connection)
		answer_closed(kill);
	else
		answer_settled_query(kill);
}

void kill_answer_pending(struct kill *kill, const struct kill_errors *errors)
{
	if (kill->target.connection)
		answer_pending_connection(kill, errors);
	else
		answer_pending_query(kill);
}

void kill_answer_unreached(struct kill *kill, const struct kill_errors *errors)
{
	const struct dbps_link_error *error = &errors->server_error;
	const char *why = error->text[0] ? error->text : strerror(-errors->server);

	if (kill->request->soft)
		kill_refuse(kill, ER_UNKNOWN, "KILL SOFT is the server's own: %s", cause(why));
	else if (kill->target.connection)
		kill_refuse(kill, ER_UNKNOWN, "the session cannot be closed: %.120s; %.120s",
			    errors->socket_error.text, error->text);
	else
		kill_refuse(kill, ER_UNKNOWN,
			    "KILL QUERY needs a control link to %s: %s; KILL CONNECTION resets the "
			    "socket but the statement goes on executing",
			    kill->target.server ? kill->target.server->name : "the server",
			    cause(why));
}

void kill_answer_not_armed(struct kill *kill, int r)
{
	if (r == -ESRCH)
		kill_answer(kill, DBPS_KILL_MISSED, "missed: the session had closed by itself");
	else if (r == -ETIMEDOUT || r == -EEXIST)
		kill_answer(kill, DBPS_KILL_PENDING,
			    "pending: a kill of another statement of this session is under way");
	else
		kill_refuse(kill, ER_UNKNOWN, "cannot watch the session: %s", strerror(-r));
}
