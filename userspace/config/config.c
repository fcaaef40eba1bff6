/*
 * Settings: the table of keys, and the INI file read through it (libinih). Defaults, the file and
 * options on the command line all pass set_value(), so that a value is judged in one place.
 */
#include "config.h"

#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "cleanup.h"
#include "dbps/session.h"
#include "log/log.h"

#define AT(field) offsetof(struct dbps_config, field)

const struct dbps_config_key dbps_config_keys[] = {
	{"daemon", "socket", DBPS_CONFIG_TEXT, AT(socket), "", DBPS_SOCKET_PATH, 1, 107,
	 "Unix socket of the console; its directory is made when it is missing."},
	{"daemon", "pin_dir", DBPS_CONFIG_TEXT, AT(pin_dir), "", DBPS_PIN_DIR, 0, 200,
	 "Directory of a BPF file system where programs and maps are pinned, so that sessions are "
	 "followed on when dbpsd dies; none: they are followed anew by the next dbpsd."},
	{"daemon", "log_level", DBPS_CONFIG_LEVEL, AT(log_level), "", "notice", LOG_ERR, LOG_DEBUG,
	 "What is logged: err, warning, notice, info or debug, each with those before it."},
	{"console", "max_connections", DBPS_CONFIG_NUMBER, AT(max_connections), "", "100", 1, 10000,
	 "Console connections at a time; one more gets ERROR 1040."},
	{"console", "kill_wait_ms", DBPS_CONFIG_NUMBER, AT(kill_wait_ms), "ms", "2000", 0, 60000,
	 "How long KILL waits for the kernel to see its outcome, before it answers 'pending'."},
	{"console", "idle_timeout_s", DBPS_CONFIG_NUMBER, AT(idle_timeout_s), "s", "28800", 0,
	 31536000, "A console connection that is silent for this long is closed; 0: never."},
	{"session", "text_bytes", DBPS_CONFIG_NUMBER, AT(text_bytes), "bytes", "1024",
	 DBPS_TEXT_MIN, DBPS_TEXT_MAX, "Statement text kept for each session."},
	{"session", "prepared_max", DBPS_CONFIG_NUMBER, AT(prepared_max), "", "8192", 1, 1048576,
	 "Texts of prepared statements kept, over all sessions; the oldest are forgotten first."},
	{"sql", "time_limit_ms", DBPS_CONFIG_NUMBER, AT(sql_time_limit_ms), "ms", "5000", 10,
	 3600000, "How long a SELECT over the sessions, or the choice of a KILL WHERE, may take."},
	{"sql", "memory_limit_mib", DBPS_CONFIG_NUMBER, AT(sql_memory_limit_mib), "MiB", "32", 4,
	 1024,
	 "Memory that one of these may take, its result included; all of callers without SUPER "
	 "together four times that."},
	{"access", "process", DBPS_CONFIG_TEXT, AT(process), "", "none", 0, 0,
	 "Who sees all sessions besides root: users, and groups as @group, with blanks between."},
	{"access", "super", DBPS_CONFIG_TEXT, AT(super), "", "none", 0, 0,
	 "Who may kill all sessions besides root: users, and groups as @group, with blanks "
	 "between."},
	{"protect", "users", DBPS_CONFIG_TEXT, AT(protect_users), "",
	 "repl, replication, replicator, mariabackup, xtrabackup, monitor, exporter, "
	 "mysqld_exporter",
	 0, 0,
	 "Database users whose sessions a KILL of many spares, with commas between; * and ? stand "
	 "for characters."},
	{"protect", "programs", DBPS_CONFIG_TEXT, AT(protect_programs), "",
	 "mariabackup, mariadb-backup, xtrabackup, mysqldump, mariadb-dump, mydumper, "
	 "mysqld_exporter, pg_dump, pg_dumpall, pg_basebackup, postgres_exporter",
	 0, 0, "Programs, by the name that a client gives at login, in the same way."},
	{"protect", "commands", DBPS_CONFIG_TEXT, AT(protect_commands), "",
	 "Binlog Dump*, Register Slave, Slave_*", 0, 0,
	 "Commands, as the column of the processlist has them, in the same way."},
	{"protect", "proxies", DBPS_CONFIG_TEXT, AT(protect_proxies), "",
	 "pgbouncer, pgpool, odyssey, pgcat, pgagroal, proxysql, maxscale, mysqlrouter, haproxy", 0,
	 0,
	 "Command names of poolers and proxies, whose sessions are those of others, in the same "
	 "way. Servers that are clients of others are spared in any case."},
	{"audit", "file", DBPS_CONFIG_TEXT, AT(audit_file), "", DBPS_AUDIT_AUTO, 0, 200,
	 "File that every kill is appended to; auto: " DBPS_AUDIT_FILE
	 " for the daemon whose socket is the default one, none for any other."},
	{"audit", "max_bytes", DBPS_CONFIG_NUMBER, AT(audit_max_bytes), "bytes", "10485760", 4096,
	 1073741824, "Length at which the file is renamed to FILE.1, in place of the one before."},
	{"link", "enabled", DBPS_CONFIG_BOOL, AT(link_enabled), "", "yes", 0, 0,
	 "Whether dbpsd keeps a connection to each server, which KILL QUERY needs."},
	{"link", "user", DBPS_CONFIG_TEXT, AT(link_user), "", "root", 1, 80,
	 "Database user that is tried first, over the server's Unix socket and without a "
	 "password, as Debian's root has none."},
	{"link", "option_file", DBPS_CONFIG_TEXT, AT(link_option_file), "", "none", 0, 0,
	 "File like my.cnf, whose user and password are tried next, over TCP too: of its groups "
	 "[client], and [dbps-NAME] for the server of that name, or else [dbps]."},
};

const size_t dbps_n_config_keys = ARRAY_SIZE(dbps_config_keys);

static const struct {
	const char *word;
	int level;
} levels[] = {
	{"err", LOG_ERR},   {"warning", LOG_WARNING}, {"notice", LOG_NOTICE},
	{"info", LOG_INFO}, {"debug", LOG_DEBUG},
};

static const struct {
	const char *word;
	bool value;
} switches[] = {
	{"yes", true}, {"true", true},	 {"on", true},	 {"1", true},
	{"no", false}, {"false", false}, {"off", false}, {"0", false},
};

/* A sentence for the caller; without memory for it the error code alone has to do. */
__attribute__((format(printf, 2, 3))) static int fail(char **ret_why, const char *format, ...)
{
	char *why = NULL;
	va_list args;

	va_start(args, format);
	if (vasprintf(&why, format, args) >= 0)
		*ret_why = why;
	va_end(args);
	return -EINVAL;
}

static int set_text(const struct dbps_config_key *key, char **text, const char *value,
		    char **ret_why)
{
	bool none = !*value || strcmp(value, "none") == 0;
	char *copy = NULL;

	if (none && key->min)
		return fail(ret_why, "%s.%s: a value is needed", key->section, key->name);
	if (key->max && strlen(value) > key->max)
		return fail(ret_why, "%s.%s: longer than %u bytes", key->section, key->name,
			    key->max);
	if (!none) {
		copy = strdup(value);
		if (!copy)
			return -ENOMEM;
	}
	free(*text);
	*text = copy;
	return 0;
}

static int set_number(const struct dbps_config_key *key, unsigned int *number, const char *value,
		      char **ret_why)
{
	char *end = NULL;
	unsigned long parsed = 0;

	errno = 0;
	parsed = strtoul(value, &end, 10);
	/* strtoul() takes a sign and blanks in front, and "-1" as a large number. */
	if (errno || end == value || *end || *value < '0' || *value > '9' || parsed < key->min ||
	    parsed > key->max)
		return fail(ret_why, "%s.%s: '%s' is not a number from %u to %u%s%s", key->section,
			    key->name, value, key->min, key->max, *key->unit ? " " : "", key->unit);
	*number = (unsigned int)parsed;
	return 0;
}

static int set_level(const struct dbps_config_key *key, int *level, const char *value,
		     char **ret_why)
{
	for (size_t i = 0; i < ARRAY_SIZE(levels); i++)
		if (strcmp(value, levels[i].word) == 0) {
			*level = levels[i].level;
			return 0;
		}
	return fail(ret_why, "%s.%s: '%s' is none of err, warning, notice, info, debug",
		    key->section, key->name, value);
}

static int set_bool(const struct dbps_config_key *key, bool *flag, const char *value,
		    char **ret_why)
{
	for (size_t i = 0; i < ARRAY_SIZE(switches); i++)
		if (strcasecmp(value, switches[i].word) == 0) {
			*flag = switches[i].value;
			return 0;
		}
	return fail(ret_why, "%s.%s: '%s' is neither yes nor no", key->section, key->name, value);
}

static int set_value(struct dbps_config *config, const struct dbps_config_key *key,
		     const char *value, char **ret_why)
{
	void *field = (char *)config + key->offset;

	switch (key->type) {
	case DBPS_CONFIG_TEXT:
		return set_text(key, field, value, ret_why);
	case DBPS_CONFIG_NUMBER:
		return set_number(key, field, value, ret_why);
	case DBPS_CONFIG_LEVEL:
		return set_level(key, field, value, ret_why);
	case DBPS_CONFIG_BOOL:
		return set_bool(key, field, value, ret_why);
	}
	return -EINVAL;
}

static const struct dbps_config_key *find_key(const char *section, size_t section_len,
					      const char *name)
{
	for (size_t i = 0; i < dbps_n_config_keys; i++) {
		const struct dbps_config_key *key = &dbps_config_keys[i];

		if (strlen(key->section) == section_len &&
		    strncmp(key->section, section, section_len) == 0 &&
		    strcmp(key->name, name) == 0)
			return key;
	}
	return NULL;
}

int dbps_config_defaults(struct dbps_config *config)
{
	struct dbps_config fresh = {0};
	_cleanup_free_ char *why = NULL;
	int r = 0;

	for (size_t i = 0; i < dbps_n_config_keys && r == 0; i++)
		r = set_value(&fresh, &dbps_config_keys[i], dbps_config_keys[i].value, &why);
	if (r < 0) {
		dbps_config_done(&fresh);
		return r;
	}
	*config = fresh;
	return 0;
}

static int copy_config(const struct dbps_config *config, struct dbps_config *ret_copy)
{
	struct dbps_config copy = *config;
	int r = 0;

	for (size_t i = 0; i < dbps_n_config_keys; i++) {
		char **text = (char **)((char *)&copy + dbps_config_keys[i].offset);

		if (dbps_config_keys[i].type != DBPS_CONFIG_TEXT || !*text)
			continue;
		*text = strdup(*text);
		if (!*text)
			r = -ENOMEM;
	}
	if (r < 0)
		dbps_config_done(&copy);
	else
		*ret_copy = copy;
	return r;
}

int dbps_config_set(struct dbps_config *config, const char *key, const char *value, char **ret_why)
{
	const char *dot = strchr(key, '.');
	const struct dbps_config_key *known =
		dot ? find_key(key, (size_t)(dot - key), dot + 1) : NULL;

	if (!known)
		return fail(ret_why, "unknown key '%s'", key);
	return set_value(config, known, value, ret_why);
}

/* One reading of a file: what libinih hands to read_line() and on_pair(). */
struct reading {
	struct dbps_config *config;
	FILE *file;
	unsigned int line;
	bool seen[ARRAY_SIZE(dbps_config_keys)];
	int error; /* the first one: negative errno */
	unsigned int line_of_error;
	char *why;
};

static void note_error(struct reading *reading, int r)
{
	reading->error = r;
	reading->line_of_error = reading->line;
}

/* fgets() that counts lines. libinih would take the rest of a line that is too long for a line. */
static char *read_line(char *buffer, int size, void *data)
{
	struct reading *reading = data;

	if (reading->error || !fgets(buffer, size, reading->file))
		return NULL;
	reading->line++;
	if (!strchr(buffer, '\n') && !feof(reading->file)) {
		note_error(reading, fail(&reading->why, "line is longer than %d bytes", size - 2));
		return NULL;
	}
	return buffer;
}

/* libinih calls again with the same name for an indented line below a value: seen as given twice.
 */
static int on_pair(void *data, const char *section, const char *name, const char *value)
{
	struct reading *reading = data;
	const struct dbps_config_key *key = find_key(section, strlen(section), name);
	int r = 0;

	if (!key)
		r = *section ? fail(&reading->why, "unknown key '%s' in [%s]", name, section)
			     : fail(&reading->why, "key '%s' stands before any [section]", name);
	else if (reading->seen[key - dbps_config_keys])
		r = fail(&reading->why, "%s.%s is given twice", section, name);
	else
		r = set_value(reading->config, key, value, &reading->why);
	if (key)
		reading->seen[key - dbps_config_keys] = true;
	if (r < 0)
		note_error(reading, r);
	return r == 0;
}

/* Sets the keys of an open file in reading->config and fills reading->error. */
static void read_keys(struct reading *reading)
{
	int bad_line = ini_parse_stream(read_line, reading, on_pair, reading);

	if (reading->error)
		return;
	if (bad_line > 0) {
		reading->line = (unsigned int)bad_line;
		note_error(reading, fail(&reading->why, "neither [section] nor key = value"));
	} else if (ferror(reading->file)) {
		note_error(reading, fail(&reading->why, "cannot be read"));
	}
}

int dbps_config_read(struct dbps_config *config, const char *path, char **ret_why)
{
	_cleanup_fclose_ FILE *file = fopen(path, "re");
	int r = file ? 0 : -errno;
	struct dbps_config fresh;
	struct reading reading = {.config = &fresh, .file = file};

	if (r < 0) {
		fail(ret_why, "%s: %s", path, strerror(-r));
		return r;
	}
	r = copy_config(config, &fresh);
	if (r < 0)
		return r;
	read_keys(&reading);
	if (reading.error) {
		fail(ret_why, "%s:%u: %s", path, reading.line_of_error,
		     reading.why ? reading.why : strerror(-reading.error));
		free(reading.why);
		dbps_config_done(&fresh);
		return reading.error;
	}
	dbps_config_done(config);
	*config = fresh;
	return 0;
}

const char *dbps_config_audit_file(const struct dbps_config *config)
{
	if (!config->audit_file || strcmp(config->audit_file, DBPS_AUDIT_AUTO) != 0)
		return config->audit_file;
	return strcmp(config->socket, DBPS_SOCKET_PATH) == 0 ? DBPS_AUDIT_FILE : NULL;
}

void dbps_config_done(struct dbps_config *config)
{
	for (size_t i = 0; i < dbps_n_config_keys; i++) {
		char **text = (char **)((char *)config + dbps_config_keys[i].offset);

		if (dbps_config_keys[i].type != DBPS_CONFIG_TEXT)
			continue;
		free(*text);
		*text = NULL;
	}
}
