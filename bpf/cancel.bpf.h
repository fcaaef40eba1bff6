/*
 * The cancel map's kernel side: a kill that the daemon armed is settled here with what happened to
 * the statement or the session, once, and the waiting console is woken.
 *
 * Invariants:
 * 1. An entry is settled once: settled_ns goes from 0 to a time, after the other fields.
 * 2. A QUERY cancel of statement n is settled by the end of n, by the begin of a later statement,
 * or by the end of the session; a CONNECTION cancel by the end of the session alone.
 * 3. `armed` is set when the entry is in the map (dbps_arm): from then on every tap of the session
 * looks here. It is set without the record's lock, which an iterator must not hold: it can be
 * preempted, and the tap that finds the record locked loses its event, which is the very one that
 * is waited for.
 * 4. What ended before `armed` was set is not settled. The daemon reads the session after arming: a
 * tap that read `armed` before it was set holds the lock until its end is in the record, so a whole
 * copy shows it; any later one looks here.
 */
#ifndef DBPS_BPF_CANCEL_H
#define DBPS_BPF_CANCEL_H

__noinline int cancel_settle(struct dbps_session *s, __u32 outcome, __u32 error)
{
	struct dbps_cancel *c;
	struct dbps_event *e;
	__u64 cookie;

	if (!s)
		return 0;
	cookie = s->cookie;
	c = bpf_map_lookup_elem(&dbps_cancels, &cookie);
	if (!c || c->settled_ns)
		return 0;
	if (outcome != DBPS_OUTCOME_CLOSED) {
		if (c->action != DBPS_CANCEL_QUERY)
			return 0;
		if (outcome == DBPS_OUTCOME_ENDED && s->sequence != c->sequence)
			return 0;
		if (outcome == DBPS_OUTCOME_NEXT && s->sequence <= c->sequence)
			return 0;
	}
	c->outcome = outcome;
	c->error = error;
	c->settled_ns = bpf_ktime_get_ns();
	slots_settled(cookie, c->action);
	e = bpf_ringbuf_reserve(&dbps_events, sizeof(*e), 0);
	if (!e) {
		loss_count(DBPS_LOSS_EVENT);
		return 0;
	}
	e->type = DBPS_EVENT_SETTLED;
	e->tgid = s->tgid;
	e->cookie = cookie;
	e->cancel = *c;
	bpf_ringbuf_submit(e, BPF_RB_FORCE_WAKEUP);
	return 0;
}

/* Called at every end, begin and close. A session that was once to be killed pays a look-up for
 * each. */
static __always_inline void cancel_check(struct dbps_session *s, __u32 outcome, __u32 error)
{
	if (s->armed)
		cancel_settle(s, outcome, error);
}

#endif
