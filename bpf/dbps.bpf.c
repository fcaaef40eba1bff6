/*
 * The kernel side of dbps, one object: settings and maps, the tap, the protocol step, the snapshot
 * and the cancel map. Nothing here changes, holds or redirects what it sees.
 */
/* The kernel finds its place in a map's value by this name. This one is there on every kernel. */
#define bpf_task_work bpf_task_work___vmlinux
#include "vmlinux.h"
#undef bpf_task_work
struct bpf_task_work {
	__u64 opaque;
} __attribute__((aligned(8)));
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_core_read.h>

#include "dbps/kernel.h"
#include "dbps/slots.h"

#include "maps.bpf.h"
#include "compat.bpf.h"

#define DBPS_BODY_CAP dbps_body_cap
#define DBPS_STEP_FN  __attribute__((noinline))
#define dbps_now()    bpf_ktime_get_ns()
static __always_inline void dbps_on_begin(struct dbps_record *r, __u32 last_used);
static __always_inline void dbps_on_found(struct dbps_record *r, int found);
static __always_inline void dbps_on_resync(struct dbps_session *s);
static __always_inline void dbps_pgsql_on_begin(struct dbps_record *r);
static __always_inline void dbps_pgsql_on_end(struct dbps_record *r, __u32 error);
static __always_inline void dbps_pgsql_on_close(struct dbps_record *r, __u32 statement);
static __always_inline void dbps_pgsql_on_version(struct dbps_record *r,
						  const struct dbps_pgsql_head *h, __u32 have);
#include "dbps/pgsql.h"

#include "slots.bpf.h"
#include "cancel.bpf.h"
#include "plain.bpf.h"
#include "thread.bpf.h"
#include "session.bpf.h"
#include "taps.bpf.h"
#include "library.bpf.h"
#include "peer.bpf.h"
#include "signal.bpf.h"
#include "snapshot.bpf.h"
#include "holder.bpf.h"
#include "reset.bpf.h"

char LICENSE[] SEC("license") = "GPL";
