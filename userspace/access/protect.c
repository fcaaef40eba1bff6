/*
 * The protected list is asked of a row alone, so that it can be a column like any other: what the
 * config says is set once at start and stays.
 */
#include "access/protect.h"

#include <fnmatch.h>
#include <string.h>

#include "session/client.h"

static struct dbps_protect_options protect;

void dbps_protect_set(const struct dbps_protect_options *options)
{
	protect = *options;
}

/* Whether `name` matches one of the patterns in `list`, "repl, backup*". */
static bool is_listed(const char *list, const char *name, int flags)
{
	char pattern[128];

	for (; list && *list; list += strcspn(list, ",")) {
		list += strspn(list, ", \t");
		size_t len = strcspn(list, ",");

		while (len && (list[len - 1] == ' ' || list[len - 1] == '\t'))
			len--;
		if (!len || len >= sizeof(pattern))
			continue;
		memcpy(pattern, list, len);
		pattern[len] = '\0';
		if (fnmatch(pattern, name, flags) == 0)
			return true;
	}
	return false;
}

/* Names of the record are not terminated. */
static bool is_listed_bytes(const char *list, const char *name, size_t len, int flags)
{
	char text[DBPS_USER_MAX + 1];

	if (!len || len >= sizeof(text))
		return false;
	memcpy(text, name, len);
	text[len] = '\0';
	return is_listed(list, text, flags);
}

/* The kernel's command names are cut to 15 bytes; the executable's is whole. */
static bool is_listed_process(const char *list, const struct dbps_client_process *client)
{
	const char *exe = strrchr(client->exe, '/');

	return is_listed(list, client->command, 0) || (exe && is_listed(list, exe + 1, 0));
}

const char *dbps_proxy(const struct dbps_row *row)
{
	const struct dbps_client_process *client = row->own ? NULL : dbps_row_client(row);

	if (!client)
		return NULL;
	if (client->server[0])
		return client->server;
	return is_listed_process(protect.proxies, client) ? client->command : NULL;
}

const char *dbps_protected(const struct dbps_row *row)
{
	const struct dbps_session *session = row->session;
	const struct dbps_name user = dbps_row_login(row).user;
	const char *command = dbps_row_command(row);

	if (row->own)
		return "control link of dbpsd";
	/* As it says itself (server/client.c); one of several on this host sees all the links. */
	if (is_listed_bytes("dbpsd", session->program, session->program_len, 0))
		return "control link of another dbpsd";
	if (command && is_listed(protect.commands, command, FNM_CASEFOLD))
		return "protect.commands";
	if (session->flags & DBPS_KNOWN_LOGIN &&
	    is_listed_bytes(protect.users, user.start, user.len, 0))
		return "protect.users";
	if (is_listed_bytes(protect.programs, session->program, session->program_len, FNM_CASEFOLD))
		return "protect.programs";
	return dbps_proxy(row) ? "protect.proxies" : NULL;
}
