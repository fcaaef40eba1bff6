/*
 * What is kept of demotions: written, read back, and not believed when somebody else could have
 * written it.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cleanup.h"
#include "kill/demote_file.h"

static char directory[] = "/tmp/dbps-test-demoted-XXXXXX", file[64], other[64];

static const struct dbps_demoted two[] = {
	{{10, 10, 500}, {10, 11, 600}, 700, {3, 16385}},
	{{10, 10, 500}, {10, 12, UINT64_MAX}, 701, {1 << 30, 0}},
};

static int begin(void **state)
{
	(void)state;
	snprintf(directory, sizeof(directory), "/tmp/dbps-test-demoted-XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	snprintf(file, sizeof(file), "%s/f", directory);
	snprintf(other, sizeof(other), "%s/g", directory);
	return 0;
}

static int end(void **state)
{
	(void)state;
	unlink(file);
	unlink(other);
	return rmdir(directory); /* nothing else is left there */
}

static void write_text(const char *text)
{
	FILE *f = fopen(file, "a");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void assert_kept(size_t n)
{
	_cleanup_free_ struct dbps_demoted *list = NULL;
	size_t n_list = 77;

	assert_int_equal(dbps_demoted_load(file, &list, &n_list), 0);
	assert_int_equal(n_list, n);
	for (size_t i = 0; i < n; i++)
		assert_memory_equal(&list[i], &two[i], sizeof(two[i]));
}

static void what_was_saved_is_read(void **state)
{
	(void)state;
	assert_int_equal(dbps_demoted_save(file, two, 2), 0);
	assert_kept(2);
	assert_int_equal(dbps_demoted_save(file, two, 1), 0);
	assert_kept(1);
}

static void none_is_no_file(void **state)
{
	struct dbps_demoted *list = (void *)1;
	size_t n = 77;

	(void)state;
	assert_int_equal(dbps_demoted_save(file, NULL, 0), 0);
	assert_int_equal(dbps_demoted_save(file, two, 2), 0);
	assert_int_equal(dbps_demoted_save(file, NULL, 0), 0);
	assert_int_equal(dbps_demoted_load(file, &list, &n), -ENOENT);
	assert_ptr_equal(list, (void *)1);
	assert_int_equal(n, 77);
}

static void lines_that_are_cut_or_wrong_are_left_out(void **state)
{
	(void)state;
	assert_int_equal(dbps_demoted_save(file, two, 1), 0);
	write_text("hello\n\n-1 5 3 4 5 6 7\n1 2 3\n10 500 12 184467440737");
	assert_kept(1);
}

static void threads_of_another_boot_are_left_out(void **state)
{
	(void)state;
	write_text("dbps-demoted 1 some-other-boot\n10 500 11 600 700 3 16385\n");
	assert_int_equal(chmod(file, 0600), 0);
	assert_kept(0);
}

static void what_others_can_write_is_not_believed(void **state)
{
	struct dbps_demoted *list;
	size_t n;

	(void)state;
	assert_int_equal(dbps_demoted_save(file, two, 2), 0);
	assert_int_equal(chmod(file, 0620), 0);
	assert_int_equal(dbps_demoted_load(file, &list, &n), -EPERM);
	assert_int_equal(chmod(file, 0600), 0);
	assert_int_equal(rename(file, other), 0);
	assert_int_equal(symlink(other, file), 0);
	assert_int_equal(dbps_demoted_load(file, &list, &n), -ELOOP);
	assert_int_equal(dbps_demoted_save(file, two, 1), 0); /* takes the link's place */
	assert_kept(1);
}

static void a_directory_that_is_not_there_is_an_error(void **state)
{
	(void)state;
	assert_int_equal(dbps_demoted_save("/tmp/dbps-test-none/f", two, 2), -ENOENT);
}

#define test(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(what_was_saved_is_read),
		test(none_is_no_file),
		test(lines_that_are_cut_or_wrong_are_left_out),
		test(threads_of_another_boot_are_left_out),
		test(what_others_can_write_is_not_believed),
		test(a_directory_that_is_not_there_is_an_error),
	};

	return cmocka_run_group_tests_name("the file of demotions", tests, NULL, NULL);
}
