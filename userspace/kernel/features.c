/*
 * Features: what this kernel allows, asked of its BTF and by tries that change nothing. Versions
 * are not compared: distributions carry features back.
 */
#include "internal.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/magic.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "cleanup.h"

/* What a probe has to go by. */
struct probe_context {
	struct btf *btf; /* of the kernel; NULL: none */
};

/* A function of the BPF memory allocator (7c8199e24fa0). */
#define ALLOCATOR "bpf_mem_alloc_init"

/* Fill feature->present, and feature->why when it is absent. */
typedef void (*probe_fn)(const struct probe_context *context, const char *arg,
			 struct dbps_feature *feature);

__attribute__((format(printf, 2, 3))) static void absent(struct dbps_feature *feature,
							 const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(feature->why, sizeof(feature->why), format, args);
	va_end(args);
	feature->present = false;
}

static void probe_btf(const struct probe_context *context, const char *arg,
		      struct dbps_feature *feature)
{
	(void)arg;
	feature->present = context->btf != NULL;
	if (!context->btf)
		absent(feature, "/sys/kernel/btf/vmlinux cannot be read");
}

/* Load, and drop, the smallest program of this kind: `return 0`. */
static int try_load(enum bpf_prog_type type, enum bpf_attach_type attach, const char *name,
		    __u32 btf_id)
{
	static const struct bpf_insn nothing[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = attach,
		    .attach_btf_id = btf_id);
	_cleanup_close_ int fd =
		bpf_prog_load(type, name, "GPL", nothing, ARRAY_SIZE(nothing), &opts);

	return fd < 0 ? -errno : 0;
}

/* A tracepoint with BTF: the kernel names its type btf_trace_NAME. -ENOENT: there is none. */
static int try_tracepoint(const struct btf *btf, const char *name)
{
	char type[128];
	int id;

	snprintf(type, sizeof(type), "btf_trace_%s", name);
	id = btf ? btf__find_by_name_kind(btf, type, BTF_KIND_TYPEDEF) : -ENOENT;
	if (id < 0)
		return -ENOENT;
	return try_load(BPF_PROG_TYPE_TRACING, BPF_TRACE_RAW_TP, "dbps_probe", (__u32)id);
}

/* A program at a function of the kernel. -ENOENT: it has no such function. */
static int try_function(const struct btf *btf, const char *name, enum bpf_attach_type attach)
{
	int id = btf ? btf__find_by_name_kind(btf, name, BTF_KIND_FUNC) : -ENOENT;

	if (id < 0)
		return -ENOENT;
	return try_load(BPF_PROG_TYPE_TRACING, attach, "dbps_probe", (__u32)id);
}

static void probe_tracepoint(const struct probe_context *context, const char *name,
			     struct dbps_feature *feature)
{
	int r = try_tracepoint(context->btf, name);

	feature->present = r == 0;
	if (r == -ENOENT)
		absent(feature, "this kernel has no such tracepoint (Linux %s added it)",
		       feature->since);
	else if (r)
		absent(feature, "loading is refused: %s", strerror(-r));
}

static void probe_function(const struct probe_context *context, const char *name,
			   enum bpf_attach_type attach, struct dbps_feature *feature)
{
	int r = try_function(context->btf, name, attach);

	feature->present = r == 0;
	if (r == -ENOENT)
		absent(feature, "this kernel has no function %s", name);
	else if (r)
		absent(feature, "loading is refused: %s", strerror(-r));
}

static void probe_room(const struct probe_context *context, const char *arg,
		       struct dbps_feature *feature)
{
	int r = kernel_storage_try(DBPS_TEXT_MAX);

	(void)context;
	(void)arg;
	feature->present = r == 0;
	if (r == -ENOMEM)
		absent(feature, "a socket's storage can be large enough for %u bytes",
		       dbps_kernel_text_room(DBPS_TEXT_MAX));
	else if (r)
		absent(feature, "%s", strerror(-r));
}

static void probe_iterator(const struct probe_context *context, const char *name,
			   struct dbps_feature *feature)
{
	char function[128];

	snprintf(function, sizeof(function), "bpf_iter_%s", name);
	probe_function(context, function, BPF_TRACE_ITER, feature);
}

/* What the fexit tap sits on (bpf/taps.bpf.h). */
static const char *const fexit_functions[] = {
	"inet_recvmsg", "inet6_recvmsg", "unix_stream_recvmsg",
	"inet_sendmsg", "inet6_sendmsg", "unix_stream_sendmsg",
};

static void probe_fexit(const struct probe_context *context, const char *arg,
			struct dbps_feature *feature)
{
	(void)arg;
	feature->present = true;
	for (size_t i = 0; i < ARRAY_SIZE(fexit_functions) && feature->present; i++)
		probe_function(context, fexit_functions[i], BPF_TRACE_FEXIT, feature);
}

static bool has_function(const struct btf *btf, const char *name)
{
	return btf && btf__find_by_name_kind(btf, name, BTF_KIND_FUNC) >= 0;
}

/* A function that programs call: a helper, or one of the kernel's own. */
static void probe_call(const struct probe_context *context, const char *name,
		       struct dbps_feature *feature)
{
	feature->present = has_function(context->btf, name);
	if (!feature->present)
		absent(feature, "this kernel has no function %s (Linux %s added it)", name,
		       feature->since);
}

static void probe_map(const struct probe_context *context, const char *arg,
		      struct dbps_feature *feature)
{
	int type = atoi(arg), r = libbpf_probe_bpf_map_type((enum bpf_map_type)type, NULL);

	(void)context;
	feature->present = r == 1;
	if (r != 1)
		absent(feature, r < 0 ? "the probe failed: %s" : "refused", strerror(-r));
}

static void probe_bpffs(const struct probe_context *context, const char *path,
			struct dbps_feature *feature)
{
	struct statfs fs;

	(void)context;
	feature->present = !statfs(path, &fs) && fs.f_type == BPF_FS_MAGIC;
	if (!feature->present)
		absent(feature, "no BPF file system is mounted there");
}

/* Ask to destroy a socket that cannot exist: -ENOENT says that it could have been done. */
static void probe_destroy(const struct probe_context *context, const char *arg,
			  struct dbps_feature *feature)
{
	struct {
		struct nlmsghdr header;
		struct inet_diag_req_v2 request;
	} message = {
		.header = {.nlmsg_len = sizeof(message),
			   .nlmsg_type = SOCK_DESTROY,
			   .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
		.request = {.sdiag_family = AF_INET,
			    .sdiag_protocol = IPPROTO_TCP,
			    .idiag_states = 1 << TCP_ESTABLISHED,
			    .id = {.idiag_cookie = {~0U - 1, ~0U - 1}}},
	};
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	char answer[512];
	struct nlmsghdr *header = (struct nlmsghdr *)answer;
	int error;

	(void)context;
	(void)arg;
	if (fd < 0 || send(fd, &message, sizeof(message), 0) < 0 ||
	    recv(fd, answer, sizeof(answer), 0) < (ssize_t)NLMSG_LENGTH(sizeof(int))) {
		absent(feature, "netlink: %s", strerror(errno));
		return;
	}
	error = header->nlmsg_type == NLMSG_ERROR ? ((struct nlmsgerr *)NLMSG_DATA(header))->error
						  : 0;
	feature->present = error == -ENOENT;
	if (!feature->present)
		absent(feature, "%s (CONFIG_INET_DIAG_DESTROY)", strerror(-error));
}

static void probe_pidfd(const struct probe_context *context, const char *arg,
			struct dbps_feature *feature)
{
	_cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	_cleanup_close_ int copy = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, pidfd, 0);

	(void)context;
	(void)arg;
	feature->present = copy >= 0;
	if (copy < 0)
		absent(feature, "%s", strerror(errno));
}

/* The taps, of which a kernel needs one. */
#define RECV_TRACEPOINT "tp_btf/sock_recv_length"
#define SEND_TRACEPOINT "tp_btf/sock_send_length"
#define FEXIT		"fexit"

/* The loops, of which it needs one. */
#define LOOP	 "bpf_loop"
#define FOR_EACH "bpf_for_each_map_elem"

static const struct {
	struct dbps_feature feature;
	probe_fn probe;
	const char *arg;
} probes[] = {
	{{.name = "BTF",
	  .used_for = "finding kernel fields and tracepoints",
	  .needed = true,
	  .lost = "dbpsd does not start"},
	 probe_btf,
	 NULL},
	{{.name = RECV_TRACEPOINT,
	  .since = "6.3",
	  .used_for = "the tap: what servers read",
	  .needed = true,
	  .lost = "dbpsd does not start"},
	 probe_tracepoint,
	 "sock_recv_length"},
	{{.name = SEND_TRACEPOINT,
	  .since = "6.3",
	  .used_for = "the tap: what servers send",
	  .needed = true,
	  .lost = "dbpsd does not start"},
	 probe_tracepoint,
	 "sock_send_length"},
	{{.name = FEXIT,
	  .used_for = "the tap of kernels before 6.3",
	  .needed = true,
	  .lost = "dbpsd does not start"},
	 probe_fexit,
	 NULL},
	{{.name = "socket storage",
	  .used_for = "session records",
	  .needed = true,
	  .lost = "dbpsd does not start"},
	 probe_map,
	 "24" /* BPF_MAP_TYPE_SK_STORAGE */},
	{{.name = "storage of 16 KiB",
	  .used_for = "statement text of up to 16,384 bytes (session.text_bytes)",
	  .instead = "as much as there is room for",
	  .lost = "longer texts are cut, and marked with their whole length"},
	 probe_room,
	 NULL},
	{{.name = "iter/bpf_sk_storage_map",
	  .used_for = "the snapshot",
	  .needed = true,
	  .lost = "dbpsd does not start"},
	 probe_iterator,
	 "bpf_sk_storage_map"},
	{{.name = "iter/task_file",
	  .used_for = "sessions older than dbpsd",
	  .needed = true,
	  .lost = "dbpsd does not start"},
	 probe_iterator,
	 "task_file"},
	{{.name = LOOP,
	  .since = "5.17",
	  .used_for = "following many packets of one call",
	  .instead = FOR_EACH},
	 probe_call,
	 LOOP},
	{{.name = FOR_EACH,
	  .since = "5.13",
	  .used_for = "loops of kernels before 5.17",
	  .needed = true,
	  .lost = "dbpsd does not start"},
	 probe_call,
	 FOR_EACH},
	{{.name = "bpf_skc_to_unix_sock",
	  .since = "5.16",
	  .used_for = "which Unix sockets a server has accepted, and their clients",
	  .instead = "bpf_probe_read_kernel"},
	 probe_call,
	 "bpf_skc_to_unix_sock"},
	{{.name = "BPF memory allocator",
	  .since = "6.1",
	  .used_for = "maps of kills and of encrypted sessions that take memory as they fill",
	  .instead = "maps with all of their memory",
	  .lost = "26 MiB, and the statements of more encrypted sessions than have room in 16 MiB "
		  "of it"},
	 probe_call,
	 ALLOCATOR},
	{{.name = "BPF ring buffer",
	  .used_for = "waking dbpsd",
	  .needed = true,
	  .lost = "dbpsd does not start"},
	 probe_map,
	 "27" /* BPF_MAP_TYPE_RINGBUF */},
	{{.name = "BPF file system",
	  .used_for = "sessions that outlive a crash of dbpsd",
	  .instead = "nothing is pinned with --pin none",
	  .lost = "after a crash, sessions are followed anew from then on"},
	 probe_bpffs,
	 "/sys/fs/bpf"},
	{{.name = "SOCK_DESTROY",
	  .used_for = "KILL CONNECTION: reset of a TCP session",
	  .instead = "shutdown through pidfd_getfd",
	  .lost = "the client sees an end of file, no reset"},
	 probe_destroy,
	 NULL},
	{{.name = "bpf_sock_destroy",
	  .since = "6.5",
	  .used_for = "KILL CONNECTION of many: reset in one step with the look at each session",
	  .instead = "SOCK_DESTROY, one session at a time, right after a look",
	  .lost = "a statement that begins between the look and the reset is cut as well"},
	 probe_call,
	 "bpf_sock_destroy"},
	{{.name = "pidfd_getfd",
	  .used_for = "KILL CONNECTION: end of a Unix socket session",
	  .lost = "idle sessions on Unix sockets are ended by the control link only"},
	 probe_pidfd,
	 NULL},
	{{.name = "bpf_task_work_schedule_signal_impl",
	  .since = "6.18",
	  .used_for = "KILL QUERY on PostgreSQL: look and signal inside of the backend",
	  .instead = "bpf_send_signal_task, from outside",
	  .lost = "a KILL QUERY may, rarely, meet the statement after the one that was meant"},
	 probe_call,
	 "bpf_task_work_schedule_signal_impl"},
	{{.name = "bpf_send_signal_task",
	  .since = "6.13",
	  .used_for = "KILL of PostgreSQL's sessions: look and signal in one step",
	  .instead = "pidfd_send_signal, right after a look",
	  .lost = "a KILL QUERY may meet the statement after the one that was meant"},
	 probe_call,
	 "bpf_send_signal_task"},
	{{.name = "bpf_task_from_pid",
	  .since = "6.2",
	  .used_for = "what statements wait for and have used",
	  .lost = "the columns wait, wait_ms, cpu_ms, read_bytes and write_bytes are NULL"},
	 probe_call,
	 "bpf_task_from_pid"},
};

static struct dbps_feature *find_feature(struct dbps_feature *features, const char *name)
{
	while (strcmp(features->name, name) != 0)
		features++;
	return features;
}

/* Which tap serves: that the other is not there is no problem then. */
static void weigh_taps(struct dbps_feature *features)
{
	struct dbps_feature *received = find_feature(features, RECV_TRACEPOINT);
	struct dbps_feature *sent = find_feature(features, SEND_TRACEPOINT);
	struct dbps_feature *fexit = find_feature(features, FEXIT);

	if (received->present && sent->present) {
		fexit->unused = true;
		return;
	}
	if (!fexit->present)
		return;
	received->instead = sent->instead = FEXIT;
	received->lost = "what a server reads by a call in which it waits already when dbpsd comes";
	sent->lost = "what a server sends by sendfile(2)";
}

static void weigh_loops(struct dbps_feature *features)
{
	if (find_feature(features, LOOP)->present)
		find_feature(features, FOR_EACH)->unused = true;
}

static int try_fexit(const struct btf *btf)
{
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(fexit_functions) && !r; i++)
		r = try_function(btf, fexit_functions[i], BPF_TRACE_FEXIT);
	return r;
}

/*
 * Whether tracepoints call their programs with preemption on, and the programs can turn it off.
 * Linux 7.0 (a46023d5616e) guards all of them by this SRCU domain alone; before 6.13 (e53244e2c893)
 * it was that of calls from idle processors, next to preemption off.
 */
static bool tracepoints_preempt(const struct btf *btf)
{
	return btf__find_by_name_kind(btf, "tracepoint_srcu_srcu_data", BTF_KIND_VAR) >= 0 &&
	       has_function(btf, "bpf_local_irq_save");
}

static int choose_tap(const struct btf *btf, enum dbps_tap_kind *ret_tap)
{
	int tracepoint =
		try_tracepoint(btf, "sock_recv_length") ?: try_tracepoint(btf, "sock_send_length");
	int fexit = tracepoint ? try_fexit(btf) : -ENOENT;

	if (tracepoint && fexit)
		return tracepoint == -ENOENT ? fexit : tracepoint;
	*ret_tap = tracepoint		      ? DBPS_TAP_FEXIT
		   : tracepoints_preempt(btf) ? DBPS_TAP_PREEMPTIBLE
					      : DBPS_TAP_TRACEPOINT;
	return 0;
}

int kernel_choose_ways(struct kernel_ways *ret_ways)
{
	struct btf *btf = btf__load_vmlinux_btf();
	int r = choose_tap(btf, &ret_ways->tap);

	ret_ways->loops = has_function(btf, "bpf_loop");
	ret_ways->grows = has_function(btf, ALLOCATOR);
	ret_ways->implicit = has_function(btf, "bpf_task_work_schedule_signal");
	btf__free(btf);
	return r;
}

int dbps_kernel_features(struct dbps_feature **ret_features, size_t *ret_n)
{
	struct dbps_feature *features = calloc(ARRAY_SIZE(probes), sizeof(*features));
	struct probe_context context = {.btf = btf__load_vmlinux_btf()};

	if (!features)
		return -ENOMEM;
	for (size_t i = 0; i < ARRAY_SIZE(probes); i++) {
		features[i] = probes[i].feature;
		probes[i].probe(&context, probes[i].arg, &features[i]);
	}
	weigh_taps(features);
	weigh_loops(features);
	btf__free(context.btf);
	/* The kernel's types are many small pieces, which would stay with the process. */
	malloc_trim(0);
	*ret_features = features;
	*ret_n = ARRAY_SIZE(probes);
	return 0;
}
