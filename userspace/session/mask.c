/*
 * Masks the passwords in statements. It follows the words around a literal, not the grammar, and
 * masks rather one literal too many: the server hides what its parser knows to be a password, this
 * sees bytes only.
 *
 * A literal is masked when it comes
 *   1. after a word that ends in PASSWORD: PASSWORD '...', MASTER_PASSWORD = '...', and the one
 *      after the = of SET PASSWORD FOR x = '...';
 *   2. anywhere in the parentheses after such a word: PASSWORD(CONCAT('...', '...'));
 *   3. after BY, AS, USING or REPLACE in a statement that has IDENTIFIED or SET PASSWORD;
 *   4. and is a statement itself that has such a literal: EXECUTE IMMEDIATE 'SET PASSWORD = "..."'.
 */
#include <string.h>

#include "cleanup.h"
#include "lexer.h"
#include "text.h"

/* Every password comes with one of them; their first eight letters are searched for. */
static const char *const keywords[] = {"password", "identifi"};
#define KEYWORD_LEN 8

/*
 * How far the window of a search may go on from one that is not a keyword, by its last byte: to
 * where this letter stands next in one of them (Horspool 1980, over two words of one length).
 */
static size_t shift_of(char c)
{
	switch (c | 0x20) {
	case 'r':
	case 'f':
		return 1;
	case 'o':
	case 'i':
		return 2;
	case 'w':
	case 't':
		return 3;
	case 's':
	case 'n':
		return 4;
	case 'e':
		return 5;
	case 'a':
	case 'd':
		return 6;
	case 'p':
		return 7;
	default:
		return KEYWORD_LEN;
	}
}

static bool is_keyword(const char *at)
{
	for (size_t k = 0; k < ARRAY_SIZE(keywords); k++) {
		size_t i = 0;

		while (i < KEYWORD_LEN && (at[i] | 0x20) == keywords[k][i])
			i++;
		if (i == KEYWORD_LEN)
			return true;
	}
	return false;
}

bool dbps_text_may_hold_password(const char *text, size_t len)
{
	for (size_t i = 0; i + KEYWORD_LEN <= len;) {
		char last = text[i + KEYWORD_LEN - 1];

		if (((last | 0x20) == 'd' || (last | 0x20) == 'i') && is_keyword(text + i))
			return true;
		i += shift_of(last);
	}
	return false;
}

/* Where the tokens before have led. */
struct state {
	bool account;	   /* IDENTIFIED or SET PASSWORD was there: rule 3 */
	bool set_password; /* its `=` is still to come: names are passed over */
	bool expected;	   /* the next literal is a password */
	size_t depth;	   /* open parentheses of rule 2 */
};

/* x'…', n'…' and _utf8'…' are literals too. */
static bool is_introducer(const struct dbps_token *token)
{
	return *token->start == '_' || dbps_token_is(token, "x") || dbps_token_is(token, "n") ||
	       dbps_token_is(token, "b");
}

static bool is_hex_number(const struct dbps_token *token)
{
	return token->len > 2 && token->start[0] == '0' && (token->start[1] | 0x20) == 'x';
}

static bool is_literal(const struct dbps_token *token)
{
	return token->type == DBPS_TOKEN_STRING || is_hex_number(token);
}

static void advance_word(struct state *state, const struct dbps_token *previous,
			 const struct dbps_token *token)
{
	if (dbps_token_ends(token, "password")) {
		state->set_password = dbps_token_is(previous, "set");
		state->account |= state->set_password;
		state->expected = true;
	} else if (!is_introducer(token) && !is_hex_number(token)) {
		state->account |= dbps_token_is(token, "identified");
		state->expected =
			state->account &&
			(dbps_token_is(token, "by") || dbps_token_is(token, "as") ||
			 dbps_token_is(token, "using") || dbps_token_is(token, "replace"));
	}
}

static void advance_char(struct state *state, const struct dbps_token *previous,
			 const struct dbps_token *token)
{
	char c = *token->start;

	if (c == ';') {
		*state = (struct state){0};
	} else if (c == '=') {
		state->expected |= state->set_password;
		state->set_password = false;
	} else if (c != ':') {
		state->expected = false;
	}
	if (c == '(' && (state->depth || dbps_token_ends(previous, "password")))
		state->depth++;
	else if (c == ')' && state->depth)
		state->depth--;
}

static void advance(struct state *state, const struct dbps_token *previous,
		    const struct dbps_token *token)
{
	if (token->type == DBPS_TOKEN_WORD)
		advance_word(state, previous, token);
	else if (token->type == DBPS_TOKEN_CHAR)
		advance_char(state, previous, token);
	else if (token->type == DBPS_TOKEN_NAME)
		state->expected = false;
}

/* Rule 4. Read as it stands: quotes in it are doubled, of the other kind, or behind backslashes. */
static bool holds_secret(const struct dbps_token *literal)
{
	struct dbps_lexer lexer = {literal->start + 1, literal->start + literal->len, true, false};
	struct dbps_token previous = {.type = DBPS_TOKEN_END};
	struct state state = {0};

	if (!dbps_text_may_hold_password(literal->start, literal->len))
		return false;
	lexer.end -= literal->closed;
	for (;;) {
		struct dbps_token token = dbps_lexer_next(&lexer);

		if (token.type == DBPS_TOKEN_END)
			return false;
		if (dbps_token_is_char(&token, '\\'))
			continue;
		if (is_literal(&token) && (state.expected || state.depth))
			return true;
		advance(&state, &previous, &token);
		previous = token;
	}
}

static bool is_secret(const struct state *state, const struct dbps_token *token)
{
	return is_literal(token) && (state->expected || state->depth || holds_secret(token));
}

static size_t put(char *ret, size_t n, const char *bytes, size_t len)
{
	memcpy(ret + n, bytes, len);
	return n + len;
}

static size_t put_masked(char *ret, size_t n, const struct dbps_token *token)
{
	bool quoted = token->type == DBPS_TOKEN_STRING;

	if (quoted)
		ret[n++] = *token->start;
	n = put(ret, n, "***", 3);
	if (quoted && token->closed)
		ret[n++] = *token->start;
	return n;
}

size_t dbps_text_mask(struct dbps_text text, char *ret)
{
	struct dbps_lexer lexer = {text.start, text.start + text.len, text.no_backslash, false};
	struct dbps_token previous = {.type = DBPS_TOKEN_END};
	struct state state = {0};
	const char *copied = text.start;
	size_t n = 0;

	for (;;) {
		struct dbps_token token = dbps_lexer_next(&lexer);

		if (token.type == DBPS_TOKEN_END)
			break;
		if (is_secret(&state, &token)) {
			n = put(ret, n, copied, (size_t)(token.start - copied));
			n = put_masked(ret, n, &token);
			copied = token.start + token.len;
		}
		advance(&state, &previous, &token);
		previous = token;
	}
	return put(ret, n, copied, (size_t)(lexer.end - copied));
}
