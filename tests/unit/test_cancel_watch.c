/*
 * The library of servers that poll, with a dbpsd that is a thread of the test: what it believes
 * while dbpsd lives, and that it believes nothing else.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "cancel/handout.h"
#include "cleanup.h"
#include "dbps/slots.h"

#define COOKIE 77

static struct {
	char directory[64], console[80], path[96];
	struct dbps_cancel_table *table;
	int listen_fd, table_fd, server_fd;
	struct dbps_handout handout;
	pthread_t thread;
} door;

/* Hands out one descriptor, and hears that it was mapped. */
static void *serve(void *data)
{
	struct iovec iov = {&door.handout, sizeof(door.handout)};
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
				.cmsg_level = SOL_SOCKET,
				.cmsg_type = SCM_RIGHTS}};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control)};
	char byte = 0;

	(void)data;
	memcpy(CMSG_DATA(&control.header), &door.table_fd, sizeof(int));
	door.server_fd = accept(door.listen_fd, NULL, NULL);
	if (sendmsg(door.server_fd, &message, 0) > 0)
		(void)!recv(door.server_fd, &byte, 1, 0);
	return NULL;
}

static void begin_dbpsd(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", door.path);
	door.table_fd = memfd_create("table", MFD_CLOEXEC);
	assert_int_equal(ftruncate(door.table_fd, sizeof(*door.table)), 0);
	door.table = mmap(NULL, sizeof(*door.table), PROT_READ | PROT_WRITE, MAP_SHARED,
			  door.table_fd, 0);
	dbps_slots_clear(door.table);
	door.handout = (struct dbps_handout){DBPS_CANCEL_VERSION, sizeof(*door.table)};
	door.listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(door.listen_fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(door.listen_fd, 1), 0);
	pthread_create(&door.thread, NULL, serve, NULL);
}

static void end_dbpsd(void)
{
	pthread_join(door.thread, NULL);
	close(door.server_fd);
	close(door.listen_fd);
	close(door.table_fd);
	munmap(door.table, sizeof(*door.table));
	unlink(door.path);
}

static void publish(void)
{
	dbps_slots_prepare(door.table, &door.table->slot[3], COOKIE, DBPS_CANCEL_STATEMENT);
	assert_true(dbps_slots_publish(&door.table->slot[3]));
}

static int make_directory(void **state)
{
	(void)state;
	snprintf(door.directory, sizeof(door.directory), "/tmp/dbps-test-cancel-XXXXXX");
	assert_non_null(mkdtemp(door.directory));
	snprintf(door.console, sizeof(door.console), "%s/s", door.directory);
	snprintf(door.path, sizeof(door.path), "%s" DBPS_CANCEL_SUFFIX, door.console);
	return 0;
}

static int remove_directory(void **state)
{
	(void)state;
	return rmdir(door.directory);
}

static void without_dbpsd_nothing_is_pending(void **state)
{
	struct dbps_cancel_watch *watch = dbps_cancel_open(door.console);
	int before = dup(0);

	(void)state;
	assert_non_null(watch);
	assert_int_equal(dbps_cancel_pending(watch, COOKIE), DBPS_CANCEL_NONE);
	assert_int_equal(dbps_cancel_refresh(watch), 0);
	assert_int_equal(dbps_cancel_cookie(watch, before), 0);
	close(before);
	dbps_cancel_close(watch);
	dbps_cancel_close(NULL);
}

static void a_cancel_is_seen(void **state)
{
	struct dbps_cancel_watch *watch;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)state;
	begin_dbpsd();
	watch = dbps_cancel_open(door.console);
	assert_int_equal(dbps_cancel_refresh(watch), 1);
	assert_int_not_equal(dbps_cancel_cookie(watch, fd), 0);
	publish();
	assert_int_equal(dbps_cancel_pending(watch, COOKIE), DBPS_CANCEL_STATEMENT);
	assert_int_equal(dbps_cancel_pending(watch, COOKIE + 1), DBPS_CANCEL_NONE);
	end_dbpsd();
	dbps_cancel_close(watch);
	close(fd);
}

static void a_dbpsd_that_has_gone_is_not_believed(void **state)
{
	const struct dbps_cancel_table *place;
	struct dbps_cancel_watch *watch;

	(void)state;
	begin_dbpsd();
	watch = dbps_cancel_open(door.console);
	place = watch->table;
	assert_int_equal(dbps_cancel_refresh(watch), 1);
	publish();
	end_dbpsd();
	assert_int_equal(watch->table->pending, 1);
	assert_int_equal(dbps_cancel_pending(watch, COOKIE), DBPS_CANCEL_NONE);
	assert_int_equal(dbps_cancel_refresh(watch), 0);
	assert_int_equal(watch->table->pending, 0);
	/* The next one is found, and its table is where the other was. */
	begin_dbpsd();
	while (!dbps_cancel_refresh(watch))
		usleep(1000);
	publish();
	assert_int_equal(dbps_cancel_pending(watch, COOKIE), DBPS_CANCEL_STATEMENT);
	assert_ptr_equal(watch->table, place);
	end_dbpsd();
	dbps_cancel_close(watch);
}

static void another_version_is_left_alone(void **state)
{
	struct dbps_cancel_watch *watch;

	(void)state;
	begin_dbpsd();
	door.table->version = DBPS_CANCEL_VERSION + 1;
	publish();
	watch = dbps_cancel_open(door.console);
	assert_int_equal(dbps_cancel_pending(watch, COOKIE), DBPS_CANCEL_NONE);
	assert_int_equal(watch->table->pending, 0);
	end_dbpsd();
	dbps_cancel_close(watch);
}

static void a_path_that_is_too_long_is_refused(void **state)
{
	char path[200];

	(void)state;
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_null(dbps_cancel_open(path));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_dbpsd_nothing_is_pending),
		cmocka_unit_test(a_cancel_is_seen),
		cmocka_unit_test(a_dbpsd_that_has_gone_is_not_believed),
		cmocka_unit_test(another_version_is_left_alone),
		cmocka_unit_test(a_path_that_is_too_long_is_refused),
	};

	return cmocka_run_group_tests_name("cancel watch", tests, make_directory, remove_directory);
}
