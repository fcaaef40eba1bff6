/*
 * Kinds of socket events that the bench counts. An attempt is a call that moved nothing (-EAGAIN).
 */
#ifndef DBPS_BENCH_EMPTY_H
#define DBPS_BENCH_EMPTY_H

enum event {
	EVENT_SERVER_RECV,
	EVENT_SERVER_RECV_ATTEMPT,
	EVENT_SERVER_SEND,
	EVENT_SERVER_SEND_ATTEMPT,
	EVENT_OTHER_RECV,
	EVENT_OTHER_SEND,
	EVENT_N,
};

#endif
