/*
 * Attaches the programs of empty.bpf.c and holds them until end of file on stdin:
 * `empty time` those that do nothing; `empty find PID` and `empty look PID` also the least tap of a
 * server's sockets; `empty count PID` those that count its events. But for the last, the kernel
 * measures all programs meanwhile. Prints "ready"; then, for each line that it reads, the counts so
 * far in one line.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>

#include "empty.h"
#include "tests/bench/empty.skel.h"

/* What each mode attaches. */
static const struct mode {
	const char *name;
	bool of_server; /* takes its process id */
	bool times;	/* the kernel measures the programs */
	bool empty, least, looks, count;
} modes[] = {
	{"time", .times = true, .empty = true},
	{"find", .of_server = true, .times = true, .empty = true, .least = true},
	{"look", .of_server = true, .times = true, .empty = true, .least = true, .looks = true},
	{"count", .of_server = true, .count = true},
};

static const struct mode *find_mode(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (strcmp(argv[1], modes[i].name) == 0 && argc == 2 + modes[i].of_server)
			return &modes[i];
	}
	return NULL;
}

static void choose(struct empty_bpf *skel, const struct mode *mode, char **argv)
{
	if (mode->of_server)
		skel->rodata->server_tgid = atoi(argv[2]);
	skel->rodata->looks = mode->looks;
	bpf_program__set_autoload(skel->progs.empty_recv, mode->empty);
	bpf_program__set_autoload(skel->progs.empty_send, mode->empty);
	bpf_program__set_autoload(skel->progs.least_recv, mode->least);
	bpf_program__set_autoload(skel->progs.least_send, mode->least);
	bpf_program__set_autoload(skel->progs.count_recv, mode->count);
	bpf_program__set_autoload(skel->progs.count_send, mode->count);
}

static void serve(const struct empty_bpf *skel)
{
	char line[16];

	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		for (int i = 0; i < EVENT_N; i++)
			printf("%llu ", (unsigned long long)skel->bss->counts[i]);
		puts("");
		fflush(stdout);
	}
}

/* Attach the empty programs last: dbpsd's taps have been there before, too. */
static int attach(struct empty_bpf *skel)
{
	struct bpf_program *order[] = {skel->progs.least_recv, skel->progs.least_send,
				       skel->progs.empty_recv, skel->progs.empty_send,
				       skel->progs.count_recv, skel->progs.count_send};

	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		if (bpf_program__autoload(order[i]) && !bpf_program__attach(order[i]))
			return -errno;
	}
	return 0;
}

int main(int argc, char **argv)
{
	const struct mode *mode = find_mode(argc, argv);
	struct empty_bpf *skel = mode ? empty_bpf__open() : NULL;
	int r = !mode ? -EINVAL : !skel ? -errno : 0;

	if (r == 0) {
		choose(skel, mode, argv);
		r = empty_bpf__load(skel);
	}
	if (r == 0)
		r = attach(skel);
	/* Unlike kernel.bpf_stats_enabled it ends with this process, and no other can end it. */
	if (r == 0 && mode->times)
		r = bpf_enable_stats(BPF_STATS_RUN_TIME);
	if (r >= 0)
		serve(skel);
	else
		fprintf(stderr, "empty: %s\n", strerror(-r));
	empty_bpf__destroy(skel);
	return r < 0;
}
