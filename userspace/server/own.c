/*
 * What dbpsd knows of itself. Another dbpsd of this host is no server to it: its console is that
 * one's to show.
 */
#include "own.h"

#include <stdio.h>
#include <unistd.h>

#include "dbps/kernel.h"

void dbps_own_view(struct dbps_server_view *ret)
{
	*ret = (struct dbps_server_view){
		.index = DBPS_OWN_INDEX,
		.pid = getpid(),
		.engine = DBPS_ENGINE_DBPS,
		.name = DBPS_OWN_NAME,
		.version = DBPS_CONSOLE_VERSION DBPS_VERSION,
		.link = DBPS_LINK_NONE,
		.link_text = "it is this daemon itself",
	};
}
