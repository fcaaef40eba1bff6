/*
 * Statements that choose something: USE chooses a server; SET and transactions choose nothing here,
 * and are accepted because drivers send them unasked. What would change more than one's own
 * connection is not.
 */
#include <errno.h>

#include "cleanup.h"
#include "sql/statements.h"

/* Names of servers have dashes and need no quotes: `name`, 'name', or all tokens to the end. */
int sql_use_statement(struct sql_connection *connection, struct sql_input *input,
		      unsigned int options)
{
	struct dbps_token token = input->token;
	_cleanup_free_ char *text = NULL;
	struct wire_slice name = {.data = token.start};
	int r = 0;

	(void)options;
	if (token.type == DBPS_TOKEN_NAME || token.type == DBPS_TOKEN_STRING) {
		r = sql_unquote(&token, &text, &name.len);
		name.data = text;
		sql_next(input);
	} else {
		while (input->token.type == DBPS_TOKEN_WORD ||
		       dbps_token_is_char(&input->token, '-') ||
		       dbps_token_is_char(&input->token, '.'))
			sql_next(input);
		name.len = input->end > token.start ? (size_t)(input->end - token.start) : 0;
	}
	if (r)
		return r;
	if (!name.len || !sql_at_end(input))
		return -EINVAL;
	sql_use(connection, name);
	return 0;
}

static bool reaches_further(struct sql_input *input)
{
	return sql_take_word(input, "GLOBAL") || sql_take_word(input, "PERSIST") ||
	       sql_take_word(input, "PERSIST_ONLY") || sql_take_word(input, "PASSWORD") ||
	       sql_take_word(input, "ROLE") || sql_take_word(input, "DEFAULT") ||
	       sql_take_word(input, "STATEMENT") || sql_take_word(input, "RESOURCE");
}

/* "SET NAMES utf8mb4", "SET autocommit = 1, @@session.sql_mode = ''", "SET @a = 1". */
int sql_set(struct sql_connection *connection, struct sql_input *input, unsigned int options)
{
	struct sql_input name = *input;

	(void)options;
	while (sql_take_char(&name, '@'))
		;
	if (sql_at_end(input) || reaches_further(&name))
		return -EINVAL;
	while (!sql_at_end(input)) {
		bool quoted = input->token.type == DBPS_TOKEN_STRING ||
			      input->token.type == DBPS_TOKEN_NAME;

		if (dbps_token_is_char(&input->token, ';') || (quoted && !input->token.closed))
			return -EINVAL;
		sql_next(input);
	}
	return sql_ok(connection, "");
}

/* There are no transactions to begin or to end. */
int sql_begin(struct sql_connection *connection, struct sql_input *input, unsigned int options)
{
	(void)options;
	while (input->token.type == DBPS_TOKEN_WORD || dbps_token_is_char(&input->token, ','))
		sql_next(input);
	return sql_at_end(input) ? sql_ok(connection, "") : -EINVAL;
}
