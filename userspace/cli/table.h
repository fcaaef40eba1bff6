/*
 * A result as the commands have it, whether from dbpsd or made here, and the ways to print it: a
 * table for people, JSON and CSV for programs.
 */
#ifndef DBPS_CLI_TABLE_H
#define DBPS_CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum dbps_kind { DBPS_KIND_TEXT, DBPS_KIND_INTEGER, DBPS_KIND_REAL };

struct dbps_heading {
	const char *name;
	enum dbps_kind kind;
};

struct dbps_cell {
	const char *text; /* NULL: SQL's NULL */
	size_t len;
};

struct dbps_table {
	size_t n_columns;
	size_t n_rows;
	struct dbps_heading *headings;
	struct dbps_cell *cells; /* row after row */
	void *owner;		 /* what the names and cells point into */
	void (*release)(void *owner);
};

/** @brief Release a table. An empty one ({0}) is fine. */
void dbps_table_done(struct dbps_table *table);

/** @brief Room for cells of n_columns by n_rows, and for the headings. 0 or -ENOMEM. */
int dbps_table_init(struct dbps_table *ret_table, size_t n_columns, size_t n_rows);

static inline struct dbps_cell *dbps_table_row(const struct dbps_table *table, size_t row)
{
	return &table->cells[row * table->n_columns];
}

/* What becomes of a line that is wider than the terminal. */
enum dbps_fit {
	DBPS_FIT_NONE, /* nothing */
	DBPS_FIT_CUT,  /* cells are cut, the last column first */
	DBPS_FIT_WRAP, /* the last column goes on in the next line */
};

/**
 * @brief Print for people: columns two blanks apart, numbers to the right.
 * @param width Cells of the terminal.
 * @param max_rows At most so many rows, then a line that says how many more there are; 0: all.
 */
void dbps_table_print(FILE *out, const struct dbps_table *table, enum dbps_fit fit, size_t width,
		      size_t max_rows);

/**
 * @brief Print an array of objects, one a line, keys in the order of the columns.
 *
 * Numbers are numbers, NULL is null, bytes that are not UTF-8 become U+FFFD.
 * @param ascii Escape all that is not ASCII (for a terminal).
 * @return 0 or -ENOMEM.
 */
int dbps_table_print_json(FILE *out, const struct dbps_table *table, bool ascii);

/**
 * @brief Print CSV (RFC 4180) with a header line; NULL is empty, an empty text is "".
 * @param escape Make control characters visible (for a terminal); else bytes go out as they are.
 */
void dbps_table_print_csv(FILE *out, const struct dbps_table *table, bool escape);

/**
 * @brief Widths for columns so that a line fits, by cutting texts: the last column down to 20, then
 *        the widest others down to 8, then the last again. Numbers are never cut.
 *
 * The line may stay wider than the terminal when that is not enough.
 * @param widths In: as wide as the contents; out: as wide as printed.
 */
void dbps_table_fit(const struct dbps_heading *headings, size_t n, size_t width, size_t *widths);

#endif
