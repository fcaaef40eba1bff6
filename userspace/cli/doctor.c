/*
 * dbps doctor: what dbpsd says of the kernel, the servers and itself; when it does not run, what
 * can be seen of this kernel without it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "cli/cli.h"
#include "kernel/kernel.h"

#define DETAIL_BYTES 640

enum { SUBJECT, ITEM, STATUS, DETAIL, N_COLUMNS };

/* What the table of features points into. */
struct features {
	struct dbps_feature *feature;
	size_t n;
	char (*details)[DETAIL_BYTES];
};

static void features_free(void *owner)
{
	struct features *features = owner;

	free(features->details);
	free(features->feature);
	free(features);
}

static void set_cell(struct dbps_cell *cell, const char *text)
{
	*cell = (struct dbps_cell){text, strlen(text)};
}

static void fill_rows(struct dbps_table *table, struct features *features)
{
	static const char *const names[N_COLUMNS] = {"subject", "item", "status", "detail"};

	for (size_t c = 0; c < N_COLUMNS; c++)
		table->headings[c].name = names[c];
	for (size_t i = 0; i < features->n; i++) {
		const struct dbps_feature *feature = &features->feature[i];
		struct dbps_cell *cells = dbps_table_row(table, i);
		char *detail = features->details[i];

		set_cell(&cells[SUBJECT], "kernel");
		set_cell(&cells[ITEM], feature->name);
		set_cell(&cells[STATUS], dbps_feature_judge(feature, detail, DETAIL_BYTES));
		set_cell(&cells[DETAIL], detail);
	}
}

/* The table that SHOW DOCTOR would begin with, from this kernel. */
static int look_at_kernel(struct dbps_table *ret_table)
{
	struct features *features = calloc(1, sizeof(*features));
	struct dbps_table table = {0};
	int r = features ? dbps_kernel_features(&features->feature, &features->n) : -ENOMEM;

	if (r == 0) {
		features->details = calloc(features->n + 1, sizeof(*features->details));
		r = features->details ? dbps_table_init(&table, N_COLUMNS, features->n) : -ENOMEM;
	}
	table.owner = features;
	table.release = features ? features_free : NULL;
	if (r < 0) {
		dbps_table_done(&table);
		return r;
	}
	fill_rows(&table, features);
	*ret_table = table;
	return 0;
}

/* Without rights everything would look refused, which is no word about the kernel. */
static enum dbps_exit without_daemon(struct dbps_cli *cli)
{
	struct dbps_table table = {0};
	int r = geteuid() == 0 ? look_at_kernel(&table) : -EPERM;

	if (r < 0)
		return dbps_output_fail(cli, DBPS_EXIT_UNREACHABLE, 0,
					"cannot look at this kernel: %s",
					r == -EPERM ? "root is needed" : strerror(-r));
	dbps_output_table(cli, &table, DBPS_FIT_WRAP);
	dbps_table_done(&table);
	return DBPS_EXIT_UNREACHABLE;
}

/* Whether a row says that something is amiss. */
static bool has_problem(const struct dbps_table *table)
{
	for (size_t c = 0; c < table->n_columns; c++)
		for (size_t r = 0; r < table->n_rows; r++) {
			const char *text = dbps_table_row(table, r)[c].text;

			if (strcmp(table->headings[c].name, "status") == 0 && text &&
			    strcmp(text, "problem") == 0)
				return true;
		}
	return false;
}

enum dbps_exit dbps_command_doctor(struct dbps_cli *cli)
{
	struct dbps_table table = {0};
	enum dbps_exit exit = dbps_cli_connect(cli);

	if (exit == DBPS_EXIT_UNREACHABLE)
		return without_daemon(cli);
	if (exit == DBPS_EXIT_OK)
		exit = dbps_cli_query(cli, "SHOW DOCTOR", &table);
	if (exit == DBPS_EXIT_OK)
		exit = dbps_output_table(cli, &table, DBPS_FIT_WRAP);
	if (exit == DBPS_EXIT_OK && has_problem(&table))
		exit = DBPS_EXIT_FAILED;
	dbps_table_done(&table);
	return exit;
}
