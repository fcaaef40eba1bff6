/*
 * The lexer of statements. It never fails: what is cut or makes no sense is still a row of tokens.
 */
#include "lexer.h"

#include <string.h>
#include <strings.h>

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_word(char c)
{
	unsigned char u = (unsigned char)c;

	return (u >= 'a' && u <= 'z') || (u >= 'A' && u <= 'Z') || (u >= '0' && u <= '9') ||
	       u == '_' || u == '$' || u >= 0x80;
}

static bool starts(const struct dbps_lexer *l, const char *with)
{
	size_t n = strlen(with);

	return (size_t)(l->end - l->at) >= n && memcmp(l->at, with, n) == 0;
}

/* "--" opens a comment when a blank or control character follows, or nothing. */
static bool starts_dash_comment(const struct dbps_lexer *l)
{
	if (!starts(l, "--"))
		return false;
	return l->end - l->at == 2 || (unsigned char)l->at[2] <= ' ' || l->at[2] == 0x7f;
}

static void skip_line(struct dbps_lexer *l)
{
	const char *newline = memchr(l->at, '\n', (size_t)(l->end - l->at));

	l->at = newline ? newline + 1 : l->end;
}

static void skip_block(struct dbps_lexer *l)
{
	const char *close = memmem(l->at + 2, (size_t)(l->end - l->at) - 2, "*/", 2);

	if (!l->comment) {
		l->comment = l->at + 2;
		l->comment_len = (size_t)((close ? close : l->end) - l->comment);
	}
	l->comment_open = !close;
	l->at = close ? close + 2 : l->end;
}

/* Behind the mark of an executable comment and its version. */
static void enter_executable(struct dbps_lexer *l)
{
	l->at += starts(l, "/*M!") ? 4 : 3;
	while (l->at < l->end && *l->at >= '0' && *l->at <= '9')
		l->at++;
	l->executable = true;
}

static bool skip_one(struct dbps_lexer *l)
{
	if (is_blank(*l->at)) {
		l->at++;
	} else if (starts(l, "/*!") || starts(l, "/*M!")) {
		enter_executable(l);
	} else if (l->executable && starts(l, "*/")) {
		l->at += 2;
		l->executable = false;
	} else if (starts(l, "/*")) {
		skip_block(l);
	} else if (*l->at == '#' || starts_dash_comment(l)) {
		skip_line(l);
	} else {
		return false;
	}
	return true;
}

/* A doubled quote stands for itself; a backslash takes the next byte along, not in names. */
static void quoted(struct dbps_lexer *l, struct dbps_token *token)
{
	char quote = *l->at++;
	bool backslash = quote != '`' && !l->no_backslash;

	while (l->at < l->end && !token->closed) {
		char c = *l->at++;
		bool escapes = (c == '\\' && backslash && l->at < l->end) ||
			       (c == quote && l->at < l->end && *l->at == quote);

		if (escapes)
			l->at++;
		else if (c == quote)
			token->closed = true;
	}
	token->type = quote == '`' ? DBPS_TOKEN_NAME : DBPS_TOKEN_STRING;
}

struct dbps_token dbps_lexer_next(struct dbps_lexer *l)
{
	struct dbps_token token = {.type = DBPS_TOKEN_END};

	while (l->at < l->end && skip_one(l))
		;
	token.start = l->at;
	token.executable = l->executable;
	if (l->at == l->end)
		return token;
	if (*l->at == '\'' || *l->at == '"' || *l->at == '`') {
		quoted(l, &token);
	} else if (is_word(*l->at)) {
		token.type = DBPS_TOKEN_WORD;
		while (l->at < l->end && is_word(*l->at))
			l->at++;
	} else {
		token.type = DBPS_TOKEN_CHAR;
		l->at++;
	}
	token.len = (size_t)(l->at - token.start);
	return token;
}

bool dbps_token_is(const struct dbps_token *token, const char *word)
{
	return token->len == strlen(word) && dbps_token_ends(token, word);
}

bool dbps_token_ends(const struct dbps_token *token, const char *end)
{
	size_t n = strlen(end);

	return token->type == DBPS_TOKEN_WORD && token->len >= n &&
	       strncasecmp(token->start + token->len - n, end, n) == 0;
}

bool dbps_token_is_char(const struct dbps_token *token, char c)
{
	return token->type == DBPS_TOKEN_CHAR && *token->start == c;
}
