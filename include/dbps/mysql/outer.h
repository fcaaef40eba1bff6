/*
 * Packets in packets: the compressed protocol's and OceanBase 2.0's outer ones are walked over, and
 * what is in clear inside of them is followed as any bytes. protocol.md 1.10, 2.5.
 */
#ifndef DBPS_MYSQL_OUTER_H
#define DBPS_MYSQL_OUTER_H

#include "dbps/mysql/feed.h"

/* Lengths of headers (1.10, 2.5), and what OceanBase's flags say. */
#define MYSQL_OUTER_HEADER 7
#define MYSQL_OB20_HEADER  31
#define MYSQL_OB20_TAIL	   4
#define MYSQL_OB20_EXTRA   1u /* the payload begins with information that is no packet */
#define MYSQL_OB20_LAST	   2u

/* Whether bytes are the header of an OceanBase 2.0 packet: magic, version, and lengths that agree.
 */
MYSQL_INLINE bool mysql_is_ob20(const __u8 *h)
{
	return !mysql_u24(h + 4) && mysql_u16(h + 7) == 0x20ab && mysql_u16(h + 9) == 20 &&
	       mysql_u24(h) == mysql_u32(h + 19) + 28;
}

/* Whether the bytes of a call begin with one. */
MYSQL_INLINE bool mysql_begins_ob20(const struct dbps_span *span, __u32 n)
{
	__u8 h[MYSQL_OB20_HEADER + 1];

	return n >= MYSQL_OB20_HEADER && !dbps_span_read(span, 0, h, MYSQL_OB20_HEADER) &&
	       mysql_is_ob20(h);
}

/* Bytes of one direction that a call moved and that were not looked at yet. */
struct mysql_outer_feed {
	struct dbps_record *r;
	struct dbps_outer *o;
	struct dbps_span span;
	__u32 avail;
	__u32 pos;
};

/*
 * Take bytes of the outer header: all of it where it lies whole in the call, else one at a time.
 * Returns how many, or negative.
 */
MYSQL_INLINE int mysql_outer_bytes(const struct mysql_outer_feed *f)
{
	struct dbps_outer *o = f->o;
	__u32 have = o->have;

	if (!have && f->r->s.flags & DBPS_OB20 && f->avail >= MYSQL_OB20_HEADER)
		return dbps_span_read(&f->span, 0, o->hdr, MYSQL_OB20_HEADER) ? -1
									      : MYSQL_OB20_HEADER;
	if (!have && f->avail >= MYSQL_OUTER_HEADER)
		return dbps_span_read(&f->span, 0, o->hdr, MYSQL_OUTER_HEADER) ? -1
									       : MYSQL_OUTER_HEADER;
	if (have >= sizeof(o->hdr) || dbps_span_read(&f->span, 0, &o->hdr[have], 1))
		return -1;
	return 1;
}

/* Whether the header is all there: OceanBase's goes on for a packet that is not compressed. */
MYSQL_INLINE bool mysql_outer_is_whole(const struct dbps_session *s, const struct dbps_outer *o)
{
	if (o->have < MYSQL_OUTER_HEADER)
		return false;
	if (!(s->flags & DBPS_OB20) || mysql_u24(o->hdr + 4))
		return true;
	if (o->have < MYSQL_OB20_HEADER)
		return false;
	return !(o->hdr[23] & MYSQL_OB20_EXTRA) || o->have >= MYSQL_OB20_HEADER + 4;
}

/* Whether some of an outer packet is still to come. One branch: each more is another way that the
 * kernel's verifier follows to its end. */
MYSQL_INLINE bool mysql_outer_is_open(const struct dbps_outer *o)
{
	return (o->have | o->skip | o->left | o->tail) != 0;
}

/* Behind an OceanBase header. Negative: that is none. */
MYSQL_INLINE int mysql_ob20_begin(struct dbps_outer *o)
{
	__u32 payload = mysql_u32(o->hdr + 19), extra = 0;

	if (!mysql_is_ob20(o->hdr))
		return -1;
	o->tail = MYSQL_OB20_TAIL;
	o->last = (o->hdr[23] & MYSQL_OB20_LAST) != 0;
	o->left = payload;
	if (!(o->hdr[23] & MYSQL_OB20_EXTRA))
		return 0;
	extra = mysql_u32(o->hdr + MYSQL_OB20_HEADER);
	if (payload < 4 || extra > payload - 4)
		return -1;
	o->skip = extra;
	o->left = payload - 4 - extra;
	return 0;
}

/* A header is there: begin the outer packet. Negative: framing is lost. */
MYSQL_INLINE int mysql_outer_begin(struct mysql_outer_feed *f)
{
	struct dbps_session *s = &f->r->s;
	struct dbps_outer *o = f->o;

	o->seq = o->hdr[3];
	o->hidden = mysql_u24(o->hdr + 4);
	o->skip = 0;
	o->tail = 0;
	o->last = 0;
	if (s->flags & DBPS_OB20 && !o->hidden) {
		o->have = 0;
		return mysql_ob20_begin(o);
	}
	/* One that is compressed has the short header: what was read behind it is given back. */
	f->pos -= o->have - MYSQL_OUTER_HEADER;
	o->have = 0;
	o->left = mysql_u24(o->hdr);
	if (s->flags & DBPS_OB20 && o->hidden)
		o->blind = 1;
	return 0;
}

/*
 * A request of sequence 0 begins a command, whatever came before it, but for the numbers of a
 * file's packets, or of a long request's, which go round: behind 255 it is one when the server has
 * answered that, which then has the number 0. One that is none is noted as 1.
 */
MYSQL_INLINE void mysql_outer_request(struct dbps_record *r, __u8 before)
{
	struct dbps_session *s = &r->s;

	if (r->my.outer_in.seq || !(s->flags & DBPS_COMPRESSED))
		return;
	if (before == 255 && r->my.outer_out.seq) {
		r->my.outer_in.seq = 1;
		return;
	}
	if (s->phase == DBPS_PHASE_UNKNOWN)
		s->phase = DBPS_PHASE_IDLE;
	if (s->phase > DBPS_PHASE_IDLE)
		dbps_on_resync(s);
	__builtin_memset(&s->in, 0, sizeof(s->in));
	r->my.outer_in.blind = 0;
	if (r->my.outer_out.blind)
		__builtin_memset(&s->out, 0, sizeof(s->out));
	r->my.outer_out.blind = 0;
}

/* A command that cannot be read begins. */
MYSQL_INLINE void mysql_begin_opaque(struct dbps_record *r, __u64 now_ns)
{
	struct dbps_session *s = &r->s;

	s->command = COM_SLEEP;
	s->sequence++;
	s->start_ns = now_ns;
	s->results = 0;
	s->text_len = 0;
	s->last_stmt_id = 0; /* it may be a Prepare */
	s->defs_left = 0;    /* packets of the answer that were seen */
	s->flags &= ~(DBPS_HAS_TEXT | DBPS_EXECUTES | DBPS_RESYNCED | DBPS_SENT | DBPS_APPLIES);
	s->phase = DBPS_PHASE_OPAQUE;
	dbps_on_begin(r, s->stmt_id);
}

/*
 * All of an outer packet was read whose packets are not readable. Their lengths still are known:
 * inside of a packet that has begun in clear, framing goes on.
 */
MYSQL_INLINE void mysql_hidden_request(struct dbps_record *r)
{
	struct dbps_outer *o = &r->my.outer_in;
	struct dbps_session *s = &r->s;
	struct dbps_stream *in = &s->in;
	/* Of a command that is longer than a packet mysql2 sends the header in clear. */
	bool begins =
		s->phase == DBPS_PHASE_IDLE && (!o->seq || (in->left && !(in->got | in->seq)));

	if (!begins && !o->blind && in->left && in->left >= o->hidden) {
		in->left -= o->hidden;
		in->got += o->hidden;
		if (!in->skip) {
			r->request.len = in->got;
			if (r->request.have < 5) /* of no statement's number, nor that of before */
				__builtin_memset(r->request.body + 1, 0, 4);
		}
		if (!in->left && !in->full)
			mysql_message(r);
		return;
	}
	o->blind = 1;
	__builtin_memset(in, 0, sizeof(*in));
	if (begins) {
		mysql_begin_opaque(r, dbps_now());
	} else if (s->phase == DBPS_PHASE_IDLE) {
		/* The file of a LOAD DATA that was taken to be over when the server waited for it.
		 */
		s->phase = DBPS_PHASE_UNFRAMED;
		s->flags &= ~DBPS_SENT;
	} else if (s->phase == DBPS_PHASE_OPAQUE && !(s->flags & DBPS_SENT)) {
		s->start_ns = dbps_now();
	}
}

/* The same of an answer. Rows go on; of anything else the end is told by what the server does. */
MYSQL_INLINE bool mysql_hidden_answer(struct dbps_record *r)
{
	struct dbps_outer *o = &r->my.outer_out;
	struct dbps_session *s = &r->s;
	struct dbps_stream *out = &s->out;

	if (!o->blind && out->left && out->left >= o->hidden && out->got &&
	    s->phase == DBPS_PHASE_ROWS && r->my.head.b[0] < 0xfe) {
		out->left -= o->hidden;
		out->got += o->hidden;
		return !out->left && !out->full;
	}
	o->blind = 1;
	__builtin_memset(out, 0, sizeof(*out));
	if (s->phase == DBPS_PHASE_CHANGE_USER)
		s->flags &= ~DBPS_KNOWN_LOGIN;
	if (s->phase > DBPS_PHASE_OPAQUE)
		s->phase = DBPS_PHASE_UNFRAMED;
	return false;
}

/* Whether the packets that the server sends are looked at. */
MYSQL_INLINE bool mysql_follows_answers(const struct dbps_session *s)
{
	return s->phase != DBPS_PHASE_UNKNOWN && s->phase != DBPS_PHASE_CLOSED &&
	       s->phase != DBPS_PHASE_UNFRAMED && !(s->flags & DBPS_TLS);
}

/* What a step in an outer packet came to. */
enum mysql_outer_found {
	MYSQL_OUTER_MORE,
	MYSQL_OUTER_LOST,   /* that is no outer packet, or it cannot be read */
	MYSQL_OUTER_PACKET, /* a server packet that went on in compressed bytes is whole */
	MYSQL_OUTER_LAST,   /* the answer is over */
};

/* Pass over bytes of one kind. Returns whether they are all there. */
MYSQL_INLINE bool mysql_outer_pass(struct mysql_outer_feed *f, __u32 *count)
{
	__u32 n = *count < f->avail ? *count : f->avail;

	*count -= n;
	f->pos = n;
	return !*count;
}

/* Bytes whose packets are not readable. */
MYSQL_INLINE int mysql_outer_hidden(struct mysql_outer_feed *f, bool reads)
{
	if (!mysql_outer_pass(f, &f->o->left))
		return MYSQL_OUTER_MORE;
	if (reads)
		mysql_hidden_request(f->r);
	else if (mysql_follows_answers(&f->r->s) && mysql_hidden_answer(f->r))
		return MYSQL_OUTER_PACKET;
	return MYSQL_OUTER_MORE;
}

MYSQL_INLINE int mysql_outer_header(struct mysql_outer_feed *f, bool reads)
{
	__u8 before = f->o->seq;
	int n = mysql_outer_bytes(f);

	if (n < 0)
		return MYSQL_OUTER_LOST;
	f->o->have += (__u8)n;
	f->pos = (__u32)n;
	if (!mysql_outer_is_whole(&f->r->s, f->o))
		return MYSQL_OUTER_MORE;
	if (mysql_outer_begin(f))
		return MYSQL_OUTER_LOST;
	if (reads)
		mysql_outer_request(f->r, before);
	return MYSQL_OUTER_MORE;
}

/**
 * @brief What lies at the begin of `avail` bytes: a part of an outer packet.
 * @param base Their address.
 * @return Bytes that were taken; bytes of inner packets that lie there in clear << 32; enum
 * mysql_outer_found << 60.
 */
DBPS_STEP_FN __u64 mysql_outer(struct dbps_record *r, __u64 base, __u32 avail, __u32 reads)
{
	struct mysql_outer_feed f = {.r = r, .avail = avail};
	struct dbps_outer *o;
	__u64 found = MYSQL_OUTER_MORE;
	__u32 n = 0;

	if (!r)
		return 0;
	f.span.base = (__typeof__(f.span.base))(unsigned long)base;
	o = f.o = reads ? &r->my.outer_in : &r->my.outer_out;
	if (o->skip) {
		mysql_outer_pass(&f, &o->skip);
	} else if (o->left &&
		   (o->hidden || o->blind || (!reads && !mysql_follows_answers(&r->s)))) {
		found = (__u64)mysql_outer_hidden(&f, reads);
	} else if (o->left) {
		n = o->left < avail ? o->left : avail;
		o->left -= n;
	} else if (o->tail) {
		if (mysql_outer_pass(&f, &o->tail) && o->last && !reads)
			found = MYSQL_OUTER_LAST;
	} else {
		found = (__u64)mysql_outer_header(&f, reads);
	}
	return found << 60 | (__u64)n << 32 | f.pos;
}

/* The same at the feed's position; its packets in clear are those up to f->total then. Negative:
 * framing is lost. */
MYSQL_INLINE int mysql_feed_outer(struct mysql_feed *f, bool reads)
{
	__u64 base = (__u64)(unsigned long)f->span.base + f->pos;
	__u64 r = mysql_outer(f->r, base, f->whole - f->pos, reads);

	if (r >> 60 == MYSQL_OUTER_LOST)
		return -1;
	f->pos += (__u32)r;
	f->total = f->pos + ((__u32)(r >> 32) & 0xfffffff);
	return (int)(r >> 60);
}

/*
 * OceanBase's frames show in the first request of a session: a frame's fifth byte is 0, which as a
 * command no client sends. What was taken for a packet's header is the begin of the frame's then.
 * Of servers that read headers apart it is known that they have none. Returns whether it is one.
 */
MYSQL_INLINE bool mysql_begins_frames(struct mysql_feed *f)
{
	struct dbps_session *s = &f->r->s;
	__u8 command;

	if (mysql_likely(s->sequence || s->in.got) || s->phase != DBPS_PHASE_IDLE ||
	    s->flags & (DBPS_READS_APART | DBPS_WRAPPED))
		return false;
	if (dbps_span_read(&f->span, f->pos, &command, 1) || command)
		return false;
	s->flags |= DBPS_OB20;
	__builtin_memcpy(f->r->my.outer_in.hdr, s->in.hdr, 4);
	f->r->my.outer_in.have = 4;
	__builtin_memset(&s->in, 0, sizeof(s->in));
	f->total = f->pos;
	return true;
}

#endif
