/*
 * Times the raw snapshot, without console and rows. Loads the programs for itself and follows the
 * servers that greet from then on; prints "ready". For each line "TEXT_BYTES COUNT" that it reads
 * it takes so many snapshots and prints "sessions bytes" and the nanoseconds of each, in one line.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "kernel/kernel.h"

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static size_t count_rows(const char *data, size_t len)
{
	size_t n = 0;

	for (size_t at = 0; at < len; n++)
		at += ((const struct dbps_snapshot_row *)(data + at))->size;
	return n;
}

static int measure(struct dbps_kernel *kernel, unsigned int text_bytes, int times)
{
	for (int i = 0; i < times; i++) {
		_cleanup_free_ void *data = NULL;
		uint64_t begin = now_ns();
		size_t len = 0;
		int r = dbps_kernel_snapshot(kernel, 0, text_bytes, false, &data, &len);
		uint64_t took_ns = now_ns() - begin;

		if (r < 0)
			return r;
		if (i == 0)
			printf("%zu %zu", count_rows(data, len), len);
		printf(" %" PRIu64, took_ns);
	}
	puts("");
	return fflush(stdout);
}

static int serve(struct dbps_kernel *kernel)
{
	unsigned int text_bytes = 0;
	int times = 0;
	int r = 0;

	puts("ready");
	fflush(stdout);
	while (r == 0 && scanf("%u %d", &text_bytes, &times) == 2)
		r = measure(kernel, text_bytes, times);
	return r;
}

int main(void)
{
	const struct dbps_kernel_options options = {.text_bytes = DBPS_TEXT_DEFAULT,
						    .prepared_max = 1024};
	struct dbps_kernel *kernel = NULL;
	char *why = NULL;
	int r = dbps_kernel_open(&options, &kernel, &why);

	if (r < 0)
		fprintf(stderr, "snapshot: %s\n", why ? why : strerror(-r));
	else
		r = serve(kernel);
	free(why);
	dbps_kernel_close(kernel);
	return r < 0;
}
