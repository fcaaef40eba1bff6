/*
 * Statement texts as they are shown: the statement that runs out of those that were sent, trimmed
 * as the server trims it, and without the passwords in it.
 */
#ifndef DBPS_TEXT_H
#define DBPS_TEXT_H

#include <stdbool.h>
#include <stddef.h>

struct dbps_text {
	const char *start; /* not terminated */
	size_t len;	   /* bytes that are there */
	size_t whole;	   /* bytes of the whole text; more than `len`: the rest is not known */
	bool no_backslash; /* the server takes backslashes for what they are (protocol.md 1.7) */
};

/**
 * @brief Take away what the server takes away: blanks at both ends and semicolons at the end.
 *
 * MariaDB 10.11, alloc_query() in sql/sql_parse.cc. The end of a cut text stays as it is.
 */
struct dbps_text dbps_text_trim(struct dbps_text text);

/**
 * @brief The statement that runs now, of a text of several.
 * @param text Trimmed.
 * @param results How many results are complete: each statement has one.
 * @return A part of the text as the server shows it: the last one or up to its semicolon, which is
 * not part of it, blanks kept. The whole text where that cannot be told for sure: a CALL has any
 * number of results, and a compound statement has semicolons of its own.
 */
struct dbps_text dbps_text_current(struct dbps_text text, unsigned int results);

/** @return Whether one of the words stands in it that come with passwords. Fast. */
bool dbps_text_may_hold_password(const char *text, size_t len);

/** Bytes that the masked form of a text may have. */
#define DBPS_TEXT_MASKED_MAX(len) ((len)*5 / 2 + 8)

/**
 * @brief Write a text with the content of its passwords replaced by three asterisks
 * (protocol.md 1.12).
 *
 * A password that the end of the text cuts is masked to the end. Text without one is copied byte by
 * byte.
 * @param ret At least DBPS_TEXT_MASKED_MAX(text.len) bytes.
 * @return Bytes written.
 */
size_t dbps_text_mask(struct dbps_text text, char *ret);

#endif
