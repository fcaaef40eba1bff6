/*
 * Load: makes the kernel object. The programs are loaded and attached, or, when an earlier daemon
 * died and left pins of the same build and settings, taken over as they run, so that no session is
 * lost.
 */
#include "internal.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>

#include "cleanup.h"
#include "dbps.skel.h"
#include "log/log.h"

static const char *const map_names[MAP_N] = {
	[MAP_SESSIONS] = "dbps_sessions",
	[MAP_SERVERS] = "dbps_servers",
	[MAP_CANCELS] = "dbps_cancels",
	[MAP_PREPARED] = "dbps_prepared",
	[MAP_ADOPTIONS] = "dbps_adoptions",
	[MAP_CONTROL] = "dbps_control",
	[MAP_META] = "dbps_meta",
	[MAP_LOSSES] = "dbps_losses",
	[MAP_PORTS] = "dbps_ports",
	[MAP_PAGE] = "dbps_page",
	[MAP_ONE_PAGE] = "dbps_one_page",
	[MAP_RESETS] = "dbps_resets",
	[MAP_IDS] = "dbps_ids",
	[MAP_CLIENT_ENDS] = "dbps_client_ends",
	[MAP_PLAIN] = "dbps_plain",
	[MAP_LIBRARY_CALLS] = "dbps_library_calls",
	[MAP_LIBRARY_OBJECTS] = "dbps_library_objects",
	[MAP_SLOTS] = "dbps_slots",
	[MAP_RECEIVES] = "dbps_receives",
	[MAP_SENDS] = "dbps_sends",
	[MAP_EVENTS] = "dbps_events",
	[MAP_CANCEL_EVENTS] = "dbps_cancel_events",
};

static const struct {
	const char *name;
	enum dbps_tap_kind tap; /* a part of this one alone; 0: of all */
} links[LINK_N] = {
	[LINK_RECV] = {"dbps_recv", 0},
	[LINK_SEND] = {"dbps_send", 0},
	[LINK_RECV_INET6] = {"dbps_recv_inet6", DBPS_TAP_FEXIT},
	[LINK_SEND_INET6] = {"dbps_send_inet6", DBPS_TAP_FEXIT},
	[LINK_RECV_UNIX] = {"dbps_recv_unix", DBPS_TAP_FEXIT},
	[LINK_SEND_UNIX] = {"dbps_send_unix", DBPS_TAP_FEXIT},
	[LINK_RECV_AGAIN] = {"dbps_recv_again", DBPS_TAP_PREEMPTIBLE},
	[LINK_SEND_AGAIN] = {"dbps_send_again", DBPS_TAP_PREEMPTIBLE},
	[LINK_RECV_CHECK] = {"dbps_recv_check", DBPS_TAP_PREEMPTIBLE},
	[LINK_SEND_CHECK] = {"dbps_send_check", DBPS_TAP_PREEMPTIBLE},
	[LINK_SNAPSHOT] = {"dbps_snapshot", 0},
	[LINK_JOIN] = {"dbps_join", 0},
	[LINK_ADOPT] = {"dbps_adopt", 0},
	[LINK_ARM] = {"dbps_arm", 0},
	[LINK_EXEC] = {"dbps_exec", 0},
	[LINK_ONE] = {"dbps_one", 0},
	[LINK_SLOT] = {"dbps_slot", 0},
	[LINK_HOLDERS] = {"dbps_holders", 0},
	[LINK_RESET] = {"dbps_reset_many", 0},
};

static const char *const prog_names[PROG_N] = {
	[PROG_ENTER] = "dbps_library_enter",
	[PROG_READ] = "dbps_library_read",
	[PROG_WROTE] = "dbps_library_wrote",
};

/* One sentence for the sysadmin, and the error to return with it. */
__attribute__((format(printf, 3, 4))) static int say_why(char **ret_why, int r, const char *format,
							 ...)
{
	va_list args;

	va_start(args, format);
	if (vasprintf(ret_why, format, args) < 0)
		*ret_why = NULL;
	va_end(args);
	return r;
}

/* FNV-1a of the BPF object: pins of another build are not taken over. */
static __u64 build_digest(void)
{
	size_t size, i;
	const unsigned char *elf = dbps_bpf__elf_bytes(&size);
	__u64 h = 0xcbf29ce484222325ULL;

	for (i = 0; i < size; i++)
		h = (h ^ elf[i]) * 0x100000001b3ULL;
	return h;
}

static void fill_meta(const struct dbps_kernel_options *options, struct dbps_meta *meta)
{
	__u64 digest = build_digest();

	memset(meta, 0, sizeof(*meta));
	meta->layout = DBPS_LAYOUT;
	meta->text_bytes = options->text_bytes;
	meta->prepared_max = options->prepared_max;
	memcpy(meta->build, &digest, sizeof(digest));
}

/* ---------------------------------------------------------------- loading ------------------- */

/*
 * A global function of BPF, which the kernel verifies apart from its callers, knows of memory what
 * the argument's type says: the types are made as large as the maps' values. This is libbpf's copy
 * of them, which goes to the kernel with the programs.
 */
static int size_type(const struct btf *btf, const char *name, unsigned int size)
{
	int id = btf__find_by_name_kind(btf, name, BTF_KIND_STRUCT);

	if (id < 0)
		return id;
	((struct btf_type *)btf__type_by_id(btf, (__u32)id))->size = size;
	return 0;
}

/* Memory that is set aside for the plaintext of encrypted sessions where a map cannot grow. */
#define PLAIN_BYTES (16u << 20)

static int set_aside(struct bpf_map *map)
{
	return bpf_map__set_map_flags(map, bpf_map__map_flags(map) & ~BPF_F_NO_PREALLOC);
}

/*
 * Before Linux 6.1 a program at a library's functions that makes elements of a map which grows is
 * loaded, but the kernel warns of it as a bug, with a trace (94dacdbd5d2d).
 */
static int set_maps_aside(struct dbps_bpf *skel, unsigned int record)
{
	unsigned int n = PLAIN_BYTES / record;
	int r = set_aside(skel->maps.dbps_cancels);

	if (!r)
		r = set_aside(skel->maps.dbps_plain);
	if (!r && n < bpf_map__max_entries(skel->maps.dbps_plain))
		r = bpf_map__set_max_entries(skel->maps.dbps_plain, n);
	return r;
}

static int fit_maps(struct dbps_bpf *skel, const struct kernel_ways *ways, unsigned int record)
{
	int r = ways->grows ? 0 : set_maps_aside(skel, record);

	if (!r && ways->loops) /* then it is not used */
		r = bpf_map__set_max_entries(skel->maps.dbps_turns, 1);
	return r;
}

static int size_maps(struct dbps_bpf *skel, const struct dbps_kernel_options *options)
{
	const struct btf *btf = bpf_object__btf(skel->obj);
	_cleanup_close_ int fd = -1;
	unsigned int record = dbps_record_size(options->text_bytes);
	unsigned int request = dbps_request_size(options->text_bytes);
	int r;

	skel->rodata->dbps_body_cap = options->text_bytes + 1;
	r = kernel_storage_create(map_names[MAP_SESSIONS], record, &fd);
	if (r)
		return r;
	r = bpf_map__reuse_fd(skel->maps.dbps_sessions, fd);
	if (!r)
		r = size_type(btf, "dbps_record", record);
	if (!r)
		r = size_type(btf, "dbps_request", request);
	if (!r)
		r = bpf_map__set_value_size(skel->maps.dbps_plain, record);
	if (!r)
		r = bpf_map__set_value_size(skel->maps.dbps_prepared, request);
	if (!r)
		r = bpf_map__set_max_entries(skel->maps.dbps_prepared, options->prepared_max);
	return r;
}

static int attach_iter(struct bpf_program *prog, struct bpf_map *map)
{
	LIBBPF_OPTS(bpf_iter_attach_opts, opts);
	union bpf_iter_link_info info = {.map.map_fd = map ? (__u32)bpf_map__fd(map) : 0};
	struct bpf_link *link;
	int fd;

	if (map) {
		opts.link_info = &info;
		opts.link_info_len = sizeof(info);
	}
	link = bpf_program__attach_iter(prog, &opts);
	if (!link)
		return -errno;
	fd = fcntl(bpf_link__fd(link), F_DUPFD_CLOEXEC, 3);
	bpf_link__destroy(link);
	return fd < 0 ? -errno : fd;
}

static int attach_tap(struct bpf_program *prog)
{
	struct bpf_link *link = bpf_program__attach_trace(prog);
	int fd;

	if (!link)
		return -errno;
	fd = fcntl(bpf_link__fd(link), F_DUPFD_CLOEXEC, 3);
	bpf_link__destroy(link);
	return fd < 0 ? -errno : fd;
}

/* The programs of one tap. Those of the others are not loaded: the kernel would refuse some. */
struct tap_programs {
	struct bpf_program *of[LINK_N];
};

static struct tap_programs tap_programs(const struct dbps_bpf *skel, enum dbps_tap_kind tap)
{
	if (tap == DBPS_TAP_FEXIT)
		return (struct tap_programs){{
			[LINK_RECV] = skel->progs.dbps_recv_inet,
			[LINK_SEND] = skel->progs.dbps_send_inet,
			[LINK_RECV_INET6] = skel->progs.dbps_recv_inet6,
			[LINK_SEND_INET6] = skel->progs.dbps_send_inet6,
			[LINK_RECV_UNIX] = skel->progs.dbps_recv_unix,
			[LINK_SEND_UNIX] = skel->progs.dbps_send_unix,
		}};
	if (tap == DBPS_TAP_PREEMPTIBLE)
		return (struct tap_programs){{
			[LINK_RECV] = skel->progs.dbps_recv_first,
			[LINK_SEND] = skel->progs.dbps_send_first,
			[LINK_RECV_AGAIN] = skel->progs.dbps_recv_again,
			[LINK_SEND_AGAIN] = skel->progs.dbps_send_again,
			[LINK_RECV_CHECK] = skel->progs.dbps_recv_check,
			[LINK_SEND_CHECK] = skel->progs.dbps_send_check,
		}};
	return (struct tap_programs){{
		[LINK_RECV] = skel->progs.dbps_recv,
		[LINK_SEND] = skel->progs.dbps_send,
	}};
}

static void select_tap(struct dbps_bpf *skel, enum dbps_tap_kind tap)
{
	for (int other = DBPS_TAP_TRACEPOINT; other < DBPS_TAP_N; other++) {
		struct tap_programs programs = tap_programs(skel, (enum dbps_tap_kind)other);

		for (int i = 0; i < LINK_N; i++)
			if (programs.of[i])
				bpf_program__set_autoload(programs.of[i], other == (int)tap);
	}
}

/* Where the programs of the other families jump to. The kernel forgets it when nobody holds or pins
 * the maps any more. */
static int join_fexit(const struct dbps_kernel *kernel, const struct dbps_bpf *skel)
{
	int received = bpf_program__fd(skel->progs.dbps_recv_inet);
	int sent = bpf_program__fd(skel->progs.dbps_send_inet);
	__u32 zero = 0;

	if (bpf_map_update_elem(kernel->map_fd[MAP_RECEIVES], &zero, &received, BPF_ANY) ||
	    bpf_map_update_elem(kernel->map_fd[MAP_SENDS], &zero, &sent, BPF_ANY))
		return -errno;
	return 0;
}

static bool is_part(int link, enum dbps_tap_kind tap)
{
	return !links[link].tap || links[link].tap == tap;
}

static int attach_all(struct dbps_kernel *kernel, struct dbps_bpf *skel, enum dbps_tap_kind tap)
{
	struct tap_programs taps = tap_programs(skel, tap);
	int r = tap == DBPS_TAP_FEXIT ? join_fexit(kernel, skel) : 0;
	int *fd = kernel->link_fd;

	if (r)
		return r;

	/* The taps last: what they need is there then. */
	fd[LINK_SNAPSHOT] = attach_iter(skel->progs.dbps_snapshot, skel->maps.dbps_sessions);
	fd[LINK_ADOPT] = attach_iter(skel->progs.dbps_adopt, skel->maps.dbps_sessions);
	fd[LINK_ARM] = attach_iter(skel->progs.dbps_arm, skel->maps.dbps_sessions);
	fd[LINK_JOIN] = attach_iter(skel->progs.dbps_join, NULL);
	fd[LINK_SLOT] = attach_iter(skel->progs.dbps_slot, skel->maps.dbps_slots);
	fd[LINK_ONE] = attach_iter(skel->progs.dbps_one, NULL);
	fd[LINK_HOLDERS] = attach_iter(skel->progs.dbps_holders, NULL);
	fd[LINK_RESET] = attach_iter(skel->progs.dbps_reset_many, NULL);
	fd[LINK_EXEC] = attach_tap(skel->progs.dbps_exec);
	for (int i = 0; i < LINK_N; i++) {
		if (taps.of[i])
			fd[i] = attach_tap(taps.of[i]);
		if (fd[i] < 0 && is_part(i, tap))
			return fd[i];
	}
	return 0;
}

static int take_maps(struct dbps_kernel *kernel, struct dbps_bpf *skel)
{
	for (int i = 0; i < MAP_N; i++) {
		struct bpf_map *map = bpf_object__find_map_by_name(skel->obj, map_names[i]);
		int fd = map ? fcntl(bpf_map__fd(map), F_DUPFD_CLOEXEC, 3) : -1;

		if (fd < 0)
			return -errno;
		kernel->map_fd[i] = fd;
	}
	/* Servers get its descriptor: from now on the programs alone write it. */
	return bpf_map_freeze(kernel->map_fd[MAP_SLOTS]) ? -errno : 0;
}

static int take_progs(struct dbps_kernel *kernel, struct dbps_bpf *skel)
{
	for (int i = 0; i < PROG_N; i++) {
		struct bpf_program *prog =
			bpf_object__find_program_by_name(skel->obj, prog_names[i]);
		int fd = prog ? fcntl(bpf_program__fd(prog), F_DUPFD_CLOEXEC, 3) : -1;

		if (fd < 0)
			return -errno;
		kernel->prog_fd[i] = fd;
	}
	return 0;
}

static long long clock_us(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* BPF_LOG_STATS in the kernel's linux/bpf_verifier.h: what the verifier did, in three or four
 * lines. A load fails when they do not fit; what it refuses comes before them. */
#define VERIFIER_STATS	     4
#define VERIFIER_STATS_BYTES 65536

/* Bytes of what it says of a refusal that are told. */
#define VERDICT_MAX 300

/* The number behind a word in what the verifier says; 0: none is there. */
static unsigned long long stat_behind(const char *stats, const char *word)
{
	const char *at = strstr(stats, word);

	return at ? strtoull(at + strlen(word), NULL, 10) : 0;
}

static void tell_verified(const struct dbps_bpf *skel, const char *stats)
{
	unsigned long long instructions, us, all = 0, all_us = 0;
	struct bpf_program *prog;
	const char *at = stats;

	bpf_object__for_each_program(prog, skel->obj)
	{
		if (!bpf_program__autoload(prog))
			continue;
		instructions = stat_behind(at, "\nprocessed ");
		us = stat_behind(at, "verification time ");
		dbps_log(LOG_INFO, "BPF program %s: verified %llu instructions in %llu us",
			 bpf_program__name(prog), instructions, us);
		all += instructions;
		all_us += us;
		at += VERIFIER_STATS_BYTES;
	}
	dbps_log(LOG_INFO, "BPF programs: verified %llu instructions in %llu us", all, all_us);
}

/*
 * What the verifier said of the program that it refused, the end of it in one line; "" when it said
 * nothing, or refused none. Programs load in their order: behind that one nothing was written.
 */
static void take_verdict(const char *stats, size_t n, char ret_verdict[VERDICT_MAX])
{
	const char *text = "", *end;
	size_t len;

	for (size_t i = 0; i < n && stats[i * VERIFIER_STATS_BYTES]; i++)
		text = stats + i * VERIFIER_STATS_BYTES;
	end = strstr(text, "verification time ");
	len = end ? (size_t)(end - text) : strlen(text);
	while (len && text[len - 1] == '\n')
		len--;
	if (len >= VERDICT_MAX) {
		text += len - (VERDICT_MAX - 1);
		len = VERDICT_MAX - 1;
	}
	memcpy(ret_verdict, text, len);
	ret_verdict[len] = 0;
	for (char *at = ret_verdict; (at = strchr(at, '\n'));)
		*at = ' ';
}

/* The verifier's time is most of what dbpsd takes to start. */
static int load_timed(struct dbps_bpf *skel, char verdict[VERDICT_MAX])
{
	long long begin_us = clock_us(CLOCK_MONOTONIC);
	long long used_us = clock_us(CLOCK_THREAD_CPUTIME_ID);
	_cleanup_free_ char *stats = NULL;
	struct bpf_program *prog;
	size_t n = 0;
	int r;

	stats = calloc((size_t)skel->skeleton->prog_cnt, VERIFIER_STATS_BYTES);
	if (!stats)
		return -ENOMEM;
	bpf_object__for_each_program(prog, skel->obj)
	{
		if (!bpf_program__autoload(prog))
			continue;
		bpf_program__set_log_level(prog, VERIFIER_STATS);
		bpf_program__set_log_buf(prog, stats + n++ * VERIFIER_STATS_BYTES,
					 VERIFIER_STATS_BYTES);
	}
	r = dbps_bpf__load(skel);
	if (r) {
		take_verdict(stats, n, verdict);
		return r;
	}
	tell_verified(skel, stats);
	dbps_log(LOG_INFO, "BPF programs: loaded in %lld us, %lld us of them on a processor",
		 clock_us(CLOCK_MONOTONIC) - begin_us, clock_us(CLOCK_THREAD_CPUTIME_ID) - used_us);
	return 0;
}

static int refuse_load(int r, const char *verdict, char **ret_why)
{
	*ret_why = kernel_refusal(r, verdict);
	return r;
}

static int load(struct dbps_kernel *kernel, const struct dbps_kernel_options *options,
		char **ret_why)
{
	char verdict[VERDICT_MAX] = "";
	struct kernel_ways ways;
	struct dbps_bpf *skel;
	struct dbps_meta meta;
	__u32 zero = 0;
	int r;

	r = kernel_choose_ways(&ways);
	if (!r && ways.tap == DBPS_TAP_FEXIT) /* as a kernel that is so old has */
		r = kernel_drop_missing();
	if (r)
		return refuse_load(r, "", ret_why);
	skel = dbps_bpf__open();
	if (!skel)
		return say_why(ret_why, -errno, "cannot open the BPF object: %s", strerror(errno));
	select_tap(skel, ways.tap);
	if (ways.implicit) /* it is in BTF for the verifier's own use */
		kernel_hide_function(skel->obj, "bpf_task_work_schedule_signal_impl");
	r = size_maps(skel, options);
	if (!r)
		r = fit_maps(skel, &ways, dbps_record_size(options->text_bytes));
	if (!r)
		r = load_timed(skel, verdict);
	if (!r)
		r = take_maps(kernel, skel);
	if (!r)
		r = take_progs(kernel, skel);
	if (!r)
		r = attach_all(kernel, skel, ways.tap);
	dbps_bpf__destroy(skel);
	if (r)
		return refuse_load(r, verdict, ret_why);
	fill_meta(options, &meta);
	meta.tap = ways.tap;
	if (bpf_map_update_elem(kernel->map_fd[MAP_META], &zero, &meta, BPF_ANY))
		return say_why(ret_why, -errno, "cannot write the meta map: %s", strerror(errno));
	return 0;
}

/* ---------------------------------------------------------------- pins ---------------------- */

static void pin_path(const struct dbps_kernel *kernel, const char *kind, const char *name,
		     char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/%s_%s", kernel->pin_dir, kind, name);
}

static void unpin_all(const struct dbps_kernel *kernel)
{
	char path[PATH_MAX];

	for (int i = 0; i < LINK_N; i++) {
		pin_path(kernel, "link", links[i].name, path);
		unlink(path);
	}
	for (int i = 0; i < MAP_N; i++) {
		pin_path(kernel, "map", map_names[i], path);
		unlink(path);
	}
	for (int i = 0; i < PROG_N; i++) {
		pin_path(kernel, "prog", prog_names[i], path);
		unlink(path);
	}
}

static int pin_all(const struct dbps_kernel *kernel, char **ret_why)
{
	char path[PATH_MAX];
	int r = 0;

	for (int i = 0; i < MAP_N && !r; i++) {
		pin_path(kernel, "map", map_names[i], path);
		r = bpf_obj_pin(kernel->map_fd[i], path);
	}
	for (int i = 0; i < LINK_N && !r; i++) {
		if (kernel->link_fd[i] < 0)
			continue;
		pin_path(kernel, "link", links[i].name, path);
		r = bpf_obj_pin(kernel->link_fd[i], path);
	}
	for (int i = 0; i < PROG_N && !r; i++) {
		pin_path(kernel, "prog", prog_names[i], path);
		r = bpf_obj_pin(kernel->prog_fd[i], path);
	}
	if (r) {
		r = -errno;
		unpin_all(kernel);
		return say_why(ret_why, r, "cannot pin '%s': %s; `--pin none` runs without", path,
			       strerror(-r));
	}
	return 0;
}

static void close_fds(struct dbps_kernel *kernel)
{
	for (int i = 0; i < MAP_N; i++) {
		cleanup_close(&kernel->map_fd[i]);
		kernel->map_fd[i] = -1;
	}
	for (int i = 0; i < LINK_N; i++) {
		cleanup_close(&kernel->link_fd[i]);
		kernel->link_fd[i] = -1;
	}
	for (int i = 0; i < PROG_N; i++) {
		cleanup_close(&kernel->prog_fd[i]);
		kernel->prog_fd[i] = -1;
	}
}

/* Open what is pinned. Whether it is all there, is not said: what is not has no descriptor. */
static void open_pins(struct dbps_kernel *kernel)
{
	char path[PATH_MAX];

	for (int i = 0; i < MAP_N; i++) {
		pin_path(kernel, "map", map_names[i], path);
		kernel->map_fd[i] = bpf_obj_get(path);
	}
	for (int i = 0; i < LINK_N; i++) {
		pin_path(kernel, "link", links[i].name, path);
		kernel->link_fd[i] = bpf_obj_get(path);
	}
	for (int i = 0; i < PROG_N; i++) {
		pin_path(kernel, "prog", prog_names[i], path);
		kernel->prog_fd[i] = bpf_obj_get(path);
	}
}

static bool has_all(const struct dbps_kernel *kernel, enum dbps_tap_kind tap)
{
	for (int i = 0; i < MAP_N; i++)
		if (kernel->map_fd[i] < 0)
			return false;
	for (int i = 0; i < LINK_N; i++)
		if (kernel->link_fd[i] < 0 && is_part(i, tap))
			return false;
	for (int i = 0; i < PROG_N; i++)
		if (kernel->prog_fd[i] < 0)
			return false;
	return true;
}

/* Take over the pins when all are there and suit. */
static bool take_over(struct dbps_kernel *kernel, const struct dbps_kernel_options *options)
{
	struct dbps_meta meta, wanted;
	__u32 zero = 0;

	open_pins(kernel);
	fill_meta(options, &wanted);
	if (kernel->map_fd[MAP_META] >= 0 &&
	    !bpf_map_lookup_elem(kernel->map_fd[MAP_META], &zero, &meta)) {
		wanted.tap = meta.tap; /* it runs on this kernel, so it is the one */
		if (!memcmp(&meta, &wanted, sizeof(meta)) &&
		    has_all(kernel, (enum dbps_tap_kind)meta.tap))
			return true;
	}
	close_fds(kernel);
	unpin_all(kernel);
	return false;
}

/* The pin directory, made when needed and locked against a second daemon. */
static int open_pin_dir(struct dbps_kernel *kernel, char **ret_why)
{
	static const char bpffs[] = "/sys/fs/bpf";
	const char *dir = kernel->pin_dir;
	struct statfs fs;

	if (!strncmp(dir, bpffs, strlen(bpffs)) && !statfs(bpffs, &fs) &&
	    fs.f_type != BPF_FS_MAGIC && !mount("bpf", bpffs, "bpf", 0, "mode=700"))
		dbps_log(LOG_NOTICE, "mounted the BPF file system on %s", bpffs);
	if (mkdir(dir, 0700) && errno != EEXIST)
		return say_why(ret_why, -errno, "cannot make the pin directory '%s': %s", dir,
			       strerror(errno));
	if (statfs(dir, &fs) || fs.f_type != BPF_FS_MAGIC)
		return say_why(
			ret_why, -ENOTSUP,
			"the pin directory '%s' is not on a BPF file system; mount one, or use "
			"`--pin none`",
			dir);
	kernel->pin_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (kernel->pin_fd < 0)
		return say_why(ret_why, -errno, "cannot open '%s': %s", dir, strerror(errno));
	if (flock(kernel->pin_fd, LOCK_EX | LOCK_NB))
		return say_why(
			ret_why, -EBUSY,
			"another dbpsd uses the pin directory '%s'; give this one its own with "
			"`--pin DIR` and `--socket PATH`",
			dir);
	return 0;
}

/* ---------------------------------------------------------------- the object ---------------- */

#define WRITES (PROT_READ | PROT_WRITE)

static int map_memory(struct dbps_kernel *kernel)
{
	const struct {
		enum kernel_map map;
		size_t len;
		void **to;
		int prot;
	} mapped[] = {
		{MAP_CONTROL, sizeof(*kernel->control), (void **)&kernel->control, WRITES},
		{MAP_PORTS, DBPS_PORTS_BYTES, (void **)&kernel->ports, WRITES},
		{MAP_PAGE, sizeof(*kernel->page), (void **)&kernel->page, WRITES},
		{MAP_ONE_PAGE, sizeof(*kernel->one_page), (void **)&kernel->one_page, WRITES},
		{MAP_SLOTS, sizeof(*kernel->watch.table), (void **)&kernel->watch.table, PROT_READ},
	};

	for (size_t i = 0; i < ARRAY_SIZE(mapped); i++) {
		void *at = mmap(NULL, mapped[i].len, mapped[i].prot, MAP_SHARED,
				kernel->map_fd[mapped[i].map], 0);

		if (at == MAP_FAILED)
			return -errno;
		*mapped[i].to = at;
	}
	return 0;
}

static void unmap_memory(struct dbps_kernel *kernel)
{
	if (kernel->control)
		munmap(kernel->control, sizeof(*kernel->control));
	if (kernel->ports)
		munmap(kernel->ports, DBPS_PORTS_BYTES);
	if (kernel->page)
		munmap(kernel->page, sizeof(*kernel->page));
	if (kernel->watch.table)
		munmap((void *)kernel->watch.table, sizeof(*kernel->watch.table));
	if (kernel->one_page)
		munmap(kernel->one_page, sizeof(*kernel->one_page));
}

static int check_host(char **ret_why)
{
	if (geteuid() != 0)
		return say_why(
			ret_why, -EPERM,
			"dbpsd needs root: it loads BPF programs and looks into the sockets of "
			"other users' processes");
	if (access("/sys/kernel/btf/vmlinux", R_OK))
		return say_why(
			ret_why, -EOPNOTSUPP,
			"this kernel has no BTF (/sys/kernel/btf/vmlinux): it must be built with "
			"CONFIG_DEBUG_INFO_BTF=y");
	return 0;
}

static struct dbps_kernel *kernel_new(const struct dbps_kernel_options *options)
{
	struct dbps_kernel *kernel = calloc(1, sizeof(*kernel));

	if (!kernel)
		return NULL;
	memset(kernel->map_fd, -1, sizeof(kernel->map_fd));
	memset(kernel->link_fd, -1, sizeof(kernel->link_fd));
	memset(kernel->prog_fd, -1, sizeof(kernel->prog_fd));
	kernel->pin_fd = kernel->stop_fd = -1;
	kernel->slot_fd = eventfd(0, EFD_CLOEXEC); /* before all others */
	kernel->text_bytes = options->text_bytes;
	pthread_mutex_init(&kernel->iter_lock, NULL);
	pthread_mutex_init(&kernel->one_lock, NULL);
	pthread_mutex_init(&kernel->signal_lock, NULL);
	pthread_mutex_init(&kernel->holders_lock, NULL);
	pthread_mutex_init(&kernel->cancel_lock, NULL);
	kernel_condition_init(&kernel->slots_changed);
	kernel_condition_init(&kernel->any_changed);
	kernel->n_changes = 1;
	if (options->pin_dir) {
		kernel->pin_dir = strdup(options->pin_dir);
		if (!kernel->pin_dir) {
			free(kernel);
			return NULL;
		}
	}
	return kernel;
}

static int kernel_start(struct dbps_kernel *kernel, const struct dbps_kernel_options *options,
			char **ret_why)
{
	int r = check_host(ret_why);

	if (!r && kernel->pin_dir)
		r = open_pin_dir(kernel, ret_why);
	if (r)
		return r;
	kernel->taken_over = kernel->pin_dir && take_over(kernel, options);
	if (!kernel->taken_over) {
		r = load(kernel, options, ret_why);
		if (!r && kernel->pin_dir)
			r = pin_all(kernel, ret_why);
		if (r)
			return r;
	}
	r = kernel_one_open(kernel);
	if (!r)
		r = map_memory(kernel);
	if (!r)
		r = kernel_events_open(kernel);
	if (!r)
		r = kernel_slots_begin(kernel);
	if (r)
		return say_why(ret_why, r, "cannot map the BPF maps: %s", strerror(-r));
	if (kernel->taken_over)
		kernel_plain_reframe(kernel);
	kernel_wishes_clear(kernel);
	kernel_watches_clear(kernel);
	return 0;
}

int dbps_kernel_open(const struct dbps_kernel_options *options, struct dbps_kernel **ret_kernel,
		     char **ret_why)
{
	struct dbps_kernel *kernel = kernel_new(options);
	int r;

	if (!kernel)
		return say_why(ret_why, -ENOMEM, "out of memory");
	kernel_refusal_begin();
	r = kernel_start(kernel, options, ret_why);
	if (r) {
		dbps_kernel_close(kernel);
		return r;
	}
	*ret_kernel = kernel;
	return 0;
}

void dbps_kernel_close(struct dbps_kernel *kernel)
{
	if (!kernel)
		return;
	kernel_events_close(kernel);
	kernel_slots_end(kernel);
	/* Only the owner of the lock may remove pins: they may be another daemon's. */
	if (kernel->pin_fd >= 0 && !flock(kernel->pin_fd, LOCK_EX | LOCK_NB)) {
		unpin_all(kernel);
		rmdir(kernel->pin_dir);
	}
	close_fds(kernel);
	cleanup_close(&kernel->pin_fd);
	cleanup_close(&kernel->slot_fd);
	unmap_memory(kernel);
	free(kernel->pin_dir);
	pthread_mutex_destroy(&kernel->iter_lock);
	pthread_mutex_destroy(&kernel->one_lock);
	pthread_mutex_destroy(&kernel->signal_lock);
	pthread_mutex_destroy(&kernel->holders_lock);
	pthread_mutex_destroy(&kernel->cancel_lock);
	pthread_cond_destroy(&kernel->slots_changed);
	pthread_cond_destroy(&kernel->any_changed);
	free(kernel);
}

void dbps_kernel_expect_postgres(struct dbps_kernel *kernel)
{
	kernel->control->postgres = 1;
}

bool dbps_kernel_taken_over(const struct dbps_kernel *kernel)
{
	return kernel->taken_over;
}
