/*
 * Encrypted sessions on their sockets: those that were encrypted before they were seen, and begin
 * and end of the statements of those whose plaintext is not followed.
 *
 * 1. A statement begins with bytes that are read while none is under way. It has ended when the
 * server looks for more after it has sent something: either finds nothing, or reads the next.
 * 2. Records of application data begin with 23; before the first of them is the handshake (RFC
 * 8446, 5.1). In TLS 1.3 its end, behind a record of type 20, looks like them up to Finished, a
 * hash of known size. The first record behind it is the login, which is not shown as a statement;
 * further rounds of a login cannot be told from statements.
 * 3. A server that waits for data in the middle of a statement (COPY FROM STDIN, LOCAL INFILE)
 * cannot be told from one that waits for the next.
 */
#ifndef DBPS_BPF_DARK_H
#define DBPS_BPF_DARK_H

#define TLS_CHANGE_CIPHER    20
#define TLS_APPLICATION_DATA 23
#define TLS_HEADER	     5
#define TLS_RECORD_MAX	     (16384 + 2048)

/* Records of one call that are looked at: those of a handshake's end and a login. */
#define TLS_RECORDS 8

/* A handshake message of a hash of 32 or 48 bytes, the record's type and an authentication tag of
 * 16 or 8 bytes (RFC 8446, 4.4.4, 5.2, B.4). */
static __always_inline bool dark_is_finished(__u32 len)
{
	return len == 4 + 32 + 1 + 16 || len == 4 + 48 + 1 + 16 || len == 4 + 32 + 1 + 8;
}

/* Type of the record that begins with these bytes, which are its header alone, or all of it. 0:
 * none does. */
static __always_inline __u32 dark_record(__u64 base, __u32 n, __u32 *ret_len)
{
	__u8 b[TLS_HEADER];
	__u32 len;

	if (n < TLS_HEADER || bpf_probe_read_user(b, sizeof(b), (const void *)base))
		return 0;
	len = (__u32)b[3] << 8 | b[4];
	if (b[0] < TLS_CHANGE_CIPHER || b[0] > TLS_APPLICATION_DATA || b[1] != 3 || !b[2] ||
	    b[2] > 3 || !len || len > TLS_RECORD_MAX)
		return 0;
	*ret_len = len;
	return n == TLS_HEADER || n >= TLS_HEADER + len ? b[0] : 0;
}

/* Whether a session that is older than dbps, and whose framing is not known, shows to be encrypted.
 */
static __noinline bool dark_is_older(struct dbps_record *r, __u64 base, __u32 n)
{
	struct dbps_session *s = &r->s;
	__u32 len;

	if ((s->flags & (DBPS_JOINED | DBPS_FRAMED_IN | DBPS_TLS_READ)) != DBPS_JOINED ||
	    dark_record(base, n, &len) != TLS_APPLICATION_DATA)
		return false;
	s->flags |= DBPS_TLS;
	plain_begin(r, true);
	return true;
}

/* A record of the handshake, or the first one behind it. Returns whether it is the login's. */
static __always_inline bool dark_begins_login(struct dbps_session *s, __u32 type, __u32 len)
{
	if (type != TLS_APPLICATION_DATA) {
		s->in.seq = (__u8)type;
		s->flags &= ~DBPS_SENT;
		return false;
	}
	/* The server's tickets are sent behind Finished, which a record that was cut may have
	 * hidden. */
	if (s->in.seq != TLS_CHANGE_CIPHER || s->flags & DBPS_SENT)
		return true;
	if (dark_is_finished(len))
		s->in.seq = TLS_APPLICATION_DATA;
	return false;
}

/* Bytes of the handshake or the login. Returns whether it is over, and they are a statement's. */
static __noinline bool dark_logged_in(struct dbps_session *s, __u64 base, __u32 n)
{
	__u32 type, len = 0;

	if (s->in.skip)
		return s->flags & DBPS_SENT;
	for (int i = 0; i < TLS_RECORDS; i++) {
		type = dark_record(base, n, &len);
		if (!type)
			break;
		if (dark_begins_login(s, type, len)) {
			s->in.skip = 1;
			s->flags &= ~DBPS_SENT;
			break;
		}
		if (n <= TLS_HEADER + len)
			break;
		base += TLS_HEADER + len;
		n -= TLS_HEADER + len;
	}
	return false;
}

static __noinline int dark_received(struct dbps_record *r, __u64 base, __u32 n)
{
	struct dbps_session *s = &r->s;

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

/* A read would block. */
static __noinline int dark_waits(struct dbps_session *s)
{
	if (s->flags & DBPS_TLS_READ || !(s->flags & DBPS_SENT))
		return 0;
	if (s->phase <= DBPS_PHASE_IDLE && (s->phase != DBPS_PHASE_AUTH || !s->in.skip))
		return 0;
	plain_unread(s);
	session_end(s, 0, DBPS_PHASE_IDLE);
	return 0;
}

#endif
