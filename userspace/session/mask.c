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
#include <strings.h>

#include "lexer.h"
#include "text.h"

/*
 * Looks for a word by its rarest letter: memchr() is many times as fast as any loop over the bytes,
 * and every statement of every snapshot is searched.
 */
static bool holds_word(const char *text, size_t len, const char *word, char letter)
{
	size_t word_len = strlen(word), at = (size_t)(strchr(word, letter | 0x20) - word);
	const char *end = text + len, *found;

	for (const char *from = text; from < end; from = found + 1) {
		found = memchr(from, letter, (size_t)(end - from));
		if (!found)
			return false;
		if ((size_t)(found - text) >= at && (size_t)(end - found) >= word_len - at &&
		    strncasecmp(found - at, word, word_len) == 0)
			return true;
	}
	return false;
}

bool dbps_text_may_hold_password(const char *text, size_t len)
{
	return holds_word(text, len, "password", 'w') || holds_word(text, len, "password", 'W') ||
	       holds_word(text, len, "identified", 'f') || holds_word(text, len, "identified", 'F');
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
	struct dbps_lexer lexer = {.at = literal->start + 1,
				   .end = literal->start + literal->len,
				   .no_backslash = true};
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
	struct dbps_lexer lexer = {
		.at = text.start, .end = text.start + text.len, .no_backslash = text.no_backslash};
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
