/*
 * System variables: what clients ask for when they connect, as SHOW VARIABLES and SELECT @@name
 * tell it. Each is a fact of the console or of its protocol; none can be changed.
 */
#ifndef DBPS_SQL_VARIABLES_H
#define DBPS_SQL_VARIABLES_H

#include "session/columns.h"
#include "sql/connection.h"

struct sql_variable {
	const char *name;
	enum dbps_type type;
	bool on_off;	  /* an integer 0 or 1 that SHOW VARIABLES words OFF or ON */
	uint64_t integer; /* its value, unless get() is there */
	const char *text;
	struct dbps_value (*get)(const struct sql_connection *connection);
};

extern const struct sql_variable sql_variables[]; /* sorted by name */
extern const size_t sql_n_variables;

/** @return The variable of this name, in any case, or NULL. */
const struct sql_variable *sql_variable_find(const char *name, size_t len);

/** @brief Its value now; text is static or the connection's. */
struct dbps_value sql_variable_get(const struct sql_variable *variable,
				   const struct sql_connection *connection);

#endif
