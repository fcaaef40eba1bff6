/*
 * Which engine a server is and what it is called.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/engine.h"

static void the_version_tells_before_the_executable(void **state)
{
	(void)state;
	assert_int_equal(dbps_engine_of("5.5.5-10.11.19-MariaDB-0+deb12u1", "mysqld"),
			 DBPS_ENGINE_MARIADB);
	assert_int_equal(dbps_engine_of("5.7.25-OceanBase-v4.3.0.1", "observer"),
			 DBPS_ENGINE_OCEANBASE);
	assert_int_equal(dbps_engine_of("8.0.11-TiDB-v7.5.1", "tidb-server"), DBPS_ENGINE_TIDB);
	assert_int_equal(dbps_engine_of("8.0.36", "mysqld"), DBPS_ENGINE_MYSQL);
	assert_int_equal(dbps_engine_of("", "mariadbd"), DBPS_ENGINE_MARIADB);
	assert_int_equal(dbps_engine_of("15.18 (Debian)", "postgres"), DBPS_ENGINE_POSTGRES);
	assert_int_equal(dbps_engine_of("8.0.27 (ProxySQL)", "proxysql"), DBPS_ENGINE_PROXY);
	assert_int_equal(dbps_engine_of("5.5.5-10.11.19-MariaDB", "haproxy"), DBPS_ENGINE_PROXY);
	assert_int_equal(dbps_engine_of("5.5.5-10.11.19-MariaDB", ""), DBPS_ENGINE_MARIADB);
	assert_int_equal(dbps_engine_of("8.0.36", "another"), DBPS_ENGINE_UNKNOWN);
	assert_int_equal(dbps_engine_of_executable("haproxy"), DBPS_ENGINE_UNKNOWN);
}

static void other_programs_are_no_engine(void **state)
{
	(void)state;
	assert_int_equal(dbps_engine_of_executable("mariadbd"), DBPS_ENGINE_MARIADB);
	assert_int_equal(dbps_engine_of_executable("mariadb"), DBPS_ENGINE_UNKNOWN);
	assert_int_equal(dbps_engine_of_executable("mysqld_safe"), DBPS_ENGINE_UNKNOWN);
	assert_int_equal(dbps_engine_of_executable(""), DBPS_ENGINE_UNKNOWN);
}

static void every_engine_has_a_name(void **state)
{
	(void)state;
	for (int e = DBPS_ENGINE_UNKNOWN; e <= DBPS_ENGINE_DBPS; e++)
		assert_non_null(dbps_engine_name((enum dbps_engine)e));
	assert_string_equal(dbps_engine_name(DBPS_ENGINE_MARIADB), "mariadb");
	assert_string_equal(dbps_engine_name((enum dbps_engine)99), "unknown");
}

static void the_version_prefix_of_mariadb_is_dropped(void **state)
{
	(void)state;
	assert_string_equal(dbps_engine_version("5.5.5-10.11.19-MariaDB"), "10.11.19-MariaDB");
	assert_string_equal(dbps_engine_version("11.4.2-MariaDB"), "11.4.2-MariaDB");
	assert_string_equal(dbps_engine_version("5.5.5-log"), "5.5.5-log");
	assert_string_equal(dbps_engine_version(""), "");
}

static void check_name(enum dbps_engine engine, const char *executable, struct dbps_listener *at,
		       size_t n, const char *wanted)
{
	struct dbps_listeners listeners = {n, at};
	char name[56];

	dbps_engine_server_name(engine, executable, &listeners, name, sizeof(name));
	assert_string_equal(name, wanted);
}

static void a_server_is_named_by_its_lowest_port(void **state)
{
	struct dbps_listener at[] = {
		{.family = DBPS_FAMILY_INET, .port = 3306},
		{.family = DBPS_FAMILY_INET6, .port = 33060},
		{.family = DBPS_FAMILY_UNIX, .path = "/run/mysqld/mysqld.sock"},
	};

	(void)state;
	check_name(DBPS_ENGINE_MYSQL, "mysqld", at, 3, "mysql-3306");
	check_name(DBPS_ENGINE_PROXY, "proxysql", at, 3, "proxysql-3306");
	check_name(DBPS_ENGINE_UNKNOWN, "another", at, 3, "another-3306");
}

static void a_server_without_tcp_is_named_by_its_socket(void **state)
{
	struct dbps_listener at[] = {{.family = DBPS_FAMILY_UNIX, .path = "/run/db/app.sock"}};
	struct dbps_listener abstract[] = {{.family = DBPS_FAMILY_UNIX, .path = "@maria"}};
	struct dbps_listener plain[] = {{.family = DBPS_FAMILY_UNIX, .path = "mysql.socket"}};

	(void)state;
	check_name(DBPS_ENGINE_MARIADB, "mariadbd", at, 1, "mariadb-app");
	check_name(DBPS_ENGINE_MARIADB, "mariadbd", abstract, 1, "mariadb-maria");
	check_name(DBPS_ENGINE_MARIADB, "mariadbd", plain, 1, "mariadb-mysql.socket");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_version_tells_before_the_executable),
		cmocka_unit_test(other_programs_are_no_engine),
		cmocka_unit_test(every_engine_has_a_name),
		cmocka_unit_test(the_version_prefix_of_mariadb_is_dropped),
		cmocka_unit_test(a_server_is_named_by_its_lowest_port),
		cmocka_unit_test(a_server_without_tcp_is_named_by_its_socket),
	};

	return cmocka_run_group_tests_name("server_engine", tests, NULL, NULL);
}
