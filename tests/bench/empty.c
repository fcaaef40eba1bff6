/*
 * Attaches the programs of empty.bpf.c and holds them until end of file on stdin:
 * `empty time` those that do nothing, and the kernel measures all programs meanwhile; `empty count
 * PID` those that count the events of a server. Prints "ready"; then, for each line that it reads,
 * the counts so far in one line.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>

#include "empty.h"
#include "tests/bench/empty.skel.h"

static int choose(struct empty_bpf *skel, int argc, char **argv)
{
	bool counting = argc == 3 && strcmp(argv[1], "count") == 0;

	if (!counting && (argc != 2 || strcmp(argv[1], "time") != 0))
		return -EINVAL;
	if (counting)
		skel->rodata->server_tgid = atoi(argv[2]);
	bpf_program__set_autoload(skel->progs.empty_recv, !counting);
	bpf_program__set_autoload(skel->progs.empty_send, !counting);
	bpf_program__set_autoload(skel->progs.count_recv, counting);
	bpf_program__set_autoload(skel->progs.count_send, counting);
	return 0;
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

int main(int argc, char **argv)
{
	struct empty_bpf *skel = empty_bpf__open();
	int r = skel ? choose(skel, argc, argv) : -errno;

	if (r == 0)
		r = empty_bpf__load(skel);
	if (r == 0)
		r = empty_bpf__attach(skel);
	/* Unlike kernel.bpf_stats_enabled it ends with this process, and no other can end it. */
	if (r == 0 && argc == 2)
		r = bpf_enable_stats(BPF_STATS_RUN_TIME);
	if (r >= 0)
		serve(skel);
	else
		fprintf(stderr, "empty: %s\n", strerror(-r));
	empty_bpf__destroy(skel);
	return r < 0;
}
