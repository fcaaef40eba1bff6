/*
 * Trims a text and finds the statement that runs, as MariaDB 10.11 does: observed on a server, and
 * mysql_parse() and alloc_query() in its sql/sql_parse.cc.
 */
#include "text.h"

#include <string.h>

#include "cleanup.h"
#include "lexer.h"

/* my_isspace() of the character sets in use. */
static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static struct dbps_text skip(struct dbps_text text, size_t n)
{
	text.start += n;
	text.len -= n;
	text.whole -= n;
	return text;
}

static struct dbps_text trim_start(struct dbps_text text)
{
	while (text.len > 0 && is_blank(*text.start))
		text = skip(text, 1);
	return text;
}

struct dbps_text dbps_text_trim(struct dbps_text text)
{
	text = trim_start(text);
	if (text.len < text.whole)
		return text;
	while (text.len > 0 &&
	       (is_blank(text.start[text.len - 1]) || text.start[text.len - 1] == ';'))
		text.len--;
	text.whole = text.len;
	return text;
}

enum kind {
	KIND_PLAIN,    /* one result, up to the next semicolon */
	KIND_CALL,     /* one result or more, up to the next semicolon */
	KIND_COMPOUND, /* has semicolons inside */
};

static bool is_one_of(const struct dbps_token *token, const char *const *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (dbps_token_is(token, words[i]))
			return true;
	return false;
}

/* The kind by the first two tokens; *ret_open when a word further on decides. */
static enum kind kind_of_start(const struct dbps_token *first, const struct dbps_token *second,
			       bool *ret_open)
{
	static const char *const compound[] = {"if",	 "case", "loop",   "while",
					       "repeat", "for",	 "declare"};

	*ret_open = dbps_token_is(first, "create") || dbps_token_is(first, "alter") ||
		    (dbps_token_is(first, "set") && dbps_token_is(second, "statement"));
	if (is_one_of(first, compound, ARRAY_SIZE(compound)) || dbps_token_is_char(second, ':') ||
	    dbps_token_is_char(first, '<'))
		return KIND_COMPOUND;
	if (dbps_token_is(first, "begin") && !dbps_token_is(second, "work") &&
	    !dbps_token_is_char(second, ';') && second->type != DBPS_TOKEN_END)
		return KIND_COMPOUND;
	if (dbps_token_is(first, "call") || dbps_token_is(first, "execute"))
		return KIND_CALL;
	return KIND_PLAIN;
}

/* What CREATE makes, or what SET STATEMENT … FOR runs. */
static enum kind kind_of_word(const struct dbps_token *token, bool *ret_open)
{
	static const char *const routines[] = {"procedure", "function", "trigger", "event",
					       "package"};
	static const char *const others[] = {"table",  "view",	 "index",  "database", "schema",
					     "user",   "role",	 "server", "sequence", "select",
					     "insert", "update", "delete", "do"};

	if (is_one_of(token, routines, ARRAY_SIZE(routines)))
		return KIND_COMPOUND;
	if (dbps_token_is(token, "call") || dbps_token_is(token, "execute"))
		return KIND_CALL;
	*ret_open = !is_one_of(token, others, ARRAY_SIZE(others));
	return KIND_PLAIN;
}

/*
 * Reads one statement up to its semicolon or the end of the text. Returns the position of the
 * semicolon, or NULL. A semicolon in an executable comment is one to some servers only.
 */
static const char *read_statement(struct dbps_lexer *lexer, enum kind *ret_kind)
{
	struct dbps_token first = dbps_lexer_next(lexer);
	struct dbps_token token = first;
	enum kind kind = KIND_PLAIN;
	bool open = false;

	for (size_t n = 1; token.type != DBPS_TOKEN_END; n++) {
		if (dbps_token_is_char(&token, ';') && !token.executable)
			break;
		if (dbps_token_is_char(&token, ';'))
			kind = KIND_COMPOUND;
		token = dbps_lexer_next(lexer);
		if (n == 1 && kind == KIND_PLAIN)
			kind = kind_of_start(&first, &token, &open);
		if (open && kind == KIND_PLAIN)
			kind = kind_of_word(&token, &open);
	}
	*ret_kind = kind;
	return token.type == DBPS_TOKEN_END ? NULL : token.start;
}

static struct dbps_text up_to(struct dbps_text text, const char *semicolon)
{
	if (semicolon)
		text.len = text.whole = (size_t)(semicolon - text.start);
	return text;
}

struct dbps_text dbps_text_current(struct dbps_text text, unsigned int results)
{
	struct dbps_text rest = text;

	if (!memchr(text.start, ';', text.len))
		return text;
	for (;; results--) {
		struct dbps_lexer lexer = {.at = rest.start,
					   .end = rest.start + rest.len,
					   .no_backslash = text.no_backslash};
		enum kind kind;
		const char *semicolon = read_statement(&lexer, &kind);
		bool last = !semicolon && rest.len == rest.whole;

		if (kind == KIND_COMPOUND)
			return text;
		if (results == 0 || (last && kind == KIND_CALL))
			return up_to(rest, semicolon);
		if (!semicolon || kind == KIND_CALL)
			return text;
		rest = trim_start(skip(rest, (size_t)(semicolon + 1 - rest.start)));
	}
}
