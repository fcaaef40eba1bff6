/*
 * The bytes that one call moved, and how far they are understood.
 */
#ifndef DBPS_MYSQL_FEED_H
#define DBPS_MYSQL_FEED_H

#include "dbps/mysql/ok.h"

/* Packets of one call that are followed, and of them those that one look at the window takes. */
#define MYSQL_PACKETS_MAX    65536
#define MYSQL_WINDOW_PACKETS 16

/* The bytes that one call moved, and how far they are understood. */
struct mysql_feed {
	struct dbps_record *r;
	struct dbps_window *window; /* answers only */
	struct dbps_span span;
	__u32 whole; /* bytes of the call */
	__u32 total; /* where the packets end that lie there: less than `whole` in an outer packet
		      */
	__u32 pos;
	bool broken;
	bool keeps; /* a text is to be kept before the server comes to its next request */
};

/* Where the packets at the begin of a call end: in an outer one that is not known yet. */
MYSQL_INLINE __u32 mysql_total(const struct dbps_record *r, __u32 pos, __u32 n)
{
	return r->s.flags & DBPS_WRAPPED ? pos : n;
}

/* A request's header is there. A statement whose end was not seen has ended by now. */
MYSQL_INLINE void mysql_header(struct dbps_record *r)
{
	struct dbps_session *s = &r->s;
	bool goes_on = s->in.full;

	mysql_packet_begin(&s->in);
	if (goes_on)
		return;
	/* The server checks the outer number alone there, and Connector/J 2 begins with an inner 1
	 * behind the login. */
	if (s->flags & DBPS_COMPRESSED)
		s->in.seq = r->my.outer_in.seq;
	if (s->phase == DBPS_PHASE_UNKNOWN)
		s->phase = DBPS_PHASE_IDLE;
	if (!mysql_keeps_request(s)) {
		s->in.skip = 1;
		return;
	}
	r->request.have = 0;
	r->request.len = 0;
	if (s->phase > DBPS_PHASE_IDLE)
		dbps_on_resync(s);
}

/* A whole message is there. */
MYSQL_INLINE void mysql_message(struct dbps_record *r)
{
	__u32 last_used = r->s.stmt_id;

	if (mysql_request(r, dbps_now()))
		dbps_on_begin(r, last_used);
}

#endif
