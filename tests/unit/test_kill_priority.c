/*
 * Priorities of a thread of this very process: taken down, given back, and left alone when it is
 * another thread, or somebody else has changed it.
 */
#include <errno.h>
#include <linux/ioprio.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "kill/priority.h"

/* A thread that does as it is told, one thing after the other. */
static struct worker {
	pthread_t thread;
	pid_t tid;
	sem_t wanted, done;
	void (*act)(struct worker *worker);
	struct worker *heir; /* that it makes */
} worker, heir;

static void *work(void *arg)
{
	struct worker *w = arg;

	w->tid = gettid();
	sem_post(&w->done);
	for (;;) {
		sem_wait(&w->wanted);
		if (!w->act)
			return NULL;
		w->act(w);
		sem_post(&w->done);
	}
}

static void start_worker(struct worker *w)
{
	memset(w, 0, sizeof(*w));
	sem_init(&w->wanted, 0, 0);
	sem_init(&w->done, 0, 0);
	assert_int_equal(pthread_create(&w->thread, NULL, work, w), 0);
	sem_wait(&w->done);
}

static void let(struct worker *w, void (*act)(struct worker *worker))
{
	w->act = act;
	sem_post(&w->wanted);
	if (act)
		sem_wait(&w->done);
	else
		pthread_join(w->thread, NULL);
}

static void be_batch(struct worker *w)
{
	struct sched_param param = {0};

	(void)w;
	assert_int_equal(sched_setscheduler(0, SCHED_BATCH, &param), 0);
	assert_int_equal(setpriority(PRIO_PROCESS, 0, 7), 0);
	assert_int_equal(syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0,
				 IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 6)),
			 0);
}

static void make_heir(struct worker *w)
{
	w->heir = &heir;
	start_worker(&heir);
}

static int begin(void **state)
{
	(void)state;
	start_worker(&worker);
	return 0;
}

static int end(void **state)
{
	(void)state;
	let(&worker, NULL);
	return 0;
}

static struct dbps_thread thread_of(const struct worker *w)
{
	struct dbps_thread thread;

	assert_int_equal(dbps_thread_find(getpid(), w->tid, &thread), 0);
	return thread;
}

/* To give a priority back takes CAP_SYS_NICE, or a limit that is not the usual one. */
static void need_right_to_restore(void)
{
	struct rlimit limit;

	if (geteuid() && (getrlimit(RLIMIT_NICE, &limit) < 0 || limit.rlim_cur < 20))
		skip();
}

static int ioprio_of(pid_t tid)
{
	return (int)syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, tid);
}

static void a_thread_is_known_by_number_and_start(void **state)
{
	struct dbps_thread thread = thread_of(&worker), other;
	uint64_t now = dbps_thread_now_ticks();

	(void)state;
	assert_true(thread.start_ticks <= now && now - thread.start_ticks < 1000);
	assert_true(dbps_thread_is(&thread));
	other = thread;
	other.start_ticks--;
	assert_false(dbps_thread_is(&other));
	other = (struct dbps_thread){.pid = 1};
	assert_int_equal(dbps_thread_find(getpid(), 1, &other), -ESRCH);
	assert_int_equal(other.pid, 1);
}

static void what_was_lowered_is_given_back(void **state)
{
	struct dbps_thread thread = thread_of(&worker);
	struct dbps_priority saved;

	(void)state;
	need_right_to_restore();
	let(&worker, be_batch);
	assert_int_equal(dbps_priority_read(&thread, &saved), 0);
	assert_false(dbps_priority_is_idle(worker.tid));
	assert_int_equal(dbps_priority_lower(&thread, &saved), 0);
	assert_true(dbps_priority_is_idle(worker.tid));
	assert_int_equal(IOPRIO_PRIO_CLASS(ioprio_of(worker.tid)), IOPRIO_CLASS_IDLE);
	assert_int_equal(dbps_priority_restore(&thread, &saved), 0);
	assert_int_equal(sched_getscheduler(worker.tid), SCHED_BATCH);
	assert_int_equal(getpriority(PRIO_PROCESS, (id_t)worker.tid), 7);
	assert_int_equal(ioprio_of(worker.tid), IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 6));
}

static void what_somebody_else_changed_is_left(void **state)
{
	struct dbps_thread thread = thread_of(&worker);
	struct dbps_priority saved;

	(void)state;
	need_right_to_restore();
	assert_int_equal(dbps_priority_read(&thread, &saved), 0);
	assert_int_equal(dbps_priority_lower(&thread, &saved), 0);
	let(&worker, be_batch);
	assert_int_equal(dbps_priority_restore(&thread, &saved), -ESTALE);
	assert_int_equal(sched_getscheduler(worker.tid), SCHED_BATCH);
	assert_int_equal(ioprio_of(worker.tid), IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 6));
}

static void another_thread_is_not_touched(void **state)
{
	struct dbps_thread thread = thread_of(&worker);
	struct dbps_priority saved;

	(void)state;
	assert_int_equal(dbps_priority_read(&thread, &saved), 0);
	thread.start_ticks--;
	assert_int_equal(dbps_priority_read(&thread, &saved), -ESRCH);
	assert_int_equal(dbps_priority_lower(&thread, &saved), -ESRCH);
	assert_int_equal(dbps_priority_restore(&thread, &saved), -ESRCH);
	assert_int_equal(sched_getscheduler(worker.tid), SCHED_OTHER);
}

static void who_is_idle_already_is_not_lowered(void **state)
{
	struct dbps_thread thread = thread_of(&worker);
	struct dbps_priority saved = {.policy = 77};

	(void)state;
	assert_int_equal(dbps_priority_read(&thread, &saved), 0);
	assert_int_equal(dbps_priority_lower(&thread, &saved), 0);
	saved.policy = 77;
	assert_int_equal(dbps_priority_read(&thread, &saved), -EALREADY);
	assert_int_equal(saved.policy, 77);
	assert_false(dbps_priority_is_idle(0));
}

static bool is_worker(pid_t tid, void *data)
{
	return tid == ((struct worker *)data)->tid;
}

static void heirs_get_back_what_they_never_had(void **state)
{
	struct dbps_thread thread = thread_of(&worker);
	struct dbps_priority saved;
	uint64_t since = dbps_thread_now_ticks();

	(void)state;
	need_right_to_restore();
	assert_int_equal(dbps_priority_read(&thread, &saved), 0);
	assert_int_equal(dbps_priority_lower(&thread, &saved), 0);
	let(&worker, make_heir);
	assert_true(dbps_priority_is_idle(heir.tid));
	assert_int_equal(
		dbps_priority_restore_heirs(getpid(), since + 100000, &saved, is_worker, &worker),
		0);
	assert_true(dbps_priority_is_idle(heir.tid));
	assert_int_equal(dbps_priority_restore_heirs(getpid(), since, &saved, is_worker, &worker),
			 1);
	assert_false(dbps_priority_is_idle(heir.tid));
	assert_true(dbps_priority_is_idle(worker.tid));
	let(&heir, NULL);
}

#define test(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(a_thread_is_known_by_number_and_start),
		test(what_was_lowered_is_given_back),
		test(what_somebody_else_changed_is_left),
		test(another_thread_is_not_touched),
		test(who_is_idle_already_is_not_lowered),
		test(heirs_get_back_what_they_never_had),
	};

	return cmocka_run_group_tests_name("priorities of threads", tests, NULL, NULL);
}
