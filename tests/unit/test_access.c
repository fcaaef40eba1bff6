/*
 * Who is at the other end of a socket and what that gives: root, names and groups of the config,
 * and one's own sessions.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "access/access.h"
#include "cleanup.h"

#define BOTH (DBPS_RIGHT_PROCESS | DBPS_RIGHT_SUPER)

/* Credentials of a socket pair are those of the process when it was made. */
static struct dbps_caller caller_with(const char *process, const char *super)
{
	const struct dbps_access_options options = {process, super};
	struct dbps_caller caller;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(dbps_caller_from_socket(fds[0], &options, &caller), 0);
	close(fds[0]);
	close(fds[1]);
	return caller;
}

/* As nobody, in one group more, when this runs as root; otherwise as who it is. */
static int drop_root(void **state)
{
	static gid_t group;

	*state = NULL;
	if (geteuid() != 0)
		return 0;
	const struct group *adm = getgrnam("adm");
	const struct passwd *nobody = getpwnam("nobody");

	if (!adm || !nobody)
		return -1;
	group = adm->gr_gid;
	return setgroups(1, &group) || setegid(nobody->pw_gid) || seteuid(nobody->pw_uid);
}

static int take_root_back(void **state)
{
	(void)state;
	if (getuid() != 0)
		return 0;
	return seteuid(0) || setegid(0) || setgroups(0, NULL);
}

static void root_may_do_all(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	struct dbps_caller caller = caller_with(NULL, NULL);

	assert_int_equal(caller.uid, 0);
	assert_int_equal(caller.pid, getpid());
	assert_string_equal(caller.user, "root");
	assert_int_equal(caller.rights, BOTH);
}

static void nobody_is_given_anything_unasked(void **state)
{
	struct dbps_caller caller = caller_with(NULL, "");

	(void)state;
	assert_int_equal(caller.uid, geteuid());
	assert_int_equal(caller.rights, 0);
}

static void names_are_whole_words_of_the_list(void **state)
{
	struct dbps_caller caller = caller_with(NULL, NULL);
	char list[256];

	(void)state;
	snprintf(list, sizeof(list), "someone, %s\t@nogroup_of_this_name", caller.user);
	assert_int_equal(caller_with(list, NULL).rights, DBPS_RIGHT_PROCESS);
	assert_int_equal(caller_with(NULL, list).rights, DBPS_RIGHT_SUPER);
	snprintf(list, sizeof(list), "x%s %sx,,  ,", caller.user, caller.user);
	assert_int_equal(caller_with(list, list).rights, 0);
	snprintf(list, sizeof(list), "@%s_no_such_group", caller.user);
	assert_int_equal(caller_with(list, list).rights, 0);
}

static void groups_are_all_that_the_process_has(void **state)
{
	const struct group *primary = getgrgid(getegid());
	char list[256];

	(void)state;
	assert_non_null(primary);
	snprintf(list, sizeof(list), "@%s", primary ? primary->gr_name : "");
	assert_int_equal(caller_with(list, list).rights, BOTH);
	if (getuid() != 0)
		return;
	assert_int_equal(caller_with("other @adm", "adm").rights, DBPS_RIGHT_PROCESS);
}

static void ids_stand_for_names(void **state)
{
	char list[256];
	struct dbps_caller caller;

	(void)state;
	snprintf(list, sizeof(list), "%u", geteuid());
	assert_int_equal(caller_with(list, NULL).rights, DBPS_RIGHT_PROCESS);
	snprintf(list, sizeof(list), "@4294967295 @%u", getegid());
	caller = caller_with(list, list);
	assert_int_equal(caller.rights, BOTH);
	assert_string_equal(strchr(caller.process_rule, '@') ?: "", strrchr(list, '@'));
	snprintf(list, sizeof(list), "%ux 0x%x @%u. %u4294967296 @ %u", geteuid(), geteuid(),
		 getegid(), geteuid(), geteuid() + 1);
	assert_int_equal(caller_with(list, list).rights, 0);
}

static void the_rule_that_gives_a_right_is_kept(void **state)
{
	struct dbps_caller caller = caller_with(NULL, NULL);
	char list[256];

	(void)state;
	snprintf(list, sizeof(list), "someone %s", caller.user);
	caller = caller_with(list, NULL);
	assert_string_equal(caller.process_rule, caller.user);
	assert_string_equal(caller.super_rule, "");
}

static void the_program_is_the_kernels_word(void **state)
{
	struct dbps_caller caller = caller_with(NULL, NULL);
	char self[256] = "";

	(void)state;
	assert_true(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	/* Linux 6.5 on. */
	if (!caller.program[0])
		skip();
	assert_memory_equal(caller.program, self, strlen(caller.program));
}

static void own_sessions_are_those_of_the_same_uid(void **state)
{
	struct dbps_session session = {
		.family = DBPS_FAMILY_UNIX, .client_pid = 10, .client_uid = 1000};
	const struct dbps_row row = {.session = &session};
	struct dbps_caller caller = {.uid = 1000};

	(void)state;
	assert_true(dbps_caller_sees(&caller, &row));
	assert_true(dbps_caller_kills(&caller, &row));
	caller.uid = 1001;
	assert_false(dbps_caller_sees(&caller, &row));
	assert_false(dbps_caller_kills(&caller, &row));
	/* The uid of a client that is not on this host is not known: 0 is not root's then. */
	session.client_pid = 0;
	session.client_uid = 0;
	caller.uid = 0;
	assert_false(dbps_caller_sees(&caller, &row));
}

static void seeing_and_killing_are_two_rights(void **state)
{
	const struct dbps_session session = {
		.family = DBPS_FAMILY_UNIX, .client_pid = 10, .client_uid = 1000};
	const struct dbps_row row = {.session = &session};
	const struct dbps_caller sees = {.uid = 5, .rights = DBPS_RIGHT_PROCESS};
	const struct dbps_caller kills = {.uid = 5, .rights = DBPS_RIGHT_SUPER};

	(void)state;
	assert_true(dbps_caller_sees(&sees, &row));
	assert_false(dbps_caller_kills(&sees, &row));
	assert_false(dbps_caller_sees(&kills, &row));
	assert_true(dbps_caller_kills(&kills, &row));
}

#define test_dropped(f) cmocka_unit_test_setup_teardown(f, drop_root, take_root_back)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(root_may_do_all),
		test_dropped(nobody_is_given_anything_unasked),
		test_dropped(names_are_whole_words_of_the_list),
		test_dropped(groups_are_all_that_the_process_has),
		test_dropped(ids_stand_for_names),
		test_dropped(the_rule_that_gives_a_right_is_kept),
		cmocka_unit_test(the_program_is_the_kernels_word),
		cmocka_unit_test(own_sessions_are_those_of_the_same_uid),
		cmocka_unit_test(seeing_and_killing_are_two_rights),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
