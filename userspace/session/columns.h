/*
 * The session table: every column once, with name, type, unit, help and getter. SHOW, JSON, CSV,
 * the CLI's table and the manual page read it.
 */
#ifndef DBPS_COLUMNS_H
#define DBPS_COLUMNS_H

#include "rows.h"

enum dbps_type { DBPS_TYPE_INTEGER, DBPS_TYPE_REAL, DBPS_TYPE_TEXT };

struct dbps_value {
	bool null;
	uint64_t integer;
	double real;
	const char *text; /* into the row or static; not terminated */
	size_t len;
};

struct dbps_column {
	const char *name;  /* lower case: the JSON key */
	const char *title; /* heading of SHOW PROCESSLIST for the first eight, and for those that
			      it adds for OceanBase; else NULL */
	enum dbps_type type;
	const char *unit; /* "s", "ms", "bytes", "" */
	const char *help;
	struct dbps_value (*get)(const struct dbps_row *row);
};

/* id, user, host, db, command, time, state, info come first, in this order. */
extern const struct dbps_column dbps_columns[];
extern const size_t dbps_n_columns;
#define DBPS_N_PROCESSLIST_COLUMNS 8

/* Plain SHOW PROCESSLIST shows this many bytes of Info, as MariaDB does (protocol.md 3.2). */
#define DBPS_INFO_SHORT 100

#endif
