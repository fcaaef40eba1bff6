/*
 * The ways to print a result: the table and how it fits a terminal, JSON, CSV.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cleanup.h"
#include "cli/table.h"
#include "cli/text.h"

#define CELL(text)                                                                                 \
	{                                                                                          \
		(text), sizeof("" text "") - 1                                                     \
	}
#define NULL_CELL                                                                                  \
	{                                                                                          \
		NULL, 0                                                                            \
	}

static struct dbps_heading headings[] = {
	{"Id", DBPS_KIND_INTEGER},
	{"User", DBPS_KIND_TEXT},
	{"ms", DBPS_KIND_REAL},
	{"Info", DBPS_KIND_TEXT},
};

static struct dbps_cell cells[] = {
	CELL("7"),	CELL("root"), CELL("0.25"), CELL("select 1,\n2"), CELL("4503599627370497"),
	CELL("müller"), NULL_CELL,    NULL_CELL,
};

static const struct dbps_table sessions = {4, 2, headings, cells, NULL, NULL};
static const struct dbps_table nobody = {4, 0, headings, cells, NULL, NULL};

static int use_utf8(void **state)
{
	(void)state;
	setenv("LC_ALL", "C.UTF-8", 1);
	dbps_text_init();
	return 0;
}

static char *printed(const struct dbps_table *table, enum dbps_fit fit, size_t width,
		     size_t max_rows)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	dbps_table_print(out, table, fit, width, max_rows);
	fclose(out);
	return text;
}

static void assert_table(const struct dbps_table *table, enum dbps_fit fit, size_t width,
			 const char *expected)
{
	_cleanup_free_ char *text = printed(table, fit, width, 0);

	assert_string_equal(text, expected);
}

static void columns_line_up_and_null_is_said(void **state)
{
	(void)state;
	assert_table(&sessions, DBPS_FIT_NONE, 10,
		     "              Id  User      ms  Info\n"
		     "               7  root    0.25  select 1, 2\n"
		     "4503599627370497  müller  NULL  NULL\n");
}

static void a_result_without_rows_has_its_headings(void **state)
{
	(void)state;
	assert_table(&nobody, DBPS_FIT_CUT, 80, "Id  User  ms  Info\n");
}

static void the_last_column_is_cut_to_the_terminal(void **state)
{
	struct dbps_cell long_cells[] = {CELL("7"), CELL("root"), CELL("0.25"),
					 CELL("select 0123456789 0123456789")};
	const struct dbps_table table = {4, 1, headings, long_cells, NULL, NULL};

	(void)state;
	assert_table(&table, DBPS_FIT_CUT, 40,
		     "Id  User    ms  Info\n"
		     " 7  root  0.25  select 0123456789 01234…\n");
	/* As wide as the terminal exactly: nothing to cut. */
	assert_table(&table, DBPS_FIT_CUT, 44,
		     "Id  User    ms  Info\n"
		     " 7  root  0.25  select 0123456789 0123456789\n");
}

static void the_last_column_goes_on_below_when_wrapped(void **state)
{
	struct dbps_cell long_cells[] = {
		CELL("7"), CELL("root"), CELL("0.25"),
		CELL("one two three four five six 0123456789012345678901234")};
	const struct dbps_table table = {4, 1, headings, long_cells, NULL, NULL};

	(void)state;
	assert_table(&table, DBPS_FIT_WRAP, 36,
		     "Id  User    ms  Info\n"
		     " 7  root  0.25  one two three four \n"
		     "                five six \n"
		     "                01234567890123456789\n"
		     "                01234\n");
}

static void rows_beyond_the_screen_are_counted(void **state)
{
	_cleanup_free_ char *text = printed(&sessions, DBPS_FIT_NONE, 80, 1);

	(void)state;
	assert_string_equal(text, "Id  User    ms  Info\n"
				  " 7  root  0.25  select 1, 2\n"
				  "(1 more)\n");
}

static void widths_are_cut_last_column_first_and_numbers_never(void **state)
{
	size_t widths[] = {10, 30, 10, 100};
	size_t narrow[] = {10, 30, 10, 100};
	size_t hopeless[] = {10, 30, 10, 100};

	(void)state;
	dbps_table_fit(headings, 4, 100, widths);
	assert_int_equal(widths[1], 30);
	assert_int_equal(widths[3], 44);
	/* The last keeps 20 until the others are down to 8. */
	dbps_table_fit(headings, 4, 60, narrow);
	assert_int_equal(narrow[1], 14);
	assert_int_equal(narrow[3], 20);
	dbps_table_fit(headings, 4, 10, hopeless);
	assert_int_equal(hopeless[0], 10);
	assert_int_equal(hopeless[1], 8);
	assert_int_equal(hopeless[2], 10);
	assert_int_equal(hopeless[3], 8);
}

static char *as_json(const struct dbps_table *table, bool ascii)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	assert_int_equal(dbps_table_print_json(out, table, ascii), 0);
	fclose(out);
	return text;
}

static void json_has_numbers_nulls_and_columns_in_order(void **state)
{
	_cleanup_free_ char *text = as_json(&sessions, false);
	_cleanup_free_ char *empty = as_json(&nobody, false);

	(void)state;
	assert_string_equal(
		text,
		"[\n {\"Id\":7,\"User\":\"root\",\"ms\":0.25,\"Info\":\"select 1,\\n2\"},\n"
		" {\"Id\":4503599627370497,\"User\":\"müller\",\"ms\":null,\"Info\":null}\n]\n");
	assert_string_equal(empty, "[]\n");
}

static void json_on_a_terminal_is_ascii(void **state)
{
	_cleanup_free_ char *text = as_json(&sessions, true);

	(void)state;
	assert_non_null(strstr(text, "m\\u00FCller"));
}

static void json_is_valid_whatever_the_text(void **state)
{
	struct dbps_cell bad[] = {CELL("1"), CELL("\xff\x1b\"\\"), CELL("1e3"), CELL("a\0b")};
	const struct dbps_table table = {4, 1, headings, bad, NULL, NULL};
	_cleanup_free_ char *text = as_json(&table, false);

	(void)state;
	assert_string_equal(text, "[\n {\"Id\":1,\"User\":\"\ufffd\\u001B\\\"\\\\\",\"ms\":1e3,"
				  "\"Info\":\"a\\u0000b\"}\n]\n");
}

static char *as_csv(const struct dbps_table *table, bool escape)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	dbps_table_print_csv(out, table, escape);
	fclose(out);
	return text;
}

static void csv_quotes_what_has_to_be_quoted(void **state)
{
	struct dbps_cell odd[] = {CELL("1"), CELL("say \"x\""), NULL_CELL, CELL("")};
	const struct dbps_table table = {4, 1, headings, odd, NULL, NULL};
	_cleanup_free_ char *text = as_csv(&sessions, false);
	_cleanup_free_ char *quoted = as_csv(&table, false);

	(void)state;
	assert_string_equal(text, "Id,User,ms,Info\r\n"
				  "7,root,0.25,\"select 1,\n2\"\r\n"
				  "4503599627370497,müller,,\r\n");
	assert_string_equal(quoted, "Id,User,ms,Info\r\n"
				    "1,\"say \"\"x\"\"\",,\"\"\r\n");
}

static void csv_on_a_terminal_has_no_control_characters(void **state)
{
	struct dbps_cell odd[] = {CELL("1"), CELL("\x1b[2J"), NULL_CELL, CELL("\x9b,")};
	const struct dbps_table table = {4, 1, headings, odd, NULL, NULL};
	_cleanup_free_ char *text = as_csv(&table, true);

	(void)state;
	assert_string_equal(text, "Id,User,ms,Info\r\n1,\\x1b[2J,,\"\\x9b,\"\r\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(columns_line_up_and_null_is_said),
		cmocka_unit_test(a_result_without_rows_has_its_headings),
		cmocka_unit_test(the_last_column_is_cut_to_the_terminal),
		cmocka_unit_test(the_last_column_goes_on_below_when_wrapped),
		cmocka_unit_test(rows_beyond_the_screen_are_counted),
		cmocka_unit_test(widths_are_cut_last_column_first_and_numbers_never),
		cmocka_unit_test(json_has_numbers_nulls_and_columns_in_order),
		cmocka_unit_test(json_on_a_terminal_is_ascii),
		cmocka_unit_test(json_is_valid_whatever_the_text),
		cmocka_unit_test(csv_quotes_what_has_to_be_quoted),
		cmocka_unit_test(csv_on_a_terminal_has_no_control_characters),
	};

	return cmocka_run_group_tests(tests, use_utf8, NULL);
}
