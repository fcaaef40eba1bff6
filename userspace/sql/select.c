/*
 * SELECT: over the sessions where it is FROM something, which SQLite does (select_sessions.c);
 * without a table it is here, a list of @@variables, functions about the connection, and literals,
 * as clients ask them when they connect or see whether a connection lives.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/param.h>

#include "cleanup.h"
#include "mysql/result.h"
#include "mysql/utf8.h"
#include "sql/functions.h"
#include "sql/statements.h"
#include "sql/variables.h"

#define ITEMS_MAX      64 /* Connector/J asks for some twenty at once */
#define NAME_MAX_BYTES 256
#define SLEEP_MAX_S    86400

struct item {
	char name[NAME_MAX_BYTES + 1];
	enum dbps_type type;
	struct dbps_value value;
	struct sql_fact fact; /* a function's value */
	uint64_t sleep_ms;    /* SLEEP(): before there is a row */
	char *owned;	      /* text of the value, or NULL */
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

static int read_function(const struct sql_connection *connection, struct sql_input *input,
			 struct item *item)
{
	for (size_t i = 0; i < sql_n_functions; i++) {
		if (!sql_take_word(input, sql_functions[i].name))
			continue;
		if (sql_take_char(input, '(') ? !sql_take_char(input, ')') : !sql_functions[i].bare)
			return -EINVAL;
		sql_functions[i].get(connection, &item->fact);
		item->type = item->fact.type;
		item->value = item->fact.value;
		return 0;
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

/* Behind SLEEP: "(seconds)". */
static int read_sleep(struct sql_input *input, struct item *item)
{
	struct item seconds = {0};
	int r = sql_take_char(input, '(') ? read_number(input, &seconds) : -EINVAL;
	double wait_s;

	if (r)
		return r;
	wait_s = seconds.owned ? strtod(seconds.owned, NULL) : (double)seconds.value.integer;
	free(seconds.owned);
	item->sleep_ms = (uint64_t)(MAX(0, MIN(wait_s, SLEEP_MAX_S)) * 1e3);
	set_integer(item, 0);
	return sql_take_char(input, ')') ? 0 : -EINVAL;
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
	if (sql_take_word(input, "SLEEP"))
		return read_sleep(input, item);
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
		columns[i].type = sql_wire_type(selection->items[i].type);
	}
	wire_columns(out, columns, selection->n);
	if (row)
		wire_begin(out);
	for (size_t i = 0; row && i < selection->n; i++) {
		const struct item *item = &selection->items[i];

		sql_put_value(out, item->type, &item->value);
	}
	if (row)
		wire_end(out);
	wire_eof(out, 0);
	return 0;
}

static uint64_t sleep_ms_of(const struct selection *selection)
{
	uint64_t sum_ms = 0;

	for (size_t i = 0; i < selection->n; i++)
		sum_ms += selection->items[i].sleep_ms;
	return sum_ms;
}

static int select_items(struct sql_connection *connection, struct sql_input *input)
{
	_cleanup_(free_selection) struct selection *selection = calloc(1, sizeof(*selection));
	uint64_t limit;
	int r;

	if (!selection)
		return -ENOMEM;
	r = read_items(connection, input, selection);
	if (r == -ENXIO)
		return sql_error(connection, ER_UNKNOWN_SYSTEM_VARIABLE,
				 "Unknown system variable '%.*s'", (int)input->token.len,
				 input->token.start);
	if (!r)
		r = read_tail(input, &limit);
	if (!r && limit > 0 && sql_wait(connection, sleep_ms_of(selection)))
		return sql_error_interrupted(connection);
	return r ? r : put_selection(&connection->channel.out, selection, limit > 0);
}

/* Whether it is FROM a table, and not DUAL, which is none. */
static bool has_table(struct sql_input input)
{
	for (; input.token.type != DBPS_TOKEN_END; sql_next(&input))
		if (sql_take_word(&input, "FROM") && !sql_take_word(&input, "DUAL"))
			return true;
	return false;
}

int sql_select(struct sql_connection *connection, struct sql_input *input, unsigned int options)
{
	if (has_table(*input))
		return sql_select_sessions(connection, input, options);
	return select_items(connection, input);
}
