/*
 * SELECT without tables: a list of @@variables, functions about the connection, and literals, as
 * clients ask them when they connect or see whether a connection lives.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "cleanup.h"
#include "mysql/result.h"
#include "mysql/utf8.h"
#include "sql/statements.h"
#include "sql/variables.h"

#define ITEMS_MAX      64 /* Connector/J asks for some twenty at once */
#define NAME_MAX_BYTES 256

struct item {
	char name[NAME_MAX_BYTES + 1];
	enum dbps_type type;
	struct dbps_value value;
	char *owned; /* text of the value, or NULL */
};

struct selection {
	struct item items[ITEMS_MAX];
	size_t n;
};

static void free_selection(struct selection **selection)
{
	for (size_t i = 0; *selection && i < (*selection)->n; i++)
		free((*selection)->items[i].owned);
	free(*selection);
}

static void set_text(struct item *item, char *owned, size_t len)
{
	item->type = DBPS_TYPE_TEXT;
	item->owned = owned;
	item->value = (struct dbps_value){.text = owned, .len = len, .null = !owned};
}

static void set_integer(struct item *item, uint64_t value)
{
	item->type = DBPS_TYPE_INTEGER;
	item->value = (struct dbps_value){.integer = value};
}

static int set_format(struct item *item, const char *a, const char *b)
{
	char *text;
	int len = asprintf(&text, "%s%s", a, b);

	if (len < 0)
		return -ENOMEM;
	set_text(item, text, (size_t)len);
	return 0;
}

/* Functions, with their parentheses or without where SQL allows that. */
enum function {
	F_CONNECTION_ID,
	F_CURRENT_USER,
	F_USER,
	F_DATABASE,
	F_VERSION,
	F_NOW,
	F_UNIX,
	F_ZERO
};

static const struct {
	const char *name;
	enum function function;
	bool bare; /* may stand without parentheses */
} functions[] = {
	{"CONNECTION_ID", F_CONNECTION_ID, false},
	{"CURRENT_USER", F_CURRENT_USER, true},
	{"USER", F_USER, false},
	{"SESSION_USER", F_USER, false},
	{"SYSTEM_USER", F_USER, false},
	{"DATABASE", F_DATABASE, false},
	{"SCHEMA", F_DATABASE, false},
	{"VERSION", F_VERSION, false},
	{"NOW", F_NOW, false},
	{"CURRENT_TIMESTAMP", F_NOW, true},
	{"UNIX_TIMESTAMP", F_UNIX, false},
	{"LAST_INSERT_ID", F_ZERO, false},
};

static int set_now(struct item *item)
{
	time_t now = time(NULL);
	struct tm parts;
	char text[32];

	localtime_r(&now, &parts);
	strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &parts);
	return set_format(item, text, "");
}

static int call(const struct sql_connection *connection, enum function function, struct item *item)
{
	switch (function) {
	case F_CONNECTION_ID:
		set_integer(item, connection->id);
		return 0;
	case F_CURRENT_USER:
		return set_format(item, connection->caller.user, "@localhost");
	case F_USER:
		return set_format(item, connection->login, "@localhost");
	case F_DATABASE:
		if (connection->server[0])
			return set_format(item, connection->server, "");
		set_text(item, NULL, 0);
		return 0;
	case F_VERSION:
		return set_format(item, SQL_SERVER_VERSION, "");
	case F_NOW:
		return set_now(item);
	case F_UNIX:
		set_integer(item, (uint64_t)time(NULL));
		return 0;
	case F_ZERO:
		break;
	}
	set_integer(item, 0);
	return 0;
}

static int read_function(const struct sql_connection *connection, struct sql_input *input,
			 struct item *item)
{
	for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
		if (!sql_take_word(input, functions[i].name))
			continue;
		if (sql_take_char(input, '(') ? !sql_take_char(input, ')') : !functions[i].bare)
			return -EINVAL;
		return call(connection, functions[i].function, item);
	}
	return -EINVAL;
}

/* What follows "@@": [GLOBAL | SESSION | LOCAL .] name. -ENXIO for a variable that is not known. */
static int read_variable(const struct sql_connection *connection, struct sql_input *input,
			 struct item *item)
{
	const struct sql_variable *variable;

	if (sql_take_word(input, "GLOBAL") || sql_take_word(input, "SESSION") ||
	    sql_take_word(input, "LOCAL"))
		if (!sql_take_char(input, '.'))
			return -EINVAL;
	if (input->token.type != DBPS_TOKEN_WORD)
		return -EINVAL;
	variable = sql_variable_find(input->token.start, input->token.len);
	if (!variable)
		return -ENXIO;
	sql_next(input);
	item->type = variable->type;
	item->value = sql_variable_get(variable, connection);
	return 0;
}

static bool begins_with_digit(const struct dbps_token *token)
{
	return token->type == DBPS_TOKEN_WORD && *token->start >= '0' && *token->start <= '9';
}

/* Digits, with a point and a sign where they stand: told as they were written. */
static int read_number(struct sql_input *input, struct item *item)
{
	const char *start = input->token.start;
	bool plain = !sql_take_char(input, '-');
	uint64_t value;
	char *text;

	if (sql_take_number(input, &value))
		return -EINVAL;
	if (plain && !dbps_token_is_char(&input->token, '.')) {
		set_integer(item, value);
		return 0;
	}
	if (sql_take_char(input, '.') && sql_take_number(input, &value))
		return -EINVAL;
	text = strndup(start, (size_t)(input->end - start));
	if (!text)
		return -ENOMEM;
	set_text(item, text, strlen(text));
	return 0;
}

static int read_string(struct sql_input *input, struct item *item)
{
	size_t len;
	char *text;
	int r = sql_unquote(&input->token, &text, &len);

	if (r)
		return r;
	sql_next(input);
	set_text(item, text, len);
	return 0;
}

static int read_expression(const struct sql_connection *connection, struct sql_input *input,
			   struct item *item)
{
	const struct dbps_token *token = &input->token;

	if (token->type == DBPS_TOKEN_STRING)
		return read_string(input, item);
	if (dbps_token_is_char(token, '-') || begins_with_digit(token))
		return read_number(input, item);
	if (sql_take_char(input, '@'))
		return sql_take_char(input, '@') ? read_variable(connection, input, item) : -EINVAL;
	if (sql_take_word(input, "NULL")) {
		set_text(item, NULL, 0);
		return 0;
	}
	if (token->type == DBPS_TOKEN_WORD &&
	    (dbps_token_is(token, "true") || dbps_token_is(token, "false"))) {
		set_integer(item, dbps_token_is(token, "true"));
		sql_next(input);
		return 0;
	}
	return read_function(connection, input, item);
}

static void name_item(struct item *item, const char *text, size_t len)
{
	snprintf(item->name, sizeof(item->name), "%.*s", (int)utf8_cut(text, len, NAME_MAX_BYTES),
		 text);
}

static bool ends_list(const struct dbps_token *token)
{
	return token->type == DBPS_TOKEN_END || dbps_token_is(token, "limit") ||
	       dbps_token_is(token, "from") || dbps_token_is_char(token, ',') ||
	       dbps_token_is_char(token, ';');
}

/* "[AS] alias"; without one the column is named by the text of the expression. */
static int read_alias(struct sql_input *input, struct item *item)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r;

	if (!sql_take_word(input, "AS") && ends_list(&input->token))
		return 0;
	if (begins_with_digit(&input->token))
		return -EINVAL;
	if (input->token.type == DBPS_TOKEN_WORD) {
		name_item(item, input->token.start, input->token.len);
	} else if (input->token.type == DBPS_TOKEN_CHAR || input->token.type == DBPS_TOKEN_END) {
		return -EINVAL;
	} else {
		r = sql_unquote(&input->token, &text, &len);
		if (r)
			return r;
		name_item(item, text, len);
	}
	sql_next(input);
	return 0;
}

static int read_items(const struct sql_connection *connection, struct sql_input *input,
		      struct selection *selection)
{
	do {
		struct item *item = &selection->items[selection->n];
		const char *start = input->token.start;
		int r;

		if (selection->n == ITEMS_MAX)
			return -EINVAL;
		r = read_expression(connection, input, item);
		if (r)
			return r;
		selection->n++;
		name_item(item, start, (size_t)(input->end - start));
		r = read_alias(input, item);
		if (r)
			return r;
	} while (sql_take_char(input, ','));
	return 0;
}

static int read_tail(struct sql_input *input, uint64_t *ret_limit)
{
	if (sql_take_word(input, "FROM") && !sql_take_word(input, "DUAL"))
		return -EINVAL;
	return sql_take_limit(input, ret_limit) || !sql_at_end(input) ? -EINVAL : 0;
}

static int put_selection(struct wire_writer *out, const struct selection *selection, bool row)
{
	struct wire_column columns[ITEMS_MAX];

	for (size_t i = 0; i < selection->n; i++) {
		columns[i].name = selection->items[i].name;
		columns[i].type = selection->items[i].type == DBPS_TYPE_INTEGER
					  ? WIRE_TYPE_LONGLONG
					  : WIRE_TYPE_VAR_STRING;
	}
	wire_columns(out, columns, selection->n);
	if (row)
		wire_begin(out);
	for (size_t i = 0; row && i < selection->n; i++) {
		const struct item *item = &selection->items[i];

		if (item->value.null)
			wire_put_null(out);
		else if (item->type == DBPS_TYPE_INTEGER)
			wire_put_integer(out, item->value.integer);
		else
			wire_put_text(out, item->value.text, item->value.len);
	}
	if (row)
		wire_end(out);
	wire_eof(out, 0);
	return 0;
}

int sql_select(struct sql_connection *connection, struct sql_input *input, unsigned int options)
{
	_cleanup_(free_selection) struct selection *selection = calloc(1, sizeof(*selection));
	uint64_t limit;
	int r;

	(void)options;
	if (!selection)
		return -ENOMEM;
	r = read_items(connection, input, selection);
	if (r == -ENXIO)
		return sql_error(connection, ER_UNKNOWN_SYSTEM_VARIABLE,
				 "Unknown system variable '%.*s'", (int)input->token.len,
				 input->token.start);
	if (!r)
		r = read_tail(input, &limit);
	return r ? r : put_selection(&connection->channel.out, selection, limit > 0);
}
