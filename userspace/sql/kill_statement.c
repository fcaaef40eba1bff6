/*
 * KILL as it is written, in the grammars of MySQL, of MariaDB and our own. Nothing is done before
 * all of it is understood. What then happens, and what is allowed, is decided in kill/kill.c.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/param.h>

#include "cleanup.h"
#include "daemon/daemon.h"
#include "sql/kills.h"
#include "sql/statements.h"
#include "sql/translate.h"

/* The words of "[HARD | SOFT] [CONNECTION | QUERY]", as sql_match() numbers them. */
#define OPTION_SOFT	 (1u << 1)
#define OPTION_QUERY	 (1u << 3)
#define REASON_MAX_BYTES 255

/* ---------------------------------------------------------------- what every KILL has ------- */

static void free_kill(struct sql_kill *kill)
{
	free(kill->statement);
	free(kill->reason);
}

/* A comment of any place is the reason. */
static int read_reason(struct sql_kill *kill, struct sql_input whole)
{
	const char *start, *end;

	while (whole.token.type != DBPS_TOKEN_END)
		sql_next(&whole);
	if (whole.lexer.comment_open)
		return -EINVAL;
	if (!whole.lexer.comment)
		return 0;
	start = whole.lexer.comment;
	end = start + whole.lexer.comment_len;
	while (start < end && strchr(" \t\r\n", *start))
		start++;
	while (end > start && strchr(" \t\r\n", end[-1]))
		end--;
	if (start == end)
		return 0;
	kill->reason = strndup(start, MIN((size_t)(end - start), REASON_MAX_BYTES));
	return kill->reason ? 0 : -ENOMEM;
}

static bool is_killed(const void *connection)
{
	return sql_killed(connection);
}

/* Release with free_kill(), whatever it returns. */
static int begin(struct sql_connection *connection, const struct sql_input *input,
		 unsigned int options, struct sql_kill *ret_kill)
{
	struct sql_input whole = sql_input(input->text, (size_t)(input->lexer.end - input->text));
	int r;

	*ret_kill = (struct sql_kill){
		.request = {.connection = !(options & OPTION_QUERY),
			    .soft = options & OPTION_SOFT,
			    .timeout_ms = (int)connection->daemon->config.kill_wait_ms,
			    .caller = &connection->caller,
			    .audit = connection->daemon->audit,
			    .interrupted = is_killed,
			    .interrupted_data = connection,
			    .demotions = connection->daemon->demotions,
			    .drains = connection->daemon->drains},
		.limit = UINT64_MAX,
	};
	r = read_reason(ret_kill, whole);
	if (r)
		return r;
	ret_kill->statement = strndup(input->text, (size_t)(input->lexer.end - input->text));
	ret_kill->request.statement = ret_kill->statement;
	ret_kill->request.reason = ret_kill->reason;
	return ret_kill->statement ? 0 : -ENOMEM;
}

/* Behind AFTER. A statement that is ended early cannot be waited for. */
static int read_when(struct sql_input *input, struct sql_kill *kill)
{
	if (kill->request.when != DBPS_KILL_NOW || !kill->request.connection)
		return -EINVAL;
	if (sql_take_word(input, "STATEMENT"))
		kill->request.when = DBPS_KILL_AFTER_STATEMENT;
	else if (sql_take_word(input, "TRANSACTION"))
		kill->request.when = DBPS_KILL_AFTER_TRANSACTION;
	else
		return -EINVAL;
	return 0;
}

static int read_dry_run(struct sql_input *input, struct sql_kill *kill)
{
	bool again = kill->dry_run;

	kill->dry_run = sql_take_word(input, "RUN");
	return kill->dry_run && !again ? 0 : -EINVAL;
}

/* "[LIMIT n] [AFTER STATEMENT | AFTER TRANSACTION] [DRY RUN]" and the end. */
static int read_tail(struct sql_input *input, struct sql_kill *kill)
{
	int r = sql_take_limit(input, &kill->limit);

	while (!r && !sql_at_end(input)) {
		if (sql_take_word(input, "AFTER"))
			r = read_when(input, kill);
		else if (sql_take_word(input, "DRY"))
			r = read_dry_run(input, kill);
		else
			r = -EINVAL;
	}
	return r;
}

/* Of one session there is nothing to choose: only AFTER is left. */
static int read_tail_of_one(struct sql_input *input, struct sql_kill *kill)
{
	int r = sql_take_word(input, "AFTER") ? read_when(input, kill) : 0;

	return !r && sql_at_end(input) ? 0 : -EINVAL;
}

/* ---------------------------------------------------------------- KILL id ------------------- */

/* Digits of any length, blanks around them in a string allowed. */
static int read_digits(const char *text, uint64_t *ret_id)
{
	size_t digits;

	text += strspn(text, " \t\n");
	digits = strspn(text, "0123456789");
	if (!digits || text[digits + strspn(text + digits, " \t\n")])
		return -EINVAL;
	errno = 0;
	*ret_id = strtoull(text, NULL, 10);
	return errno ? -ERANGE : 0;
}

/* The content of a string or of a quoted name; what has a NUL byte in it would be cut there. */
static int quoted_text(const struct dbps_token *token, char **ret_text)
{
	size_t len;
	int r = sql_unquote(token, ret_text, &len);

	return r ? r : strlen(*ret_text) == len ? 0 : -EINVAL;
}

static int token_text(const struct dbps_token *token, char **ret_text)
{
	if (token->type == DBPS_TOKEN_STRING)
		return quoted_text(token, ret_text);
	if (token->type != DBPS_TOKEN_WORD)
		return -EINVAL;
	*ret_text = strndup(token->start, token->len);
	return *ret_text ? 0 : -ENOMEM;
}

/* An id; *ret_none is set when it is one that nothing can have, and then its text is in *ret_text.
 */
static int read_id(struct sql_input *input, uint64_t *ret_id, char **ret_text, bool *ret_none)
{
	bool negative = sql_take_char(input, '-');
	int r = token_text(&input->token, ret_text);

	if (!r)
		r = read_digits(*ret_text, ret_id);
	if (r && r != -ERANGE)
		return r;
	*ret_none = negative || r == -ERANGE;
	sql_next(input);
	return 0;
}

static int run_on_id(struct sql_connection *connection, struct sql_input *input,
		     unsigned int options, sql_act *act)
{
	_cleanup_(free_kill) struct sql_kill kill = {0};
	_cleanup_free_ char *text = NULL;
	const char *sign = dbps_token_is_char(&input->token, '-') ? "-" : "";
	uint64_t id = 0;
	bool none = false;
	int r = begin(connection, input, options, &kill);

	if (!r)
		r = read_id(input, &id, &text, &none);
	if (!r)
		r = read_tail_of_one(input, &kill);
	if (!r && kill.request.when != DBPS_KILL_NOW && act != sql_act_kill)
		r = -EINVAL;
	if (r)
		return r;
	if (none)
		return sql_error(connection, ER_NO_SUCH_THREAD, "Unknown thread id: %s%s", sign,
				 text);
	return sql_act_on_one(connection, &kill, id, act);
}

int sql_kill(struct sql_connection *connection, struct sql_input *input, unsigned int options)
{
	return run_on_id(connection, input, options, sql_act_kill);
}

int sql_act_on_id(struct sql_connection *connection, struct sql_input *input, sql_act *act)
{
	return run_on_id(connection, input, OPTION_QUERY, act);
}

int sql_kill_id(struct sql_connection *connection, uint64_t id)
{
	char text[32];
	struct sql_kill kill = {
		.request = {.connection = true,
			    .timeout_ms = (int)connection->daemon->config.kill_wait_ms,
			    .caller = &connection->caller,
			    .statement = text,
			    .audit = connection->daemon->audit,
			    .interrupted = is_killed,
			    .interrupted_data = connection,
			    .demotions = connection->daemon->demotions,
			    .drains = connection->daemon->drains}};

	snprintf(text, sizeof(text), "KILL %" PRIu64, id);
	return sql_act_on_one(connection, &kill, id, sql_act_kill);
}

int sql_kill_query_id(struct sql_connection *connection, struct sql_input *input,
		      unsigned int options)
{
	_cleanup_(free_kill) struct sql_kill kill = {0};
	_cleanup_free_ char *text = NULL;
	const char *sign = dbps_token_is_char(&input->token, '-') ? "-" : "";
	uint64_t query_id = 0;
	bool none = false;
	int r = begin(connection, input, options | OPTION_QUERY, &kill);

	if (!r)
		r = read_id(input, &query_id, &text, &none);
	if (!r && !sql_at_end(input))
		r = -EINVAL;
	if (r)
		return r;
	if (none)
		return sql_error(connection, ER_NO_SUCH_QUERY, "Unknown query id: %s%s", sign,
				 text);
	return sql_kill_query(connection, &kill, query_id);
}

/* ---------------------------------------------------------------- KILL USER ----------------- */

static int take_name(struct sql_input *input, char **ret_name)
{
	int r = input->token.type == DBPS_TOKEN_NAME ? quoted_text(&input->token, ret_name)
						     : token_text(&input->token, ret_name);

	if (!r)
		sql_next(input);
	return r;
}

/* A host without quotes: words, dots, dashes and colons without a blank between. */
static int take_host(struct sql_input *input, char **ret_host)
{
	const char *start = input->token.start, *end = start;

	if (input->token.type == DBPS_TOKEN_NAME || input->token.type == DBPS_TOKEN_STRING)
		return take_name(input, ret_host);
	while (input->token.start == end &&
	       (input->token.type == DBPS_TOKEN_WORD || dbps_token_is_char(&input->token, '.') ||
		dbps_token_is_char(&input->token, '-') || dbps_token_is_char(&input->token, ':') ||
		dbps_token_is_char(&input->token, '%'))) {
		end += input->token.len;
		sql_next(input);
	}
	*ret_host = strndup(start, (size_t)(end - start));
	if (!*ret_host)
		return -ENOMEM;
	return end > start ? 0 : -EINVAL;
}

/* CURRENT_USER is nobody: the console knows its callers by their uid, not by a database's user. */
int sql_kill_user(struct sql_connection *connection, struct sql_input *input, unsigned int options)
{
	_cleanup_(free_kill) struct sql_kill kill = {0};
	_cleanup_free_ char *name = NULL, *host = NULL;
	int r = begin(connection, input, options, &kill);

	if (!r && dbps_token_is(&input->token, "current_user"))
		r = -EINVAL;
	if (!r)
		r = take_name(input, &name);
	if (!r && sql_take_char(input, '@'))
		r = take_host(input, &host);
	if (!r)
		r = read_tail(input, &kill);
	return r ? r
		 : sql_kill_of_user(connection, &kill,
				    &(struct sql_kill_user){.name = name, .host = host});
}

/* ---------------------------------------------------------------- KILL WHERE ---------------- */

static bool begins_clause(const struct dbps_token *token)
{
	return token->type == DBPS_TOKEN_END || dbps_token_is_char(token, ';') ||
	       dbps_token_is(token, "order") || dbps_token_is(token, "limit") ||
	       dbps_token_is(token, "after") || dbps_token_is(token, "dry");
}

/*
 * Where the expression at the input ends: at the next clause that is in no parentheses. Those of an
 * expression are its own, so that it cannot reach out of the ones that are put around it.
 * -EINVAL with the input at what is wrong.
 */
static int find_end(struct sql_input *input, const char **ret_end)
{
	struct sql_input ahead = *input;
	int depth = 0;

	for (; depth > 0 ? ahead.token.type != DBPS_TOKEN_END : !begins_clause(&ahead.token);
	     sql_next(&ahead)) {
		depth += dbps_token_is_char(&ahead.token, '(');
		depth -= dbps_token_is_char(&ahead.token, ')');
		if (depth < 0 || dbps_token_is_char(&ahead.token, ';'))
			break;
	}
	if (depth || ahead.token.start == input->token.start) {
		*input = ahead;
		return -EINVAL;
	}
	*ret_end = ahead.token.start;
	return 0;
}

/* The expression at the input, in SQLite's SQL. Owned by the caller. */
static int read_expression(struct sql_input *input, char **ret_sql)
{
	_cleanup_free_ char *sql = NULL;
	const char *end;
	size_t len;
	FILE *out;
	int r = find_end(input, &end);

	if (r)
		return r;
	out = open_memstream(&sql, &len);
	if (!out)
		return -ENOMEM;
	r = sql_translate(input, end, out);
	if (fclose(out) && !r)
		r = -ENOMEM;
	if (!r)
		*ret_sql = TAKE_PTR(sql);
	return r;
}

/* The oldest first, of those whose age is known. */
static const char oldest_first[] = "time_ms IS NULL, time_ms DESC, id";

static int read_choice(struct sql_input *input, char **ret_sql)
{
	_cleanup_free_ char *condition = NULL, *order = NULL;
	int r = read_expression(input, &condition);

	if (!r && sql_take_word(input, "ORDER"))
		r = sql_take_word(input, "BY") ? read_expression(input, &order) : -EINVAL;
	if (!r && asprintf(ret_sql,
			   "SELECT rowid, (%s) FROM " SQL_SESSIONS_TABLE " WHERE (%s) ORDER BY %s",
			   condition, condition, order ? order : oldest_first) < 0)
		r = -ENOMEM;
	return r;
}

int sql_kill_where(struct sql_connection *connection, struct sql_input *input, unsigned int options)
{
	_cleanup_(free_kill) struct sql_kill kill = {0};
	_cleanup_free_ char *sql = NULL;
	int r = begin(connection, input, options, &kill);

	if (!r)
		r = read_choice(input, &sql);
	if (!r)
		r = read_tail(input, &kill);
	return r ? r : sql_kill_chosen(connection, &kill, sql);
}
