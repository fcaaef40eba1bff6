/*
 * A run of a step's fuzzer: an input's moves are played to all players, and after each move pairs
 * of them are compared, until something happens that lets a pair differ.
 *
 * The includer has players 0 to PLAYERS - 1 and the moves, and says:
 *   pairs[PAIRS][2]                  who is compared
 *   player_begin(i)                  a new session, by the setup of the moves
 *   player_kernel(i)                 its kernel
 *   players_move(move)               a move to all players
 *   bool players_judge(pair)         compares; false: they may differ from now on
 *   player_show(i)                   one line about the player, for whoever looks into a failure
 */
#ifndef FUZZ_PLAYERS_H
#define FUZZ_PLAYERS_H

#include "kernel.h"
#include "moves.h"

UNTRACED_BEGIN
static bool shows;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	shows = getenv("FUZZ_SHOW");
	return 0;
}

/* FUZZ_SHOW=1 fuzz_step_… FILE. */
static void show(const struct move *move)
{
	fprintf(stderr, "move %d%s, %zu bytes:", move->kind, move_is_read(move) ? " <" : "",
		move->n + move->filled);
	for (size_t i = 0; i < move->n && i < 48; i++)
		fprintf(stderr, " %02x", move->bytes[i]);
	fputc('\n', stderr);
	for (int i = 0; i < PLAYERS; i++) {
		const struct dbps_session *s = &player_kernel(i)->record->s;

		fprintf(stderr, "  %d: phase %u seq %llu in %u/%u out %u/%u flags %#x%s", i,
			s->phase, (unsigned long long)s->sequence, s->in.hdr_have, s->in.left,
			s->out.hdr_have, s->out.left, s->flags,
			player_kernel(i)->unframed ? " unframed" : "");
		player_show(i);
		fputc('\n', stderr);
	}
}

/* A move to all, in which nothing can be read after `fault`: which bytes those are, the cut
 * decides, and nothing is compared any more. */
static void play_move(const struct move *move, bool fault, bool comparable[PAIRS])
{
	for (int i = 0; i < PLAYERS; i++)
		player_kernel(i)->fault = fault;
	players_move(move);
	if (shows)
		show(move);
	for (int i = 0; i < PAIRS; i++)
		comparable[i] = comparable[i] && !fault && players_judge(pairs[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool comparable[PAIRS], fault = false;

	memset(comparable, true, sizeof(comparable));
	moves_read(&moves, data, size);
	for (int i = 0; i < PLAYERS; i++)
		player_begin(i);
	for (size_t i = 0; i < moves.n; i++) {
		const struct move *move = &moves.move[i];

		play_move(move, fault && move_has_bytes(move), comparable);
		fault = (fault && !move_has_bytes(move)) ||
			(move->kind == MOVE_EVENT && move->event == MOVE_FAULT);
	}
	for (int i = 0; i < PLAYERS; i++)
		kernel_done(player_kernel(i));
	return 0;
}
UNTRACED_END

#endif
