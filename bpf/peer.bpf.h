/*
 * What a server's socket tells of the client at its other end: whether it is there, and if not, how
 * it went. Only the snapshot asks, so the taps pay nothing for it.
 *
 * 1. TCP: a FIN says that the client sends nothing more. It may still read; that it does not shows
 * only when the server writes, as a closed socket answers with a reset (RFC 9293, 3.6).
 * 2. TCP: tcp_mstamp is the time of the last packet in either direction (tcp_mstamp_refresh(),
 * net/ipv4/tcp_output.c), so the client went then or before.
 * 3. Unix: unix_release_sock() marks the peer dead and shuts this end down in both directions, with
 * ECONNRESET when it left bytes unread. There is no time in it.
 * 4. A host that vanished without a packet cannot be told from a silent client; keepalive or
 * retransmission ends the connection after a time.
 */
#ifndef DBPS_BPF_PEER_H
#define DBPS_BPF_PEER_H

/* include/net/tcp_states.h, include/net/sock.h, asm-generic/errno.h: equal on all processors used.
 */
#define TCP_STATE_ESTABLISHED 1
#define TCP_STATE_CLOSE	      7
#define TCP_STATE_CLOSE_WAIT  8
#define SHUTDOWN_BOTH	      3
#define FLAG_DEAD	      1 /* 1 << SOCK_DEAD */
#define ERROR_EPIPE	      32
#define ERROR_ECONNABORTED    103
#define ERROR_ECONNRESET      104

static __always_inline __u32 peer_of_tcp(struct sock *sk, __u64 *ret_ns)
{
	__u8 state = sk->__sk_common.skc_state;
	int error = sk->sk_err;
	struct tcp_sock *tp;

	if (state == TCP_STATE_ESTABLISHED)
		return DBPS_PEER_THERE;
	tp = bpf_skc_to_tcp_sock(sk);
	if (tp)
		*ret_ns = tp->tcp_mstamp * 1000;
	if (state == TCP_STATE_CLOSE_WAIT)
		return DBPS_PEER_CLOSED;
	if (state != TCP_STATE_CLOSE || error == ERROR_ECONNABORTED)
		return DBPS_PEER_CUT;
	if (error == ERROR_ECONNRESET || error == ERROR_EPIPE)
		return DBPS_PEER_RESET;
	return error ? DBPS_PEER_TIMED_OUT : DBPS_PEER_GONE;
}

static __always_inline __u32 peer_of_unix(struct sock *sk)
{
	struct unix_peer peer;

	if (!sk->sk_shutdown)
		return DBPS_PEER_THERE;
	peer = unix_peer(sk);
	if (!peer.there || peer.flags & FLAG_DEAD)
		return sk->sk_err == ERROR_ECONNRESET ? DBPS_PEER_RESET : DBPS_PEER_CLOSED;
	return sk->sk_shutdown == SHUTDOWN_BOTH ? DBPS_PEER_CUT : DBPS_PEER_HALF_CLOSED;
}

/* enum dbps_peer, and when it was last heard of; 0: unknown, or it is there. */
static __always_inline __u32 peer_of(struct sock *sk, __u64 *ret_ns)
{
	*ret_ns = 0;
	return sk->__sk_common.skc_family == AF_UNIX ? peer_of_unix(sk) : peer_of_tcp(sk, ret_ns);
}

#endif
