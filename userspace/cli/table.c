/*
 * The table for people. Widths are found in one pass over the cells, then cut to the terminal.
 */
#include "table.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "cli/text.h"

#define GAP	  2  /* blanks between columns */
#define LAST_KEEP 20 /* cells that the last column keeps before others are cut */
#define KEEP	  8  /* cells that any column keeps */

static const struct dbps_cell null_cell = {"NULL", 4};

int dbps_table_init(struct dbps_table *ret_table, size_t n_columns, size_t n_rows)
{
	_cleanup_free_ struct dbps_heading *headings = calloc(n_columns, sizeof(*headings));
	struct dbps_cell *cells = calloc(n_columns * n_rows + 1, sizeof(*cells));

	if (!headings || !cells) {
		free(cells);
		return -ENOMEM;
	}
	*ret_table = (struct dbps_table){
		.n_columns = n_columns,
		.n_rows = n_rows,
		.headings = TAKE_PTR(headings),
		.cells = cells,
	};
	return 0;
}

void dbps_table_done(struct dbps_table *table)
{
	if (table->release)
		table->release(table->owner);
	free(table->headings);
	free(table->cells);
	*table = (struct dbps_table){0};
}

static const struct dbps_cell *shown(const struct dbps_cell *cell)
{
	return cell->text ? cell : &null_cell;
}

/* Columns that fit uncut: a cell is measured no further than `limit`. */
static void measure(const struct dbps_table *table, size_t n_rows, size_t limit, size_t *widths)
{
	for (size_t c = 0; c < table->n_columns; c++)
		widths[c] = dbps_text_width(table->headings[c].name,
					    strlen(table->headings[c].name), limit);
	for (size_t r = 0; r < n_rows; r++)
		for (size_t c = 0; c < table->n_columns; c++) {
			const struct dbps_cell *cell = shown(&dbps_table_row(table, r)[c]);
			size_t width = dbps_text_width(cell->text, cell->len, limit);

			if (width > widths[c])
				widths[c] = width;
		}
}

static size_t line_width(const size_t *widths, size_t n)
{
	size_t total = n ? (n - 1) * GAP : 0;

	for (size_t c = 0; c < n; c++)
		total += widths[c];
	return total;
}

/* Makes column `c` narrower by what the line is too wide, but not below `keep`. */
static void narrow(const struct dbps_heading *headings, size_t c, size_t keep, size_t *widths,
		   size_t *over)
{
	size_t room = headings[c].kind == DBPS_KIND_TEXT && widths[c] > keep ? widths[c] - keep : 0;
	size_t less = room < *over ? room : *over;

	widths[c] -= less;
	*over -= less;
}

void dbps_table_fit(const struct dbps_heading *headings, size_t n, size_t width, size_t *widths)
{
	size_t total = line_width(widths, n);
	size_t over = total > width ? total - width : 0;

	if (n == 0)
		return;
	narrow(headings, n - 1, LAST_KEEP, widths, &over);
	while (over > 0) {
		size_t widest = n;

		for (size_t c = 0; c + 1 < n; c++)
			if (headings[c].kind == DBPS_KIND_TEXT && widths[c] > KEEP &&
			    (widest == n || widths[c] > widths[widest]))
				widest = c;
		if (widest == n)
			break;
		narrow(headings, widest, widths[widest] - 1, widths, &over);
	}
	narrow(headings, n - 1, KEEP, widths, &over);
}

static void pad(FILE *out, size_t n)
{
	static const char blanks[] = "                                ";

	while (n > 0) {
		size_t part = n < sizeof(blanks) - 1 ? n : sizeof(blanks) - 1;

		fwrite(blanks, 1, part, out);
		n -= part;
	}
}

static void print_cell(FILE *out, const struct dbps_cell *cell, enum dbps_kind kind, size_t width,
		       bool last)
{
	size_t used = 0;

	if (kind != DBPS_KIND_TEXT) {
		used = dbps_text_width(cell->text, cell->len, width);
		pad(out, used < width ? width - used : 0);
		dbps_text_print(out, cell->text, cell->len, SIZE_MAX);
		return;
	}
	used = dbps_text_print(out, cell->text, cell->len, width);
	if (!last)
		pad(out, width - used);
}

/*
 * Bytes of `text` that go into a line of `width` cells: up to the last blank that fits, or, in a
 * word that is longer than the line, as many characters as fit.
 */
static size_t wrap_at(const char *text, size_t len, size_t width)
{
	const char *p = text;
	const char *blank = NULL;
	const char *before = text;
	struct dbps_glyph glyph;
	size_t used = 0;

	while (dbps_glyph_next(&p, text + len, &glyph)) {
		used += glyph.width;
		if (used > width)
			return (size_t)((blank ? blank : before > text ? before : p) - text);
		if (glyph.len == 1 && glyph.bytes[0] == ' ')
			blank = p;
		before = p;
	}
	return len;
}

static void print_wrapped(FILE *out, const struct dbps_cell *cell, size_t indent, size_t width)
{
	size_t done = 0;

	while (done < cell->len) {
		size_t n = wrap_at(cell->text + done, cell->len - done, width);

		if (done > 0) {
			fputc('\n', out);
			pad(out, indent);
		}
		dbps_text_print(out, cell->text + done, n, SIZE_MAX);
		done += n;
	}
}

struct layout {
	const struct dbps_table *table;
	const size_t *widths;
	size_t wrap; /* cells of the last column when it is wrapped, else 0 */
};

static void print_line(FILE *out, const struct layout *layout, const struct dbps_cell *cells)
{
	size_t n = layout->table->n_columns;
	size_t indent = line_width(layout->widths, n - 1) + (n > 1 ? GAP : 0);

	for (size_t c = 0; c < n; c++) {
		bool last = c + 1 == n;
		const struct dbps_cell *cell = shown(&cells[c]);

		if (last && layout->wrap)
			print_wrapped(out, cell, indent, layout->wrap);
		else
			print_cell(out, cell, layout->table->headings[c].kind, layout->widths[c],
				   last);
		if (!last)
			pad(out, GAP);
	}
	fputc('\n', out);
}

static void print_headings(FILE *out, const struct layout *layout)
{
	const struct dbps_table *table = layout->table;
	_cleanup_free_ struct dbps_cell *cells = calloc(table->n_columns, sizeof(*cells));

	if (!cells)
		return;
	for (size_t c = 0; c < table->n_columns; c++) {
		cells[c].text = table->headings[c].name;
		cells[c].len = strlen(cells[c].text);
	}
	print_line(out, layout, cells);
}

void dbps_table_print(FILE *out, const struct dbps_table *table, enum dbps_fit fit, size_t width,
		      size_t max_rows)
{
	size_t n = table->n_columns;
	size_t n_rows = max_rows && max_rows < table->n_rows ? max_rows : table->n_rows;
	_cleanup_free_ size_t *widths = calloc(n + 1, sizeof(*widths));
	struct layout layout = {.table = table, .widths = widths};

	if (!widths || n == 0)
		return;
	measure(table, n_rows, fit == DBPS_FIT_CUT ? width : SIZE_MAX - 1, widths);
	if (fit == DBPS_FIT_CUT)
		dbps_table_fit(table->headings, n, width, widths);
	else if (fit == DBPS_FIT_WRAP && line_width(widths, n) > width &&
		 line_width(widths, n - 1) + GAP + LAST_KEEP <= width)
		layout.wrap = width - line_width(widths, n - 1) - (n > 1 ? GAP : 0);
	print_headings(out, &layout);
	for (size_t r = 0; r < n_rows; r++)
		print_line(out, &layout, dbps_table_row(table, r));
	if (n_rows < table->n_rows)
		fprintf(out, "(%zu more)\n", table->n_rows - n_rows);
}
