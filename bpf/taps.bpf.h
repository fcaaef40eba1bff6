/*
 * The tap: every socket receive and send of the host passes here, after its bytes moved. It finds
 * the socket's session and where the bytes are, and leaves at once when the socket is not a
 * session's.
 *
 * tp_btf/sock_recv_length and sock_send_length exist since Linux 6.3 (6e6eda44b939); before that,
 * fexit programs do the same.
 */
#ifndef DBPS_BPF_TAPS_H
#define DBPS_BPF_TAPS_H

#define MSG_PEEK 2

/* A greeting with version and plugin name fits; the least one has no plugin (protocol.md 1.2). */
#define GREETING_MIN 34
#define GREETING_MAX 300

/*
 * Linux 6.2, a35b9af4ec2c (compat.bpf.h): a look at what a call has just used of its own socket, at
 * the price of a load each: what TCP has sent, and whether a Unix socket has a name, as those have
 * that a listening one accepted. Of any other kind of socket they say nothing, and nothing depends
 * on it. Without them the greeting's size and the name of the process tell.
 */
static __always_inline const struct tcp_sock *tap_tcp(struct sock *sk)
{
	return bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct tcp_sock));
}

static __always_inline bool tap_nameless(struct sock *sk)
{
	const struct unix_sock *u;

	u = bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct unix_sock));
	return !u->addr;
}

/*
 * A session's has a cookie (session_identify()), in a line of the socket that the call has just
 * used. Others give cookies too (`ss -e`, SO_COOKIE): of those the storage's address is looked at,
 * in a line that nothing else uses.
 */
static __always_inline bool tap_may_have_record(struct sock *sk)
{
	return sk->__sk_common.skc_cookie.counter && sk->sk_bpf_storage;
}

/*
 * Whether a socket is no session's and will be none by what it just moved: almost every one of a
 * host leaves here.
 *
 * A session of PostgreSQL begins where a server receives before it has sent. One packet counts as
 * delivered to the client when a connection is accepted (tcp_rcv_state_process()), any other is
 * data.
 */
static __always_inline bool tap_foreign_receive(struct sock *sk, int ret)
{
	if (tap_may_have_record(sk))
		return false;
	if (ret <= 0)
		return true;
	if (!bpf_rdonly_cast)
		return false;
	return sk->__sk_common.skc_family == AF_UNIX ? tap_nameless(sk)
						     : tap_tcp(sk)->delivered > 1;
}

/* A session of MySQL begins where a server greets. */
static __always_inline bool tap_foreign_send(struct sock *sk, int ret)
{
	if (tap_may_have_record(sk))
		return false;
	if (ret < GREETING_MIN || ret > GREETING_MAX)
		return true;
	if (!bpf_rdonly_cast)
		return false;
	return sk->__sk_common.skc_family == AF_UNIX ? tap_nameless(sk)
						     : tap_tcp(sk)->bytes_sent > GREETING_MAX;
}

static __always_inline struct dbps_record *tap_record(struct sock *sk)
{
	return bpf_sk_storage_get(&dbps_sessions, sk, 0, 0);
}

/*
 * Where a tap can be preempted (Linux 7.0, a46023d5616e, f7d327654b88), the kernel leaves
 * it out for whoever comes to it on that processor meanwhile, as if it ran inside of itself. So
 * there are three programs in a row, each with a guard of its own:
 * 1. The first leaves in the record which thread's event it has.
 * 2. The second takes what the first has not, and says that it looked: a note that it finds so is
 * of an event before, where the third was left out.
 * 3. The third, the shortest, takes the note away. Where there is none, both were left out, and
 * the session is marked.
 * One thread at a time receives from a session's socket, and one sends; of two at once the notes
 * would be mixed up.
 */
enum tap_turn { TAP_ALONE, TAP_FIRST, TAP_AGAIN };
enum tap_direction { TAP_IN, TAP_OUT };

#define TAP_LOOKED (1u << 31) /* no thread has such a number */

/* Whether the event is this program's. */
static __always_inline bool tap_takes(struct dbps_record *r, enum tap_turn turn,
				      enum tap_direction direction)
{
	__u32 me, *taken = &r->taken[direction];
	bool mine = true;

	if (turn == TAP_ALONE)
		return true;
	me = (__u32)bpf_get_current_pid_tgid();
	if (turn == TAP_AGAIN) {
		mine = *taken != me;
		me |= TAP_LOOKED;
	}
	*taken = me;
	return mine;
}

/* The event may have begun a session. */
static __always_inline void tap_takes_first(struct sock *sk, enum tap_turn turn,
					    enum tap_direction direction)
{
	struct dbps_record *r = turn == TAP_ALONE ? NULL : tap_record(sk);

	if (r)
		tap_takes(r, turn, direction);
}

/* The segments of a call with several buffers. */
struct segments {
	struct dbps_record *r;
	__u64 iov;
	__u32 left; /* bytes moved that are still to be found */
	__u32 n;
};

/* Those of a send: the one that is under way, and the next one's number. */
struct sent_segments {
	struct segments all;
	struct sent sent;
	__u32 next;
};

/* Base and moved bytes of segment i. Returns 1 when there is none. */
static __always_inline int segment_get(struct segments *v, __u32 i, __u64 *ret_base, __u32 *ret_n)
{
	__u64 iov[2]; /* base and length */

	if (i >= v->n || !v->left)
		return 1;
	if (bpf_probe_read_user(iov, sizeof(iov), (const void *)(v->iov + i * sizeof(iov))))
		return 1;
	*ret_base = iov[0];
	*ret_n = iov[1] < v->left ? (__u32)iov[1] : v->left;
	v->left -= *ret_n;
	return 0;
}

/* Go on with the next: 0 in so many words, as older verifiers do not follow where a compiler takes
 * it from. */
static __always_inline int segment_next(void)
{
	int next;

	__asm__ volatile("%0 = 0" : "=r"(next));
	return next;
}

DBPS_TURN(CALL_SEGMENTS, segment_received, struct segments, v)
{
	__u64 base;
	__u32 n;

	if (segment_get(v, i, &base, &n))
		return 1;
	if (n)
		session_received(v->r, base, n, 0);
	return segment_next();
}

DBPS_TURN(CALL_SEGMENTS + MYSQL_PACKETS_MAX, segment_sent, struct sent_segments, v)
{
	if (v->sent.pos) {
		session_sent_rest(i, &v->sent);
		return segment_next();
	}
	if (segment_get(&v->all, v->next++, &v->sent.base, &v->sent.n))
		return 1;
	if (v->sent.n)
		session_sent(&v->sent);
	return segment_next();
}

/* What a call with several buffers moved: one after the other. */
static __always_inline void tap_received_segments(struct dbps_record *r, const struct call *call,
						  __u32 moved)
{
	struct segments v = {.r = r, .iov = call->buffer, .left = moved, .n = call->segments};

	DBPS_LOOP(segment_received, &v);
	if (v.left)
		session_unframe(&r->s, DBPS_LOSS_UNKNOWN_CALL);
}

static __always_inline void tap_sent_segments(struct dbps_record *r, const struct call *call,
					      __u32 moved)
{
	struct sent_segments v = {
		.all = {.iov = call->buffer, .left = moved, .n = call->segments},
		.sent = {.r = r},
	};

	DBPS_LOOP(segment_sent, &v);
	if (v.all.left)
		session_unframe(&r->s, DBPS_LOSS_UNKNOWN_CALL);
}

/*
 * Whether the bytes are not those of the system call. What io_uring moves may be moved on the way
 * out of any call: once that was seen of a session, the call's descriptor has to be the session's.
 */
static __always_inline bool tap_unknown(const struct dbps_record *r, struct call *call)
{
	if (call_current(call))
		return true;
	return mysql_unlikely(r->s.flags & DBPS_SPLICED_IN) && call_descriptor() != r->s.fd;
}

/* Bytes moved that cannot be found: io_uring, a 32-bit process, another call. */
static __noinline int tap_unseen(struct dbps_record *r)
{
	if (!session_lock(r))
		return 0;
	r->s.flags |= DBPS_SPLICED_IN;
	session_unframe(&r->s, DBPS_LOSS_UNKNOWN_CALL);
	session_unlock(r);
	return 0;
}

static __always_inline void tap_closed(struct dbps_record *r)
{
	session_closed(&r->s);
	if (r->s.flags & DBPS_TLS)
		plain_end(&r->s);
}

/*
 * A send failed: the client has gone. That does not end a statement (protocol.md 3.3): MariaDB says
 * no more, and executes the rest of a text of several statements. It ends where the server looks
 * for the next command, or closes the socket.
 */
static __noinline int tap_nothing_sent(struct dbps_record *r, int ret)
{
	struct dbps_record *p;

	if (ret == -EINTR || ret == -ERESTARTSYS || !ret)
		return 0;
	/* Without the lock, where nothing is to be done: who has it is not to be disturbed. */
	if (ret == -EAGAIN && !(r->s.flags & DBPS_TLS))
		return 0;
	if (!session_lock(r))
		return 0;
	if (ret == -EAGAIN) {
		dark_send_waits(&r->s);
		session_unlock(r);
		return 0;
	}
	p = plain_or(r);
	if (!dbps_session_executes(&p->s)) {
		tap_closed(r);
		p = r;
	} else {
		session_unheard(&r->s);
	}
	session_unlock(r);
	if (p != r && session_lock(p)) {
		session_unheard(&p->s);
		session_unlock(p);
	}
	return 0;
}

static __noinline int tap_nothing_received(struct dbps_record *r, int ret)
{
	struct call call;

	if (ret == -EINTR || ret == -ERESTARTSYS || call_current(&call))
		return 0;
	if (!ret && !call.requested && !call.segments)
		return 0;
	if (!session_lock(r))
		return 0;
	if (ret == -EAGAIN)
		session_waits(r, call.requested);
	else if (plain_or(r)->s.phase != DBPS_PHASE_INFILE) /* else the statement reads it */
		tap_closed(r);
	session_unlock(r);
	return 0;
}

/* postgres, or postmaster. */
static __always_inline bool tap_is_postgres(struct task_struct *task)
{
	const char *comm = task->comm;

	return comm[0] == 'p' && comm[1] == 'o' && comm[2] == 's' && comm[3] == 't' &&
	       (comm[4] == 'g' || comm[4] == 'm');
}

static __always_inline bool tap_is_pooler(struct task_struct *task)
{
	const char *comm = task->comm;

	return comm[0] == 'p' && comm[1] == 'g' && comm[2] == 'b' && comm[3] == 'o' &&
	       comm[4] == 'u' && comm[5] == 'n' && comm[6] == 'c' && comm[7] == 'e' &&
	       comm[8] == 'r' && !comm[9];
}

/* Speaks PostgreSQL's protocol to its clients. */
static __always_inline bool tap_speaks_pgsql(struct task_struct *task)
{
	return tap_is_postgres(task) || tap_is_pooler(task);
}

/* Whether these are the first bytes on a connection that was accepted, before any answer. */
static __always_inline bool tap_first_bytes(struct sock *sk, int ret)
{
	__u16 family = sk->__sk_common.skc_family;

	if (family == AF_INET || family == AF_INET6) {
		struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);

		return tp && !tp->bytes_sent &&
		       tp->rcv_nxt - tp->copied_seq + (__u32)ret == (__u32)tp->bytes_received;
	}
	return family == AF_UNIX && unix_is_named(sk);
}

/*
 * Whether a socket that is no session's, and has sent nothing, may become one of PostgreSQL's. A
 * host without PostgreSQL looks no further; elsewhere the name of the process tells.
 */
static __always_inline bool tap_may_start(struct sock *sk, int ret)
{
	const struct dbps_control *control;

	if (ret <= 0)
		return false;
	control = control_get();
	return control && control->postgres && tap_speaks_pgsql(bpf_get_current_task_btf());
}

/* PostgreSQL starts, now or after dbpsd; the daemon looks for those that run already. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(dbps_exec, struct task_struct *task)
{
	struct dbps_control *control = control_get();

	if (control && tap_speaks_pgsql(task))
		control->postgres = 1;
	return 0;
}

static __noinline int tap_start(struct sock *sk, int ret);

static __always_inline int tap_received(struct sock *sk, int ret, int flags, enum tap_turn turn)
{
	struct dbps_record *r;
	struct call call;

	if (mysql_likely(tap_foreign_receive(sk, ret)))
		return 0;
	r = tap_record(sk);
	if (!r) {
		if (!tap_may_start(sk, ret) || flags & MSG_PEEK)
			return 0;
		tap_start(sk, ret);
		tap_takes_first(sk, turn, TAP_IN);
		return 0;
	}
	if (flags & MSG_PEEK || !tap_takes(r, turn, TAP_IN))
		return 0;
	if (ret <= 0) {
		/* The everyday case: the server looks for the next command. */
		if (mysql_likely(ret == -EAGAIN && r->s.phase == DBPS_PHASE_IDLE))
			return 0;
		return tap_nothing_received(r, ret);
	}
	/* Without the lock: whoever has it starts the framing anew, or does not look at this. */
	if (ret == 4 && mysql_skips_header(&r->s))
		return 0;
	if (tap_unknown(r, &call))
		return tap_unseen(r);
	if (!session_lock(r))
		return 0;
	r->s.tid = call.tid;
	if (mysql_unlikely(call.segments))
		tap_received_segments(r, &call, (__u32)ret);
	else
		session_received(r, call.buffer, (__u32)ret, call.requested);
	session_unlock(r);
	return 0;
}

/* ------------------------------------------------------------------ greeting ---------------- */

/* Names that database servers run under, as much of them as is compared. */
static __always_inline bool tap_server_name(struct task_struct *task)
{
	const char *comm = task->group_leader->comm;
	__u32 name = (__u8)comm[0] | (__u32)(__u8)comm[1] << 8 | (__u32)(__u8)comm[2] << 16 |
		     (__u32)(__u8)comm[3] << 24;

	return name == 0x6972616d /* mari */ || name == 0x7173796d /* mysq */ ||
	       name == 0x6573626f /* obse */ || name == 0x62646974 /* tidb */;
}

/* Whether a socket that was looked at before is worth another look. */
static __noinline int tap_of_server(void)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct dbps_server_seen *seen = bpf_map_lookup_elem(&dbps_servers, &tgid);

	if (seen)
		return seen->state != DBPS_SERVER_IGNORED;
	return tap_server_name(bpf_get_current_task_btf());
}

/*
 * Whether this may be the first bytes of a server on a connection that it accepted. TCP: nothing
 * was read, and no more than this was sent; the client's login may have arrived by now, as the tap
 * comes after the bytes left. Unix: bound like its listener, and never looked at: looking gives the
 * socket a cookie. Others give cookies too (`ss -e`, another dbpsd), so those of servers are looked
 * at in any case.
 */
static __always_inline bool tap_may_greet(struct sock *sk, int ret)
{
	__u16 family = sk->__sk_common.skc_family;

	if (ret < GREETING_MIN || ret > GREETING_MAX)
		return false;
	if (family == AF_INET || family == AF_INET6) {
		struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);

		return tp && tp->rcv_nxt - tp->copied_seq == (__u32)tp->bytes_received &&
		       tp->bytes_sent <= (__u64)ret;
	}
	return family == AF_UNIX && unix_is_named(sk) &&
	       (!sk->__sk_common.skc_cookie.counter || tap_of_server());
}

/* What the socket itself tells of a new session. */
static __always_inline void session_identify(struct dbps_session *s, struct sock *sk, __u32 tgid)
{
	__u16 family = sk->__sk_common.skc_family;

	s->cookie = bpf_get_socket_cookie(sk);
	s->tgid = tgid;
	s->server_tgid = tgid;
	s->netns = sk->__sk_common.skc_net.net->ns.inum;
	s->inode = (__u32)sk->sk_socket->file->f_inode->i_ino;
	if (family == AF_UNIX) {
		s->family = DBPS_FAMILY_UNIX;
		s->client_pid = (__u32)sk->sk_peer_pid->numbers[0].nr;
		s->client_uid = sk->sk_peer_cred->euid.val;
		return;
	}
	s->local_port = sk->__sk_common.skc_num;
	s->remote_port = bpf_ntohs(sk->__sk_common.skc_dport);
	if (family == AF_INET) {
		s->family = DBPS_FAMILY_INET;
		*(__u32 *)s->local_addr = sk->__sk_common.skc_rcv_saddr;
		*(__u32 *)s->remote_addr = sk->__sk_common.skc_daddr;
		return;
	}
	s->family = DBPS_FAMILY_INET6;
	for (int i = 0; i < 4; i++) {
		((__u32 *)s->local_addr)[i] = sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[i];
		((__u32 *)s->remote_addr)[i] = sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[i];
	}
}

/* Tell the daemon of a process that is a server. */
static __always_inline void server_tell(__u32 tgid, __u64 cookie)
{
	struct dbps_event *e = bpf_ringbuf_reserve(&dbps_events, sizeof(*e), 0);

	if (!e) {
		loss_count(DBPS_LOSS_EVENT);
		return;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->type = DBPS_EVENT_SERVER;
	e->tgid = tgid;
	e->cookie = cookie;
	bpf_ringbuf_submit(e, BPF_RB_FORCE_WAKEUP);
}

/* One that greets for the first time. */
static __noinline int server_seen(__u32 tgid, struct dbps_session *s, struct dbps_window *w,
				  __u32 version_len)
{
	struct dbps_server_seen seen = {.state = DBPS_SERVER_NEW};

	if (version_len > DBPS_VERSION_MAX)
		version_len = DBPS_VERSION_MAX;
	seen.first_ns = s->connected_ns;
	seen.port = s->local_port;
	seen.family = s->family;
	seen.version_len = (__u8)version_len;
	__builtin_memcpy(seen.version, w->b + 5, DBPS_VERSION_MAX);
	if (!bpf_map_update_elem(&dbps_servers, &tgid, &seen, BPF_NOEXIST))
		server_tell(tgid, s->cookie);
	return 0;
}

/* Length of the version in a greeting of n bytes at w, header included; 0: this is no greeting. */
__noinline __u32 greeting_version(const struct dbps_window *w, __u32 n)
{
	if (!w || mysql_u24(w->b) + 4 != n || w->b[3] != 0 || w->b[4] != 10)
		return 0;
	for (__u32 i = 0; i < 128; i++) {
		__u8 c = w->b[5 + i];

		if (!c)
			return i && 5 + i + 27 < n ? i : 0;
		if (c < 0x20 || c > 0x7e)
			return 0;
	}
	return 0;
}

static __always_inline bool greets_as_console(const struct dbps_window *w)
{
	static const char version[] = DBPS_CONSOLE_VERSION;

	for (__u32 i = 0; i < sizeof(version) - 1; i++) {
		if (w->b[5 + i] != version[i])
			return false;
	}
	return true;
}

struct greeting_look {
	const struct dbps_window *w;
	__u32 version_len;
	bool tidb;
};

DBPS_TURN(124, greeting_tidb_loop, struct greeting_look, look)
{
	const __u8 *b;

	if (i + 4 > look->version_len || i >= 124)
		return 1;
	b = look->w->b + 5 + i;
	look->tidb = b[0] == 'T' && b[1] == 'i' && b[2] == 'D' && b[3] == 'B';
	return look->tidb;
}

/* TiDB, whose ids may have 64 bits: then the greeting has the lower half, of which bit 0 is set. */
__noinline int greeting_is_tidb(const struct dbps_window *w, __u32 version_len)
{
	struct greeting_look look = {.w = w, .version_len = version_len};

	if (!w)
		return 0;
	DBPS_LOOP(greeting_tidb_loop, &look);
	return look.tidb;
}

static __always_inline void session_greeted(struct dbps_session *s, const struct dbps_window *w,
					    __u32 version_len, __u32 n)
{
	const __u8 *b = w->b + 5 + (version_len & 127) + 1;

	s->id = mysql_u32(b);
	/* u32 id, 8 bytes scramble, 0, u16 caps low, u8 charset, u16 status, u16 caps high */
	s->server_caps = mysql_u16(b + 13) | mysql_u16(b + 18) << 16;
	s->flags = DBPS_KNOWN_ID | DBPS_FRAMED_IN;
	if (s->id & 1 && greeting_is_tidb(w, version_len))
		s->flags &= ~DBPS_KNOWN_ID;
	s->phase = DBPS_PHASE_GREETED;
	s->connected_ns = bpf_ktime_get_ns();
	s->start_ns = s->connected_ns;
	s->end_ns = s->connected_ns;
	s->bytes_out = n;
}

/* ------------------------------------------------------------------ first packet ------------ */

/* The server of a backend: its parent, if that has such a name too. */
static __always_inline __u32 tap_server_of(struct task_struct *task)
{
	struct task_struct *parent = task->real_parent;

	return (__u32)(tap_is_postgres(parent) && tap_is_postgres(task) ? parent->tgid
									: task->tgid);
}

static __always_inline void session_started(struct dbps_session *s, __u32 server)
{
	s->server_tgid = server;
	s->id = s->tgid;
	s->fd = call_descriptor();
	s->flags = DBPS_PGSQL | DBPS_FRAMED_IN;
	if (tap_is_pooler(bpf_get_current_task_btf()))
		s->flags |= DBPS_READS_AHEAD;
	s->phase = DBPS_PHASE_GREETED;
	s->connected_ns = bpf_ktime_get_ns();
	s->start_ns = s->connected_ns;
	s->end_ns = s->connected_ns;
}

/* Tell the daemon of a server that it does not know. A function of its own: the stack that it takes
 * is not there while the first packet is followed. */
static __noinline int server_started(const struct dbps_session *s)
{
	struct dbps_server_seen seen = {.state = DBPS_SERVER_NEW};
	__u32 server = s->server_tgid;

	seen.first_ns = s->connected_ns;
	seen.port = s->local_port;
	seen.family = s->family;
	if (!bpf_map_update_elem(&dbps_servers, &server, &seen, BPF_NOEXIST))
		server_tell(server, s->cookie);
	return 0;
}

/* Whether the first bytes of a call are those of a client that connects to PostgreSQL. */
static __always_inline bool tap_starts(const struct call *call, __u32 n)
{
	__u8 b[8] = {};
	__u32 head = n;

	MYSQL_SAME(head);
	if (head > sizeof(b))
		head = sizeof(b);
	return !bpf_probe_read_user(b, head, (const void *)call->buffer) && pgsql_may_start(b, n);
}

static __noinline int tap_start(struct sock *sk, int ret)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32, server, n = (__u32)ret;
	struct dbps_server_seen *known;
	struct dbps_record *r;
	struct call call;

	if (!tap_first_bytes(sk, ret) || call_current(&call) || call.segments ||
	    !tap_starts(&call, n))
		return 0;
	server = tap_server_of(bpf_get_current_task_btf());
	known = bpf_map_lookup_elem(&dbps_servers, &server);
	if (known && known->state == DBPS_SERVER_IGNORED)
		return 0;
	r = bpf_sk_storage_get(&dbps_sessions, sk, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!r) {
		loss_count(DBPS_LOSS_NO_STORAGE);
		return 0;
	}
	if (!session_lock(r))
		return 0;
	session_identify(&r->s, sk, tgid);
	session_started(&r->s, server);
	r->s.tid = call.tid;
	r->s.bytes_in = n;
	received_special(r, call.buffer, n, call.requested);
	session_unlock(r);
	if (!known)
		server_started(&r->s);
	return 0;
}

/* A greeting in several buffers. */
static __noinline int greeting_gather(struct dbps_window *w, const struct call *call, __u32 n)
{
	__u64 iov[2]; /* base and length */
	__u64 off = 0, take;

	for (__u32 i = 0; i < CALL_SEGMENTS; i++) {
		if (i >= call->segments || off >= n)
			break;
		if (bpf_probe_read_user(iov, sizeof(iov),
					(const void *)(call->buffer + i * sizeof(iov))))
			return -1;
		take = iov[1] < n - off ? iov[1] : n - off;
		/* Older verifiers know of a bound only where it is checked on the very value. */
		MYSQL_SAME(off);
		MYSQL_SAME(take);
		if (take > GREETING_MAX || off > GREETING_MAX ||
		    bpf_probe_read_user(w->b + off, (__u32)take, (const void *)iov[0]))
			return -1;
		off += take;
	}
	return off < n ? -1 : 0;
}

/* A server sends what may be a greeting in a way that no tap sees: nothing of the session is known.
 */
static __noinline int tap_greets_unseen(struct sock *sk, __u32 tgid)
{
	struct dbps_record *r;

	if (!tap_of_server())
		return 0;
	r = bpf_sk_storage_get(&dbps_sessions, sk, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!r || !session_lock(r))
		return 0;
	session_identify(&r->s, sk, tgid);
	r->s.fd = -1;
	r->s.flags |= DBPS_SPLICED_IN | DBPS_JOINED;
	r->s.connected_ns = bpf_ktime_get_ns();
	loss_count(DBPS_LOSS_UNKNOWN_CALL);
	session_unlock(r);
	return 0;
}

static __noinline int tap_greeting(struct sock *sk, int ret)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32, zero = 0, version_len;
	struct dbps_window *w = bpf_map_lookup_elem(&dbps_windows, &zero);
	struct dbps_server_seen *seen;
	struct dbps_record *r;
	struct call call;
	__u32 n = (__u32)ret;

	if (!w || n > GREETING_MAX)
		return 0;
	if (call_current(&call))
		return tap_greets_unseen(sk, tgid);
	if (call.segments ? greeting_gather(w, &call, n)
			  : bpf_probe_read_user(w->b, n, (const void *)call.buffer))
		return 0;
	version_len = greeting_version(w, n);
	if (!version_len) {
		/* Not of TCP, which tells by itself what was sent: see tap_may_greet(). */
		if (sk->__sk_common.skc_family == AF_UNIX)
			bpf_get_socket_cookie(sk);
		return 0;
	}
	seen = bpf_map_lookup_elem(&dbps_servers, &tgid);
	if (seen && seen->state == DBPS_SERVER_IGNORED)
		return 0;
	/* Our own console is followed, that of another dbpsd is not. */
	if (!seen && greets_as_console(w))
		return 0;
	r = bpf_sk_storage_get(&dbps_sessions, sk, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!r) {
		loss_count(DBPS_LOSS_NO_STORAGE);
		return 0;
	}
	if (!session_lock(r))
		return 0;
	session_identify(&r->s, sk, tgid);
	session_greeted(&r->s, w, version_len, n);
	r->s.fd = call_descriptor();
	if (r->s.flags & DBPS_KNOWN_ID)
		id_note(&r->s);
	session_unlock(r);
	if (!seen)
		server_seen(tgid, &r->s, w, version_len);
	return 0;
}

static __always_inline int tap_sent(struct sock *sk, int ret, enum tap_turn turn)
{
	struct dbps_record *r;
	struct call call;

	if (mysql_likely(tap_foreign_send(sk, ret)))
		return 0;
	r = tap_record(sk);
	if (!r) {
		if (!tap_may_greet(sk, ret))
			return 0;
		tap_greeting(sk, ret);
		tap_takes_first(sk, turn, TAP_OUT);
		return 0;
	}
	if (!tap_takes(r, turn, TAP_OUT))
		return 0;
	if (ret <= 0)
		return tap_nothing_sent(r, ret);
	if (tap_unknown(r, &call))
		return tap_unseen(r);
	if (!session_lock(r))
		return 0;
	if (mysql_unlikely(call.segments))
		tap_sent_segments(r, &call, (__u32)ret);
	else
		session_sent_all(r, call.buffer, (__u32)ret, NULL);
	session_unlock(r);
	return 0;
}

/* ------------------------------------------------------------------ where they sit ---------- */

SEC("tp_btf/sock_recv_length")
int BPF_PROG(dbps_recv, struct sock *sk, int ret, int flags)
{
	return tap_received(sk, ret, flags, TAP_ALONE);
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(dbps_send, struct sock *sk, int ret, int flags)
{
	return tap_sent(sk, ret, TAP_ALONE);
}

/* Where they can be preempted. A tracepoint calls its programs in the order in which they came. */
SEC("tp_btf/sock_recv_length")
int BPF_PROG(dbps_recv_first, struct sock *sk, int ret, int flags)
{
	tap_hold();
	tap_received(sk, ret, flags, TAP_FIRST);
	tap_release();
	return 0;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(dbps_recv_again, struct sock *sk, int ret, int flags)
{
	tap_hold();
	tap_received(sk, ret, flags, TAP_AGAIN);
	tap_release();
	return 0;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(dbps_send_first, struct sock *sk, int ret, int flags)
{
	tap_hold();
	tap_sent(sk, ret, TAP_FIRST);
	tap_release();
	return 0;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(dbps_send_again, struct sock *sk, int ret, int flags)
{
	tap_hold();
	tap_sent(sk, ret, TAP_AGAIN);
	tap_release();
	return 0;
}

/*
 * An event that no tap saw. What it may have changed is not known any more: the statement, the
 * database (PostgreSQL's sessions keep theirs), and during a login who it is. The user of a session
 * stays, with the mark: whom protect.users names is not to lose that by an event.
 */
static __noinline int tap_left_out(struct dbps_record *r)
{
	struct dbps_session *s = &r->s;

	if (!session_lock(r))
		return 0;
	s->flags |= DBPS_LEFT_OUT;
	session_unframe(s, DBPS_LOSS_LEFT_OUT);
	if (s->flags & DBPS_PGSQL) {
		pgsql_left_out(r);
	} else {
		s->db_len = 0;
		if (s->phase < DBPS_PHASE_CLOSED) {
			s->phase = DBPS_PHASE_UNKNOWN;
			s->flags |= DBPS_JOINED;
		}
	}
	session_unlock(r);
	return 0;
}

/* The third. Nothing that matters is lost with an event that moved no bytes. */
static __always_inline int tap_check(struct sock *sk, int ret, enum tap_direction direction)
{
	struct dbps_record *r;
	bool seen;

	if (mysql_likely(!tap_may_have_record(sk)))
		return 0;
	r = tap_record(sk);
	if (!r)
		return 0;
	seen = (r->taken[direction] & ~TAP_LOOKED) == (__u32)bpf_get_current_pid_tgid();
	r->taken[direction] = 0;
	return mysql_likely(seen) || ret <= 0 ? 0 : tap_left_out(r);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(dbps_recv_check, struct sock *sk, int ret, int flags)
{
	return flags & MSG_PEEK ? 0 : tap_check(sk, ret, TAP_IN);
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(dbps_send_check, struct sock *sk, int ret, int flags)
{
	return tap_check(sk, ret, TAP_OUT);
}

/*
 * Older kernels: at the end of what each family does for a receive and a send. Not of
 * sock_recvmsg() and sock_sendmsg(), which all pass: compilers inline them into the system calls
 * (Debian's 6.1). The six have had these arguments since Linux 4.2 (1b784140474e), the two of IPv6
 * since they are there (5.3, e473093639945).
 *
 * Verifying the taps is most of what dbpsd takes to start, so the programs of the other families
 * jump to those of IPv4. Not where a Unix socket sends: its argument is called `len`, not `size`,
 * which makes it another type to the kernel, and it lets none jump to a program of another type
 * (28ead3eaabc1, carried back to Debian's 6.1).
 */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} dbps_receives SEC(".maps"), dbps_sends SEC(".maps");

SEC("fexit/inet_recvmsg")
int BPF_PROG(dbps_recv_inet, struct socket *sock, struct msghdr *msg, size_t size, int flags,
	     int ret)
{
	return tap_received(sock->sk, ret, flags, TAP_ALONE);
}

SEC("fexit/inet6_recvmsg")
int dbps_recv_inet6(void *ctx)
{
	bpf_tail_call(ctx, &dbps_receives, 0);
	return 0;
}

SEC("fexit/unix_stream_recvmsg")
int dbps_recv_unix(void *ctx)
{
	bpf_tail_call(ctx, &dbps_receives, 0);
	return 0;
}

SEC("fexit/inet_sendmsg")
int BPF_PROG(dbps_send_inet, struct socket *sock, struct msghdr *msg, size_t size, int ret)
{
	return tap_sent(sock->sk, ret, TAP_ALONE);
}

SEC("fexit/inet6_sendmsg")
int dbps_send_inet6(void *ctx)
{
	bpf_tail_call(ctx, &dbps_sends, 0);
	return 0;
}

SEC("fexit/unix_stream_sendmsg")
int BPF_PROG(dbps_send_unix, struct socket *sock, struct msghdr *msg, size_t len, int ret)
{
	return tap_sent(sock->sk, ret, TAP_ALONE);
}

#endif
