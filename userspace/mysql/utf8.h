/*
 * UTF-8 where texts of other people are shown: where they may be cut, and what is well formed
 * (RFC 3629: no overlong form, no surrogate, nothing above U+10FFFF).
 */
#ifndef DBPS_UTF8_H
#define DBPS_UTF8_H

#include <stddef.h>

#define UTF8_MAX 4 /* bytes of a character */

/** @return Bytes of the character at `text`, 1 to 4; 0 when it is not well formed or cut off. */
size_t utf8_char_len(const char *text, size_t left);

/** @brief Replace each byte that belongs to no well-formed character by '?', in place. */
void utf8_clean(char *text, size_t len);

/**
 * @brief Copy text into an array, terminated; what is not well formed, and NUL, becomes U+FFFD.
 *        What does not fit is left out, a character at a time.
 */
void utf8_copy(char *to, size_t size, const char *text, size_t len);

/** @return `len`, or the most bytes up to `max` that do not end inside a character. */
size_t utf8_cut(const char *text, size_t len, size_t max);

#endif
