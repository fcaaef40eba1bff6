/*
 * The lexical rules of SQL as the MySQL family knows them, no more than is needed to tell code from
 * quotes and comments. Statements are bytes of an unknown character set and may hold NUL bytes.
 */
#ifndef DBPS_LEXER_H
#define DBPS_LEXER_H

#include <stdbool.h>
#include <stddef.h>

enum dbps_token_type {
	DBPS_TOKEN_END,
	DBPS_TOKEN_WORD,   /* keyword, name or number: letters, digits, _ $ and bytes from 0x80 */
	DBPS_TOKEN_STRING, /* '…' or "…" */
	DBPS_TOKEN_NAME,   /* `…` */
	DBPS_TOKEN_CHAR,   /* any one other byte */
};

struct dbps_token {
	enum dbps_token_type type;
	const char *start; /* with its quotes */
	size_t len;
	bool closed;	 /* a string or name: its end is in the text */
	bool executable; /* inside of an executable comment */
};

/*
 * Comments -- # and / * * / are blanks. An executable comment (/ *! and / *M!, with or without a
 * version) is not: its content is code for some server, and only its marks are blanks.
 */
struct dbps_lexer {
	const char *at;
	const char *end;
	bool no_backslash; /* NO_BACKSLASH_ESCAPES (protocol.md 1.7) */
	bool executable;
	const char *comment; /* the first block comment so far, between its marks; NULL: none */
	size_t comment_len;
	bool comment_open; /* a block comment goes on to the end of the text without its mark */
};

/** @brief The next token; DBPS_TOKEN_END for ever at the end. */
struct dbps_token dbps_lexer_next(struct dbps_lexer *lexer);

/** @return Whether the token is this keyword, given in lower case. */
bool dbps_token_is(const struct dbps_token *token, const char *word);

/** @return Whether the token is a word that ends so, given in lower case. */
bool dbps_token_ends(const struct dbps_token *token, const char *end);

/** @return Whether the token is this one byte. */
bool dbps_token_is_char(const struct dbps_token *token, char c);

#endif
