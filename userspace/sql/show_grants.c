/*
 * What there is for the caller: its rights in the servers' own words, each with the rule that gives
 * it, and the list of statements.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "mysql/result.h"
#include "sql/statements.h"

static const struct {
	unsigned int right;
	const char *name;
	const char *key; /* of the config */
	size_t rule;	 /* offset in struct dbps_caller of the name that gives it */
} rights[] = {
	{DBPS_RIGHT_PROCESS, "PROCESS", "access.process",
	 offsetof(struct dbps_caller, process_rule)},
	{DBPS_RIGHT_SUPER, "SUPER", "access.super", offsetof(struct dbps_caller, super_rule)},
};

static void put_grant(struct sql_connection *connection, const char *right, const char *why)
{
	struct wire_writer *out = &connection->channel.out;
	char text[160];

	snprintf(text, sizeof(text), "GRANT %s ON *.* TO '%s'@'localhost'", right,
		 connection->caller.user);
	wire_begin(out);
	sql_put_string(out, text);
	sql_put_string(out, why);
	wire_end(out);
}

static void put_grants(struct sql_connection *connection)
{
	const struct dbps_caller *caller = &connection->caller;
	char why[160];

	for (size_t i = 0; i < ARRAY_SIZE(rights); i++) {
		const char *rule = (const char *)caller + rights[i].rule;

		if (!(caller->rights & rights[i].right))
			continue;
		snprintf(why, sizeof(why), "%s names %s", rights[i].key, rule);
		put_grant(connection, rights[i].name, *rule ? why : "root may do all");
	}
	snprintf(why, sizeof(why), "own sessions: those whose client runs on this host as uid %u",
		 caller->uid);
	put_grant(connection, "USAGE", why);
}

/* The next token is the caller's name, however it is quoted. */
static int take_own_name(const struct sql_connection *connection, struct sql_input *input)
{
	_cleanup_free_ char *name = NULL;
	size_t len;
	int r = -EINVAL;

	if (input->token.type == DBPS_TOKEN_WORD) {
		name = strndup(input->token.start, input->token.len);
		r = name ? 0 : -ENOMEM;
	} else if (input->token.type == DBPS_TOKEN_STRING || input->token.type == DBPS_TOKEN_NAME) {
		r = sql_unquote(&input->token, &name, &len);
	}
	if (r)
		return r;
	sql_next(input);
	return strcmp(name, connection->caller.user) == 0;
}

/*
 * "[FOR CURRENT_USER | CURRENT_USER() | user[@host]]": 1 when it is about the caller, 0 when about
 * somebody else, -EINVAL. Hosts are not told apart: everybody is on this one.
 */
static int is_about_caller(const struct sql_connection *connection, struct sql_input *input)
{
	int own = 1;

	if (!sql_take_word(input, "FOR"))
		return sql_at_end(input) ? 1 : -EINVAL;
	if (sql_take_word(input, "CURRENT_USER")) {
		if (sql_take_char(input, '(') && !sql_take_char(input, ')'))
			return -EINVAL;
	} else {
		own = take_own_name(connection, input);
		if (own >= 0 && sql_take_char(input, '@')) {
			if (sql_at_end(input))
				return -EINVAL;
			sql_next(input);
		}
	}
	return own < 0 || sql_at_end(input) ? own : -EINVAL;
}

int sql_show_grants(struct sql_connection *connection, struct sql_input *input,
		    unsigned int options)
{
	struct wire_writer *out = &connection->channel.out;
	char title[96];
	const struct wire_column columns[] = {
		{title, WIRE_TYPE_VAR_STRING},
		{"why", WIRE_TYPE_VAR_STRING},
	};
	int own = is_about_caller(connection, input);

	(void)options;
	if (own < 0)
		return own;
	if (!own)
		return sql_error(connection, ER_DBACCESS_DENIED_ERROR,
				 "Access denied for user '%s'@'localhost' to the grants of others",
				 connection->caller.user);
	snprintf(title, sizeof(title), "Grants for %s@localhost", connection->caller.user);
	wire_columns(out, columns, ARRAY_SIZE(columns));
	put_grants(connection);
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
