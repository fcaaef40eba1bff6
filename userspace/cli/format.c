/*
 * The forms for programs: JSON, one object a row, texts through jansson; and CSV.
 */
#include <errno.h>
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "cli/table.h"
#include "cli/text.h"

static int print_json_text(FILE *out, const char *text, size_t len, size_t flags)
{
	_cleanup_free_ char *valid = NULL;
	size_t valid_len = 0;
	json_t *string = NULL;
	int r = dbps_text_valid(text, len, &valid, &valid_len);

	if (r < 0)
		return r;
	string = json_stringn_nocheck(valid, valid_len);
	if (!string)
		return -ENOMEM;
	json_dumpf(string, out, flags | JSON_ENCODE_ANY);
	json_decref(string);
	return 0;
}

/* Whether a number as SQL writes it is one as JSON does: no leading zeros, no ".5". */
static bool is_json_number(const struct dbps_cell *cell)
{
	static const char *const digits = "0123456789";
	size_t sign = cell->len > 0 && cell->text[0] == '-';
	size_t whole = strspn(cell->text + sign, digits);

	return whole > 0 && (whole == 1 || cell->text[sign] != '0') &&
	       strspn(cell->text + sign, "0123456789.eE+-") == cell->len - sign;
}

/* Numbers go out as they came: no value is too large for that. */
static int print_json_cell(FILE *out, const struct dbps_cell *cell, enum dbps_kind kind,
			   size_t flags)
{
	if (!cell->text)
		fputs("null", out);
	else if (kind != DBPS_KIND_TEXT && is_json_number(cell))
		fwrite(cell->text, 1, cell->len, out);
	else
		return print_json_text(out, cell->text, cell->len, flags);
	return 0;
}

static void free_json_keys(char **keys)
{
	for (size_t c = 0; keys && keys[c]; c++)
		free(keys[c]);
	free(keys);
}

/* A key as it is printed, `"id":`; owned by the caller. */
static int make_json_key(const char *name, size_t flags, char **ret_key)
{
	_cleanup_free_ char *key = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&key, &len);
	int r = out ? print_json_text(out, name, strlen(name), flags) : -ENOMEM;

	if (r == 0 && fputc(':', out) == EOF)
		r = -ENOMEM;
	if (out && fclose(out) != 0)
		r = -ENOMEM;
	if (r == 0)
		*ret_key = TAKE_PTR(key);
	return r;
}

/* The keys of all objects, made once, with NULL behind them; free_json_keys(). */
static int make_json_keys(const struct dbps_table *table, size_t flags, char ***ret_keys)
{
	char **keys = calloc(table->n_columns + 1, sizeof(*keys));
	int r = keys ? 0 : -ENOMEM;

	for (size_t c = 0; r == 0 && c < table->n_columns; c++)
		r = make_json_key(table->headings[c].name, flags, &keys[c]);
	if (r < 0)
		free_json_keys(keys);
	else
		*ret_keys = keys;
	return r;
}

static int print_json_row(FILE *out, const struct dbps_table *table, char *const *keys, size_t row,
			  size_t flags)
{
	const struct dbps_cell *cells = dbps_table_row(table, row);
	int r = 0;

	for (size_t c = 0; r == 0 && c < table->n_columns; c++) {
		fputs(c ? "," : "{", out);
		fputs(keys[c], out);
		r = print_json_cell(out, &cells[c], table->headings[c].kind, flags);
	}
	fputc('}', out);
	return r;
}

int dbps_table_print_json(FILE *out, const struct dbps_table *table, bool ascii)
{
	size_t flags = ascii ? JSON_ENSURE_ASCII : 0;
	char **keys = NULL;
	int r = make_json_keys(table, flags, &keys);

	if (r < 0)
		return r;
	fputc('[', out);
	for (size_t row = 0; r == 0 && row < table->n_rows; row++) {
		fputs(row ? ",\n " : "\n ", out);
		r = print_json_row(out, table, keys, row, flags);
	}
	fputs(table->n_rows ? "\n]\n" : "]\n", out);
	free_json_keys(keys);
	return r;
}

static void print_csv_bytes(FILE *out, const char *text, size_t len, bool escape)
{
	if (escape)
		dbps_text_print(out, text, len, SIZE_MAX);
	else
		fwrite(text, 1, len, out);
}

/* Quoted when it has to be; an empty text always, to tell it from NULL. */
static void print_csv_text(FILE *out, const char *text, size_t len, bool escape)
{
	const char *end = text + len;
	bool quoted = len == 0;

	for (const char *p = text; p < end && !quoted; p++)
		quoted = *p == ',' || *p == '"' || *p == '\r' || *p == '\n';
	if (!quoted) {
		print_csv_bytes(out, text, len, escape);
		return;
	}
	fputc('"', out);
	while (text < end) {
		const char *quote = memchr(text, '"', (size_t)(end - text));
		size_t n = (size_t)((quote ? quote + 1 : end) - text);

		print_csv_bytes(out, text, n, escape);
		if (quote)
			fputc('"', out);
		text += n;
	}
	fputc('"', out);
}

void dbps_table_print_csv(FILE *out, const struct dbps_table *table, bool escape)
{
	for (size_t c = 0; c < table->n_columns; c++) {
		const char *name = table->headings[c].name;

		fputs(c ? "," : "", out);
		print_csv_text(out, name, strlen(name), escape);
	}
	fputs("\r\n", out);
	for (size_t r = 0; r < table->n_rows; r++) {
		const struct dbps_cell *cells = dbps_table_row(table, r);

		for (size_t c = 0; c < table->n_columns; c++) {
			fputs(c ? "," : "", out);
			if (cells[c].text)
				print_csv_text(out, cells[c].text, cells[c].len, escape);
		}
		fputs("\r\n", out);
	}
}
