/*
 * The table of commands, with the help of each.
 */
#include "cleanup.h"
#include "cli/cli.h"

const struct dbps_command dbps_commands[] = {
	{"ps", "", "list the sessions and what they execute",
	 DBPS_OPT_SERVER | DBPS_OPT_FULL | DBPS_OPT_WIDE | DBPS_OPT_JSON | DBPS_OPT_CSV |
		 DBPS_OPT_WATCH,
	 0, 0,
	 "Lists every connection of the database servers on this host. On a terminal a\n"
	 "line is cut to fit; into a pipe it has the first 100 bytes of the statement.\n"
	 "--wide tells also who is idle in a transaction and since when, what each statement\n"
	 "waits for and has used, and the client's process. --json and --csv have all columns\n"
	 "of a session and the whole statement.\n"
	 "On the screen of --watch, what runs comes first.\n"
	 "\n"
	 "Examples:\n"
	 "  dbps ps\n"
	 "  dbps ps --watch 1\n"
	 "  dbps ps --wide\n"
	 "  dbps ps --full | grep -i 'for update'\n"
	 "  dbps ps --json | jq '.[] | select(.command != \"Sleep\" and .time > 60)'",
	 dbps_command_ps},
	{"kill", "[query|connection] ID... | --where COND | --user NAME",
	 "end statements, or close sessions",
	 DBPS_OPT_SERVER | DBPS_OPT_JSON | DBPS_OPT_CSV | DBPS_OPT_WHERE | DBPS_OPT_USER |
		 DBPS_OPT_ORDER_BY | DBPS_OPT_LIMIT | DBPS_OPT_DRY_RUN | DBPS_OPT_SOFT |
		 DBPS_OPT_AFTER | DBPS_OPT_REASON,
	 0, -1,
	 "With `query`, ends what the session executes and leaves the session alone; with\n"
	 "`connection`, or neither, closes the session. Says for each what the kernel then\n"
	 "saw:\n"
	 "  confirmed  it ended, or the session closed\n"
	 "  missed     the statement had ended by itself; nothing was touched\n"
	 "  pending    asked for, but not seen to happen within the wait\n"
	 "  refused    not allowed, or out of reach\n"
	 "The exit code is the worst of all.\n"
	 "\n"
	 "--where takes a condition of SQL over the columns that `dbps ps --json` shows; the\n"
	 "oldest come first. What is protected is spared. A session that has moved on since\n"
	 "it was chosen is left alone. See what would be killed with --dry-run first.\n"
	 "\n"
	 "Examples:\n"
	 "  dbps kill query 41\n"
	 "  dbps kill 41 42 43 --reason 'blocks the shop'\n"
	 "  dbps kill query --where \"user = 'report' and time > 60\" --dry-run\n"
	 "  dbps kill --where \"command = 'Sleep' and time > 600\" --limit 20\n"
	 "  dbps kill --user web@10.0.0.7 --after transaction\n"
	 "  dbps kill --server mariadb-3307 connection 7",
	 dbps_command_kill},
	{"orphans", "", "list the sessions that execute though their client has gone",
	 DBPS_OPT_SERVER | DBPS_OPT_JSON | DBPS_OPT_CSV | DBPS_OPT_KILL | DBPS_OPT_DRY_RUN |
		 DBPS_OPT_REASON,
	 0, 0,
	 "Lists what is executed for a client that has gone, and how it went: closed (over\n"
	 "TCP: it sends nothing more, though it could still read), reset (by the client),\n"
	 "timed out, cut (from this side, as by a KILL), gone (why is not known). A client\n"
	 "host that vanished without a word cannot be told from a silent one.\n"
	 "--json and --csv have all columns of a session and the whole statement.\n"
	 "With --kill ends them, and says for each what the kernel then saw, as dbps kill\n"
	 "does; what is protected is spared. Their socket is gone: it takes a control\n"
	 "link, or PostgreSQL's signal.\n"
	 "\n"
	 "Examples:\n"
	 "  dbps orphans\n"
	 "  dbps orphans --kill query --dry-run\n"
	 "  dbps orphans --json | jq '.[] | select(.orphan_ms > 60000) | .id'",
	 dbps_command_orphans},
	{"kills", "", "list the last kills: who, what, why, and what came of them",
	 DBPS_OPT_JSON | DBPS_OPT_CSV | DBPS_OPT_LIMIT, 0, 0,
	 "Lists the last 1,000 kills, the newest first, refused ones too, also those from\n"
	 "before dbpsd was restarted. --json and --csv have all that is known of each: the\n"
	 "caller's process, the session, its statement, what carried the kill out. Whoever\n"
	 "may not see all sessions sees own kills.\n"
	 "\n"
	 "Examples:\n"
	 "  dbps kills --limit 20\n"
	 "  dbps kills --json | jq '.[] | select(.outcome == \"refused\")'",
	 dbps_command_kills},
	{"demote", "ID...", "let a statement run only when nothing else wants to",
	 DBPS_OPT_SERVER | DBPS_OPT_JSON | DBPS_OPT_REASON, 1, -1,
	 "Gives the thread of the session's statement the lowest priority there is for\n"
	 "processors and disks (SCHED_IDLE, idle I/O), until the statement ends, until dbps\n"
	 "restore, or until dbpsd stops: a way between to wait and to kill. It keeps its\n"
	 "locks, and who waits for one waits longer. Only of servers that have a thread for\n"
	 "each connection, and a control link: not of PostgreSQL.\n"
	 "\n"
	 "Examples:\n"
	 "  dbps demote 41\n"
	 "  dbps ps --json | jq '.[] | select(.demoted == 1) | .id'",
	 dbps_command_demote},
	{"restore", "ID...", "undo dbps demote before the statement ends",
	 DBPS_OPT_SERVER | DBPS_OPT_JSON | DBPS_OPT_REASON, 1, -1,
	 "Gives the thread back the priority that it had.\n"
	 "\n"
	 "Examples:\n"
	 "  dbps restore 41",
	 dbps_command_restore},
	{"reserve", "N", "drop idle sessions until N connections of a server are free",
	 DBPS_OPT_SERVER | DBPS_OPT_DRY_RUN | DBPS_OPT_JSON | DBPS_OPT_CSV, 1, 1,
	 "When a server has no connection left, drops so many of its sessions that N are\n"
	 "free: the longest idle ones, those in a transaction only after all others. Spares\n"
	 "what executes, what the config protects, and sessions of which it cannot tell\n"
	 "whether they are idle (TLS). A session that begins a statement meanwhile is spared,\n"
	 "and the next one is dropped. Does nothing when N are free. Needs SUPER, and a\n"
	 "control link, which knows max_connections: not of PostgreSQL and proxies.\n"
	 "\n"
	 "Examples:\n"
	 "  dbps reserve 2\n"
	 "  dbps reserve 10 --server mariadb-3307 --dry-run",
	 dbps_command_reserve},
	{"servers", "", "list the database servers of this host", DBPS_OPT_JSON | DBPS_OPT_CSV, 0,
	 0,
	 "Lists the servers that dbpsd follows: engine, version, process, addresses,\n"
	 "sessions, how its control link stands, which KILL QUERY needs, and its container.\n"
	 "\n"
	 "Examples:\n"
	 "  dbps servers\n"
	 "  dbps servers --json",
	 dbps_command_servers},
	{"sql", "STATEMENT", "send one statement to the console of dbpsd",
	 DBPS_OPT_SERVER | DBPS_OPT_JSON | DBPS_OPT_CSV, 1, -1,
	 "Several words are sent as one statement, with a blank between. Warnings go to\n"
	 "stderr. The exit code of a KILL is that of dbps kill.\n"
	 "\n"
	 "Examples:\n"
	 "  dbps sql show full processlist\n"
	 "  dbps sql --csv 'show full sessions'\n"
	 "  dbps sql kill query 41",
	 dbps_command_sql},
	{"doctor", "", "tell what this kernel allows and whether a kill would work",
	 DBPS_OPT_JSON | DBPS_OPT_CSV, 0, 0,
	 "Lists each kernel feature that dbps uses, what is used instead of those that are\n"
	 "absent and what is lost, the servers' control links, and losses counted so far.\n"
	 "Ends with exit code 1 when something is a problem. When dbpsd does not run, looks\n"
	 "at the kernel itself (as root) and ends with exit code 3.\n"
	 "\n"
	 "Examples:\n"
	 "  dbps doctor",
	 dbps_command_doctor},
	{"version", "", "print the version of dbps, and of dbpsd when it runs", DBPS_OPT_JSON, 0, 0,
	 "Examples:\n"
	 "  dbps version",
	 dbps_command_version},
};

const size_t dbps_n_commands = ARRAY_SIZE(dbps_commands);
