/*
 * Settings and maps of the kernel side. Each map says its key, its value, who writes and who
 * deletes.
 */
#ifndef DBPS_BPF_MAPS_H
#define DBPS_BPF_MAPS_H

/* Bytes kept of a request: command byte and text. The maps that hold requests are sized with it. */
const volatile __u32 dbps_body_cap = DBPS_TEXT_DEFAULT + 1;

/*
 * socket -> its session. Written by the taps, under the record's lock; gone with the socket. The
 * value is larger than the struct: the daemon sets its size, and the type that goes with it, at
 * load.
 */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct dbps_record);
} dbps_sessions SEC(".maps");

/* process id -> database server. Added here at a first greeting, and by the daemon, which deletes.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct dbps_server_seen);
} dbps_servers SEC(".maps");

/* {socket cookie, action} -> kill or watch under way. Added and deleted by the daemon, settled
 * here, once. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct dbps_cancel_key);
	__type(value, struct dbps_cancel);
} dbps_cancels SEC(".maps");

/*
 * One entry: the cancels that servers who poll shall see. They map it; the daemon fills slots and
 * takes them back, and what is settled is withdrawn here.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct dbps_cancel_table);
} dbps_slots SEC(".maps");

/* socket cookie -> what is to be reset. The daemon's, for one pass of an iterator, which writes the
 * result. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct dbps_reset);
} dbps_resets SEC(".maps");

/* {server, connection id} -> its socket. Written at the greeting, never deleted: whoever reads it
 * compares the cookie. The least recently used one gives way. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct dbps_id_key);
	__type(value, struct dbps_id_place);
} dbps_ids SEC(".maps");

/* prepared statement -> its Prepare request. Written here; the least recently used one gives way.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct dbps_prepared_key);
	__type(value, struct dbps_request);
} dbps_prepared SEC(".maps");

/* socket cookie -> what a control link knows of a session older than dbps. Daemon's alone. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct dbps_adoption);
} dbps_adoptions SEC(".maps");

/* A socket by its cookie -> the session whose client's end it shows (holder.bpf.h). Daemon's alone.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u64);
} dbps_client_ends SEC(".maps");

/* One entry that the daemon writes, through a mapping. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct dbps_control);
} dbps_control SEC(".maps");

/* One entry that tells a later daemon whether these pins suit it. Daemon's alone. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct dbps_meta);
} dbps_meta SEC(".maps");

/* enum dbps_loss -> count. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DBPS_LOSS_N);
	__type(key, __u32);
	__type(value, __u64);
} dbps_losses SEC(".maps");

/* Of the process being joined: a bit for each TCP port on which it listens. Cleared by the daemon.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 65536 / 64);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64);
} dbps_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} dbps_events SEC(".maps");

/* The same for the cancel map alone, whose waiters shall not wait for what else happens. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} dbps_cancel_events SEC(".maps");

/* Bytes of the answer that is looked at, or of what may be a greeting. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct dbps_window);
} dbps_windows SEC(".maps");

/* The rows of a snapshot. Written by the iterator, emptied by the daemon, through a mapping. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct dbps_page);
} dbps_page SEC(".maps");

/* The same for the one session that is read by its descriptor. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct dbps_page);
} dbps_one_page SEC(".maps");

static __always_inline void loss_count(__u32 loss)
{
	__u64 *n = bpf_map_lookup_elem(&dbps_losses, &loss);

	if (n)
		*n += 1;
}

static __always_inline struct dbps_control *control_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&dbps_control, &zero);
}

#endif
