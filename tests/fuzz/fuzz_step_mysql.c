/*
 * The MySQL step under any moves of bytes: no access outside of what it owns, no loop without end,
 * and sessions that do not depend on how the bytes were cut.
 *
 * The moves are played to four servers at once and the sessions compared after each move:
 *   WHOLE  reads and sends each move in one call
 *   CUT    the same in pieces
 *   APART  reads a packet's header, then just the rest of the packet, as MariaDB and MySQL do
 *   PIECES the same, where the calls get less than they ask for
 *
 * WHOLE and CUT must be the same in all that is compared, and so must APART and PIECES, and WHOLE
 * and APART. These differences are right, and where they end a comparison no other can begin again:
 *
 *  1. When a move was made is told, not when its last piece was: time stands still during a move.
 *  2. The flags READS_APART and READS_EXACT tell how the server reads. The first header is not cut:
 *     it is what tells.
 *  3. A header that an exact server has read is not looked at before its body was: until then
 *     `in` and its four bytes differ. That of an empty packet is not looked at before its answer:
 *     until then all differs, and the begin that is told is that of the answer. Between header and
 *     body the request is still the one before, or empty.
 *  4. Where the framing was lost (a packet that is none, bytes that could not be read, an event
 *     that was not followed) the cut decides where it is found again. It has to be lost in the same
 *     move, unless bytes cannot be read: which of them are, the cut decides.
 *  5. Of servers that read apart it is known that they answer when they have read a request whole,
 *     an empty one before they look for more, and none whose sequence is not 0; and that they have
 * no frames of OceanBase's. What others do is told from WHOLE and CUT alone.
 *  6. WHOLE and APART are different servers, whose reads tell different things: that one which
 *     reads apart looks for a header means that it has no answer to give, and what was not followed
 *     has ended (session_waits); that it reads a request means that it has come to it, where others
 *     read ahead (DBPS_HELD) and may have OceanBase's frames. Where one of these counts, the two
 *     are told apart for good.
 */
#include "kernel.h"

#define PACKET_MAX MYSQL_PACKET_FULL

static size_t moves_header(uint8_t to[5], unsigned int mark, size_t n)
{
	to[0] = (uint8_t)n;
	to[1] = (uint8_t)(n >> 8);
	to[2] = (uint8_t)(n >> 16);
	to[3] = (uint8_t)mark;
	return 4;
}

#include "moves.h"
#include "same.h"

/* Bits of the setup. */
enum {
	SETUP_TEXT = 3,
	SETUP_START = 28,
	SETUP_START_SHIFT = 2,
	SETUP_VECTOR = 32, /* calls do not tell how much they ask for */
};

enum start {
	START_GREETED,
	START_ALL_CAPS,
	START_JOINED,	/* older than dbps; its framing is known by now */
	START_UNKNOWN,	/* and here it is not */
	START_PLAIN,	/* plaintext of the library, behind an SSLRequest: plain_begin() */
	START_COMPRESS, /* and one that asked for compression */
	START_OCEANBASE,
	START_N,
};

enum player_kind { WHOLE, CUT, APART, PIECES, PLAYERS };

#define PAIRS 3
static const enum player_kind pairs[PAIRS][2] = {{WHOLE, CUT}, {APART, PIECES}, {WHOLE, APART}};

struct player {
	enum player_kind kind;
	struct kernel kernel;
	unsigned int rng;
	bool vector;
	/* The client's stream, as a server knows it that reads apart. */
	__u32 header_have;
	__u8 header[7];
	__u32 left;
	bool headers; /* one was read */
	bool empty;   /* the last one of an empty packet, not answered yet */
	bool odd;     /* did what rule 5 excludes */
	bool told;    /* by its way of reading, as rule 6 has it */
	bool late;    /* a statement began with its answer: rule 3 */
};

static struct player players[PLAYERS];
static struct moves moves;

/* The largest move, and what is not moved any more in front of it. */
static __u8 full_packet[4 + MYSQL_PACKET_FULL];

UNTRACED_BEGIN
static bool is_cut(const struct player *p)
{
	return p->kind == CUT || p->kind == PIECES;
}

static __u32 flags_of(const struct player *p)
{
	return p->kernel.record->s.flags;
}

static bool is_apart(const struct player *p)
{
	return p->kind == APART || p->kind == PIECES;
}

/* What it does while nothing is encrypted. */
static bool reads_apart(const struct player *p)
{
	return is_apart(p) && ~flags_of(p) & DBPS_TLS;
}

/* Of the packets that are on the wire. */
static __u32 header_len(const struct player *p)
{
	return flags_of(p) & DBPS_COMPRESSED ? MYSQL_OUTER_HEADER : 4;
}

/* ---------------------------------------------------------------- pieces -------------------- */

static unsigned int next_random(struct player *p)
{
	p->rng = p->rng * 1103515245 + 12345;
	return p->rng >> 16 & 0x7fff;
}

/* How much of n bytes the next call moves. The seed's low bits say in what style. */
static size_t piece(struct player *p, size_t n)
{
	static const size_t most[4] = {1, 7, 60, 400};
	size_t take;

	if (!is_cut(p) || !n)
		return n;
	take = next_random(p) % most[moves.seed & 3] + 1;
	if (n > INPUT_MAX)
		take += n / 4;
	return take < n ? take : n;
}

/* ---------------------------------------------------------------- reads --------------------- */

static void read_whole(struct player *p, const __u8 *bytes, size_t n)
{
	for (size_t done = 0, take; done < n; done += take) {
		take = piece(p, n - done);
		kernel_received(&p->kernel, bytes + done, take, p->vector ? 0 : 1 << 16);
	}
}

/* A header was read and is not looked at. */
static bool is_unread(const struct player *p)
{
	return p->kernel.record->s.in.hdr_have == MYSQL_HEADER_UNREAD;
}

static void read_header(struct player *p, const __u8 **at, size_t *n)
{
	size_t want = header_len(p) - p->header_have, take = want < *n ? want : *n;

	if (p->headers)
		take = piece(p, take);
	p->odd |= p->empty;
	memcpy(p->header + p->header_have, *at, take);
	kernel_received(&p->kernel, *at, take, want);
	p->header_have += (__u32)take;
	p->odd |= is_unread(p) && p->header[3];
	*at += take;
	*n -= take;
	if (p->header_have < header_len(p))
		return;
	p->left = mysql_u24(p->header);
	p->empty = !p->left;
	p->header_have = 0;
	p->headers = true;
}

static void read_body(struct player *p, const __u8 **at, size_t *n)
{
	size_t take = piece(p, p->left < *n ? p->left : *n);

	/* It looks before there is something, now and then. */
	if (is_cut(p) && !(next_random(p) & 7))
		kernel_waits(&p->kernel, p->left);
	kernel_received(&p->kernel, *at, take, p->left);
	p->left -= (__u32)take;
	*at += take;
	*n -= take;
}

static void read_apart(struct player *p, const __u8 *bytes, size_t n)
{
	while (n) {
		if (!reads_apart(p))
			return read_whole(p, bytes, n);
		if (p->left)
			read_body(p, &bytes, &n);
		else
			read_header(p, &bytes, &n);
	}
}

/* The header that is not looked at is that of an empty packet. */
static bool is_unread_empty(const struct player *p)
{
	return is_unread(p) && !p->left && !p->header_have;
}

static void play_sent(struct player *p, const __u8 *bytes, size_t n)
{
	p->odd |= reads_apart(p) && (p->left || p->header_have);
	p->late |= is_unread_empty(p);
	p->empty = false;
	for (size_t done = 0, take; done < n; done += take) {
		take = piece(p, n - done);
		kernel_sent(&p->kernel, bytes + done, take);
	}
}

static void play_wait(struct player *p)
{
	__u32 requested = p->left ? p->left : header_len(p) - p->header_have;
	__u8 phase = p->kernel.record->s.phase;

	p->odd |= p->empty;
	kernel_waits(&p->kernel, p->vector ? 0 : reads_apart(p) ? requested : 1 << 16);
	p->told |= p->kernel.record->s.phase != phase;
}

static void play_event(struct player *p, enum move_event event)
{
	if (event == MOVE_CLOSED)
		kernel_closed(&p->kernel);
	else if (event == MOVE_LOST)
		kernel_contended(&p->kernel);
	else if (event == MOVE_UNKNOWN)
		kernel_unseen(&p->kernel);
}

static void play(struct player *p, const struct move *move, const __u8 *bytes, size_t n)
{
	p->kernel.now++;
	p->kernel.buffer = moves.bytes;
	p->kernel.buffer_n = moves.used;
	if (move->kind == MOVE_WAIT)
		play_wait(p);
	else if (move->kind == MOVE_EVENT)
		play_event(p, move->event);
	else if (!move_is_read(move))
		play_sent(p, bytes, n);
	else if (reads_apart(p))
		read_apart(p, bytes, n);
	else
		read_whole(p, bytes, n);
	p->told |= flags_of(p) & (DBPS_HELD | DBPS_OB20);
	p->odd |= is_apart(p) && flags_of(p) & DBPS_OB20;
}

/* ---------------------------------------------------------------- comparing ----------------- */

static void same_flags(__u32 a, __u32 b)
{
	__u32 rest = ~(__u32)(DBPS_READS_APART | DBPS_READS_EXACT); /* 2 */

	same_number("flags", a & rest, b & rest);
}

/* Of TLS the type of a record is apart from the rest of its header. */
static __u32 gathered(const struct dbps_stream *stream, __u32 flags)
{
	return stream->hdr_have && flags & DBPS_TLS ? stream->hdr_have - 1u : stream->hdr_have;
}

static void same_outer(const struct dbps_outer *a, const struct dbps_outer *b)
{
	SAME(skip);
	SAME(left);
	SAME(tail);
	SAME(hidden);
	SAME(have);
	SAME(seq);
	SAME(blind);
	SAME(last);
	SAME_BYTES(hdr, a->have);
}

static void same_mysql(const struct dbps_record *p, const struct dbps_record *q)
{
	const struct dbps_mysql *a = &p->my, *b = &q->my;
	__u32 have = p->s.out.got < DBPS_HEAD_MAX ? p->s.out.got : DBPS_HEAD_MAX;

	if (p->s.flags & DBPS_WRAPPED) {
		same_outer(&a->outer_in, &b->outer_in);
		same_outer(&a->outer_out, &b->outer_out);
	} else if (p->s.out.left) {
		SAME_BYTES(head.b, have);
	}
	for (int i = 0; p->s.flags & DBPS_HELD && i < DBPS_HELD_MAX; i++) {
		SAME(held[i].len);
		if (!a->held[i].len)
			break;
		SAME(held[i].base);
		SAME(held[i].first);
	}
}

static void same(const struct player *p, const struct player *q)
{
	const struct dbps_session *a = &p->kernel.record->s, *b = &q->kernel.record->s;

	if (is_unread_empty(p) || is_unread_empty(q))
		return; /* 3 */
	same_flags(a->flags, b->flags);
	same_statement(a, b);
	if (!p->late && !q->late)
		same_times(a, b);
	same_login(a, b);
	SAME(bytes_out);
	if (a->phase != DBPS_PHASE_CLOSED) {
		same_stream(&a->out, &b->out, a->out.hdr_have);
		same_mysql(p->kernel.record, q->kernel.record);
	}
	same_kernel(&p->kernel, &q->kernel);
	if (is_unread(p) || is_unread(q))
		return; /* 3 */
	SAME(bytes_in);
	if (a->phase != DBPS_PHASE_CLOSED)
		same_stream(&a->in, &b->in, gathered(&a->in, a->flags));
	if (!a->in.left || a->in.got) /* 3 */
		same_request(&p->kernel.record->request, &q->kernel.record->request);
}

/* ---------------------------------------------------------------- a run --------------------- */

static bool players_judge(const enum player_kind pair[2])
{
	const struct player *p = &players[pair[0]], *q = &players[pair[1]];

	if (p->odd || q->odd) /* 5 */
		return false;
	if (is_apart(p) != is_apart(q) && (p->told || q->told)) /* 6 */
		return false;
	CHECK(p->kernel.unframed == q->kernel.unframed); /* 4 */
	if (p->kernel.unframed)
		return false;
	same(p, q);
	return true;
}

static void begin_session(struct dbps_session *s, enum start start)
{
	static const struct {
		__u32 flags;
		__u8 phase;
	} starts[START_N] = {
		[START_GREETED] = {DBPS_KNOWN_ID | DBPS_FRAMED_IN, DBPS_PHASE_GREETED},
		[START_ALL_CAPS] = {DBPS_KNOWN_ID | DBPS_FRAMED_IN, DBPS_PHASE_GREETED},
		[START_JOINED] = {DBPS_JOINED | DBPS_FRAMED_IN, DBPS_PHASE_IDLE},
		[START_UNKNOWN] = {DBPS_JOINED, DBPS_PHASE_UNKNOWN},
		[START_PLAIN] = {DBPS_FRAMED_IN | DBPS_KNOWN_CAPS | DBPS_TLS_READ,
				 DBPS_PHASE_GREETED},
		[START_COMPRESS] = {DBPS_FRAMED_IN | DBPS_KNOWN_CAPS | DBPS_TLS_READ,
				    DBPS_PHASE_GREETED},
		[START_OCEANBASE] = {DBPS_KNOWN_ID | DBPS_FRAMED_IN, DBPS_PHASE_GREETED},
	};

	s->flags = starts[start].flags;
	s->phase = starts[start].phase;
	s->id = start == START_OCEANBASE ? 0xc0064c45 : 7;
	s->server_caps = start == START_ALL_CAPS ? ~0u : 0x81fff7fe;
	if (start == START_PLAIN || start == START_COMPRESS)
		s->caps = 0x81fff7fe & ~(start == START_PLAIN ? MYSQL_COMPRESS : 0);
}

static void player_begin(int i)
{
	static const __u32 text_bytes[4] = {DBPS_TEXT_DEFAULT, DBPS_TEXT_MIN, DBPS_TEXT_MIN + 1,
					    DBPS_TEXT_MAX};
	enum start start = ((moves.setup & SETUP_START) >> SETUP_START_SHIFT) % START_N;
	struct player *p = &players[i];

	memset(p, 0, offsetof(struct player, kernel));
	memset(&p->rng, 0, sizeof(*p) - offsetof(struct player, rng));
	p->kind = (enum player_kind)i;
	p->rng = moves.seed;
	p->vector = moves.setup & SETUP_VECTOR;
	kernel_begin(&p->kernel, text_bytes[moves.setup & SETUP_TEXT], (__u8)(0x5a + i * 0x31));
	begin_session(&p->kernel.record->s, start);
	p->kernel.unframed = start == START_UNKNOWN; /* 4 */
}

static struct kernel *player_kernel(int i)
{
	return &players[i].kernel;
}

static void player_show(int i)
{
	const struct player *p = &players[i];

	fprintf(stderr, "%s%s%s", p->odd ? " odd" : "", p->told ? " told" : "",
		p->late ? " late" : "");
}

/* A full packet inside of another, or of TLS, is left out: its zeros would be four million packets;
 * and one ahead of time, whose bytes do not stay. */
static bool is_too_much(const struct move *move)
{
	bool inside = false;

	for (int i = 0; move->filled && i < PLAYERS; i++) {
		const struct player *p = &players[i];
		const struct dbps_stream *out = &p->kernel.record->s.out;

		inside |= flags_of(p) & (DBPS_WRAPPED | DBPS_TLS);
		inside |= p->kernel.record->s.phase > DBPS_PHASE_IDLE && move_is_read(move);
		inside |=
			move_is_read(move) ? p->left || p->header_have : out->left || out->hdr_have;
	}
	return inside;
}

static void players_move(const struct move *move)
{
	const __u8 *bytes = move->bytes;
	size_t n = move->n + move->filled;

	if (is_too_much(move))
		return;
	if (move->filled)
		bytes = memcpy(full_packet, move->bytes, move->n);
	for (int i = 0; i < PLAYERS; i++)
		play(&players[i], move, bytes, n);
	if (move->filled)
		memset(full_packet, 0, move->n);
}
UNTRACED_END

#include "players.h"
