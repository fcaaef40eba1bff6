/*
 * dbps kill: one KILL for each id, and for each what the kernel then saw. The console says the
 * outcome in the info of its OK: "confirmed: …", "missed: …" or "pending: …".
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "cli/cli.h"
#include "cli/kill.h"
#include "cli/text.h"

static const struct {
	const char *word;
	enum dbps_exit exit;
} outcomes[] = {
	{"confirmed", DBPS_EXIT_OK},
	{"missed", DBPS_EXIT_MISSED},
	{"pending", DBPS_EXIT_PENDING},
};

enum dbps_exit dbps_kill_outcome(const char *info, const char **ret_outcome)
{
	for (size_t i = 0; info && i < ARRAY_SIZE(outcomes); i++) {
		size_t n = strlen(outcomes[i].word);

		if (strncmp(info, outcomes[i].word, n) == 0 && info[n] == ':') {
			*ret_outcome = outcomes[i].word;
			return outcomes[i].exit;
		}
	}
	*ret_outcome = "unknown";
	return DBPS_EXIT_FAILED;
}

int dbps_kill_parse_id(const char *text, uint64_t *ret_id)
{
	char *end = NULL;
	uint64_t id = 0;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	id = strtoull(text, &end, 10);
	if (errno || *end)
		return -EINVAL;
	*ret_id = id;
	return 0;
}

static void say_json(uint64_t id, const char *outcome, const char *text, unsigned int code,
		     bool first)
{
	_cleanup_free_ char *valid = NULL;
	json_t *object = NULL;
	size_t len = 0;

	if (dbps_text_valid(text, strlen(text), &valid, &len) < 0)
		return;
	object = json_pack("{s:I, s:s, s:s%, s:i}", "id", (json_int_t)id, "outcome", outcome,
			   "text", valid, len, "code", (int)code);
	fputs(first ? "[\n " : ",\n ", stdout);
	if (object)
		json_dumpf(object, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
	json_decref(object);
}

static void say(const struct dbps_cli *cli, uint64_t id, const char *outcome, const char *text,
		unsigned int code, bool first)
{
	FILE *out = code ? stderr : stdout;

	if (cli->format == DBPS_FORMAT_JSON) {
		say_json(id, outcome, text, code, first);
		return;
	}
	fflush(stdout);
	fprintf(out, code ? "dbps: %" PRIu64 ": ERROR %u: " : "%" PRIu64 ": ", id, code);
	dbps_text_print(out, text, strlen(text), SIZE_MAX);
	fputc('\n', out);
}

/* A refusal is an answer about one id; a lost connection ends the command, and is said by the
 * caller. */
static enum dbps_exit kill_one(struct dbps_cli *cli, const char *kind, uint64_t id, bool first)
{
	const char *outcome = NULL;
	const char *info = NULL;
	enum dbps_exit exit = DBPS_EXIT_OK;
	char statement[64];

	snprintf(statement, sizeof(statement), "KILL %s %" PRIu64, kind, id);
	exit = dbps_cli_send(cli, statement);
	if (exit == DBPS_EXIT_UNREACHABLE)
		return exit;
	if (exit == DBPS_EXIT_FAILED) {
		say(cli, id, "refused", mysql_error(cli->mysql), mysql_errno(cli->mysql), first);
		return DBPS_EXIT_REFUSED;
	}
	info = mysql_info(cli->mysql);
	exit = dbps_kill_outcome(info, &outcome);
	say(cli, id, outcome, info ? info : "dbpsd did not say what it saw", 0, first);
	return exit;
}

static enum dbps_exit kill_each(struct dbps_cli *cli, const char *kind, const uint64_t *ids, int n)
{
	enum dbps_exit worst = DBPS_EXIT_OK;
	int done = 0;

	while (done < n && worst != DBPS_EXIT_UNREACHABLE) {
		worst = dbps_exit_worse(worst, kill_one(cli, kind, ids[done], done == 0));
		done++;
	}
	if (worst != DBPS_EXIT_UNREACHABLE)
		done++;
	if (cli->format == DBPS_FORMAT_JSON)
		fputs(done > 1 ? "\n]\n" : "[]\n", stdout);
	if (worst == DBPS_EXIT_UNREACHABLE)
		dbps_output_fail(cli, worst, mysql_errno(cli->mysql),
				 "%s; not known what became of %" PRIu64 ", %d not tried",
				 mysql_error(cli->mysql), ids[done - 1], n - done);
	return worst;
}

enum dbps_exit dbps_command_kill(struct dbps_cli *cli)
{
	bool query = strcasecmp(cli->args[0], "query") == 0;
	bool named = query || strcasecmp(cli->args[0], "connection") == 0;
	int n = cli->n_args - (named ? 1 : 0);
	_cleanup_free_ uint64_t *ids = calloc((size_t)n + 1, sizeof(*ids));
	enum dbps_exit exit = DBPS_EXIT_OK;

	if (!ids)
		return dbps_output_fail(cli, DBPS_EXIT_FAILED, 0, "out of memory");
	if (n == 0)
		return dbps_output_fail(cli, DBPS_EXIT_USAGE, 0, "kill %s: which ID?",
					cli->args[0]);
	/* All ids are read before the first one is acted on. */
	for (int i = 0; i < n; i++) {
		const char *text = cli->args[cli->n_args - n + i];

		if (dbps_kill_parse_id(text, &ids[i]) < 0)
			return dbps_output_fail(cli, DBPS_EXIT_USAGE, 0,
						"kill: '%s' is not an ID (dbps ps shows them)",
						text);
	}
	exit = dbps_cli_connect(cli);
	if (exit != DBPS_EXIT_OK)
		return exit;
	return kill_each(cli, query ? "QUERY" : "CONNECTION", ids, n);
}
