/*
 * Settings of the daemon: one table of keys (config.c) with section, name, unit, default and help,
 * read from an INI file, each overridable on the command line where an option says so.
 */
#ifndef DBPS_CONFIG_H
#define DBPS_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#define DBPS_CONFIG_FILE "/etc/dbps/dbps.conf"
#define DBPS_SOCKET_PATH "/run/dbps/dbps.sock"
#define DBPS_PIN_DIR	 "/sys/fs/bpf/dbps"
#define DBPS_AUDIT_FILE	 "/var/lib/dbps/kills.jsonl"
#define DBPS_AUDIT_AUTO	 "auto"

struct dbps_config {
	/* [daemon] */
	char *socket;  /* console socket */
	char *pin_dir; /* NULL: none */
	int log_level; /* syslog level */
	/* [console] */
	unsigned int max_connections; /* then ERROR 1040 */
	unsigned int kill_wait_ms;    /* how long KILL waits for its outcome */
	unsigned int idle_timeout_s;  /* a silent console client is closed after this; 0: never */
	/* [session] */
	unsigned int text_bytes;   /* statement text kept per session */
	unsigned int prepared_max; /* prepared texts kept, all sessions */
	/* [sql] */
	unsigned int sql_time_limit_ms;	   /* of one statement */
	unsigned int sql_memory_limit_mib; /* of one statement */
	/* [access] */
	char *process;
	char *super;
	/* [protect] */
	char *protect_users;
	char *protect_programs;
	char *protect_commands;
	char *protect_proxies;
	/* [audit] */
	char *audit_file; /* DBPS_AUDIT_AUTO, a path, or NULL: none */
	unsigned int audit_max_bytes;
	/* [link] */
	bool link_enabled;
	char *link_user;
	char *link_option_file;
};

enum dbps_config_type {
	DBPS_CONFIG_TEXT,   /* char *; "none" or nothing: NULL, where that is allowed */
	DBPS_CONFIG_NUMBER, /* unsigned int */
	DBPS_CONFIG_LEVEL,  /* int: a level of syslog(3), by its name */
	DBPS_CONFIG_BOOL,   /* bool: yes, true, on, 1 or no, false, off, 0 */
};

/* One key. The sample config and dbps.conf(5) describe this table; test_config holds them to it. */
struct dbps_config_key {
	const char *section;
	const char *name;
	enum dbps_config_type type;
	size_t offset; /* of its field in struct dbps_config */
	const char *unit;
	const char *value; /* the default, as the file would say it */
	unsigned int min;  /* numbers: least value; texts: 1 when one is needed */
	unsigned int max;  /* numbers: greatest value; texts: bytes, 0: as long as a line */
	const char *help;
};

extern const struct dbps_config_key dbps_config_keys[];
extern const size_t dbps_n_config_keys;

/** @brief All defaults. Release with dbps_config_done(). 0 or -ENOMEM. */
int dbps_config_defaults(struct dbps_config *config);

/**
 * @brief Read a file over what is there; on failure nothing is changed.
 * @param ret_why On failure one sentence with file, line and key; owned by the caller (free()).
 * @return 0; -ENOENT; -EINVAL for an unknown key or a bad value.
 */
int dbps_config_read(struct dbps_config *config, const char *path, char **ret_why);

/** @brief Set one key as the file would ("session.text_bytes", "2048"). Same errors. */
int dbps_config_set(struct dbps_config *config, const char *key, const char *value, char **ret_why);

/** @return The file that kills are written to, or NULL. */
const char *dbps_config_audit_file(const struct dbps_config *config);

void dbps_config_done(struct dbps_config *config);

#endif
