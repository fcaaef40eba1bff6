/*
 * A statement as it is read: one token ahead, taken word by word. Patterns such as
 * "SHOW [FULL] PROCESSLIST" are matched against it, and are the documentation as well.
 */
#ifndef DBPS_SQL_INPUT_H
#define DBPS_SQL_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "session/lexer.h"

struct sql_input {
	const char *text; /* the whole statement, which ends where the lexer's text does */
	struct dbps_lexer lexer;
	struct dbps_token token; /* the next one */
	const char *end;	 /* of the last token that was taken */
};

struct sql_input sql_input(const char *text, size_t len);

/** @return Where the statement ends: at its first semicolon, or at the end of the text. */
const char *sql_statement_end(const struct sql_input *input);

void sql_next(struct sql_input *input);
/* Take the next token if it is this word (upper case, matched in any), or this character. */
bool sql_take_word(struct sql_input *input, const char *word);
bool sql_take_char(struct sql_input *input, char c);
/** @brief Take a decimal number that fits. 0 or -EINVAL, then nothing was taken. */
int sql_take_number(struct sql_input *input, uint64_t *ret_number);
/** @brief Take "[LIMIT number]". -EINVAL when LIMIT comes without one. */
int sql_take_limit(struct sql_input *input, uint64_t *ret_limit);
/** @return Whether nothing follows but semicolons, blanks and comments. */
bool sql_at_end(const struct sql_input *input);

/**
 * @brief The content of a string or quoted name, its quotes and escapes resolved.
 * @param ret_text Owned by the caller (free()), terminated; may hold NUL bytes.
 * @return 0; -EINVAL when it is not closed; -ENOMEM.
 */
int sql_unquote(const struct dbps_token *token, char **ret_text, size_t *ret_len);

/**
 * @brief Match the beginning of a statement.
 *
 * A pattern is upper-case words and characters, with [A | B] where one of these or none may stand.
 * Anything with a lower-case letter in it describes what follows: it ends the match and is left to
 * the statement's function. Without such a thing the statement has to end where the pattern does.
 *
 * @param ret_options Bit n is set when the n-th word inside of brackets was there.
 * @return Whether it matches; then the input stands behind it, else where the mismatch is.
 */
bool sql_match(struct sql_input *input, const char *pattern, unsigned int *ret_options);

/**
 * @brief Match "[LIKE 'pattern' | WHERE name = 'value' …]" to the end and try it on one name.
 * @param input Not moved.
 * @return 1 when the name is wanted, 0 when not, -EINVAL when it is not understood, -ENOMEM.
 */
int sql_filter(const struct sql_input *input, const char *name);

/** @return Whether `text` is LIKE `pattern`, in any case; \ before % and _ takes their meaning. */
bool sql_like(const char *pattern, const char *text);

#endif
