/*
 * One accessor for each thing that differs between kernels and processors: the registers of the
 * system call that a tap runs in, and where its bytes are.
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

/* Bytes in the caller's memory. */
struct dbps_span {
	__u64 base;
};

static __always_inline int dbps_span_read(const struct dbps_span *span, __u32 off, void *dst,
					  __u32 n)
{
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
