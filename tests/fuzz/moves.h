/*
 * A fuzzer's input as a list of moves: what the server's socket read and sent, packets with their
 * headers or bare bytes, and what else happens to a session. Any input is such a list.
 *
 * Three bytes of setup: what differs between sessions, then the seed of the cuts. A move is a byte
 * of kind and marks and what belongs to the kind, cut short by the end of the input:
 *   packet  u8 mark (MySQL: sequence, PostgreSQL: type), length, payload
 *   bytes   length, bytes
 *   other   nothing
 * A length is a u8, or a u16 with MOVE_LONG.
 *
 * The includer says:
 *   PACKET_MAX                    payload bytes of a filled packet
 *   moves_header(to, mark, n)     writes a packet's header; returns its length, at most 5
 */
#ifndef FUZZ_MOVES_H
#define FUZZ_MOVES_H

#include "check.h"

#define MOVES_MAX 256
#define INPUT_MAX 8192

enum move_kind {
	MOVE_READ_PACKET,
	MOVE_SENT_PACKET,
	MOVE_READ_BYTES,
	MOVE_SENT_BYTES,
	MOVE_READ_FULL, /* a packet of PACKET_MAX bytes; MySQL: which the next one goes on */
	MOVE_SENT_FULL,
	MOVE_WAIT, /* the server looks for bytes, and there are none */
	MOVE_EVENT,
	MOVE_KIND = 7,
	MOVE_JOIN = 8, /* in the call of the move before, if that goes the same way */
	MOVE_LONG = 16,
	MOVE_EVENT_SHIFT = 5,
};

enum move_event {
	MOVE_CLOSED,  /* the server's end reads end-of-file */
	MOVE_LOST,    /* a tap did not get the record's lock */
	MOVE_FAULT,   /* the bytes of the next move cannot be read */
	MOVE_UNKNOWN, /* the next bytes move in a way that no tap understands */
	MOVE_EVENT_MASK = 3,
};

struct move {
	enum move_kind kind;
	enum move_event event;
	const uint8_t *bytes;
	size_t n;
	size_t filled; /* bytes that follow, all 0 */
};

struct moves {
	uint8_t setup;
	uint16_t seed;
	size_t n;
	struct move move[MOVES_MAX];
	size_t used;
	uint8_t bytes[INPUT_MAX + 5 * MOVES_MAX];
};

struct moves_input {
	const uint8_t *at;
	size_t left;
};

UNTRACED_BEGIN
static unsigned int moves_u8(struct moves_input *input)
{
	if (!input->left)
		return 0;
	input->left--;
	return *input->at++;
}

static bool move_is_read(const struct move *move)
{
	return move->kind == MOVE_READ_PACKET || move->kind == MOVE_READ_BYTES ||
	       move->kind == MOVE_READ_FULL;
}

static bool move_is_full(const struct move *move)
{
	return move->kind == MOVE_READ_FULL || move->kind == MOVE_SENT_FULL;
}

static bool move_has_bytes(const struct move *move)
{
	return move->kind < MOVE_WAIT;
}

static void moves_put(struct moves *moves, struct move *move, const void *bytes, size_t n)
{
	memcpy(moves->bytes + moves->used, bytes, n);
	moves->used += n;
	move->n += n;
}

/* Its packet's header, where it has one, and its bytes. */
static void moves_fill(struct moves *moves, struct move *move, unsigned int op,
		       struct moves_input *input)
{
	enum move_kind kind = op & MOVE_KIND;
	bool is_packet = kind != MOVE_READ_BYTES && kind != MOVE_SENT_BYTES;
	unsigned int mark = is_packet ? moves_u8(input) : 0;
	uint8_t header[5];
	size_t n;

	n = moves_u8(input);
	if (op & MOVE_LONG)
		n |= moves_u8(input) << 8;
	if (n > input->left)
		n = input->left;
	if (kind == MOVE_READ_FULL || kind == MOVE_SENT_FULL)
		move->filled = PACKET_MAX - n;
	if (is_packet)
		moves_put(moves, move, header, moves_header(header, mark, n + move->filled));
	moves_put(moves, move, input->at, n);
	input->at += n;
	input->left -= n;
}

/* Whether the bytes of a kind go into the call of the last move. */
static bool moves_joins(const struct moves *moves, unsigned int op, const struct move *next)
{
	const struct move *last = moves->n ? &moves->move[moves->n - 1] : NULL;

	return op & MOVE_JOIN && last && move_has_bytes(last) && !last->filled &&
	       !move_is_full(next) && move_is_read(last) == move_is_read(next);
}

static void moves_next(struct moves *moves, struct moves_input *input)
{
	unsigned int op = moves_u8(input);
	struct move move = {.kind = op & MOVE_KIND, .bytes = moves->bytes + moves->used};

	if (!move_has_bytes(&move)) {
		move.event = op >> MOVE_EVENT_SHIFT & MOVE_EVENT_MASK;
	} else if (moves_joins(moves, op, &move)) {
		moves_fill(moves, &moves->move[moves->n - 1], op, input);
		return;
	} else {
		moves_fill(moves, &move, op, input);
		if (!move.n)
			return;
	}
	moves->move[moves->n++] = move;
}

static void moves_read(struct moves *moves, const uint8_t *data, size_t size)
{
	struct moves_input input = {data, size < INPUT_MAX ? size : INPUT_MAX};

	moves->n = 0;
	moves->used = 0;
	moves->setup = (uint8_t)moves_u8(&input);
	moves->seed = (uint16_t)(moves_u8(&input) | moves_u8(&input) << 8);
	for (size_t i = 0; input.left && i < MOVES_MAX && moves->n < MOVES_MAX; i++)
		moves_next(moves, &input);
}
UNTRACED_END

#endif
