/*
 * The cancel map's kernel side: a kill or a watch that the daemon armed is settled here with what
 * happened to the statement or the session, once, and the waiting console is woken.
 *
 * Invariants:
 * 1. An entry is settled once: settled_ns goes from 0 to a time, after `outcome` and `error`. What
 * comes after that shows in `begun`, `ended` and `struck`.
 * 2. QUERY and WATCH_STATEMENT of statement n are settled by the end of n, by the begin of a later
 * statement, or by the end of the session; WATCH_TRANSACTION by the end of a statement outside of a
 * transaction, or of the session; CONNECTION by the end of the session alone.
 * 3. `armed` is set when the entry is in the map (cancel_arm): from then on every tap of the
 * session looks here. It is set without the record's lock, which an iterator must not hold: it can
 * be preempted, and the tap that finds the record locked loses its event, which is the very one
 * that is waited for.
 * 4. What ended before `armed` was set is not settled. The daemon reads the session after arming: a
 * tap that read `armed` before it was set holds the lock until its end is in the record, so a whole
 * copy shows it; any later one looks here.
 * 5. A tap that finds no entry takes `armed` back, and looks once more: an entry that came in
 * between, whose `armed` it took away, is seen then.
 */
#ifndef DBPS_BPF_CANCEL_H
#define DBPS_BPF_CANCEL_H

#define ER_QUERY_INTERRUPTED 1317
#define ER_CONNECTION_KILLED 1927

static __always_inline struct dbps_cancel *cancel_get(__u64 cookie, __u32 action)
{
	struct dbps_cancel_key key = {.cookie = cookie, .action = action};

	return bpf_map_lookup_elem(&dbps_cancels, &key);
}

static __always_inline bool cancel_any(__u64 cookie)
{
	for (__u32 action = 1; action < DBPS_CANCEL_N; action++) {
		if (cancel_get(cookie, action))
			return true;
	}
	return false;
}

/* Invariant 2. */
static __always_inline bool cancel_over(const struct dbps_cancel *c, __u32 action,
					const struct dbps_session *s, __u32 outcome)
{
	if (outcome == DBPS_OUTCOME_CLOSED)
		return true;
	switch (action) {
	case DBPS_CANCEL_QUERY:
	case DBPS_WATCH_STATEMENT:
		return s->sequence > c->sequence ||
		       (outcome == DBPS_OUTCOME_ENDED && s->sequence == c->sequence);
	case DBPS_WATCH_TRANSACTION:
		return outcome == DBPS_OUTCOME_ENDED && !(s->flags & DBPS_IN_TRANSACTION);
	default:
		return false;
	}
}

static __always_inline bool cancel_settle(struct dbps_cancel *c, __u32 action,
					  const struct dbps_session *s, __u32 outcome, __u32 error)
{
	if (c->settled_ns || !cancel_over(c, action, s, outcome))
		return false;
	if (outcome == DBPS_OUTCOME_ENDED && s->sequence > c->sequence &&
	    action != DBPS_WATCH_TRANSACTION)
		outcome = DBPS_OUTCOME_NEXT;
	c->outcome = outcome;
	c->error = error;
	c->settled_ns = bpf_ktime_get_ns();
	if (action == DBPS_CANCEL_QUERY || action == DBPS_CANCEL_CONNECTION)
		slots_settled(s->cookie, action);
	return true;
}

/* What the session does meanwhile and after. Returns whether somebody may wait for it. */
static __always_inline bool cancel_follow(struct dbps_cancel *c, const struct dbps_session *s,
					  __u32 outcome, __u32 error)
{
	bool first = c->ended <= c->sequence;

	if (outcome == DBPS_OUTCOME_NEXT)
		c->begun = s->sequence;
	if (outcome != DBPS_OUTCOME_ENDED)
		return false;
	c->ended = s->sequence;
	if (s->sequence <= c->sequence)
		return false;
	if (c->struck || (error != ER_QUERY_INTERRUPTED && error != ER_CONNECTION_KILLED &&
			  error != DBPS_SQLSTATE_CANCELED))
		return first;
	c->struck = s->sequence;
	return true;
}

static __always_inline void cancel_tell(const struct dbps_session *s)
{
	struct dbps_event *e = bpf_ringbuf_reserve(&dbps_cancel_events, sizeof(*e), 0);

	if (!e) {
		loss_count(DBPS_LOSS_EVENT);
		return;
	}
	e->type = DBPS_EVENT_CANCEL;
	e->tgid = s->tgid;
	e->cookie = s->cookie;
	bpf_ringbuf_submit(e, BPF_RB_FORCE_WAKEUP);
}

__noinline int cancel_happened(struct dbps_session *s, __u32 outcome, __u32 error)
{
	bool any = false, tell = false;

	if (!s)
		return 0;
	for (__u32 action = 1; action < DBPS_CANCEL_N; action++) {
		struct dbps_cancel *c = cancel_get(s->cookie, action);

		if (!c)
			continue;
		any = true;
		/* Before it is settled: whoever sees it settled sees this too. */
		tell |= cancel_follow(c, s, outcome, error);
		tell |= cancel_settle(c, action, s, outcome, error);
	}
	if (tell)
		cancel_tell(s);
	if (any)
		return 0;
	/* Invariant 5. */
	*(volatile __u8 *)&s->armed = 0;
	__sync_fetch_and_add(&s->gen, 0);
	if (cancel_any(s->cookie))
		*(volatile __u8 *)&s->armed = 1;
	return 0;
}

/* Called at every end, begin and close. */
static __always_inline void cancel_check(struct dbps_session *s, __u32 outcome, __u32 error)
{
	if (s->armed)
		cancel_happened(s, outcome, error);
}

/* Invariant 3. Returns whether the session has an entry. */
static __always_inline bool cancel_arm(struct dbps_session *s)
{
	if (!cancel_any(s->cookie))
		return false;
	*(volatile __u8 *)&s->armed = 1;
	/* A full barrier, before the session is read again. */
	__sync_fetch_and_add(&s->gen, 0);
	return true;
}

#endif
