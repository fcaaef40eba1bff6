/*
 * Signals, for PostgreSQL (userspace/kill/signal.c): the look whether the statement that is meant
 * executes, and the signal to its backend. Where the kernel can, the backend looks and signals
 * itself: it cannot go on meanwhile, so that no later statement is met. Else whoever asks does so,
 * and looks again after.
 */
#ifndef DBPS_BPF_SIGNAL_H
#define DBPS_BPF_SIGNAL_H

/* Linux 6.13, 6280cf718db0 */
extern int bpf_send_signal_task(struct task_struct *task, int sig, enum pid_type type,
				__u64 value) __ksym __weak;

/*
 * Linux 7.0, and 6.18. The function runs in the task before it returns to user mode, for which a
 * sleep that a signal would end is ended, too. Of bpf_map itself the compiler would tell libbpf the
 * name only, which is not enough for it.
 */
struct bpf_map___here {
	__u32 id;
};
typedef int (*signal_work_fn)(struct bpf_map___here *map, void *key, void *value);
extern int bpf_task_work_schedule_signal(struct task_struct *task, struct bpf_task_work *work,
					 void *map__map, signal_work_fn callback) __ksym __weak;
extern int bpf_task_work_schedule_signal_impl(struct task_struct *task, struct bpf_task_work *work,
					      void *map__map, signal_work_fn callback,
					      void *aux__prog) __ksym __weak;

static __always_inline bool signal_wanted(const struct dbps_session *s, __u64 sequence)
{
	return !sequence || (*(volatile __u64 *)&s->sequence == sequence &&
			     *(volatile __u8 *)&s->phase > DBPS_PHASE_IDLE);
}

static __always_inline void signal_count(struct dbps_control *control, __u64 window_ns, bool late)
{
	__sync_fetch_and_add(&control->signals, 1);
	if (late)
		__sync_fetch_and_add(&control->signals_late, 1);
	control->signal_window_ns = window_ns;
	if (window_ns > control->signal_window_max_ns)
		control->signal_window_max_ns = window_ns;
}

/* ------------------------------------------------------------------ by the backend ---------- */

/*
 * In the backend, whose taps settle the entry when its statement is over: they run in this very
 * task, so nothing ends or begins while this looks and signals. The entry's memory may have become
 * another's by now, if that kill was given up: its process tells.
 */
static int signal_here(struct bpf_map___here *map, void *key, struct dbps_cancel *c)
{
	struct dbps_control *control = control_get();
	__u64 began_ns = bpf_ktime_get_ns();

	(void)map;
	(void)key;
	if (!control || c->backend != (__u32)(bpf_get_current_pid_tgid() >> 32) ||
	    c->signalled != DBPS_SIGNAL_HANDED)
		return 0;
	if (c->settled_ns) {
		c->signalled = DBPS_SIGNAL_OVER;
		return 0;
	}
	if (bpf_send_signal(c->signal)) {
		c->signalled = DBPS_SIGNAL_FAILED;
		return 0;
	}
	signal_count(control, bpf_ktime_get_ns() - began_ns, false);
	c->sends++;
	c->signalled = DBPS_SIGNAL_SENT;
	return 0;
}

/* Negative where the kernel cannot. */
static __always_inline int signal_schedule(struct task_struct *task, struct dbps_cancel *c)
{
	if (bpf_task_work_schedule_signal)
		return bpf_task_work_schedule_signal(task, &c->work, &dbps_cancels,
						     (signal_work_fn)signal_here);
	if (bpf_task_work_schedule_signal_impl)
		return bpf_task_work_schedule_signal_impl(task, &c->work, &dbps_cancels,
							  (signal_work_fn)signal_here, NULL);
	return -1;
}

static __always_inline bool signal_hand(struct task_struct *task, const struct dbps_session *s,
					struct dbps_cancel *c, __u32 sig)
{
	/* It has it already: one that waits for a disk, or for a processor. */
	if (c->signalled == DBPS_SIGNAL_HANDED)
		return true;
	c->backend = s->tgid;
	c->signal = sig;
	c->signalled = DBPS_SIGNAL_HANDED;
	if (!signal_schedule(task, c))
		return true;
	c->signalled = DBPS_SIGNAL_NONE;
	return false;
}

/* ------------------------------------------------------------------ from here --------------- */

/*
 * Preemption stays on: with it off the kernel leaves the signal to an interrupt (87c544108b61),
 * which comes some microseconds later, and behind the second look.
 */
static __always_inline __u32 signal_send(struct task_struct *task, struct dbps_session *s,
					 struct dbps_control *control)
{
	__u64 sequence = control->signal_sequence, began_ns = bpf_ktime_get_ns(), window_ns;
	bool late;

	if (bpf_send_signal_task(task, (int)control->signal, PIDTYPE_TGID, 0))
		return DBPS_SIGNAL_FAILED;
	window_ns = bpf_ktime_get_ns() - began_ns;
	/* A full barrier, before the second look. */
	__sync_fetch_and_add(&s->gen, 0);
	late = !signal_wanted(s, sequence);
	signal_count(control, window_ns, late);
	return late ? DBPS_SIGNAL_LATE : DBPS_SIGNAL_SENT;
}

static __always_inline __u32 signal_task(struct task_struct *task, struct dbps_session *s,
					 struct dbps_control *control)
{
	__u32 told;
	struct dbps_cancel *c = cancel_get(s->cookie, DBPS_CANCEL_QUERY);

	/* The number may mean another process by now; the server's children bear its name. */
	if ((__u32)task->real_parent->tgid != s->server_tgid || !tap_is_postgres(task))
		return DBPS_SIGNAL_FAILED;
	if (!signal_wanted(s, control->signal_sequence))
		return DBPS_SIGNAL_OVER;
	if (!control->signal_sequence || !c)
		return signal_send(task, s, control);
	if (!control->signal_now && signal_hand(task, s, c, control->signal))
		return DBPS_SIGNAL_HANDED;
	told = signal_send(task, s, control);
	if (told != DBPS_SIGNAL_FAILED)
		c->sends++;
	c->signalled = told;
	return told;
}

/* Signal the session's process. The record is read without its lock: the process that is meant is
 * the one that changes it. */
static __always_inline __u32 signal_session(struct dbps_session *s, struct dbps_control *control)
{
	struct task_struct *task;
	__u32 told;

	if (!bpf_send_signal_task || !bpf_task_from_pid || !bpf_task_release)
		return DBPS_SIGNAL_UNSUPPORTED;
	task = bpf_task_from_pid((__s32)s->tgid);
	if (!task)
		return DBPS_SIGNAL_FAILED;
	told = signal_task(task, s, control);
	bpf_task_release(task);
	return told;
}

#endif
