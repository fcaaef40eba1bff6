/*
 * The forms for programs: JSON through jansson, one object a row, and CSV.
 */
#include <errno.h>
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "cli/table.h"
#include "cli/text.h"

static json_t *text_to_json(const struct dbps_cell *cell)
{
	_cleanup_free_ char *valid = NULL;
	size_t len = 0;

	if (dbps_text_valid(cell->text, cell->len, &valid, &len) < 0)
		return NULL;
	return json_stringn_nocheck(valid, len);
}

/* The cells of libmariadb and of our own tables are terminated, so that strto*() may read them. */
static json_t *cell_to_json(const struct dbps_cell *cell, enum dbps_kind kind)
{
	char *end = NULL;
	long long integer = 0;

	if (!cell->text)
		return json_null();
	if (kind == DBPS_KIND_TEXT)
		return text_to_json(cell);
	errno = 0;
	integer = strtoll(cell->text, &end, 10);
	if (kind == DBPS_KIND_INTEGER && errno == 0 && end == cell->text + cell->len)
		return json_integer(integer);
	return json_real(strtod(cell->text, NULL));
}

static json_t *row_to_json(const struct dbps_table *table, size_t row)
{
	json_t *object = json_object();
	const struct dbps_cell *cells = dbps_table_row(table, row);

	for (size_t c = 0; object && c < table->n_columns; c++) {
		json_t *value = cell_to_json(&cells[c], table->headings[c].kind);

		/* Takes the value over, and refuses NULL. */
		if (json_object_set_new(object, table->headings[c].name, value) < 0) {
			json_decref(object);
			return NULL;
		}
	}
	return object;
}

int dbps_table_print_json(FILE *out, const struct dbps_table *table, bool ascii)
{
	size_t flags = JSON_COMPACT | JSON_REAL_PRECISION(15) | (ascii ? JSON_ENSURE_ASCII : 0);

	fputs("[", out);
	for (size_t r = 0; r < table->n_rows; r++) {
		json_t *object = row_to_json(table, r);

		if (!object)
			return -ENOMEM;
		fputs(r ? ",\n " : "\n ", out);
		json_dumpf(object, out, flags);
		json_decref(object);
	}
	fputs(table->n_rows ? "\n]\n" : "]\n", out);
	return 0;
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
