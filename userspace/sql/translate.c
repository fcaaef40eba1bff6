/*
 * Token by token, with what stands between them as it was, so that columns keep the names that
 * their expressions have in the statement. What SQLite would silently take for something else is
 * refused: || is OR to MySQL and joins texts in SQLite.
 */
#include "sql/translate.h"

#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "sql/functions.h"

/* Blanks stay; comments, and the marks of executable ones, become one. */
static void put_gap(const char *from, const char *to, FILE *out)
{
	if (from + strspn(from, " \t\n\v\f\r") >= to)
		fwrite(from, 1, (size_t)(to - from), out);
	else
		fputc(' ', out);
}

/* '…' for any of "…" and '…', without backslashes. */
static int put_string(const struct dbps_token *token, FILE *out)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r = sql_unquote(token, &text, &len);

	if (!r && memchr(text, '\0', len))
		r = -EINVAL;
	if (r)
		return r;
	fputc('\'', out);
	for (size_t i = 0; i < len; i++)
		fputs(text[i] == '\'' ? "''" : (char[]){text[i], '\0'}, out);
	fputc('\'', out);
	return 0;
}

static void put_word(const struct dbps_token *token, const struct dbps_token *after, FILE *out)
{
	bool called = dbps_token_is_char(after, '(');
	bool joins = dbps_token_is(token, "left") || dbps_token_is(token, "right");
	const char *quote = joins && called ? "\"" : "";

	fprintf(out, "%s%.*s%s", quote, (int)token->len, token->start, quote);
	if (!called && sql_function_is_bare(token))
		fputs("()", out);
}

static int put_char(const struct dbps_token *token, const struct dbps_token *after, FILE *out)
{
	char c = *token->start;
	bool joins_texts =
		c == '|' && dbps_token_is_char(after, '|') && after->start == token->start + 1;

	if (joins_texts || c == '[' || c == '@' || c == '\0')
		return -EINVAL;
	fputc(c, out);
	return 0;
}

static int put_token(const struct dbps_token *token, const struct dbps_token *after, FILE *out)
{
	switch (token->type) {
	case DBPS_TOKEN_STRING:
		return put_string(token, out);
	case DBPS_TOKEN_NAME:
		if (!token->closed || memchr(token->start, '\0', token->len))
			return -EINVAL;
		fwrite(token->start, 1, token->len, out);
		return 0;
	case DBPS_TOKEN_WORD:
		put_word(token, after, out);
		return 0;
	case DBPS_TOKEN_CHAR:
		return put_char(token, after, out);
	case DBPS_TOKEN_END:
		break;
	}
	return -EINVAL;
}

int sql_translate(struct sql_input *input, const char *end, FILE *out)
{
	const char *gap = NULL;
	bool after_string = false;

	while (input->token.type != DBPS_TOKEN_END && input->token.start < end) {
		struct sql_input ahead = *input;
		bool is_string = input->token.type == DBPS_TOKEN_STRING;
		int r;

		sql_next(&ahead);
		if (gap)
			put_gap(gap, input->token.start, out);
		if (after_string && is_string) /* two strings side by side must not become one */
			fputc(' ', out);
		r = put_token(&input->token, &ahead.token, out);
		if (r)
			return r;
		after_string = is_string;
		gap = ahead.end;
		*input = ahead;
	}
	return input->lexer.comment_open ? -EINVAL : 0;
}
