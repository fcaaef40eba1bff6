/*
 * Exit codes of dbps, as dbps(1) lists them. A command that did several things ends with the worst
 * of their codes, dbps_exit_worse().
 */
#ifndef DBPS_CLI_EXIT_CODES_H
#define DBPS_CLI_EXIT_CODES_H

enum dbps_exit {
	DBPS_EXIT_OK = 0,	   /* done; kill: the kernel saw it happen */
	DBPS_EXIT_FAILED = 1,	   /* an error from dbpsd, or output lost; doctor: a problem */
	DBPS_EXIT_USAGE = 2,	   /* the command line is wrong */
	DBPS_EXIT_UNREACHABLE = 3, /* no dbpsd at the socket, or it went away */
	DBPS_EXIT_REFUSED = 4,	   /* kill: unknown id, not allowed, or out of reach */
	DBPS_EXIT_PENDING = 5,	   /* kill: asked for, not seen to happen within the wait */
	DBPS_EXIT_MISSED = 6,	   /* kill: the statement had ended by itself */
};

/* What wants a person's attention first is the worse. */
static inline enum dbps_exit dbps_exit_worse(enum dbps_exit a, enum dbps_exit b)
{
	static const unsigned char rank[] = {
		[DBPS_EXIT_OK] = 0,	 [DBPS_EXIT_MISSED] = 1, [DBPS_EXIT_PENDING] = 2,
		[DBPS_EXIT_REFUSED] = 3, [DBPS_EXIT_FAILED] = 4, [DBPS_EXIT_UNREACHABLE] = 5,
		[DBPS_EXIT_USAGE] = 6,
	};

	return rank[a] > rank[b] ? a : b;
}

#endif
