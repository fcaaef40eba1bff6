/*
 * Statements are short and come one at a time, so patterns are matched as they stand, word by word,
 * without a grammar. The lexer knows quotes and comments; nothing here looks at single bytes of a
 * text.
 */
#include "sql/input.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "cleanup.h"

struct sql_input sql_input(const char *text, size_t len)
{
	struct sql_input input = {
		.text = text, .lexer = {.at = text, .end = text + len}, .end = text};

	input.token = dbps_lexer_next(&input.lexer);
	return input;
}

const char *sql_statement_end(const struct sql_input *input)
{
	struct sql_input ahead = *input;

	while (ahead.token.type != DBPS_TOKEN_END && !dbps_token_is_char(&ahead.token, ';'))
		sql_next(&ahead);
	return ahead.token.start;
}

void sql_next(struct sql_input *input)
{
	input->end = input->token.start + input->token.len;
	input->token = dbps_lexer_next(&input->lexer);
}

static bool is_word(const struct dbps_token *token, const char *word, size_t len)
{
	return token->type == DBPS_TOKEN_WORD && token->len == len &&
	       !strncasecmp(token->start, word, len);
}

bool sql_take_word(struct sql_input *input, const char *word)
{
	if (!is_word(&input->token, word, strlen(word)))
		return false;
	sql_next(input);
	return true;
}

bool sql_take_char(struct sql_input *input, char c)
{
	if (!dbps_token_is_char(&input->token, c))
		return false;
	sql_next(input);
	return true;
}

int sql_take_number(struct sql_input *input, uint64_t *ret_number)
{
	uint64_t number = 0;

	if (input->token.type != DBPS_TOKEN_WORD)
		return -EINVAL;
	for (size_t i = 0; i < input->token.len; i++) {
		unsigned int digit = (unsigned char)input->token.start[i] - (unsigned int)'0';

		if (digit > 9 || __builtin_mul_overflow(number, 10, &number) ||
		    __builtin_add_overflow(number, digit, &number))
			return -EINVAL;
	}
	sql_next(input);
	*ret_number = number;
	return 0;
}

int sql_take_limit(struct sql_input *input, uint64_t *ret_limit)
{
	*ret_limit = UINT64_MAX;
	return sql_take_word(input, "LIMIT") ? sql_take_number(input, ret_limit) : 0;
}

bool sql_at_end(const struct sql_input *input)
{
	struct sql_input ahead = *input;

	while (sql_take_char(&ahead, ';'))
		;
	return ahead.token.type == DBPS_TOKEN_END;
}

/* What \c stands for. \% and \_ keep their backslash: LIKE reads it (MySQL manual, string
 * literals). */
static size_t unescape(char c, char *ret)
{
	static const char from[] = "0'\"bnrtZ\\", to[] = "\0'\"\b\n\r\t\032\\";
	const char *found = c ? strchr(from, c) : NULL;

	if (c == '%' || c == '_') {
		ret[0] = '\\';
		ret[1] = c;
		return 2;
	}
	ret[0] = c;
	if (found)
		ret[0] = to[found - from];
	return 1;
}

int sql_unquote(const struct dbps_token *token, char **ret_text, size_t *ret_len)
{
	const char *at = token->start + 1, *end = token->start + token->len - 1;
	bool escapes = token->type == DBPS_TOKEN_STRING;
	char quote = *token->start, *text;
	size_t len = 0;

	if (!token->closed)
		return -EINVAL;
	text = malloc(token->len + 1);
	if (!text)
		return -ENOMEM;
	while (at < end) {
		if (escapes && *at == '\\' && at + 1 < end) {
			len += unescape(at[1], text + len);
			at += 2;
			continue;
		}
		at += *at == quote && at + 1 < end; /* two quotes are one */
		text[len++] = *at++;
	}
	text[len] = '\0';
	*ret_text = text;
	*ret_len = len;
	return 0;
}

static bool describes(const char *pattern, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (islower((unsigned char)pattern[i]))
			return true;
	return false;
}

/* One of the words of "A | B]", or none. *options gets its bit, counted on from *bit. */
static void match_option(struct sql_input *input, const char *group, unsigned int *bit,
			 unsigned int *options)
{
	bool taken = false;

	for (; *group && *group != ']'; group += strspn(group, " |")) {
		size_t len = strcspn(group, " |]");

		if (!taken && is_word(&input->token, group, len)) {
			*options |= 1u << *bit;
			sql_next(input);
			taken = true;
		}
		group += len;
		(*bit)++;
	}
}

static bool match_word(struct sql_input *input, const char *word, size_t len)
{
	bool matches = isalpha((unsigned char)*word) ? is_word(&input->token, word, len)
						     : dbps_token_is_char(&input->token, *word);

	if (matches)
		sql_next(input);
	return matches;
}

bool sql_match(struct sql_input *input, const char *pattern, unsigned int *ret_options)
{
	unsigned int options = 0, bit = 0;
	const char *at = pattern;

	while (*at) {
		bool optional = *at == '[';
		size_t len = optional ? strcspn(at, "]") + 1 : strcspn(at, " ");

		if (describes(at, len))
			break;
		if (optional)
			match_option(input, at + 1, &bit, &options);
		else if (!match_word(input, at, len))
			return false;
		at += len;
		at += strspn(at, " ");
	}
	if (!*at && !sql_at_end(input))
		return false;
	*ret_options = options;
	return true;
}
