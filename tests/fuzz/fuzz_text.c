/*
 * Texts of statements: what the processlist makes of them (lexer, trim, the statement that runs,
 * masked passwords), what the console reads in them, and UTF-8.
 *
 * The input: a byte of what else is known, then the text.
 */
#include "check.h"
#include "mysql/utf8.h"
#include "session/lexer.h"
#include "session/text.h"
#include "sql/input.h"

enum {
	NO_BACKSLASH = 1,
	IS_CUT = 2,	   /* the whole text is longer */
	RESULTS_SHIFT = 2, /* how many results are complete */
	RESULTS_MASK = 7,
};

/* Tokens come in order, none is empty, and the end stays the end. */
static void check_tokens(const char *text, size_t len, bool no_backslash)
{
	struct dbps_lexer lexer = {.at = text, .end = text + len, .no_backslash = no_backslash};
	const char *at = text;
	struct dbps_token token;

	while ((token = dbps_lexer_next(&lexer)).type != DBPS_TOKEN_END) {
		CHECK(token.len && lies_in(token.start, token.len, text, len));
		CHECK(token.start >= at && lexer.at == token.start + token.len);
		at = lexer.at;
	}
	CHECK(lexer.at == lexer.end);
	CHECK(dbps_lexer_next(&lexer).type == DBPS_TOKEN_END);
	CHECK(!lexer.comment || lies_in(lexer.comment, lexer.comment_len, text, len));
}

static size_t mask(const struct dbps_text *text, char **ret_masked)
{
	char *masked = malloc(DBPS_TEXT_MASKED_MAX(text->len));
	size_t n;

	CHECK(masked);
	n = dbps_text_mask(*text, masked);
	CHECK(n <= DBPS_TEXT_MASKED_MAX(text->len));
	*ret_masked = masked;
	return n;
}

/* Nothing is masked where no word of passwords stands. */
static void check_mask(const struct dbps_text *text)
{
	char *masked;
	size_t n = mask(text, &masked);

	if (!dbps_text_may_hold_password(text->start, text->len))
		CHECK(n == text->len && !memcmp(masked, text->start, n));
	free(masked);
}

static void check_part(const struct dbps_text *part, const struct dbps_text *text)
{
	CHECK(lies_in(part->start, part->len, text->start, text->len));
	CHECK(part->len <= part->whole && part->whole <= text->whole);
}

static void check_text(const char *bytes, size_t len, unsigned int known)
{
	struct dbps_text text = {bytes, len, len + (known & IS_CUT ? 1000 : 0),
				 known & NO_BACKSLASH};
	struct dbps_text trimmed = dbps_text_trim(text);
	struct dbps_text current =
		dbps_text_current(trimmed, known >> RESULTS_SHIFT & RESULTS_MASK);

	check_part(&trimmed, &text);
	check_part(&current, &trimmed);
	check_mask(&text);
	check_mask(&current);
}

/* Each token as the console takes it. */
static void check_input(const char *text, size_t len)
{
	struct sql_input input = sql_input(text, len), ahead;
	unsigned int options;
	uint64_t number;
	char *content;
	size_t n;

	sql_match(&input, "SHOW [FULL | GLOBAL] PROCESSLIST", &options);
	for (; input.token.type != DBPS_TOKEN_END; sql_next(&input)) {
		ahead = input;
		sql_filter(&input, "text_bytes");
		sql_take_limit(&ahead, &number);
		sql_take_number(&ahead, &number);
		if (input.token.type != DBPS_TOKEN_STRING && input.token.type != DBPS_TOKEN_NAME)
			continue;
		if (sql_unquote(&input.token, &content, &n))
			continue;
		CHECK(n < input.token.len && !content[n]);
		sql_like(content, "dbps_text_bytes");
		free(content);
	}
}

static void check_utf8(const char *text, size_t len)
{
	char *clean = exact_copy(text, len), *copy = malloc(len + 1);

	utf8_clean(clean, len);
	for (size_t at = 0, n; at < len; at += n) {
		n = utf8_char_len(clean + at, len - at);
		CHECK(n && n <= len - at);
	}
	CHECK(copy && utf8_cut(clean, len, len / 2) <= len / 2);
	utf8_copy(copy, len + 1, text, len);
	CHECK(strlen(copy) <= len);
	free(clean);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (!size)
		return 0;
	text = exact_copy(data + 1, size - 1);
	check_tokens(text, size - 1, *data & NO_BACKSLASH);
	check_text(text, size - 1, *data);
	check_input(text, size - 1);
	check_utf8(text, size - 1);
	free(text);
	return 0;
}
