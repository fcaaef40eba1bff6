/*
 * Times what a server pays to poll for a cancel (dbps/cancel.h). usage: poll CONSOLE ROUNDS: prints
 * a line for each way to poll, its name and the picoseconds of a poll in each round, the loop
 * around it included; the first line is a loop that loads a word of its own memory.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "dbps/cancel.h"
#include "dbps/slots.h"

#define POLLS	  20000000
#define SLOW_PART 100 /* a hundredth of them, where each takes a look through the table */

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int load_own(const struct dbps_cancel_watch *watch, uint64_t cookie)
{
	static volatile int word;

	(void)watch;
	(void)cookie;
	return word;
}

static inline __attribute__((always_inline)) void
measure(const char *name, const struct dbps_cancel_watch *watch, int rounds, long polls,
	int (*poll)(const struct dbps_cancel_watch *, uint64_t))
{
	printf("%s", name);
	for (int round = 0; round < rounds; round++) {
		uint64_t begin = now_ns();
		int found = 0;

		for (long i = 0; i < polls; i++)
			found |= poll(watch, 12345);
		if (found)
			abort();
		printf(" %" PRIu64, (now_ns() - begin) * 1000 / (uint64_t)polls);
	}
	puts("");
}

int main(int argc, char **argv)
{
	static struct dbps_cancel_table table;
	const struct dbps_cancel_watch busy = {.table = &table, .alive_fd = -1};
	struct dbps_cancel_watch *watch, *alone;
	int rounds = argc > 2 ? atoi(argv[2]) : 0;

	if (rounds <= 0)
		return 1;
	watch = dbps_cancel_open(argv[1]);
	alone = dbps_cancel_open("/nosuch");
	if (!watch || !alone || !dbps_cancel_refresh(watch))
		return 1;
	dbps_slots_prepare(&table, &table.slot[0], 1, DBPS_CANCEL_STATEMENT);
	dbps_slots_publish(&table.slot[0]);
	measure("loop", watch, rounds, POLLS, load_own);
	measure("none", watch, rounds, POLLS, dbps_cancel_pending);
	measure("alone", alone, rounds, POLLS, dbps_cancel_pending);
	measure("other", &busy, rounds, POLLS / SLOW_PART, dbps_cancel_pending);
	dbps_cancel_close(alone);
	dbps_cancel_close(watch);
	return 0;
}
