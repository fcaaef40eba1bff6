/*
 * Where results and errors go: stdout in the format asked for, as wide as the terminal, and stderr.
 */
#include <jansson.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "cleanup.h"
#include "cli/cli.h"
#include "cli/text.h"

bool dbps_output_is_terminal(void)
{
	return isatty(STDOUT_FILENO) == 1;
}

/* The kernel's word when it has one, else the environment's, else a common size. */
static size_t pick_size(unsigned short kernel, const char *variable, size_t common)
{
	const char *text = getenv(variable);
	long environment = text ? strtol(text, NULL, 10) : 0;

	if (kernel > 0)
		return kernel;
	return environment > 0 && environment < 65536 ? (size_t)environment : common;
}

void dbps_output_size(size_t *ret_columns, size_t *ret_lines)
{
	struct winsize size = {0};

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0)
		size = (struct winsize){0};
	*ret_columns = pick_size(size.ws_col, "COLUMNS", 80);
	*ret_lines = pick_size(size.ws_row, "LINES", 24);
}

enum dbps_exit dbps_output_table(const struct dbps_cli *cli, const struct dbps_table *table,
				 enum dbps_fit fit)
{
	bool terminal = dbps_output_is_terminal();
	size_t columns = 0;
	size_t lines = 0;

	switch (cli->format) {
	case DBPS_FORMAT_JSON:
		if (dbps_table_print_json(stdout, table, terminal) < 0)
			return dbps_output_fail(cli, DBPS_EXIT_FAILED, 0, "out of memory");
		return DBPS_EXIT_OK;
	case DBPS_FORMAT_CSV:
		dbps_table_print_csv(stdout, table, terminal);
		return DBPS_EXIT_OK;
	case DBPS_FORMAT_TABLE:
		dbps_output_size(&columns, &lines);
		dbps_table_print(stdout, table, terminal ? fit : DBPS_FIT_NONE, columns, 0);
		return DBPS_EXIT_OK;
	}
	return DBPS_EXIT_FAILED;
}

static void fail_json(enum dbps_exit exit, unsigned int code, const char *text)
{
	_cleanup_free_ char *valid = NULL;
	json_t *object = NULL;
	size_t len = 0;

	if (dbps_text_valid(text, strlen(text), &valid, &len) < 0)
		return;
	object = json_pack("{s:s%, s:i}", "error", valid, len, "exit", (int)exit);
	if (object && code)
		json_object_set_new(object, "code", json_integer(code));
	if (object)
		json_dumpf(object, stderr, JSON_COMPACT | JSON_ENSURE_ASCII);
	fputc('\n', stderr);
	json_decref(object);
}

enum dbps_exit dbps_output_fail(const struct dbps_cli *cli, enum dbps_exit exit, unsigned int code,
				const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	/* What was printed before stands before the error, also when both go to one place. */
	fflush(stdout);
	if (cli->format == DBPS_FORMAT_JSON) {
		fail_json(exit, code, text);
		return exit;
	}
	fputs("dbps: ", stderr);
	if (code)
		fprintf(stderr, "ERROR %u: ", code);
	dbps_text_print(stderr, text, strlen(text), SIZE_MAX);
	fputc('\n', stderr);
	return exit;
}
