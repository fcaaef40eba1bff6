/*
 * The filters that clients put behind SHOW: LIKE 'pattern', and WHERE with one column, whose name
 * is not looked at, compared by =, LIKE or IN and joined by OR. They are read anew for each name.
 */
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "cleanup.h"
#include "mysql/utf8.h"
#include "sql/input.h"

/* Bytes that are no UTF-8 are characters of their own. */
static size_t character_len(const char *text)
{
	return utf8_char_len(text, strnlen(text, UTF8_MAX)) ?: 1;
}

bool sql_like(const char *pattern, const char *text)
{
	const char *star = NULL, *star_text = NULL;

	while (*text) {
		bool escaped = *pattern == '\\' && pattern[1];
		char want = pattern[escaped];

		if (*pattern == '%') {
			star = ++pattern;
			star_text = text;
		} else if (want == '_' && !escaped) {
			pattern++;
			text += character_len(text);
		} else if (want && tolower((unsigned char)want) == tolower((unsigned char)*text)) {
			pattern += 1 + escaped;
			text++;
		} else if (star) {
			pattern = star;
			text = ++star_text;
		} else {
			return false;
		}
	}
	while (*pattern == '%')
		pattern++;
	return !*pattern;
}

/* A string, compared with the name: 1 or 0. */
static int compare(struct sql_input *input, const char *name, bool like)
{
	_cleanup_free_ char *wanted = NULL;
	size_t len;
	int r;

	if (input->token.type != DBPS_TOKEN_STRING)
		return -EINVAL;
	r = sql_unquote(&input->token, &wanted, &len);
	if (r)
		return r;
	sql_next(input);
	return like ? sql_like(wanted, name) : !strcasecmp(wanted, name);
}

static int compare_list(struct sql_input *input, const char *name)
{
	int found = 0;

	if (!sql_take_char(input, '('))
		return -EINVAL;
	do {
		int r = compare(input, name, false);

		if (r < 0)
			return r;
		found |= r;
	} while (sql_take_char(input, ','));
	return sql_take_char(input, ')') ? found : -EINVAL;
}

static int condition(struct sql_input *input, const char *name)
{
	if (input->token.type != DBPS_TOKEN_WORD && input->token.type != DBPS_TOKEN_NAME)
		return -EINVAL;
	sql_next(input);
	if (sql_take_char(input, '='))
		return compare(input, name, false);
	if (sql_take_word(input, "LIKE"))
		return compare(input, name, true);
	return sql_take_word(input, "IN") ? compare_list(input, name) : -EINVAL;
}

int sql_filter(const struct sql_input *input, const char *name)
{
	struct sql_input ahead = *input;
	int found = 1, r = 0;

	if (sql_take_word(&ahead, "LIKE")) {
		found = compare(&ahead, name, true);
	} else if (sql_take_word(&ahead, "WHERE")) {
		found = 0;
		do {
			r = condition(&ahead, name);
			found = r < 0 ? r : found | r;
		} while (found >= 0 && sql_take_word(&ahead, "OR"));
	}
	return found < 0 || sql_at_end(&ahead) ? found : -EINVAL;
}
