/*
 * The thread that serves a statement: what it had used when the statement began, and, when the
 * snapshot asks, what it does just now.
 *
 * 1. The scheduler adds to sum_exec_runtime at each switch and tick, so what is read of a thread
 * that runs is up to a tick old.
 * 2. last_arrival is when the thread last got a processor, and sum_exec_runtime -
 * prev_sum_exec_runtime what it has run since (kernel/sched/fair.c, set_next_entity()): together
 * when it went to sleep. last_queued is when it became ready, while it is (kernel/sched/stats.h).
 * These are of the scheduler's clock, which drifts against CLOCK_MONOTONIC: now is told the same
 * way of the thread that reads.
 * 3. A thread that sleeps in a system call left its number and arguments in its registers; the
 * number is -1 when it came into the kernel otherwise.
 */
#ifndef DBPS_BPF_THREAD_H
#define DBPS_BPF_THREAD_H

/* include/linux/sched.h */
#define STATE_UNINTERRUPTIBLE 0x02
#define STATE_STOPPED	      0x0c /* __TASK_STOPPED, __TASK_TRACED */
#define STATE_NOLOAD	      0x400

/* Linux 6.2, 3f0e6f2b41d3 */
extern struct task_struct *bpf_task_from_pid(__s32 pid) __ksym __weak;
extern void bpf_task_release(struct task_struct *task) __ksym __weak;

static __always_inline void thread_begin(struct dbps_record *r)
{
	struct task_struct *task = bpf_get_current_task_btf();

	r->begun.cpu_ns = task->se.sum_exec_runtime;
	r->begun.read_bytes = task->ioac.read_bytes;
	r->begun.write_bytes = task->ioac.write_bytes;
}

/* An int, a byte in Linux 7.2: a read of another size than the field's is for no load instruction.
 */
static __always_inline bool thread_on_cpu(struct task_struct *task)
{
	return BPF_CORE_READ_BITFIELD(task, on_cpu);
}

static __always_inline __u8 thread_state(struct task_struct *task)
{
	unsigned int state = task->__state;

	if (!state)
		return thread_on_cpu(task) ? DBPS_THREAD_RUNS : DBPS_THREAD_READY;
	if (state & STATE_STOPPED)
		return DBPS_THREAD_STOPPED;
	if (BPF_CORE_READ_BITFIELD(task, in_iowait))
		return DBPS_THREAD_DISK;
	if (state & STATE_UNINTERRUPTIBLE && !(state & STATE_NOLOAD))
		return DBPS_THREAD_BLOCKED;
	return DBPS_THREAD_SLEEPS;
}

/* When it last had a processor, by the scheduler's clock. */
static __always_inline __u64 thread_ran(struct task_struct *task)
{
	return task->sched_info.last_arrival + task->se.sum_exec_runtime -
	       task->se.prev_sum_exec_runtime;
}

static __always_inline __u64 thread_for(struct task_struct *task, __u8 state)
{
	__u64 now = thread_ran(bpf_get_current_task_btf()), since;

	if (state == DBPS_THREAD_RUNS)
		since = task->sched_info.last_arrival;
	else if (state == DBPS_THREAD_READY)
		since = task->sched_info.last_queued;
	else
		since = thread_ran(task);
	if (!since)
		return 0;
	return now > since ? now - since : 1;
}

static __always_inline void thread_call(struct dbps_thread_look *t, struct task_struct *task)
{
	CALL_REGS *regs = (CALL_REGS *)bpf_task_pt_regs(task);

	t->call = (__s32)CALL_NR(regs);
	t->call_fd = CALL_ARG1(regs);
}

/* As sk_stream_is_writeable() and unix_writable() in the kernel. */
static __always_inline bool thread_socket_full(struct sock *sk)
{
	int queued = sk->sk_wmem_queued;

	if (sk->__sk_common.skc_family == AF_UNIX)
		return (__s64)sk->sk_wmem_alloc.refs.counter << 2 > sk->sk_sndbuf;
	return sk->sk_sndbuf - queued < queued >> 1;
}

static __always_inline bool thread_socket_awaited(struct sock *sk)
{
	struct socket_wq *wq = sk->sk_wq;

	return wq && wq->wait.head.next != &wq->wait.head;
}

/* What it has used since the statement began; `used` is what it had used then. */
static __always_inline void thread_used(struct dbps_thread_look *t, struct task_struct *task)
{
	__u64 cpu_ns = task->se.sum_exec_runtime;

	t->used_known = t->used.cpu_ns && cpu_ns >= t->used.cpu_ns;
	t->used.cpu_ns = cpu_ns - t->used.cpu_ns;
	t->used.read_bytes = task->ioac.read_bytes - t->used.read_bytes;
	t->used.write_bytes = task->ioac.write_bytes - t->used.write_bytes;
}

static __noinline int thread_look(struct dbps_thread_look *t, const struct dbps_session *s,
				  struct sock *sk)
{
	struct task_struct *task;

	if (!bpf_task_from_pid || !bpf_task_release || s->phase <= DBPS_PHASE_IDLE || !s->tid)
		return 0;
	task = bpf_task_from_pid((__s32)s->tid);
	if (!task)
		return 0;
	/* A number that means another thread by now. */
	if ((__u32)task->tgid == s->tgid) {
		__u8 state = thread_state(task);

		t->call = -1;
		t->call_fd = 0;
		if (state >= DBPS_THREAD_SLEEPS)
			thread_call(t, task);
		t->awaited = thread_socket_awaited(sk);
		t->full = thread_socket_full(sk);
		t->for_ns = thread_for(task, state);
		thread_used(t, task);
		t->state = state;
	}
	bpf_task_release(task);
	return 0;
}

#endif
