/*
 * How a server that polls gets the cancel table: it connects to the console's path with
 * DBPS_CANCEL_SUFFIX (SOCK_SEQPACKET), gets one message with a descriptor to map read-only, and
 * sends one byte when it has done so. It polls for as long as the connection lives.
 */
#ifndef DBPS_CANCEL_HANDOUT_H
#define DBPS_CANCEL_HANDOUT_H

#include <stdint.h>

struct dbps_handout {
	uint32_t version; /* DBPS_CANCEL_VERSION */
	uint32_t size;	  /* of struct dbps_cancel_table */
};

#define DBPS_HANDOUT_MAPPED 'm'

#endif
