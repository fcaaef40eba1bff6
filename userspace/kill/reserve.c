/*
 * Choosing goes by what the kernel saw: a session is idle when its last answer was followed to the
 * end and nothing of a next request was read. Where that cannot be told it is not dropped.
 */
#include "kill/reserve.h"

#include <errno.h>
#include <stdlib.h>

#include "access/protect.h"
#include "cleanup.h"

/* In the order in which they are dropped. */
enum group { OUTSIDE, UNKNOWN, INSIDE };

/*
 * Whether it is in a transaction is told by the status of every answer (protocol.md 1.7): nothing
 * is known before the first one that was read, nor when answers are compressed.
 */
static enum group group_of(const struct dbps_row *row)
{
	const struct dbps_session *s = row->session;

	if (s->flags & DBPS_IN_TRANSACTION)
		return INSIDE;
	return s->status && !(s->flags & DBPS_COMPRESSED) ? OUTSIDE : UNKNOWN;
}

const char *dbps_reserve_word(const struct dbps_row *row)
{
	static const char *const words[] = {
		[OUTSIDE] = "idle",
		[UNKNOWN] = "idle, transaction unknown",
		[INSIDE] = "idle in transaction",
	};

	return words[group_of(row)];
}

/* One whose idle time is not known has been idle since before dbps came: longer than any other. */
static int compare(const void *a, const void *b)
{
	const struct dbps_row *x = *(const struct dbps_row *const *)a;
	const struct dbps_row *y = *(const struct dbps_row *const *)b;
	int by_group = (int)group_of(x) - (int)group_of(y);

	if (by_group)
		return by_group;
	if (x->session->end_ns != y->session->end_ns)
		return x->session->end_ns < y->session->end_ns ? -1 : 1;
	return (x->id > y->id) - (x->id < y->id);
}

static bool is_unseen(const struct dbps_session *s)
{
	return s->phase == DBPS_PHASE_UNKNOWN || dbps_session_is_dark(s);
}

static bool is_idle(const struct dbps_session *s)
{
	return s->phase == DBPS_PHASE_IDLE && !s->in.left && !s->in.hdr_have;
}

static bool counts(const struct dbps_row *row, const struct dbps_server_limits *limits)
{
	return !limits->uncounted_port || row->session->family == DBPS_FAMILY_UNIX ||
	       row->session->local_port != limits->uncounted_port;
}

static void judge(struct dbps_reserve_plan *plan, const struct dbps_row *row)
{
	const struct dbps_session *s = row->session;

	if (row->own)
		return;
	if (dbps_protected(row))
		plan->kept[DBPS_RESERVE_PROTECTED]++;
	else if (is_unseen(s))
		plan->kept[DBPS_RESERVE_UNSEEN]++;
	else if (is_idle(s))
		plan->candidates[plan->n_candidates++] = row;
	else if (s->phase != DBPS_PHASE_CLOSED)
		plan->kept[DBPS_RESERVE_EXECUTES]++;
}

int dbps_reserve_plan(const struct dbps_rows *rows, uint32_t server,
		      const struct dbps_server_limits *limits, size_t connections,
		      struct dbps_reserve_plan *ret_plan)
{
	struct dbps_reserve_plan plan = {.max = limits->max_connections};
	size_t seen = 0, needed;

	plan.candidates = calloc(rows->n + 1, sizeof(const struct dbps_row *));
	if (!plan.candidates)
		return -ENOMEM;
	for (size_t i = 0; i < rows->n; i++) {
		if (rows->row[i].server != server || !counts(&rows->row[i], limits))
			continue;
		seen++;
		judge(&plan, &rows->row[i]);
	}
	qsort(plan.candidates, plan.n_candidates, sizeof(const struct dbps_row *), compare);
	/* Connections that no session is known of take room, too. */
	plan.in_use = limits->connected > seen ? limits->connected : (uint32_t)seen;
	needed = plan.in_use + connections;
	plan.wanted = needed > plan.max ? needed - plan.max : 0;
	*ret_plan = plan;
	return 0;
}

void dbps_reserve_plan_done(struct dbps_reserve_plan *plan)
{
	free(plan->candidates);
	plan->candidates = NULL;
}
