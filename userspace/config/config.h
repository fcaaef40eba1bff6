/*
 * Settings of the daemon: one table of keys (config.c) with section, name, unit, default and help, read from
 * an INI file, each overridable on the command line where an option says so.
 */
#ifndef DBPS_CONFIG_H
#define DBPS_CONFIG_H

#include <stdbool.h>

#define DBPS_CONFIG_FILE "/etc/dbps/dbps.conf"
#define DBPS_SOCKET_PATH "/run/dbps/dbps.sock"
#define DBPS_PIN_DIR "/sys/fs/bpf/dbps"

struct dbps_config {
	/* [daemon] */
	char *socket;	     /* console socket */
	char *pin_dir;	     /* NULL: none */
	int log_level;	     /* syslog level */
	/* [console] */
	unsigned int max_connections; /* then ERROR 1040 */
	unsigned int kill_wait_ms;    /* how long KILL waits for its outcome */
	unsigned int idle_timeout_s;  /* a silent console client is closed after this; 0: never */
	/* [session] */
	unsigned int text_bytes;   /* statement text kept per session */
	unsigned int prepared_max; /* prepared texts kept, all sessions */
	/* [access] */
	char *process;
	char *super;
	/* [link] */
	bool link_enabled;
	char *link_user;
	char *link_option_file;
};

/** @brief All defaults. Release with dbps_config_done(). 0 or -ENOMEM. */
int dbps_config_defaults(struct dbps_config *config);

/**
 * @brief Read a file over the defaults.
 * @param ret_why On failure one sentence with file, line and key; owned by the caller (free()).
 * @return 0; -ENOENT; -EINVAL for an unknown key or a bad value.
 */
int dbps_config_read(struct dbps_config *config, const char *path, char **ret_why);

/** @brief Set one key as the file would ("session.text_bytes", "2048"). Same errors. */
int dbps_config_set(struct dbps_config *config, const char *key, const char *value,
		    char **ret_why);

void dbps_config_done(struct dbps_config *config);

#endif
