/*
 * Encrypted sessions on their sockets: those that were encrypted before they were seen, and begin
 * and end of the statements of those whose plaintext is not followed.
 *
 * 1. A statement begins with bytes that are read while none is under way. It has ended when the
 * server looks for more after it has sent something: either finds nothing, or reads the next.
 * A server that never looks, as it reads only what a poll has told of (Node, Python's asyncio),
 * shows no other end than that something was sent: that is taken for it, and marked
 * (DBPS_RESYNCED).
 * 2. Records of application data begin with 23; before the first of them is the handshake (RFC
 * 8446, 5.1). In TLS 1.3 its end, behind a record of type 20, looks like them up to Finished, a
 * hash of known size. The first record behind it is the login, which is not shown as a statement;
 * further rounds of a login cannot be told from statements.
 * 3. Up to the login records are followed by position, over any cut between calls, in the session's
 * `in`: type and header as PostgreSQL's messages have them, in `full` the type of the handshake's
 * last record, `skip` from the login on. Where an event was lost, or no record is where one should
 * begin, the next call is taken to begin with one.
 * 4. PostgreSQL with GSSAPI: packets are a length and a token, and the handshake's are no wrap
 * tokens (RFC 4121, 4.2.6.2). What comes first in one of those is the login.
 * 5. A server that waits for data in the middle of a statement (COPY FROM STDIN, LOCAL INFILE)
 * cannot be told from one that waits for the next: both have sent a short record, and its length
 * tells nothing, as that of a CopyInResponse is within those of short answers.
 */
#ifndef DBPS_BPF_DARK_H
#define DBPS_BPF_DARK_H

#define TLS_CHANGE_CIPHER    20
#define TLS_APPLICATION_DATA 23
#define TLS_HEADER	     5
#define TLS_RECORD_MAX	     (16384 + 2048)

#define GSS_LENGTH   4
#define GSS_ACCEPTOR 1
#define GSS_SEALED   2
#define GSS_SUBKEY   4

/* Pieces of records in one call that are looked at: those of a handshake and a login. */
#define TLS_PIECES 65536

/* A handshake message of a hash of 32 or 48 bytes, the record's type and an authentication tag of
 * 16 or 8 bytes (RFC 8446, 4.4.4, 5.2, B.4). */
static __always_inline bool dark_is_finished(__u32 len)
{
	return len == 4 + 32 + 1 + 16 || len == 4 + 48 + 1 + 16 || len == 4 + 32 + 1 + 8;
}

/* Length of the record that has this header; 0: that is none. */
static __always_inline __u32 dark_record(const __u8 b[TLS_HEADER])
{
	__u32 len = (__u32)b[3] << 8 | b[4];

	if (b[0] < TLS_CHANGE_CIPHER || b[0] > TLS_APPLICATION_DATA || b[1] != 3 || !b[2] ||
	    b[2] > 3 || len > TLS_RECORD_MAX)
		return 0;
	return len;
}

/* Whether a call moved a record of application data first, all of it or its header alone. */
static __always_inline bool dark_begins_data(__u64 base, __u32 n)
{
	__u8 b[TLS_HEADER];
	__u32 len;

	if (n < TLS_HEADER || bpf_probe_read_user(b, sizeof(b), (const void *)base))
		return false;
	len = dark_record(b);
	return b[0] == TLS_APPLICATION_DATA && len && (n == TLS_HEADER || n >= TLS_HEADER + len);
}

/*
 * Whether these are a sealed wrap token of Kerberos, nothing appended to it, alone as PostgreSQL
 * reads them or with the length that it sends before them (be-secure-gssapi.c).
 */
static __always_inline bool dark_is_wrapped(const struct dbps_session *s, __u64 base, __u32 n)
{
	__u8 b[8] = {}; /* token id, flags, filler, length of what is appended */

	if (!(s->flags & DBPS_PGSQL) || n < GSS_LENGTH + sizeof(b) ||
	    bpf_probe_read_user(b, 1, (const void *)base))
		return false;
	if (!b[0]) /* a length, which is at most 16 KiB */
		base += GSS_LENGTH;
	return !bpf_probe_read_user(b, sizeof(b), (const void *)base) && b[0] == 5 && b[1] == 4 &&
	       (b[2] & ~(GSS_ACCEPTOR | GSS_SUBKEY)) == GSS_SEALED && b[3] == 0xff && !b[4] &&
	       !b[5];
}

/* Whether a session that is older than dbps, and whose framing is not known, shows to be encrypted.
 */
static __always_inline bool dark_is_older(struct dbps_session *s, __u64 base, __u32 n)
{
	if ((s->flags & (DBPS_JOINED | DBPS_FRAMED_IN | DBPS_TLS_READ)) != DBPS_JOINED ||
	    (!dark_begins_data(base, n) && !dark_is_wrapped(s, base, n)))
		return false;
	s->flags |= DBPS_TLS;
	return true;
}

static __always_inline void dark_begins_login(struct dbps_session *s)
{
	s->in.skip = 1;
	s->flags &= ~DBPS_SENT;
}

/* A record begins: of the handshake, or the first one behind it, which is the login. */
static __always_inline void dark_begins(struct dbps_session *s)
{
	__u32 type = s->in.seq, len = s->in.left;

	if (type != TLS_APPLICATION_DATA) {
		s->in.full = (__u8)type;
		s->flags &= ~DBPS_SENT;
	} else if (s->in.full != TLS_CHANGE_CIPHER || s->flags & DBPS_SENT) {
		/* The server's tickets are sent behind Finished, which was not seen then. */
		dark_begins_login(s);
	} else if (dark_is_finished(len)) {
		s->in.full = TLS_APPLICATION_DATA;
	}
}

/* Header bytes: all of them where they lie in the call, else one. Returns how many, or negative. */
static __always_inline int dark_header(struct dbps_stream *in, __u64 base, __u32 n)
{
	__u32 have = in->hdr_have;
	__u8 b[TLS_HEADER];

	if (!have && n >= TLS_HEADER) {
		if (bpf_probe_read_user(b, sizeof(b), (const void *)base))
			return -1;
		in->seq = b[0];
		__builtin_memcpy(in->hdr, b + 1, 4);
		in->hdr_have = TLS_HEADER;
		return TLS_HEADER;
	}
	if (bpf_probe_read_user(b, 1, (const void *)base))
		return -1;
	if (have)
		in->hdr[(have - 1) & 3] = b[0];
	else
		in->seq = b[0];
	in->hdr_have = (__u8)(have + 1);
	return 1;
}

/* The bytes of a call that are still to be looked at. */
struct dark_feed {
	struct dbps_session *s;
	__u64 base;
	__u32 n;
};

/* Bytes of a record's header or body. Returns 1 when there is nothing more to do. */
DBPS_TURN(TLS_PIECES, dark_piece, struct dark_feed, f)
{
	struct dbps_stream *in = &f->s->in;
	__u8 b[TLS_HEADER];
	__u32 n = f->n;
	int taken;

	(void)i;
	if (!n || in->skip)
		return 1;
	if (in->left) {
		taken = (int)(in->left < n ? in->left : n);
		in->left -= (__u32)taken;
	} else {
		taken = dark_header(in, f->base, n);
	}
	if (taken < 0)
		return 1;
	if (in->hdr_have >= TLS_HEADER) {
		b[0] = in->seq;
		__builtin_memcpy(b + 1, in->hdr, 4);
		in->hdr_have = 0;
		in->left = dark_record(b);
		if (!in->left)
			return 1;
		dark_begins(f->s);
	}
	f->base += (__u32)taken;
	f->n -= (__u32)taken;
	return 0;
}

/* Bytes of the handshake or the login. Returns whether it is over, and they are a statement's. */
__noinline int dark_logged_in(struct dbps_session *s, __u64 base, __u32 n)
{
	struct dark_feed f = {.s = s, .base = base, .n = n};

	if (!s)
		return 0;
	if (s->in.skip)
		return (s->flags & DBPS_SENT) != 0;
	if (dark_is_wrapped(s, base, n)) {
		dark_begins_login(s);
		return 0;
	}
	if (s->lost) {
		s->in.left = 0;
		s->in.hdr_have = 0;
		s->lost = 0;
	}
	DBPS_LOOP(dark_piece, &f);
	if (f.n && !s->in.skip)
		s->lost = 1;
	return 0;
}

__noinline int dark_received(struct dbps_record *r, __u64 base, __u32 n)
{
	struct dbps_session *s;

	if (!r)
		return 0;
	s = &r->s;
	plain_note(s);
	if (s->flags & DBPS_TLS_READ || s->phase == DBPS_PHASE_CLOSED)
		return 0;
	if (s->phase < DBPS_PHASE_CLOSED) {
		if (s->phase != DBPS_PHASE_UNKNOWN && !dark_logged_in(s, base, n))
			return 0;
		s->phase = DBPS_PHASE_IDLE;
	}
	plain_unread(s);
	received_opaque(r);
	return 0;
}

/* Whether any session of this one's server has shown that it looks for more. */
__noinline int dark_looks(const struct dbps_session *s, bool now)
{
	struct dbps_server_seen *seen;
	__u32 server;

	if (!s)
		return 0;
	server = dbps_session_server(s);
	seen = bpf_map_lookup_elem(&dbps_servers, &server);
	if (seen && now)
		seen->tls_looks = 1;
	return !seen || seen->tls_looks;
}

__noinline int dark_sent(struct dbps_session *s)
{
	if (!s)
		return 0;
	plain_note(s);
	if (s->flags & DBPS_TLS_READ ||
	    (s->phase != DBPS_PHASE_OPAQUE && (s->phase != DBPS_PHASE_AUTH || !s->in.skip)) ||
	    dark_looks(s, false))
		return 0;
	session_end(s, 0, DBPS_PHASE_IDLE);
	s->flags |= DBPS_RESYNCED;
	return 0;
}

/* A send would block: what was taken for an end was none. */
__noinline int dark_send_waits(struct dbps_session *s)
{
	if (s && s->phase == DBPS_PHASE_IDLE && s->flags & DBPS_RESYNCED && s->flags & DBPS_SENT)
		s->phase = DBPS_PHASE_OPAQUE;
	return 0;
}

/* A read would block. */
__noinline int dark_waits(struct dbps_session *s, __u64 requested)
{
	if (!s)
		return 0;
	if (s->flags & DBPS_TLS_READ)
		return 0;
	/* Who asks for more may only have filled a large buffer before. */
	if (requested <= TLS_HEADER + TLS_RECORD_MAX)
		dark_looks(s, true);
	if (!(s->flags & DBPS_SENT))
		return 0;
	if (s->phase <= DBPS_PHASE_IDLE && (s->phase != DBPS_PHASE_AUTH || !s->in.skip))
		return 0;
	plain_unread(s);
	session_end(s, 0, DBPS_PHASE_IDLE);
	return 0;
}

#endif
