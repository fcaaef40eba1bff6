/*
 * PostgreSQL's sessions: how one begins, and what the step (dbps/pgsql.h) finds in the bytes that a
 * call moved. Apart from the MySQL family's, whose everyday path is not to grow.
 *
 * The server does not greet. Its client speaks first, and a backend, a child of the server that
 * listens, reads that: so a session begins with a first packet that a process called postgres reads
 * from a socket on which it has sent nothing. The session's process is the backend.
 */
#ifndef DBPS_BPF_PGSQL_H
#define DBPS_BPF_PGSQL_H

/* ------------------------------------------------------------------ what the step finds ----- */

static __always_inline void dbps_pgsql_on_begin(struct dbps_record *r)
{
	thread_begin(r);
	cancel_check(&r->s, DBPS_OUTCOME_NEXT, 0);
}

static __always_inline void dbps_pgsql_on_end(struct dbps_record *r, __u32 error)
{
	session_end(&r->s, error, DBPS_PHASE_IDLE);
}

static __always_inline void dbps_pgsql_on_close(struct dbps_record *r, __u32 statement)
{
	struct dbps_prepared_key key = session_prepared_key(&r->s, statement);

	bpf_map_delete_elem(&dbps_prepared, &key);
}

struct pgsql_version {
	char text[DBPS_VERSION_MAX];
};

/* The server's version, of at most n bytes, once. */
__noinline int pgsql_version_note(__u32 server, const struct pgsql_version *version, __u32 n)
{
	struct dbps_server_seen *seen = bpf_map_lookup_elem(&dbps_servers, &server);
	__u32 len = 0;

	if (!seen || !version || seen->version_len)
		return 0;
	for (; len < DBPS_VERSION_MAX - 1 && len < n && version->text[len]; len++)
		seen->version[len] = version->text[len];
	seen->version_len = (__u8)len;
	return 0;
}

static __always_inline void dbps_pgsql_on_version(struct dbps_record *r,
						  const struct dbps_pgsql_head *h, __u32 have)
{
	const __u32 name = sizeof("server_version");

	if (r->s.flags & DBPS_READS_AHEAD)
		return; /* of the server behind the pooler */

	pgsql_version_note(r->s.server_tgid, (const struct pgsql_version *)(h->b + name),
			   have - name);
}

/* ------------------------------------------------------------------ the bytes of a call ----- */

static __always_inline void pgsql_lost(struct dbps_record *r, __u32 loss)
{
	session_unframe(&r->s, loss);
	pgsql_forget(r);
}

/* What the step said of requests. Returns session_leaves(). */
static __always_inline __u64 pgsql_went(struct dbps_record *r, int said)
{
	if (said == PGSQL_PARSED)
		return session_leaves(SESSION_LEFT_PARSED, 0);
	if (said)
		pgsql_lost(r, DBPS_LOSS_UNREADABLE);
	return 0;
}

/* Keep the text of a named Parse, and go on behind it. */
DBPS_TURN(PGSQL_MESSAGES_MAX, pgsql_parsed_loop, struct dbps_record *, of)
{
	struct dbps_record *r = *of;
	struct dbps_prepared_key key = session_prepared_key(&r->s, r->pg.parsed);

	(void)i;
	if (bpf_map_update_elem(&dbps_prepared, &key, &r->request, BPF_ANY))
		loss_count(DBPS_LOSS_PREPARED_TEXT);
	return !pgsql_went(r, pgsql_rest(r));
}

static __always_inline void pgsql_parsed(struct dbps_record *r)
{
	DBPS_LOOP(pgsql_parsed_loop, &r);
}

static __always_inline __u64 pgsql_tap_received(struct dbps_record *r, __u64 base, __u32 n,
						__u64 requested)
{
	struct dbps_span span = {base};
	struct dbps_session *s = &r->s;

	if (s->phase == DBPS_PHASE_CLOSED)
		return 0;
	if (s->lost)
		pgsql_lost(r, DBPS_LOSS_RESYNC);
	if (!(s->flags & DBPS_FRAMED_IN) && !pgsql_reframes(r, &span, n, requested))
		return 0;
	return pgsql_went(r, pgsql_received(r, &span, n));
}

/* window: as session_sent() has it. Returns session_leaves(). */
__noinline __u64 pgsql_tap_sent(struct dbps_record *r, __u64 base, __u32 n,
				struct dbps_window *window)
{
	struct dbps_span span = {base};
	struct dbps_session *s;
	__u32 zero = 0;
	__u64 left = 0;

	if (!r)
		return 0;
	s = &r->s;
	if (s->flags & DBPS_TLS)
		return dark_sent(s);
	if (dark_is_older(s, base, n))
		return session_leaves(SESSION_LEFT_OLDER, 0);
	if (s->phase == DBPS_PHASE_CLOSED)
		return 0;
	if (s->lost)
		pgsql_lost(r, DBPS_LOSS_RESYNC);
	if (!(s->flags & DBPS_FRAMED_IN)) {
		pgsql_sent_unframed(r, &span, n);
		return 0;
	}
	if (pgsql_everyday_answer(r, &span, n))
		return 0;
	if (!window)
		window = bpf_map_lookup_elem(&dbps_windows, &zero);
	if (window)
		left = pgsql_went(r, pgsql_sent(r, &span, n, window));
	return s->flags & DBPS_TLS ? session_leaves(SESSION_LEFT_TLS, 0) : left;
}

#endif
