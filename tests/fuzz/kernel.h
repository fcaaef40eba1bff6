/*
 * The kernel's own session code (bpf/session.bpf.h and both steps) in this process. What it asks of
 * the kernel is answered here, and every read is held to the bytes that the call moved, or that the
 * server has in its buffer, and to one buffer of the record; the record is as large as the map's
 * value.
 */
#ifndef FUZZ_KERNEL_H
#define FUZZ_KERNEL_H

#include "check.h"
#include "dbps/kernel.h"

#define PREPARED_N 8
#define ACTS_MAX   4096

/* A request that a Prepare left, as large as the map's value. */
struct prepared {
	struct dbps_prepared_key key;
	struct dbps_request *request;
};

/* What the cancel map would be told. */
struct act {
	__u64 sequence;
	__u32 outcome;
	__u32 error;
};

/* One session's kernel. */
struct kernel {
	struct dbps_record *record;
	__u32 text_bytes;
	__u64 now;
	const __u8 *call; /* the bytes that the call under way moved */
	size_t call_n;
	const __u8 *buffer; /* what was read before, which the server comes to later */
	size_t buffer_n;
	bool fault; /* they cannot be read */
	struct dbps_window *window;
	__u8 garbage; /* what memory that nobody set holds */
	struct prepared prepared[PREPARED_N];
	size_t n_prepared;
	__u64 losses[DBPS_LOSS_N];
	struct dbps_server_seen server;
	struct act acts[ACTS_MAX];
	size_t n_acts;
	bool unframed; /* the framing was lost at some time */
};

static struct kernel *kernel; /* the one that runs */

/* ---------------------------------------------------------------- what is asked of it ------- */

#define __noinline __attribute__((noinline))
#define BPF_ANY	   0
#define barrier()  __asm__ volatile("" ::: "memory")

struct dbps_span {
	__u64 base;
};

/* The maps that the session code uses, by name. */
enum map { MAP_PREPARED, MAP_WINDOWS, MAP_IDS, MAP_SERVERS };
static const enum map dbps_prepared = MAP_PREPARED, dbps_windows = MAP_WINDOWS,
		      dbps_ids __attribute__((unused)) = MAP_IDS, dbps_servers = MAP_SERVERS;

UNTRACED_BEGIN
/* A read into the record stays in one of its buffers. */
static void check_target(const void *dst, size_t n)
{
	struct dbps_record *r = kernel->record;
	size_t body = dbps_request_size(kernel->text_bytes) - offsetof(struct dbps_request, body);
	bool of_step;

	if (!lies_in(dst, 1, r, dbps_record_size(kernel->text_bytes)))
		return;
	if (r->s.flags & DBPS_PGSQL)
		of_step = lies_in(dst, n, &r->pg.head, sizeof(r->pg.head)) ||
			  lies_in(dst, n, &r->pg.call, sizeof(r->pg.call));
	else
		of_step = lies_in(dst, n, &r->my.head, sizeof(r->my.head)) ||
			  lies_in(dst, n, r->my.outer_in.hdr, sizeof(r->my.outer_in.hdr)) ||
			  lies_in(dst, n, r->my.outer_out.hdr, sizeof(r->my.outer_out.hdr));
	CHECK(lies_in(dst, n, r->s.in.hdr, 4) || lies_in(dst, n, r->s.out.hdr, 4) || of_step ||
	      lies_in(dst, n, dbps_body(r), body));
}

static long bpf_probe_read_user(void *dst, __u32 n, const void *src)
{
	CHECK(lies_in(src, n, kernel->call, kernel->call_n) ||
	      lies_in(src, n, kernel->buffer, kernel->buffer_n));
	check_target(dst, n);
	if (kernel->fault) {
		memset(dst, 0, n);
		return -14;
	}
	memcpy(dst, src, n);
	return 0;
}

static int dbps_span_read(const struct dbps_span *span, __u32 off, void *dst, __u32 n)
{
	return (int)bpf_probe_read_user(dst, n, (const __u8 *)span->base + off);
}

static __u64 bpf_ktime_get_ns(void)
{
	return kernel->now;
}

static void loss_count(__u32 loss)
{
	CHECK(loss < DBPS_LOSS_N);
	kernel->losses[loss]++;
}

static void cancel_check(struct dbps_session *s, __u32 outcome, __u32 error)
{
	if (kernel->n_acts < ACTS_MAX)
		kernel->acts[kernel->n_acts++] = (struct act){s->sequence, outcome, error};
}

/* The library's plaintext has a record of its own, which here is a session of its own. */
static int plain_note(struct dbps_session *s)
{
	CHECK(s->flags & DBPS_TLS);
	return 0;
}

static int plain_unread(const struct dbps_session *s)
{
	CHECK(s->flags & DBPS_TLS);
	return 0;
}

static int plain_begin(struct dbps_record *r, bool older)
{
	CHECK(r->s.flags & DBPS_TLS && (older || r->s.phase == DBPS_PHASE_AUTH));
	memset(&r->s.in, 0, sizeof(r->s.in));
	memset(&r->s.out, 0, sizeof(r->s.out));
	return 0;
}

static struct prepared *find_prepared(const struct dbps_prepared_key *key)
{
	for (size_t i = 0; i < PREPARED_N; i++)
		if (kernel->prepared[i].request &&
		    !memcmp(&kernel->prepared[i].key, key, sizeof(*key)))
			return &kernel->prepared[i];
	return NULL;
}

static void *bpf_map_lookup_elem(const enum map *map, const void *key)
{
	struct prepared *prepared;

	if (*map == MAP_WINDOWS) {
		memset(kernel->window, kernel->garbage, sizeof(*kernel->window));
		return kernel->window;
	}
	if (*map == MAP_SERVERS)
		return &kernel->server;
	CHECK(*map == MAP_PREPARED);
	prepared = find_prepared(key);
	return prepared ? prepared->request : NULL;
}

static long bpf_map_delete_elem(const enum map *map, const void *key)
{
	struct prepared *prepared = find_prepared(key);

	CHECK(*map == MAP_PREPARED);
	if (!prepared)
		return -2;
	free(prepared->request);
	prepared->request = NULL;
	return 0;
}

static long bpf_map_update_elem(const enum map *map, const void *key, const void *value, int flags)
{
	size_t size = dbps_request_size(kernel->text_bytes);
	struct prepared *prepared;

	(void)flags;
	CHECK(*map == MAP_PREPARED);
	prepared = find_prepared(key);
	if (!prepared)
		prepared = &kernel->prepared[kernel->n_prepared++ % PREPARED_N];
	if (!prepared->request)
		prepared->request = malloc(size);
	CHECK(prepared->request);
	prepared->key = *(const struct dbps_prepared_key *)key;
	memcpy(prepared->request, value, size);
	return 0;
}

UNTRACED_END

/* ---------------------------------------------------------------- its session code ---------- */

#define DBPS_BODY_CAP (kernel->text_bytes + 1)
#define DBPS_STEP_FN  static __attribute__((noinline, unused))
#define dbps_now()    bpf_ktime_get_ns()

#define stack_set(buffer, size) (void)(buffer)
#define DBPS_TURN(n, function, type, context)                                                      \
	enum { function##_turns = (n) };                                                           \
	static int function(__u32 i, type *context)

/* Each turn takes a byte at least, or is one of few: over what is kept of a call. */
#define DBPS_LOOP(function, context)                                                               \
	do {                                                                                       \
		size_t turns_ = 0;                                                                 \
                                                                                                   \
		while (turns_ < function##_turns && !function((__u32)turns_, context))             \
			turns_++;                                                                  \
		CHECK(function##_turns <= DBPS_NAMES_MAX ||                                        \
		      turns_ <= kernel->call_n + kernel->buffer_n);                                \
	} while (0)

static __always_inline void dbps_on_begin(struct dbps_record *r, __u32 last_used);
static __always_inline void dbps_on_found(struct dbps_record *r, int found);
static __always_inline void dbps_on_resync(struct dbps_session *s);
static __always_inline void dbps_pgsql_on_begin(struct dbps_record *r);
static __always_inline void dbps_pgsql_on_end(struct dbps_record *r, __u32 error);
static __always_inline void dbps_pgsql_on_close(struct dbps_record *r, __u32 statement);
static __always_inline void dbps_pgsql_on_version(struct dbps_record *r,
						  const struct dbps_pgsql_head *h, __u32 have);
#include "dbps/mysql.h"
#include "dbps/pgsql.h"

/* There is no thread to look at. */
static __always_inline void thread_begin(struct dbps_record *r)
{
	r->begun = (struct dbps_usage){1, 1, 1};
}

#include "../../bpf/session.bpf.h"

/* ---------------------------------------------------------------- its calls ----------------- */

UNTRACED_BEGIN
static void kernel_begin(struct kernel *k, __u32 text_bytes, __u8 garbage)
{
	memset(k, 0, offsetof(struct kernel, acts));
	k->n_acts = 0;
	k->unframed = false;
	k->text_bytes = text_bytes;
	k->garbage = garbage;
	k->record = calloc(1, dbps_record_size(text_bytes));
	k->window = malloc(sizeof(*k->window));
	CHECK(k->record && k->window);
}

static void kernel_done(struct kernel *k)
{
	for (size_t i = 0; i < PREPARED_N; i++)
		free(k->prepared[i].request);
	free(k->window);
	free(k->record);
}

/* What holds of every record at any time. */
static void check_record(const struct kernel *k)
{
	const struct dbps_session *s = &k->record->s;
	const struct dbps_request *q = &k->record->request;

	CHECK(s->phase < DBPS_PHASE_N);
	CHECK(s->user_len <= DBPS_USER_MAX && s->db_len <= DBPS_DB_MAX);
	CHECK(s->program_len <= DBPS_PROGRAM_MAX);
	if (s->flags & DBPS_PGSQL) {
		CHECK(s->in.hdr_have <= 4 && s->out.hdr_have <= 4);
		CHECK(s->in.left <= PGSQL_MESSAGE_MAX && s->out.left <= PGSQL_MESSAGE_MAX);
	} else {
		CHECK(s->in.hdr_have <= MYSQL_HEADER_UNREAD && s->out.hdr_have <= 3);
		CHECK(s->in.left <= MYSQL_PACKET_FULL && s->out.left <= MYSQL_PACKET_FULL);
	}
	CHECK(q->have <= q->len && q->have <= k->text_bytes + 1);
	CHECK(!(s->flags & DBPS_HAS_TEXT) || dbps_session_executes(s));
	CHECK(s->phase != DBPS_PHASE_DEFS || (s->defs_left && s->defs_left <= 0xffff));
	CHECK(s->phase != DBPS_PHASE_PREPARE_DEFS ||
	      (s->defs_left && s->defs_left <= 2 * 0xffff + 2));
}

static void kernel_call(struct kernel *k, const __u8 *bytes, size_t n)
{
	kernel = k;
	k->call = bytes;
	k->call_n = n;
}

static void kernel_after(struct kernel *k)
{
	const struct dbps_session *s = &k->record->s;

	k->unframed |= s->lost || !(s->flags & DBPS_FRAMED_IN);
	check_record(k);
}

UNTRACED_END

/* As dbps_recv (bpf/taps.bpf.h). */
static void kernel_received(struct kernel *k, const __u8 *bytes, size_t n, __u64 requested)
{
	kernel_call(k, bytes, n);
	if (!lies_in(bytes, n, k->buffer, k->buffer_n)) {
		k->buffer = bytes;
		k->buffer_n = n;
	}
	if (n != 4 || !mysql_skips_header(&k->record->s))
		session_received(k->record, (__u64)bytes, (__u32)n, requested);
	kernel_after(k);
}

/* As dbps_send. */
static void kernel_sent(struct kernel *k, const __u8 *bytes, size_t n)
{
	kernel_call(k, bytes, n);
	session_sent_all(k->record, (__u64)bytes, (__u32)n, NULL);
	kernel_after(k);
}

/* As tap_nothing_received. */
static void kernel_waits(struct kernel *k, __u64 requested)
{
	kernel_call(k, NULL, 0);
	if (k->record->s.phase != DBPS_PHASE_IDLE)
		session_waits(k->record, requested);
	kernel_after(k);
}

static void kernel_closed(struct kernel *k)
{
	kernel_call(k, NULL, 0);
	session_closed(&k->record->s);
	kernel_after(k);
}

/* As session_lock_contended. */
static void kernel_contended(struct kernel *k)
{
	kernel_call(k, NULL, 0);
	k->record->s.lost = 1;
	loss_count(DBPS_LOSS_CONTENDED);
	kernel_after(k);
}

/* As tap_unseen. */
static void kernel_unseen(struct kernel *k)
{
	kernel_call(k, NULL, 0);
	k->record->s.flags |= DBPS_SPLICED_IN;
	session_unframe(&k->record->s, DBPS_LOSS_UNKNOWN_CALL);
	kernel_after(k);
}

#endif
