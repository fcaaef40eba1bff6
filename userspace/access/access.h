/*
 * Who may see and kill what. root may do all; others get PROCESS and SUPER from the config, by user
 * or group; everyone sees and kills own sessions: those whose client process belongs to the same
 * uid.
 */
#ifndef DBPS_ACCESS_H
#define DBPS_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "session/rows.h"

enum dbps_right { DBPS_RIGHT_PROCESS = 1, DBPS_RIGHT_SUPER = 2 };

/* What the config grants: lists of names and ids, "@name" for a group, as written there. */
struct dbps_access_options {
	const char *process; /* "monitor @dba 1000"; NULL: nobody */
	const char *super;
};

/* One name of such a list. */
#define DBPS_RULE_MAX 64

struct dbps_caller {
	uid_t uid;
	gid_t gid;
	pid_t pid;
	unsigned int rights;		  /* enum dbps_right */
	char process_rule[DBPS_RULE_MAX]; /* name in the config that gives the right; root needs
					     none */
	char super_rule[DBPS_RULE_MAX];
	char user[64];	  /* name of uid, or its number */
	char program[64]; /* what its process ran when it connected; "": not known */
};

/** @brief Who is at the other end of a Unix socket, and what they may. 0 or a negative errno. */
int dbps_caller_from_socket(int fd, const struct dbps_access_options *options,
			    struct dbps_caller *ret_caller);

/** @return Whether the caller may see this session. */
bool dbps_caller_sees(const struct dbps_caller *caller, const struct dbps_row *row);

/** @brief The same of all rows, asked together. 0 or -ENOMEM. */
int dbps_caller_sees_each(const struct dbps_caller *caller, const struct dbps_rows *rows,
			  bool *ret_seen);

/** @return Whether the caller may kill this session. */
bool dbps_caller_kills(const struct dbps_caller *caller, const struct dbps_row *row);

#endif
