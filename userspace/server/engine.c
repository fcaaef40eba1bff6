/*
 * Engines by executable and by version. Both are tables, so that a further engine is two lines.
 */
#include "engine.h"

#include <stdio.h>
#include <string.h>

#include "cleanup.h"

static const char *const engine_names[] = {
	[DBPS_ENGINE_UNKNOWN] = "unknown",     [DBPS_ENGINE_MARIADB] = "mariadb",
	[DBPS_ENGINE_MYSQL] = "mysql",	       [DBPS_ENGINE_OCEANBASE] = "oceanbase",
	[DBPS_ENGINE_TIDB] = "tidb",	       [DBPS_ENGINE_SPHINX] = "sphinx",
	[DBPS_ENGINE_DBPS] = "dbps",	       [DBPS_ENGINE_POSTGRES] = "postgres",
	[DBPS_ENGINE_PGBOUNCER] = "pgbouncer", [DBPS_ENGINE_PROXY] = "proxy",
};

static const struct {
	const char *name;
	enum dbps_engine engine;
} executables[] = {
	{"mariadbd", DBPS_ENGINE_MARIADB},   {"mariadbd-debug", DBPS_ENGINE_MARIADB},
	{"mysqld", DBPS_ENGINE_MYSQL},	     {"mysqld-debug", DBPS_ENGINE_MYSQL},
	{"observer", DBPS_ENGINE_OCEANBASE}, {"seekdb", DBPS_ENGINE_OCEANBASE},
	{"tidb-server", DBPS_ENGINE_TIDB},   {"searchd", DBPS_ENGINE_SPHINX},
	{"postgres", DBPS_ENGINE_POSTGRES},  {"pgbouncer", DBPS_ENGINE_PGBOUNCER},
};

/*
 * Programs that are none, and greet all the same, as who is behind them does or as they please.
 * That they listen says nothing, as most have other uses.
 */
static const char *const proxies[] = {
	"haproxy",	"proxysql", "maxscale", "mysqlrouter", "obproxy", "docker-proxy",
	"rootlessport", "envoy",    "nginx",	"socat",       "ssh",	  "systemd-socket-proxyd",
};

static const struct {
	const char *word;
	enum dbps_engine engine;
} versions[] = {
	{"MariaDB", DBPS_ENGINE_MARIADB},
	{"OceanBase", DBPS_ENGINE_OCEANBASE},
	{"TiDB", DBPS_ENGINE_TIDB},
};

const char *dbps_engine_name(enum dbps_engine engine)
{
	return (size_t)engine < ARRAY_SIZE(engine_names) ? engine_names[engine] : "unknown";
}

enum dbps_engine dbps_engine_of_executable(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(executables); i++)
		if (strcmp(executables[i].name, name) == 0)
			return executables[i].engine;
	return DBPS_ENGINE_UNKNOWN;
}

enum dbps_engine dbps_engine_of(const char *version, const char *executable)
{
	for (size_t i = 0; i < ARRAY_SIZE(proxies); i++)
		if (strcmp(executable, proxies[i]) == 0)
			return DBPS_ENGINE_PROXY;
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++)
		if (strstr(version, versions[i].word))
			return versions[i].engine;
	return dbps_engine_of_executable(executable);
}

const char *dbps_engine_version(const char *greeted)
{
	static const char prefix[] = "5.5.5-";

	/* MySQL 5.5.5 itself has no further dash and digit after it. */
	if (strncmp(greeted, prefix, strlen(prefix)) == 0 && strstr(greeted, "MariaDB"))
		return greeted + strlen(prefix);
	return greeted;
}

/* "/run/mysqld/mysqld.sock" -> "mysqld" */
static void socket_word(const char *path, char *word, size_t size)
{
	const char *base = strrchr(path, '/');
	char *end;

	snprintf(word, size, "%s", base ? base + 1 : path + (path[0] == '@'));
	end = strrchr(word, '.');
	if (end && strcmp(end, ".sock") == 0)
		*end = '\0';
}

void dbps_engine_server_name(enum dbps_engine engine, const char *executable,
			     const struct dbps_listeners *listeners, char *ret_name, size_t size)
{
	bool other = engine == DBPS_ENGINE_UNKNOWN || engine == DBPS_ENGINE_PROXY;
	const char *what = other ? executable : dbps_engine_name(engine);
	char word[40] = "";

	if (listeners->n && listeners->at[0].family != DBPS_FAMILY_UNIX)
		snprintf(word, sizeof(word), "%u", listeners->at[0].port);
	else if (listeners->n)
		socket_word(listeners->at[0].path, word, sizeof(word));
	snprintf(ret_name, size, "%.20s-%s", what, word);
}
