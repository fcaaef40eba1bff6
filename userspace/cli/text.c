/*
 * Characters for a terminal: every one is judged before it is printed. The text is UTF-8 whatever
 * the locale is, so mbrtowc() has no part in it.
 */
#include "text.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "mysql/utf8.h"

static bool utf8;

void dbps_text_init(void)
{
	utf8 = setlocale(LC_CTYPE, "") && strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

bool dbps_text_utf8(void)
{
	return utf8;
}

/* Code of the well-formed character at `p`, `len` bytes long. */
static uint32_t code_of(const char *p, size_t len)
{
	uint32_t code = len == 1 ? (unsigned char)p[0] : (unsigned char)p[0] & (0x7fU >> len);

	for (size_t i = 1; i < len; i++)
		code = code << 6 | ((unsigned char)p[i] & 0x3fU);
	return code;
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
	size_t len = p < end ? utf8_char_len(p, (size_t)(end - p)) : 0;
	uint32_t code = len ? code_of(p, len) : 0;

	if (p >= end)
		return false;
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

/* Most text is plain: bytes up to the first that is not printable ASCII, each one cell. */
static size_t plain_run(const char *text, const char *end)
{
	const char *p = text;

	while (p < end && *p >= 0x20 && *p < 0x7f)
		p++;
	return (size_t)(p - text);
}

size_t dbps_text_width(const char *text, size_t len, size_t limit)
{
	const char *end = text + len;
	struct dbps_glyph glyph;
	size_t width = 0;

	while (width <= limit) {
		bool more = (size_t)(end - text) > limit - width;
		size_t plain = plain_run(text, more ? text + (limit - width) + 1 : end);

		text += plain;
		width += plain;
		if (width > limit || !dbps_glyph_next(&text, end, &glyph))
			break;
		width += glyph.width;
	}
	return width;
}

size_t dbps_text_print(FILE *out, const char *text, size_t len, size_t width)
{
	const char *end = text + len;
	bool cut = dbps_text_width(text, len, width) > width;
	size_t room = cut && width > 0 ? width - 1 : width;
	struct dbps_glyph glyph;
	size_t used = 0;

	for (;;) {
		size_t plain = plain_run(text, end);
		size_t n = plain < room - used ? plain : room - used;

		fwrite(text, 1, n, out);
		used += n;
		text += n;
		if (n < plain || !dbps_glyph_next(&text, end, &glyph) || glyph.width > room - used)
			break;
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
		size_t n = utf8_char_len(text, (size_t)(end - text));

		memcpy(to, n ? text : "\xef\xbf\xbd", n ? n : 3);
		to += n ? n : 3;
		text += n ? n : 1;
	}
	*to = '\0';
	*ret_text = valid;
	*ret_len = (size_t)(to - valid);
	return 0;
}
