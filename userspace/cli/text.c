/*
 * Characters for a terminal: UTF-8 is decoded here, strictly, as mbrtowc() would take what another
 * locale means, and every character is judged before it is printed.
 */
#include "text.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

static bool utf8;

void dbps_text_init(void)
{
	utf8 = setlocale(LC_CTYPE, "") && strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

bool dbps_text_utf8(void)
{
	return utf8;
}

/*
 * RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
 * Returns the length of the character at `p` and its code, or 0 when it is none.
 */
static size_t decode(const unsigned char *p, size_t left, uint32_t *ret_code)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t len = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	uint32_t code = len == 1 ? p[0] : p[0] & (0x7fU >> len);

	if (len == 0 || len > left || p[0] > 0xf4)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (p[i] & 0x3fU);
	}
	if (code < least[len] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
		return 0;
	*ret_code = code;
	return len;
}

/* Marks that change the order in which text is shown: a statement could pose as another one. */
static bool reorders(uint32_t code)
{
	return (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069) ||
	       code == 0x200e || code == 0x200f || code == 0x061c;
}

static void set_escape(struct dbps_glyph *glyph, const char *format, uint32_t code)
{
	glyph->len = (unsigned char)snprintf(glyph->bytes, sizeof(glyph->bytes), format, code);
	glyph->width = glyph->len;
}

static void set_character(struct dbps_glyph *glyph, const char *bytes, size_t len, int width)
{
	memcpy(glyph->bytes, bytes, len);
	glyph->bytes[len] = '\0';
	glyph->len = (unsigned char)len;
	glyph->width = (unsigned char)width;
}

bool dbps_glyph_next(const char **text, const char *end, struct dbps_glyph *ret_glyph)
{
	const char *p = *text;
	uint32_t code = 0;
	size_t len = 0;

	if (p >= end)
		return false;
	len = decode((const unsigned char *)p, (size_t)(end - p), &code);
	*text += len ? len : 1;
	if (len == 0)
		set_escape(ret_glyph, "\\x%02x", (unsigned char)*p);
	else if (code == '\n' || code == '\t' || code == '\r')
		set_character(ret_glyph, " ", 1, 1);
	else if (code < 0x20 || code == 0x7f)
		set_escape(ret_glyph, "\\x%02x", code);
	else if (code < 0x7f)
		set_character(ret_glyph, p, 1, 1);
	else if (!utf8)
		set_character(ret_glyph, "?", 1, 1);
	else if (reorders(code) || wcwidth((wchar_t)code) < 0)
		set_escape(ret_glyph, code > 0xffff ? "\\U%08x" : "\\u%04x", code);
	else
		set_character(ret_glyph, p, len, wcwidth((wchar_t)code));
	return true;
}

size_t dbps_text_width(const char *text, size_t len, size_t limit)
{
	const char *end = text + len;
	struct dbps_glyph glyph;
	size_t width = 0;

	while (width <= limit && dbps_glyph_next(&text, end, &glyph))
		width += glyph.width;
	return width;
}

size_t dbps_text_print(FILE *out, const char *text, size_t len, size_t width)
{
	const char *end = text + len;
	bool cut = dbps_text_width(text, len, width) > width;
	size_t room = cut && width > 0 ? width - 1 : width;
	struct dbps_glyph glyph;
	size_t used = 0;

	while (dbps_glyph_next(&text, end, &glyph) && used + glyph.width <= room) {
		fwrite(glyph.bytes, 1, glyph.len, out);
		used += glyph.width;
	}
	if (!cut || width == 0)
		return used;
	fputs(utf8 ? "…" : "+", out);
	return used + 1;
}

int dbps_text_valid(const char *text, size_t len, char **ret_text, size_t *ret_len)
{
	const char *end = text + len;
	char *valid = malloc(3 * len + 1);
	char *to = valid;

	if (!valid)
		return -ENOMEM;
	while (text < end) {
		uint32_t code = 0;
		size_t n = decode((const unsigned char *)text, (size_t)(end - text), &code);

		memcpy(to, n ? text : "\xef\xbf\xbd", n ? n : 3);
		to += n ? n : 3;
		text += n ? n : 1;
	}
	*to = '\0';
	*ret_text = valid;
	*ret_len = (size_t)(to - valid);
	return 0;
}
