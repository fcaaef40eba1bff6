/*
 * What a control group's path tells: the units and containers of those who make such paths.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "cleanup.h"
#include "server/cgroup.h"

#define ID "3f4e5d6c7b8a99aabbccddeeff00112233445566778899aabbccddeeff001122"

static void the_path_that_counts(void **state)
{
	static const struct {
		const char *text, *path;
	} cases[] = {
		{"0::/system.slice/mariadb.service\n", "/system.slice/mariadb.service"},
		{"0::/\n", "/"},
		{"", "/"},
		{"nonsense\n", "/"},
		{"1:name=systemd:/a.service\n0::/\n", "/a.service"},
		{"3:cpu:/longer/than/that\n1:name=systemd:/a.service\n", "/a.service"},
		{"4:cpu,cpuacct:/docker/x\n3:pids:/docker/xyz\n", "/docker/xyz"},
		{"1:name=systemd:/a\n0::/b\n", "/b"},
		{"0::/with:colon", "/with:colon"},
	};
	char path[DBPS_CGROUP_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		dbps_cgroup_path(cases[i].text, path);
		assert_string_equal(path, cases[i].path);
	}
}

static void a_path_that_is_too_long_is_none(void **state)
{
	char text[2 * DBPS_CGROUP_MAX] = "0::/", path[DBPS_CGROUP_MAX];

	(void)state;
	memset(text + 4, 'x', DBPS_CGROUP_MAX);
	dbps_cgroup_path(text, path);
	assert_string_equal(path, "/");
}

static void units_and_containers(void **state)
{
	static const struct {
		const char *path, *unit, *container;
	} cases[] = {
		{"/", NULL, NULL},
		{"", NULL, NULL},
		{"/system.slice/mariadb.service", "mariadb.service", NULL},
		{"/system.slice/system-postgresql.slice/postgresql@15-main.service",
		 "postgresql@15-main.service", NULL},
		{"/user.slice/user-1000.slice/session-3.scope", "session-3.scope", NULL},
		{"/user.slice/user-1000.slice/user@1000.service/app.slice/app.service",
		 "app.service", NULL},
		{"/system.slice/docker-" ID ".scope", NULL, "3f4e5d6c7b8a"},
		{"/docker/" ID, NULL, "3f4e5d6c7b8a"},
		{"/machine.slice/libpod-" ID ".scope/container", NULL, "3f4e5d6c7b8a"},
		{"/libpod_parent/libpod-" ID, NULL, "3f4e5d6c7b8a"},
		{"/system.slice/db.service/libpod-payload-" ID, "db.service", "3f4e5d6c7b8a"},
		{"/machine.slice/libpod-conmon-" ID ".scope", "libpod-conmon-" ID ".scope", NULL},
		{"/machine.slice/machine-libpod_pod_" ID ".slice/libpod-" ID ".scope/container",
		 NULL, "3f4e5d6c7b8a"},
		{"/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:" ID,
		 "containerd.service", "3f4e5d6c7b8a"},
		{"/system.slice/nerdctl-" ID ".scope", NULL, "3f4e5d6c7b8a"},
		{"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice/"
		 "cri-containerd-" ID ".scope",
		 NULL, "3f4e5d6c7b8a"},
		{"/kubepods/burstable/pod12-34/" ID, NULL, "3f4e5d6c7b8a"},
		{"/kubepods.slice/kubepods-pod1.slice/crio-" ID ".scope", NULL, "3f4e5d6c7b8a"},
		{"/lxc.payload.web/system.slice/mysql.service", "mysql.service", "web"},
		{"/lxc/web/system.slice/mysql.service", "mysql.service", "web"},
		{"/machine.slice/machine-my\\x2ddb.scope/payload/system.slice/mariadb.service",
		 "mariadb.service", "my-db"},
		{"/machine.slice/systemd-nspawn@db.service/payload/init.scope", "init.scope", "db"},
		{"/docker/" ID "/docker/aa"
		 "3f4e5d6c7b8a99aabbccddeeff00112233445566778899aabbccddee"
		 "ff0011",
		 NULL, "aa3f4e5d6c7b"},
		{"/cx.slice/systemd-nspawn@db.service/payload", "systemd-nspawn@db.service", "db"},
		{"/lxc.payload.web", NULL, "web"},
		{"/lxc.payload.web/.lxc", NULL, "web"}, /* lxc-attach(1) */
		{"/lxc.monitor.web", NULL, NULL},
		{"/system.slice/docker-short.scope", "docker-short.scope", NULL},
		{"/docker/0" ID, NULL, NULL},
		{"/docker/" ID "0", NULL, NULL},
		{"/.service", NULL, NULL},
	};
	char unit[128], container[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bool has_unit = dbps_cgroup_unit(cases[i].path, unit, sizeof(unit));
		bool has_container =
			dbps_cgroup_container(cases[i].path, container, sizeof(container));

		assert_int_equal(has_unit, cases[i].unit != NULL);
		assert_int_equal(has_container, cases[i].container != NULL);
		if (has_unit)
			assert_string_equal(unit, cases[i].unit);
		if (has_container)
			assert_string_equal(container, cases[i].container);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_path_that_counts),
		cmocka_unit_test(a_path_that_is_too_long_is_none),
		cmocka_unit_test(units_and_containers),
	};

	return cmocka_run_group_tests_name("control groups", tests, NULL, NULL);
}
