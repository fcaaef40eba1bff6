/*
 * One accessor for each thing that differs between kernels and processors: loops, Unix sockets, the
 * registers of the system call that a tap runs in, and where its bytes are. Which of two ways a
 * kernel has is known when the programs are loaded: the verifier drops the other one.
 */
#ifndef DBPS_BPF_COMPAT_H
#define DBPS_BPF_COMPAT_H

/* include/linux/socket.h: equal on all processors, and no part of BTF. */
#define AF_UNIX	 1
#define AF_INET	 2
#define AF_INET6 10

/* System call numbers: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h.
 */
#if defined(__TARGET_ARCH_x86)
enum {
	NR_READ = 0,
	NR_WRITE = 1,
	NR_READV = 19,
	NR_WRITEV = 20,
	NR_SENDTO = 44,
	NR_RECVFROM = 45,
	NR_SENDMSG = 46,
	NR_RECVMSG = 47,
};
#define CALL_REGS	struct pt_regs
#define CALL_NR(regs)	((__u32)(regs)->orig_ax)
#define CALL_ARG1(regs) ((regs)->di)
#define CALL_ARG2(regs) ((regs)->si)
#define CALL_ARG3(regs) ((regs)->dx)
#elif defined(__TARGET_ARCH_arm64)
enum {
	NR_READ = 63,
	NR_WRITE = 64,
	NR_READV = 65,
	NR_WRITEV = 66,
	NR_SENDTO = 206,
	NR_RECVFROM = 207,
	NR_SENDMSG = 211,
	NR_RECVMSG = 212,
};
/* The fields that are used, found by name at load: this compiles against any vmlinux.h. */
struct pt_regs___dbps {
	__u64 regs[31];
	__u64 orig_x0; /* regs[0] becomes the result */
	__s32 syscallno;
} __attribute__((preserve_access_index));
#define CALL_REGS	struct pt_regs___dbps
#define CALL_NR(regs)	((__u32)(regs)->syscallno)
#define CALL_ARG1(regs) ((regs)->orig_x0)
#define CALL_ARG2(regs) ((regs)->regs[1])
#define CALL_ARG3(regs) ((regs)->regs[2])
#else
#error "no register access for this processor"
#endif

/* A pointer to look through only. Linux 6.2, a35b9af4ec2c */
extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym __weak;

/* Linux 6.10, fc7566ad0a82 */
extern void bpf_preempt_disable(void) __ksym __weak;
extern void bpf_preempt_enable(void) __ksym __weak;
/* 6.14, c8e2ee1f3df0 */
extern void bpf_local_irq_save(unsigned long *flags__irq_flag) __ksym __weak;
extern void bpf_local_irq_restore(unsigned long *flags__irq_flag) __ksym __weak;

/* Where tracepoints do not: what runs a tap keeps its processor, and that one's window. */
static __always_inline void tap_hold(void)
{
	bpf_preempt_disable();
}

/* Who has to give way does so behind the program, not in it: with interrupts off nobody is
 * scheduled right here. */
static __always_inline void tap_release(void)
{
	unsigned long flags;

	bpf_local_irq_save(&flags);
	bpf_preempt_enable();
	bpf_local_irq_restore(&flags);
}

/* Whether this kernel has a helper: what does without it is laid where it is in nobody's way. */
#define HAS_HELPER(name)                                                                           \
	__builtin_expect(bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_##name), 1)

/* ------------------------------------------------------------------ loops ------------------- */

#define TURNS_MAX (65536 + 64)

/* What bpf_for_each_map_elem() goes over where bpf_loop() is missing: nothing is kept there. Else
 * load makes it as small as a map can be. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TURNS_MAX);
	__type(key, __u32);
	__type(value, __u8);
} dbps_turns SEC(".maps");

/* A turn of a loop: int function(__u32 i, type *context), of which there are n at most. Returns 1
 * when it was the last. */
#define DBPS_TURN(n, function, type, context)                                                      \
	_Static_assert((n) <= TURNS_MAX, "no loop has as many turns");                             \
	enum { function##_turns = (n) };                                                           \
	static __always_inline int function(__u32 i, type *context);                               \
	static int function##_elem(const void *map, const __u32 *key, const void *value,           \
				   type *context)                                                  \
	{                                                                                          \
		return *key >= function##_turns || function(*key, context);                        \
	}                                                                                          \
	static __always_inline int function(__u32 i, type *context)

/* Linux 5.17, e6f2dd0f8067; before, 5.13, 69c087ba6225. */
#define DBPS_LOOP(function, context)                                                               \
	(HAS_HELPER(loop) ? bpf_loop(function##_turns, function, context, 0)                       \
			  : bpf_for_each_map_elem(&dbps_turns, function##_elem, context, 0))

/* ------------------------------------------------------------------ Unix sockets ------------ */

/*
 * Linux 5.16, 9eeb3aa33ae0. Before, the socket is read as any memory of the kernel, which lockdown
 * in confidentiality mode refuses, as it does the taps of such a kernel.
 */
/* Whether a Unix socket has a name, as those have that a listening one accepted. */
static __always_inline bool unix_is_named(struct sock *sk)
{
	struct unix_sock *u;

	if (!HAS_HELPER(skc_to_unix_sock))
		return BPF_CORE_READ((struct unix_sock *)sk, addr);
	u = bpf_skc_to_unix_sock(sk);
	return u && u->addr;
}

/* What is looked at of the socket at the other end; all 0: there is none. */
struct unix_peer {
	__u64 cookie;
	__u64 flags;
	bool there;
};

static __always_inline struct unix_peer unix_peer(struct sock *sk)
{
	struct unix_peer p = {};
	struct unix_sock *u;
	struct sock *peer;

	if (!HAS_HELPER(skc_to_unix_sock)) {
		peer = BPF_CORE_READ((struct unix_sock *)sk, peer);
		p.there = peer;
		p.cookie = (__u64)BPF_CORE_READ(peer, __sk_common.skc_cookie.counter);
		p.flags = BPF_CORE_READ(peer, __sk_common.skc_flags);
		return p;
	}
	u = bpf_skc_to_unix_sock(sk);
	peer = u ? u->peer : NULL;
	if (!peer)
		return p;
	p.there = true;
	p.cookie = (__u64)peer->__sk_common.skc_cookie.counter;
	p.flags = peer->__sk_common.skc_flags;
	return p;
}

/* ------------------------------------------------------------------ the caller's memory ----- */

#define STACK_MAX 512

/*
 * A helper fills a buffer of the stack that is not set, also when no constant tells how much of it,
 * since Linux 6.3 (6715df8d5d24); later versions of 6.1 and 5.15 have that as well. BTF does not
 * tell of it, so it goes by the tracepoints of 6.3: setting a buffer is never wrong.
 */
static __always_inline void stack_set(void *buffer, __u64 size)
{
	if (!__builtin_expect(bpf_core_type_exists(btf_trace_sock_recv_length), 1))
		__builtin_memset(buffer, 0, size);
}

/* Bytes in the caller's memory. */
struct dbps_span {
	__u64 base;
};

static __always_inline int dbps_span_read(const struct dbps_span *span, __u32 off, void *dst,
					  __u32 n)
{
	const __u64 size = __builtin_object_size(dst, 0); /* greatest number: not known here */

	if (!__builtin_constant_p(n) && size <= STACK_MAX)
		stack_set(dst, size);
	return bpf_probe_read_user(dst, n, (const void *)(span->base + off));
}

/* Segments of one call that are followed; more than that are counted as a loss. */
#define CALL_SEGMENTS 8

/* The system call that a tap runs in: its buffer, or its vector of buffers. */
struct call {
	__u64 buffer;	 /* address; of a struct iovec when `segments` is not 0 */
	__u64 requested; /* bytes asked for; 0 when not known */
	__u32 segments;
	__u32 tid; /* of the calling thread */
};

/* The descriptor that the current system call is about. */
static __always_inline int call_descriptor(void)
{
	CALL_REGS *regs = (CALL_REGS *)bpf_task_pt_regs(bpf_get_current_task_btf());

	return (int)CALL_ARG1(regs);
}

/* user: struct msghdr of a 64-bit process. */
struct user_msghdr64 {
	__u64 name;
	__u32 namelen;
	__u32 pad;
	__u64 iov;
	__u64 iovlen;
};

static __always_inline int call_message(struct call *call, __u64 msg)
{
	struct user_msghdr64 m;

	if (bpf_probe_read_user(&m, sizeof(m), (const void *)msg))
		return -1;
	call->buffer = m.iov;
	call->segments = (__u32)m.iovlen;
	return 0;
}

/* A vector of one buffer is a buffer. */
static __always_inline void call_single(struct call *call)
{
	__u64 iov[2]; /* base and length */

	if (bpf_probe_read_user(iov, sizeof(iov), (const void *)call->buffer))
		return;
	call->buffer = iov[0];
	call->requested = iov[1];
	call->segments = 0;
}

/* The calls with a vector. Negative: a call that is not understood. */
static __noinline int call_vector(struct call *call, __u32 nr, __u64 arg3)
{
	if (nr == NR_READV || nr == NR_WRITEV)
		call->segments = (__u32)arg3;
	else if ((nr != NR_RECVMSG && nr != NR_SENDMSG) || call_message(call, call->buffer))
		return -1;
	if (call->segments == 1)
		call_single(call);
	return 0;
}

/* Where the bytes of the current system call are. Negative: a call that is not understood. */
static __always_inline int call_current(struct call *call)
{
	struct task_struct *task = bpf_get_current_task_btf();
	CALL_REGS *regs = (CALL_REGS *)bpf_task_pt_regs(task);
	__u32 nr = CALL_NR(regs);

	call->buffer = CALL_ARG2(regs);
	call->requested = CALL_ARG3(regs);
	call->segments = 0;
	call->tid = (__u32)task->pid;
	if (nr == NR_RECVFROM || nr == NR_SENDTO || nr == NR_READ || nr == NR_WRITE)
		return 0;
	call->requested = 0;
	return call_vector(call, nr, CALL_ARG3(regs));
}

#endif
