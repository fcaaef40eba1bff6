/*
 * What there is for the caller: its rights in the servers' own words, and the list of statements.
 */
#include <errno.h>
#include <stdio.h>

#include "cleanup.h"
#include "mysql/result.h"
#include "sql/statements.h"

static void put_rights(const struct sql_connection *connection, char *ret, size_t size)
{
	unsigned int rights = connection->caller.rights;

	snprintf(ret, size, "GRANT %s%s%s ON *.* TO '%s'@'localhost'",
		 rights & DBPS_RIGHT_PROCESS ? "PROCESS"
		 : rights		     ? ""
					     : "USAGE",
		 rights == (DBPS_RIGHT_PROCESS | DBPS_RIGHT_SUPER) ? ", " : "",
		 rights & DBPS_RIGHT_SUPER ? "SUPER" : "", connection->caller.user);
}

/* "FOR CURRENT_USER" and "FOR CURRENT_USER()": whoever else it is, is not known here. */
static bool is_about_caller(struct sql_input *input)
{
	if (!sql_take_word(input, "FOR"))
		return sql_at_end(input);
	if (!sql_take_word(input, "CURRENT_USER"))
		return false;
	if (sql_take_char(input, '(') && !sql_take_char(input, ')'))
		return false;
	return sql_at_end(input);
}

int sql_show_grants(struct sql_connection *connection, struct sql_input *input,
		    unsigned int options)
{
	struct wire_writer *out = &connection->channel.out;
	char title[96], text[160];
	const struct wire_column column = {title, WIRE_TYPE_VAR_STRING};

	(void)options;
	if (!is_about_caller(input))
		return -EINVAL;
	snprintf(title, sizeof(title), "Grants for %s@localhost", connection->caller.user);
	put_rights(connection, text, sizeof(text));
	wire_columns(out, &column, 1);
	wire_begin(out);
	sql_put_string(out, text);
	wire_end(out);
	wire_eof(out, 0);
	return 0;
}

int sql_show_statements(struct sql_connection *connection, struct sql_input *input,
			unsigned int options)
{
	static const struct wire_column columns[] = {
		{"statement", WIRE_TYPE_VAR_STRING},
		{"privilege", WIRE_TYPE_VAR_STRING},
		{"help", WIRE_TYPE_VAR_STRING},
	};
	struct wire_writer *out = &connection->channel.out;

	(void)input;
	(void)options;
	wire_columns(out, columns, ARRAY_SIZE(columns));
	for (size_t i = 0; i < sql_n_statements; i++) {
		if (!sql_statements[i].help)
			continue;
		wire_begin(out);
		sql_put_string(out, sql_statements[i].pattern);
		sql_put_string(out, sql_statements[i].right ? "PROCESS" : "");
		sql_put_string(out, sql_statements[i].help);
		wire_end(out);
	}
	wire_eof(out, 0);
	return 0;
}
