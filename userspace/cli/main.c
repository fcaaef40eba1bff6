/*
 * dbps: ps and kill for database sessions. Reads the command line, runs one command, and answers
 * with its exit code.
 */
#include <errno.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/text.h"

#define OUTPUT_BUFFER_BYTES (1U << 18)

/* Output that is lost is a failure; a reader that has seen enough (`| head`) is not told so. */
static enum dbps_exit flush(const struct dbps_cli *cli, enum dbps_exit exit)
{
	errno = 0;
	if (fflush(stdout) == 0 && !ferror(stdout))
		return exit;
	if (errno == EPIPE)
		return dbps_exit_worse(exit, DBPS_EXIT_FAILED);
	return dbps_exit_worse(
		exit, dbps_output_fail(cli, DBPS_EXIT_FAILED, 0, "write: %s", strerror(errno)));
}

int main(int argc, char **argv)
{
	struct dbps_cli cli = {0};
	enum dbps_exit exit = DBPS_EXIT_OK;

	/* One thread and long lists: no lock around each byte, and no write for each page. */
	__fsetlocking(stdout, FSETLOCKING_BYCALLER);
	setvbuf(stdout, NULL, _IOFBF, OUTPUT_BUFFER_BYTES);
	dbps_text_init();
	exit = dbps_cli_parse(argc, argv, &cli);
	if (exit != DBPS_EXIT_OK)
		return exit;
	if (cli.given & DBPS_OPT_HELP)
		dbps_cli_help(stdout, &cli);
	else
		exit = cli.command->run(&cli);
	dbps_cli_close(&cli);
	return flush(&cli, exit);
}
