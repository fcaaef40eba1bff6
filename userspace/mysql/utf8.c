/*
 * Well-formedness by the table of RFC 3629 section 4: the first byte tells the length and the range
 * of the second byte, all others are 0x80 to 0xbf. ASCII is the fast way through.
 */
#include "mysql/utf8.h"

#include <string.h>

struct lead {
	unsigned char first, last; /* first byte */
	unsigned char second_low, second_high;
	unsigned char len;
};

static const struct lead leads[] = {
	{0x00, 0x7f, 0x00, 0x00, 1}, {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
	{0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
	{0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
};

static const struct lead *find_lead(unsigned char byte)
{
	for (size_t i = 0; i < sizeof(leads) / sizeof(leads[0]); i++)
		if (byte >= leads[i].first && byte <= leads[i].last)
			return &leads[i];
	return NULL;
}

size_t utf8_char_len(const char *text, size_t left)
{
	const unsigned char *bytes = (const unsigned char *)text;
	const struct lead *lead = left ? find_lead(bytes[0]) : NULL;

	if (!lead || lead->len > left)
		return 0;
	if (lead->len > 1 && (bytes[1] < lead->second_low || bytes[1] > lead->second_high))
		return 0;
	for (size_t i = 2; i < lead->len; i++)
		if ((bytes[i] & 0xc0) != 0x80)
			return 0;
	return lead->len;
}

void utf8_clean(char *text, size_t len)
{
	size_t at = 0;

	while (at < len) {
		size_t n = (unsigned char)text[at] < 0x80 ? 1 : utf8_char_len(text + at, len - at);

		if (!n)
			text[at] = '?';
		at += n ? n : 1;
	}
}

void utf8_copy(char *to, size_t size, const char *text, size_t len)
{
	size_t used = 0;

	while (len) {
		size_t n = *text ? utf8_char_len(text, len) : 0;
		size_t put = n ? n : 3;

		if (used + put >= size)
			break;
		memcpy(to + used, n ? text : "\xef\xbf\xbd", put);
		used += put;
		text += n ? n : 1;
		len -= n ? n : 1;
	}
	to[used] = '\0';
}

size_t utf8_cut(const char *text, size_t len, size_t max)
{
	size_t start;

	if (len <= max)
		return len;
	/* The character that begins at most 3 bytes before the cut and goes past it is left out. */
	for (size_t back = 1; back <= 3 && back <= max; back++) {
		start = max - back;
		if (((unsigned char)text[start] & 0xc0) == 0x80)
			continue;
		return utf8_char_len(text + start, len - start) > back ? start : max;
	}
	return max;
}
