/*
 * Text of strangers on a terminal: statements, names and errors come from whoever talks to the
 * database, and must neither move the cursor nor break a line. Everything that dbps prints for
 * people goes through dbps_glyph_next().
 */
#ifndef DBPS_CLI_TEXT_H
#define DBPS_CLI_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* One thing to print: a character, or what stands for one. */
struct dbps_glyph {
	char bytes[11]; /* terminated */
	unsigned char len;
	unsigned char width; /* terminal cells, 0 to 2 for characters, up to 10 for escapes */
};

/**
 * @brief Choose the character set from the environment (setlocale()). Before it is called, and in
 *        other sets than UTF-8, a character that is not ASCII is printed as '?'.
 */
void dbps_text_init(void);

/** @return Whether UTF-8 is printed. */
bool dbps_text_utf8(void);

/**
 * @brief Take the next character of UTF-8 text.
 *
 * Line ends and tabs become blanks; other control characters, bidirectional overrides and bytes
 * that are not UTF-8 become \xNN or \uNNNN.
 * @param text Moved on by at least one byte.
 * @return False at the end.
 */
bool dbps_glyph_next(const char **text, const char *end, struct dbps_glyph *ret_glyph);

/** @return Terminal cells of the text; more than `limit` when it is wider, without looking further.
 */
size_t dbps_text_width(const char *text, size_t len, size_t limit);

/**
 * @brief Print text, at most `width` cells of it; cut text ends with a mark.
 * @return Cells printed.
 */
size_t dbps_text_print(FILE *out, const char *text, size_t len, size_t width);

/**
 * @brief Make valid UTF-8: what is none becomes U+FFFD.
 * @param ret_text Owned by the caller (free()), terminated.
 * @return 0 or -ENOMEM.
 */
int dbps_text_valid(const char *text, size_t len, char **ret_text, size_t *ret_len);

#endif
