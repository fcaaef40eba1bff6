/*
 * dbps ps: the processlist, once or again and again. For programs it has every column, for people
 * the eight that a MySQL server shows, and the server where there are several.
 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "cli/cli.h"

#define HOME	   "\033[H" /* to the upper left */
#define CLEAR_LINE "\033[K" /* from here to the end of the line */
#define CLEAR_REST "\033[J" /* from here to the end of the screen */

/* Places of the columns that are asked for; the text of the statement is the last one. */
enum { ID, SERVER, TIME = 6 };
#define COLUMNS_BEFORE "id, server, user, host, db, command, time, state, "
#define COLUMNS_WIDE                                                                               \
	"phase, transaction_ms, wait, wait_ms, cpu_ms, read_bytes, write_bytes, client_pid, "      \
	"client_command, proxy, "
#define COLUMNS_BEHIND "info"

static volatile sig_atomic_t stopped;

static void on_signal(int signal)
{
	(void)signal;
	stopped = 1;
}

static void write_statement(const struct dbps_cli *cli, char *buf, size_t size)
{
	/* A terminal shows as much as it has room for, which may be more than the short form. */
	bool full = cli->given & DBPS_OPT_FULL || dbps_output_is_terminal();

	if (cli->format != DBPS_FORMAT_TABLE)
		snprintf(buf, size, "SHOW FULL SESSIONS");
	else
		snprintf(buf, size, "SHOW %sSESSIONS " COLUMNS_BEFORE "%s" COLUMNS_BEHIND,
			 full ? "FULL " : "", cli->given & DBPS_OPT_WIDE ? COLUMNS_WIDE : "");
}

static enum dbps_exit read_list(struct dbps_cli *cli, struct dbps_table *ret_table)
{
	char statement[256];

	write_statement(cli, statement, sizeof(statement));
	return dbps_cli_query(cli, statement, ret_table);
}

static bool same_text(const struct dbps_cell *a, const struct dbps_cell *b)
{
	return a->len == b->len && !a->text == !b->text &&
	       (!a->text || memcmp(a->text, b->text, a->len) == 0);
}

/* Whether all are of one server, whose ids are plain. */
static bool is_of_one_server(const struct dbps_table *table)
{
	for (size_t row = 0; row < table->n_rows; row++) {
		const struct dbps_cell *cells = dbps_table_row(table, row);

		if (!same_text(&cells[SERVER], &table->cells[SERVER]) ||
		    strtoull(cells[ID].text ?: "", NULL, 10) > UINT32_MAX)
			return false;
	}
	return true;
}

/* Of one server its name would be the same in each line. */
static void drop_server(struct dbps_table *table)
{
	struct dbps_cell *to = table->cells;

	for (size_t i = 0; i < table->n_rows * table->n_columns; i++)
		if (i % table->n_columns != SERVER)
			*to++ = table->cells[i];
	memmove(table->headings + SERVER, table->headings + SERVER + 1,
		(table->n_columns - SERVER - 1) * sizeof(*table->headings));
	table->n_columns--;
}

/* For people. */
static void arrange(const struct dbps_cli *cli, struct dbps_table *table)
{
	if (table->n_columns <= SERVER)
		return;
	table->headings[SERVER].name = "Server";
	if (cli->server || is_of_one_server(table))
		drop_server(table);
}

static enum dbps_exit list_once(struct dbps_cli *cli)
{
	struct dbps_table table = {0};
	enum dbps_exit exit = read_list(cli, &table);

	if (exit == DBPS_EXIT_OK && cli->format == DBPS_FORMAT_TABLE)
		arrange(cli, &table);
	if (exit == DBPS_EXIT_OK)
		exit = dbps_output_table(cli, &table,
					 cli->given & DBPS_OPT_FULL ? DBPS_FIT_NONE : DBPS_FIT_CUT);
	dbps_table_done(&table);
	return exit;
}

/* Writes a page over the one before it, line by line, so that nothing flickers. */
static void show_page(const char *page)
{
	fputs(HOME, stdout);
	while (*page) {
		size_t n = strcspn(page, "\n");

		fwrite(page, 1, n, stdout);
		fputs(page[n] ? CLEAR_LINE "\n" : CLEAR_LINE, stdout);
		page += n + (page[n] ? 1 : 0);
	}
	fputs(CLEAR_REST, stdout);
	fflush(stdout);
}

static void print_title(FILE *out, const struct dbps_cli *cli, size_t n_sessions)
{
	time_t now = time(NULL);
	struct tm tm;
	char clock[16];

	strftime(clock, sizeof(clock), "%H:%M:%S", localtime_r(&now, &tm));
	fprintf(out, "dbps  %s  %zu session%s  every %g s, ^C ends\n\n", clock, n_sessions,
		n_sessions == 1 ? "" : "s", cli->watch_s);
}

/* What runs comes first, the longest at the top: a screen may have no room for the rest. */
static int compare_rows(const void *a, const void *b, void *n_columns)
{
	const struct dbps_cell *x = a;
	const struct dbps_cell *y = b;
	size_t info = *(const size_t *)n_columns - 1;
	bool x_runs = x[info].text != NULL;
	bool y_runs = y[info].text != NULL;
	unsigned long long x_s = x[TIME].text ? strtoull(x[TIME].text, NULL, 10) : 0;
	unsigned long long y_s = y[TIME].text ? strtoull(y[TIME].text, NULL, 10) : 0;
	unsigned long long x_id = x[ID].text ? strtoull(x[ID].text, NULL, 10) : 0;
	unsigned long long y_id = y[ID].text ? strtoull(y[ID].text, NULL, 10) : 0;

	if (x_runs != y_runs)
		return x_runs ? -1 : 1;
	if (x_runs && x_s != y_s)
		return x_s > y_s ? -1 : 1;
	return x_id < y_id ? -1 : x_id > y_id;
}

static enum dbps_exit list_page(struct dbps_cli *cli)
{
	struct dbps_table table = {0};
	enum dbps_exit exit = read_list(cli, &table);
	_cleanup_free_ char *page = NULL;
	size_t len = 0;
	size_t columns = 0;
	size_t lines = 0;
	FILE *out = NULL;

	if (exit != DBPS_EXIT_OK)
		return exit;
	out = open_memstream(&page, &len);
	if (out) {
		dbps_output_size(&columns, &lines);
		if (table.n_columns > TIME)
			qsort_r(table.cells, table.n_rows, table.n_columns * sizeof(*table.cells),
				compare_rows, &table.n_columns);
		arrange(cli, &table);
		print_title(out, cli, table.n_rows);
		/* Title, blank, headings and the line of those left out; the last stays free. */
		dbps_table_print(out, &table,
				 cli->given & DBPS_OPT_FULL ? DBPS_FIT_NONE : DBPS_FIT_CUT, columns,
				 lines > 6 ? lines - 5 : 1);
		fclose(out);
		show_page(page);
	}
	dbps_table_done(&table);
	return DBPS_EXIT_OK;
}

/* Returns early on a signal. */
static void wait_seconds(double seconds)
{
	struct timespec ts = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};

	nanosleep(&ts, NULL);
}

static enum dbps_exit watch(struct dbps_cli *cli)
{
	bool pages = cli->format == DBPS_FORMAT_TABLE && dbps_output_is_terminal();
	struct sigaction action = {.sa_handler = on_signal};
	enum dbps_exit exit = DBPS_EXIT_OK;
	bool was_there = false;

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	if (pages)
		fputs(HOME CLEAR_REST, stdout);
	while (!stopped && !ferror(stdout)) {
		exit = pages ? list_page(cli) : list_once(cli);
		fflush(stdout);
		/* dbpsd may be restarted while it is watched; what never was there is an error. */
		if (exit != DBPS_EXIT_OK && !(exit == DBPS_EXIT_UNREACHABLE && was_there))
			return exit;
		if (exit == DBPS_EXIT_UNREACHABLE)
			dbps_cli_close(cli);
		was_there = true;
		if (!stopped)
			wait_seconds(cli->watch_s);
	}
	return exit;
}

enum dbps_exit dbps_command_ps(struct dbps_cli *cli)
{
	return cli->given & DBPS_OPT_WATCH ? watch(cli) : list_once(cli);
}
