/*
 * The PostgreSQL step under any moves of bytes: no access outside of what it owns, no loop without
 * end, and sessions that do not depend on how the bytes were cut.
 *
 * The moves are played to three servers at once and the sessions compared after each move:
 *   WHOLE  reads and sends as much in one call as a backend does, 8 KiB
 *   CUT    the same in pieces
 *   BYTES  a byte a call
 *
 * Each is a backend: it reads no further while it owes an answer (invariant 2 of the step), and a
 * call ends behind each message that it flushes, for it turns to the client then (4). What it has
 * read stays in its buffer. A pooler reads and sends without regard to that. MOVE_WAIT is one that
 * looks for more although it owes an answer.
 *
 * These differences are right, and where they end a comparison no other can begin again:
 *  1. When a move was made is told, not when its last piece was: time stands still during a move.
 *  2. What one has read and not come to, another has not read yet: `bytes_in` is the same when all
 *     have read everything.
 *  3. Where the framing was lost (a message that is none, bytes that could not be read, an event
 *     that was not followed) the cut decides where it is found again. It has to be lost in the same
 *     move, unless bytes cannot be read: which of them are, the cut decides.
 *  4. One that looks for more although it owes an answer has lost what it did not come to. One that
 *     agrees to encryption has lost what it had read by then, and closes (CVE-2021-23214).
 */
#include "kernel.h"

/* Bytes of a filled message: more than a buffer. */
#define PACKET_MAX 20000u

static size_t moves_header(uint8_t to[5], unsigned int mark, size_t n)
{
	size_t len = n + 4;

	to[0] = (uint8_t)mark;
	to[1] = (uint8_t)(len >> 24);
	to[2] = (uint8_t)(len >> 16);
	to[3] = (uint8_t)(len >> 8);
	to[4] = (uint8_t)len;
	return 5;
}

#include "moves.h"
#include "same.h"

/* What the client has sent in all: beyond that it is quiet. */
#define STREAM_MAX 262144

/* Bits of the setup. */
enum {
	SETUP_TEXT = 3,
	SETUP_START = 12,
	SETUP_START_SHIFT = 2,
	SETUP_AHEAD = 16,  /* a pooler */
	SETUP_VECTOR = 32, /* calls do not tell how much they ask for */
};

enum start {
	START_STARTED,
	START_FRAMED,  /* logged in */
	START_JOINED,  /* older than dbps, and idle by the process's title */
	START_UNKNOWN, /* the same, and nothing is known */
};

enum player_kind { WHOLE, CUT, BYTES, PLAYERS };

#define PAIRS 2
static const enum player_kind pairs[PAIRS][2] = {{WHOLE, CUT}, {WHOLE, BYTES}};

/* Where a message of the server ends, told apart from the step. */
struct framer {
	__u8 header[5];
	__u32 have;
	__u32 left;
	__u32 got;
	__u32 code; /* the first four bytes of the body */
};

struct player {
	enum player_kind kind;
	struct kernel kernel;
	unsigned int rng;
	bool vector;
	size_t at; /* in the client's stream: what it has read */
	struct framer framer;
	bool odd; /* did what rule 4 tells */
};

static struct player players[PLAYERS];
static struct moves moves;

static __u8 stream[STREAM_MAX];
static size_t stream_n;
static __u8 filled[PACKET_MAX + 5];

UNTRACED_BEGIN
/* ---------------------------------------------------------------- a backend ----------------- */

static unsigned int next_random(struct player *p)
{
	p->rng = p->rng * 1103515245 + 12345;
	return p->rng >> 16 & 0x7fff;
}

/* How much of n bytes the next call moves. The seed's low bits say in what style. */
static size_t piece(struct player *p, size_t n)
{
	static const size_t most[4] = {1, 7, 60, 400};
	size_t take = PGSQL_BUFFER;

	if (p->kind == BYTES)
		take = 1;
	else if (p->kind == CUT)
		take = next_random(p) % most[moves.seed & 3] + 1;
	return take < n ? take : n;
}

/* It reads what is there until it owes an answer; `anyway`: even then. */
static void read_on(struct player *p, bool anyway)
{
	anyway |= !!(moves.setup & SETUP_AHEAD);
	p->odd |= anyway && pgsql_waits(p->kernel.record);
	while (p->at < stream_n && (anyway || !p->kernel.record->pg.waits)) {
		size_t take = piece(p, stream_n - p->at);

		kernel_received(&p->kernel, stream + p->at, take, p->vector ? 0 : PGSQL_BUFFER);
		p->at += take;
	}
}

/* Whether a backend flushes behind this message: it reads on, or may. */
static bool is_flushed(const struct framer *f)
{
	switch (f->header[0]) {
	case 'Z':
	case 'G':
	case 'W':
		return true;
	case 'R':
		return f->code != 0 && f->code != 12;
	default:
		return false;
	}
}

/* Bytes up to the end of the next message that is flushed, or all n. */
static size_t flushed_len(struct framer *f, const __u8 *bytes, size_t n)
{
	size_t i = 0;

	while (i < n) {
		if (f->have < 5) {
			f->header[f->have++] = bytes[i++];
			if (f->have < 5)
				continue;
			f->left = pgsql_u32(f->header + 1);
			f->left = f->left < 4 ? 0 : f->left - 4;
			f->got = f->code = 0;
		} else {
			if (f->got++ < 4)
				f->code = f->code << 8 | bytes[i];
			f->left--;
			i++;
		}
		if (f->left)
			continue;
		f->have = 0;
		if (is_flushed(f) && ~moves.setup & SETUP_AHEAD)
			break;
	}
	return i;
}

/* One byte answers a request for encryption; 'E' is an error's message. */
static bool is_answer_to_request(const struct player *p, __u8 byte)
{
	return p->kernel.record->pg.asked && byte != 'E';
}

static void send_all(struct player *p, const __u8 *bytes, size_t n)
{
	size_t done = 0, end, take;

	while (done < n) {
		p->odd |= p->kernel.record->pg.asked && p->kernel.record->pg.held_len &&
			  (bytes[done] == 'S' || bytes[done] == 'G');
		end = done + (is_answer_to_request(p, bytes[done])
				      ? 1
				      : flushed_len(&p->framer, bytes + done, n - done));
		for (; done < end; done += take) {
			take = piece(p, end - done);
			kernel_sent(&p->kernel, bytes + done, take);
		}
		read_on(p, false);
	}
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
	if (move->kind == MOVE_WAIT) {
		read_on(p, true);
		kernel_waits(&p->kernel, PGSQL_BUFFER);
	}
	if (move->kind == MOVE_EVENT)
		play_event(p, move->event);
	else if (move_is_read(move))
		read_on(p, false);
	else if (move_has_bytes(move))
		send_all(p, bytes, n);
}

/* ---------------------------------------------------------------- comparing ----------------- */

static void same_pgsql(const struct dbps_pgsql *a, const struct dbps_pgsql *b)
{
	SAME(bound);
	SAME(parsed);
	SAME(parses);
	SAME(waits);
	SAME(extended);
	SAME(skips);
	SAME(failed);
	SAME(unnamed);
	SAME(asked);
	SAME(portal_next);
	SAME(ahead);
	for (int i = 0; i < DBPS_PGSQL_PORTALS; i++) {
		SAME(portals[i].portal);
		SAME(portals[i].statement);
	}
}

/* The type of a message, or of a record of TLS, is apart from its length; a first packet has none.
 */
static __u32 gathered(const struct dbps_stream *stream, bool is_first)
{
	return stream->hdr_have && !is_first ? stream->hdr_have - 1u : stream->hdr_have;
}

static void same(const struct player *p, const struct player *q)
{
	const struct dbps_session *a = &p->kernel.record->s, *b = &q->kernel.record->s;

	SAME(flags);
	same_statement(a, b);
	same_times(a, b);
	same_login(a, b);
	SAME(id);
	SAME(sqlstate);
	SAME(bytes_out);
	if (p->at == stream_n && q->at == stream_n) /* 2 */
		SAME(bytes_in);
	same_kernel(&p->kernel, &q->kernel);
	CHECK(!strncmp(p->kernel.server.version, q->kernel.server.version, DBPS_VERSION_MAX));
	if (a->phase == DBPS_PHASE_CLOSED)
		return;
	same_stream(&a->in, &b->in, gathered(&a->in, a->phase == DBPS_PHASE_GREETED));
	same_stream(&a->out, &b->out, gathered(&a->out, false));
	same_request(&p->kernel.record->request, &q->kernel.record->request);
	same_pgsql(&p->kernel.record->pg, &q->kernel.record->pg);
}

static bool players_judge(const enum player_kind pair[2])
{
	const struct player *p = &players[pair[0]], *q = &players[pair[1]];

	if (p->odd || q->odd) /* 4 */
		return false;
	CHECK(p->kernel.unframed == q->kernel.unframed); /* 3 */
	if (p->kernel.unframed)
		return false;
	same(p, q);
	return true;
}

/* ---------------------------------------------------------------- a run --------------------- */

static void player_begin(int i)
{
	static const __u32 text_bytes[4] = {DBPS_TEXT_DEFAULT, DBPS_TEXT_MIN, DBPS_TEXT_MIN + 1,
					    DBPS_TEXT_MAX};
	static const struct {
		__u32 flags;
		__u8 phase;
	} starts[] = {
		[START_STARTED] = {DBPS_FRAMED_IN, DBPS_PHASE_GREETED},
		[START_FRAMED] = {DBPS_FRAMED_IN | DBPS_KNOWN_ID, DBPS_PHASE_IDLE},
		[START_JOINED] = {DBPS_JOINED, DBPS_PHASE_IDLE},
		[START_UNKNOWN] = {DBPS_JOINED, DBPS_PHASE_UNKNOWN},
	};
	enum start start = (moves.setup & SETUP_START) >> SETUP_START_SHIFT;
	struct player *p = &players[i];
	struct dbps_session *s;

	stream_n = 0;
	memset(p, 0, offsetof(struct player, kernel));
	memset(&p->rng, 0, sizeof(*p) - offsetof(struct player, rng));
	p->kind = (enum player_kind)i;
	p->rng = moves.seed;
	p->vector = moves.setup & SETUP_VECTOR;
	kernel_begin(&p->kernel, text_bytes[moves.setup & SETUP_TEXT], (__u8)(0x5a + i * 0x31));
	s = &p->kernel.record->s;
	s->flags = DBPS_PGSQL | starts[start].flags;
	if (moves.setup & SETUP_AHEAD)
		s->flags = (s->flags & ~DBPS_KNOWN_ID) | DBPS_READS_AHEAD;
	s->phase = starts[start].phase;
	p->kernel.unframed = !(s->flags & DBPS_FRAMED_IN); /* 3 */
}

static void client_sends(const __u8 *bytes, size_t n)
{
	if (n > STREAM_MAX - stream_n)
		return;
	memcpy(stream + stream_n, bytes, n);
	stream_n += n;
}

static void players_move(const struct move *move)
{
	const __u8 *bytes = move->bytes;
	size_t n = move->n + move->filled;

	if (move->filled) {
		memset(filled, 'Z', sizeof(filled));
		bytes = memcpy(filled, move->bytes, move->n);
	}
	if (move_is_read(move))
		client_sends(bytes, n);
	for (int i = 0; i < PLAYERS; i++)
		play(&players[i], move, bytes, n);
}

static struct kernel *player_kernel(int i)
{
	return &players[i].kernel;
}

static void player_show(int i)
{
	const struct player *p = &players[i];

	fprintf(stderr, " waits %u%s", p->kernel.record->pg.waits, p->odd ? " odd" : "");
}
UNTRACED_END

#include "players.h"
