/*
 * Facts are small and made at each call. The text functions follow the MySQL manual: NULL in, NULL
 * out; positions count characters.
 */
#include "sql/functions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "cleanup.h"
#include "mysql/utf8.h"

#define LIKE_PATTERN_MAX 1000 /* bytes */

/* ---------------------------------------------------------------- facts --------------------- */

static void set_integer(struct sql_fact *fact, uint64_t value)
{
	fact->type = DBPS_TYPE_INTEGER;
	fact->value = (struct dbps_value){.integer = value};
}

static void set_text(struct sql_fact *fact, const char *a, const char *b)
{
	snprintf(fact->text, sizeof(fact->text), "%s%s", a, b);
	fact->type = DBPS_TYPE_TEXT;
	fact->value = (struct dbps_value){.text = fact->text, .len = strlen(fact->text)};
}

static void connection_id(const struct sql_connection *connection, struct sql_fact *ret)
{
	set_integer(ret, connection->id);
}

static void current_user(const struct sql_connection *connection, struct sql_fact *ret)
{
	set_text(ret, connection->caller.user, "@localhost");
}

static void login_user(const struct sql_connection *connection, struct sql_fact *ret)
{
	set_text(ret, connection->login, "@localhost");
}

static void database(const struct sql_connection *connection, struct sql_fact *ret)
{
	set_text(ret, connection->server, "");
	ret->value.null = !connection->server[0];
}

static void version(const struct sql_connection *connection, struct sql_fact *ret)
{
	(void)connection;
	set_text(ret, SQL_SERVER_VERSION, "");
}

static void now(const struct sql_connection *connection, struct sql_fact *ret)
{
	time_t seconds = time(NULL);
	struct tm parts;
	char text[32];

	(void)connection;
	localtime_r(&seconds, &parts);
	strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &parts);
	set_text(ret, text, "");
}

static void unix_timestamp(const struct sql_connection *connection, struct sql_fact *ret)
{
	(void)connection;
	set_integer(ret, (uint64_t)time(NULL));
}

static void zero(const struct sql_connection *connection, struct sql_fact *ret)
{
	(void)connection;
	set_integer(ret, 0);
}

const struct sql_function sql_functions[] = {
	{"CONNECTION_ID", false, connection_id},
	{"CURRENT_USER", true, current_user},
	{"USER", false, login_user},
	{"SESSION_USER", false, login_user},
	{"SYSTEM_USER", false, login_user},
	{"DATABASE", false, database},
	{"SCHEMA", false, database},
	{"VERSION", false, version},
	{"NOW", false, now},
	{"CURRENT_TIMESTAMP", true, now},
	{"UNIX_TIMESTAMP", false, unix_timestamp},
	{"LAST_INSERT_ID", false, zero},
};
const size_t sql_n_functions = ARRAY_SIZE(sql_functions);

bool sql_function_is_bare(const struct dbps_token *word)
{
	for (size_t i = 0; i < sql_n_functions; i++)
		if (sql_functions[i].bare && strlen(sql_functions[i].name) == word->len &&
		    !strncasecmp(sql_functions[i].name, word->start, word->len))
			return true;
	return false;
}

struct call {
	const struct sql_function *function;
	const struct sql_connection *connection;
};

static void call_fact(sqlite3_context *context, int argc, sqlite3_value **argv)
{
	const struct call *call = sqlite3_user_data(context);
	struct sql_fact fact;

	(void)argc, (void)argv;
	call->function->get(call->connection, &fact);
	if (fact.value.null)
		sqlite3_result_null(context);
	else if (fact.type == DBPS_TYPE_INTEGER)
		sqlite3_result_int64(context, (sqlite3_int64)fact.value.integer);
	else
		sqlite3_result_text64(context, fact.value.text, fact.value.len, SQLITE_TRANSIENT,
				      SQLITE_UTF8);
}

/* ---------------------------------------------------------------- text functions ------------ */

static bool any_null(int argc, sqlite3_value **argv)
{
	for (int i = 0; i < argc; i++)
		if (sqlite3_value_type(argv[i]) == SQLITE_NULL)
			return true;
	return false;
}

static const char *text_of(sqlite3_value *value)
{
	return (const char *)sqlite3_value_text(value) ?: "";
}

/* Everything from argv[first] on, with a separator between; NULLs are left out. */
static void join(sqlite3_context *context, int argc, sqlite3_value **argv, int first,
		 const char *separator)
{
	sqlite3_str *out = sqlite3_str_new(sqlite3_context_db_handle(context));
	bool begun = false;
	int len, r;

	for (int i = first; i < argc; i++) {
		if (sqlite3_value_type(argv[i]) == SQLITE_NULL)
			continue;
		sqlite3_str_appendall(out, begun ? separator : "");
		sqlite3_str_appendall(out, text_of(argv[i]));
		begun = true;
	}
	len = sqlite3_str_length(out);
	r = sqlite3_str_errcode(out);
	char *text = sqlite3_str_finish(out);
	if (r)
		sqlite3_result_error_code(context, r);
	else
		sqlite3_result_text(context, text ? text : "", len,
				    text ? sqlite3_free : SQLITE_STATIC);
}

static void concat(sqlite3_context *context, int argc, sqlite3_value **argv)
{
	if (any_null(argc, argv))
		sqlite3_result_null(context);
	else
		join(context, argc, argv, 0, "");
}

static void concat_ws(sqlite3_context *context, int argc, sqlite3_value **argv)
{
	if (argc < 1 || any_null(1, argv))
		sqlite3_result_null(context);
	else
		join(context, argc, argv, 1, text_of(argv[0]));
}

/* Bytes of the first n characters. */
static size_t characters(const char *text, sqlite3_int64 n)
{
	const char *at = text, *end = text + strlen(text);

	for (; at < end && n > 0; n--)
		at += utf8_char_len(at, (size_t)(end - at)) ?: 1;
	return (size_t)(at - text);
}

static sqlite3_int64 count_characters(const char *text)
{
	const char *end = text + strlen(text);
	sqlite3_int64 n = 0;

	for (; text < end; n++)
		text += utf8_char_len(text, (size_t)(end - text)) ?: 1;
	return n;
}

static void left(sqlite3_context *context, int argc, sqlite3_value **argv)
{
	if (any_null(argc, argv))
		return;
	const char *text = text_of(argv[0]);
	size_t len = characters(text, sqlite3_value_int64(argv[1]));

	sqlite3_result_text64(context, text, len, SQLITE_TRANSIENT, SQLITE_UTF8);
}

static void right(sqlite3_context *context, int argc, sqlite3_value **argv)
{
	if (any_null(argc, argv))
		return;
	const char *text = text_of(argv[0]);
	sqlite3_int64 wanted = sqlite3_value_int64(argv[1]);
	size_t skip = characters(text, count_characters(text) - (wanted > 0 ? wanted : 0));

	sqlite3_result_text(context, text + skip, -1, SQLITE_TRANSIENT);
}

static void char_length(sqlite3_context *context, int argc, sqlite3_value **argv)
{
	if (!any_null(argc, argv))
		sqlite3_result_int64(context, count_characters(text_of(argv[0])));
}

/* Where the n-th delimiter begins; the end of the text when there are fewer. */
static const char *nth(const char *text, const char *delimiter, sqlite3_int64 n)
{
	const char *at = text;

	for (;;) {
		const char *found = strstr(at, delimiter);

		if (!found)
			return text + strlen(text);
		if (--n == 0)
			return found;
		at = found + strlen(delimiter);
	}
}

static sqlite3_int64 count_of(const char *text, const char *delimiter)
{
	sqlite3_int64 n = 0;

	for (; (text = strstr(text, delimiter)); n++)
		text += strlen(delimiter);
	return n;
}

/* SUBSTRING_INDEX(text, delimiter, n): before the n-th from the left, behind it from the right. */
static void substring_index(sqlite3_context *context, int argc, sqlite3_value **argv)
{
	if (any_null(argc, argv))
		return;
	const char *text = text_of(argv[0]), *delimiter = text_of(argv[1]), *at = text;
	sqlite3_int64 n = sqlite3_value_int64(argv[2]);
	sqlite3_int64 skip = n < 0 && *delimiter ? count_of(text, delimiter) + n + 1 : 0;

	if (!*delimiter || n == 0)
		sqlite3_result_text(context, "", 0, SQLITE_STATIC);
	else if (n > 0)
		sqlite3_result_text64(context, text,
				      (sqlite3_uint64)(nth(text, delimiter, n) - text),
				      SQLITE_TRANSIENT, SQLITE_UTF8);
	else {
		if (skip > 0)
			at = nth(text, delimiter, skip) + strlen(delimiter);
		sqlite3_result_text(context, at, -1, SQLITE_TRANSIENT);
	}
}

static void choose(sqlite3_context *context, int argc, sqlite3_value **argv)
{
	(void)argc;
	sqlite3_result_value(context, argv[sqlite3_value_double(argv[0]) != 0 ? 1 : 2]);
}

/*
 * X LIKE Y is like(Y, X). As in MySQL a backslash takes the meaning of what follows it. The time
 * that it takes rises with the product of the lengths.
 */
static void like(sqlite3_context *context, int argc, sqlite3_value **argv)
{
	if (any_null(argc, argv))
		return;
	if (sqlite3_value_bytes(argv[0]) > LIKE_PATTERN_MAX)
		sqlite3_result_error(context, "LIKE pattern is too long", -1);
	else
		sqlite3_result_int(context, sql_like(text_of(argv[0]), text_of(argv[1])));
}

static const struct {
	const char *name;
	int argc; /* -1: any */
	void (*call)(sqlite3_context *context, int argc, sqlite3_value **argv);
} text_functions[] = {
	{"concat", -1, concat},
	{"concat_ws", -1, concat_ws},
	{"left", 2, left},
	{"right", 2, right},
	{"char_length", 1, char_length},
	{"character_length", 1, char_length},
	{"substring_index", 3, substring_index},
	{"if", 3, choose},
	{"like", 2, like},
};

int sql_functions_register(sqlite3 *db, const struct sql_connection *connection)
{
	int r = SQLITE_OK;

	for (size_t i = 0; i < sql_n_functions && !r; i++) {
		struct call *call = sqlite3_malloc(sizeof(*call));

		if (!call)
			return SQLITE_NOMEM;
		*call = (struct call){&sql_functions[i], connection};
		r = sqlite3_create_function_v2(db, sql_functions[i].name, 0, SQLITE_UTF8, call,
					       call_fact, NULL, NULL, sqlite3_free);
	}
	for (size_t i = 0; i < ARRAY_SIZE(text_functions) && !r; i++)
		r = sqlite3_create_function_v2(db, text_functions[i].name, text_functions[i].argc,
					       SQLITE_UTF8 | SQLITE_DETERMINISTIC, NULL,
					       text_functions[i].call, NULL, NULL, NULL);
	return r;
}
