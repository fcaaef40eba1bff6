/*
 * What the daemon and the BPF programs exchange besides the session record: events, the cancel map,
 * prepared texts, the snapshot's row head and its settings, and the loss counters.
 */
#ifndef DBPS_KERNEL_H
#define DBPS_KERNEL_H

#include "session.h"

/* Every loss has a name here and in dbps_loss_names (userspace/kernel/losses.c). */
enum dbps_loss {
	DBPS_LOSS_NO_STORAGE,	 /* session not followed: the kernel gave no storage */
	DBPS_LOSS_CONTENDED,	 /* two threads on one socket at once: event not followed */
	DBPS_LOSS_UNREADABLE,	 /* the caller's buffer could not be read, or not to its end */
	DBPS_LOSS_UNKNOWN_CALL,	 /* bytes moved by a system call that is not understood */
	DBPS_LOSS_BAD_PACKET,	 /* packets that break the protocol */
	DBPS_LOSS_RESYNC,	 /* answers whose end was taken from the next request */
	DBPS_LOSS_PREPARED_TEXT, /* prepared texts that did not fit into the map */
	DBPS_LOSS_EVENT,	 /* ring buffer full: event not delivered */
	DBPS_LOSS_TORN,		 /* rows skipped by a snapshot as they kept changing */
	DBPS_LOSS_LEFT_OUT,	 /* programs that the kernel left out: they ran there already */
	DBPS_LOSS_N,
};

/* servers: process id -> this. Written by the kernel at the first greeting, and by the daemon. */
struct dbps_server_seen {
	__u64 first_ns;
	__u32 state; /* enum dbps_server_state */
	__u16 port;  /* local port of the first greeting, host order; 0 for a Unix socket */
	__u8 family;
	__u8 version_len;
	char version[DBPS_VERSION_MAX]; /* as greeted, not terminated */
	__u32 tls_read;			/* its TLS library is probed */
	__u8 tls_met;			/* by the kernel: plaintext of it was read so */
	__u8 tls_unread; /* by the kernel: of a session there was none, whatever is probed */
	__u8 tls_looks;	 /* by the kernel: it looks for more where there is nothing to read */
	__u8 pad;
};

/* What the console of a dbpsd greets with, before its own version. */
#define DBPS_CONSOLE_VERSION "5.7.99-dbps-"

enum dbps_server_state {
	DBPS_SERVER_NEW = 1, /* greeted; the daemon was told */
	DBPS_SERVER_ADOPTED, /* the daemon follows it */
	DBPS_SERVER_IGNORED, /* not a database server: its sockets are left alone */
};

/* What a kill or a watch waits for; a session can have one entry of each. */
enum dbps_cancel_action {
	DBPS_CANCEL_QUERY = 1,	/* a kill of a statement: settled when it is over */
	DBPS_CANCEL_CONNECTION, /* a kill of a session: settled when it closes */
	DBPS_WATCH_STATEMENT,	/* as QUERY, but nobody ends it */
	DBPS_WATCH_TRANSACTION, /* settled when a statement ends outside of a transaction */
	DBPS_CANCEL_N,
};

struct dbps_cancel_key {
	__u64 cookie;
	__u32 action; /* enum dbps_cancel_action */
	__u32 pad;
};

/*
 * cancels: {socket cookie, action} -> this. Armed by the daemon; all but the first fields is
 * written by the kernel only. It settles an entry once, and goes on to tell what came later.
 */
struct dbps_cancel {
	__u64 sequence; /* statement meant */
	__u64 armed_ns;
	__u32 uid;	  /* who */
	__u32 outcome;	  /* enum dbps_cancel_outcome */
	__u64 settled_ns; /* 0: not settled */
	__u32 error;	  /* code of the ERR that ended the statement, 0: none */
	__u32 signalled;  /* enum dbps_signalled, of the last one asked for */
	__u64 begun;	  /* newest statement that began since it was armed, 0: none */
	__u64 ended;	  /* newest one that ended since then, 0: none */
	__u64 struck;	  /* first one after `sequence` that ended interrupted, 0: none */
	__u32 backend;	  /* the process to which a signal was handed, 0: none */
	__u32 signal;	  /* which */
	__u32 sends;	  /* signals that were sent to it */
	__u32 pad;
#ifdef __VMLINUX_H__
	struct bpf_task_work work; /* the kernel's */
#else
	__u64 work;
#endif
};

enum dbps_cancel_outcome {
	DBPS_OUTCOME_NONE,
	DBPS_OUTCOME_ENDED,  /* the statement ended; `error` says how */
	DBPS_OUTCOME_NEXT,   /* the next statement had begun */
	DBPS_OUTCOME_CLOSED, /* the server's end read end-of-file, or the socket closed */
};

/* events: ring buffer of these. May drop (counted): everything is also in a map. */
struct dbps_event {
	__u32 type; /* enum dbps_event_type */
	__u32 tgid;
	__u64 cookie;
};

enum dbps_event_type {
	DBPS_EVENT_SERVER = 1,
	DBPS_EVENT_CANCEL, /* an entry of the cancel map was settled, or tells more */
};

/* ids: where to find a session whose server told its id at the greeting, or to a control link. */
struct dbps_id_key {
	__u32 tgid;
	__u32 id;
};

struct dbps_id_place {
	__u64 cookie;
	__s32 fd; /* the server's descriptor */
	__u32 pad;
};

/* prepared: text of a prepared statement. Gone when evicted, closed, or its era is over. */
struct dbps_prepared_key {
	__u64 cookie;
	__u32 era;
	__u32 stmt_id;
};

/* The value is the struct dbps_request of the Prepare. */

/* control: one entry, what the daemon tells the programs while they run. */
struct dbps_control {
	__u64 cookie;	  /* snapshot: this session only; 0: all */
	__u32 text_bytes; /* snapshot: text wanted of each, 0: none */
	__u32 threads;	  /* snapshot: whether to look at the threads of statements */
	__u32 pad0;
	__u32 armed;	       /* arm: sessions whose taps were told, counted by the kernel */
	__u32 join_tgid;       /* join: the process whose sockets are followed from now on */
	__u32 join_pass;       /* join: 0 collects listening ports, 1 makes the sessions */
	__u32 joined;	       /* join: sessions made, counted by the kernel */
	__u32 one_text;	       /* one: text wanted, 0: none */
	__u64 one_cookie;      /* one: the session that is looked for */
	__u64 signal_cookie;   /* one: the session that is signalled */
	__u64 signal_sequence; /* one: the statement that must execute; 0: whatever */
	__u32 signal_now;      /* one: not by the backend, which may be long in taking it */
	__u32 signal;	       /* one: to be sent to the session's process; 0: none */
	__u32 signalled;       /* one: enum dbps_signalled */
	__u32 postgres; /* a process called postgres is or was there: its first packets count */

	struct dbps_cancel_key slot_key; /* slot: which cancel */
	__u32 slot_wish;		 /* slot: enum dbps_slot_wish */
	__u32 slot;			 /* slot: its number */
	__u32 slot_done;		 /* slot: whether it was published, by the kernel */
	__u32 pad;

	/* Signals, counted by the kernel. The window is the time from the look at the statement to
	 * the end of the sending: at most so much did a signal come after the look. */
	__u64 signals;
	__u64 signals_late;	/* the statement was over by then */
	__u64 signal_window_ns; /* of the last one */
	__u64 signal_window_max_ns;
};

enum dbps_slot_wish { DBPS_SLOT_PUBLISH = 1, DBPS_SLOT_RELEASE, DBPS_SLOT_CLEAR };

/* resets: socket cookie -> a TCP session that is to be reset in this pass, and what became of it.
 */
struct dbps_reset {
	__u64 sequence; /* of the session as it was judged; another one is left alone */
	__u32 executes; /* whether it executed then */
	__s32 result;	/* enum dbps_reset_result, by the kernel, or a negative errno */
};

enum dbps_reset_result {
	DBPS_RESET_NOT_FOUND, /* in this network namespace, as a TCP session */
	DBPS_RESET_DONE,
	DBPS_RESET_CHANGED, /* a statement has begun or ended: not reset */
};

/* What became of a signal, told by the kernel. */
enum dbps_signalled {
	DBPS_SIGNAL_NONE,	 /* the session was not found */
	DBPS_SIGNAL_UNSUPPORTED, /* this kernel has no bpf_send_signal_task() */
	DBPS_SIGNAL_OVER,	 /* not as wanted: not sent */
	DBPS_SIGNAL_FAILED,	 /* no such process, or refused */
	DBPS_SIGNAL_SENT,	 /* as wanted before and after */
	DBPS_SIGNAL_LATE,	 /* as wanted before, not after */
	DBPS_SIGNAL_HANDED,	 /* to the backend, which looks and sends when it runs */
};

/*
 * What the server's socket tells of its client (bpf/peer.bpf.h). From CLOSED on nobody is there any
 * more for whom to execute.
 */
enum dbps_peer {
	DBPS_PEER_THERE,       /* as far as can be told */
	DBPS_PEER_HALF_CLOSED, /* Unix: sends nothing more, and is still there */
	DBPS_PEER_CLOSED,      /* TCP: FIN, it sends nothing more; Unix: its socket is closed */
	DBPS_PEER_RESET,       /* it aborted the connection */
	DBPS_PEER_TIMED_OUT,   /* TCP: it did not answer any more */
	DBPS_PEER_CUT,	       /* from this side: by a KILL, by the server, by ss -K */
	DBPS_PEER_GONE,	       /* the connection is over, why is not known any more */
	DBPS_PEER_N,
};

/* What the thread of a statement does. */
enum dbps_thread_state {
	DBPS_THREAD_UNKNOWN, /* not looked at: nothing is executed, the thread is not known */
	DBPS_THREAD_RUNS,    /* on a processor */
	DBPS_THREAD_READY,   /* would run, and waits for a processor */
	DBPS_THREAD_SLEEPS,  /* waits for something that may take any time */
	DBPS_THREAD_DISK,    /* waits for a disk */
	DBPS_THREAD_BLOCKED, /* waits for something in the kernel that is no disk (state D) */
	DBPS_THREAD_STOPPED, /* by a signal or a debugger */
};

/*
 * The thread of a statement (bpf/thread.bpf.h), at the moment when the session was copied.
 */
struct dbps_thread_look {
	__u8 state;   /* enum dbps_thread_state */
	__u8 awaited; /* somebody waits in a call for the session's socket */
	__u8 full;    /* the socket takes no more bytes: the client does not read */
	__u8 used_known;
	__s32 call;		/* number of the system call that it waits in; -1: none */
	__u64 call_fd;		/* first argument of that */
	__u64 for_ns;		/* time in this state, to the scheduler's last tick; 0: unknown */
	struct dbps_usage used; /* since the statement began, valid with used_known */
};

/* One row of a snapshot: this head, then `text_have` bytes of text. */
struct dbps_snapshot_row {
	__u32 size; /* of head and text together */
	__u32 text_have;
	__u64 now_ns;
	__u64 peer_ns; /* CLOCK_MONOTONIC: last packet of a peer that is not there; 0: unknown */
	__u32 peer;    /* enum dbps_peer */
	__u32 pad;
	struct dbps_thread_look thread;
	struct dbps_session session; /* gen is even */
};

/*
 * A row as the iterator writes it, without the empty ends of names. This head, then user, database
 * and program, each padded to 8 bytes, then `text_have` bytes of text.
 */
#define DBPS_NAMES_AT __builtin_offsetof(struct dbps_session, user)

struct dbps_packed_row {
	__u32 size; /* of all of it, a multiple of 8 */
	__u32 text_have;
	__u64 now_ns;
	__u64 peer_ns;
	__u32 peer;
	__u32 pad;
	struct dbps_thread_look thread; /* only `state` is set when that is UNKNOWN */
	__u8 session[DBPS_NAMES_AT];	/* up to the names */
};

/* The longest row, and what its fixed-size copies may write behind it. */
#define DBPS_TAIL_MAX (DBPS_USER_MAX + DBPS_DB_MAX + DBPS_PROGRAM_MAX + DBPS_TEXT_MAX)
#define DBPS_ROW_ROOM (sizeof(struct dbps_packed_row) + DBPS_TAIL_MAX + 512)

/*
 * page: one entry, the rows of a snapshot as they are made. The iterator stops with EAGAIN when it
 * is full; the daemon takes the rows, sets `used` to 0 and goes on. Not by bpf_seq_write(): for
 * each 32 KiB of it the kernel walks its list of sessions anew (bpf_seq_read()).
 */
#define DBPS_PAGE_BYTES (256 * 1024)

struct dbps_page {
	__u32 used; /* bytes */
	__u32 pad;
	__u8 rows[DBPS_PAGE_BYTES];
};

/* A process that holds the client's end of a session (bpf/holder.bpf.h). */
struct dbps_holder {
	__u64 cookie;	/* of the session */
	__u64 start_ns; /* CLOCK_BOOTTIME when the process began: with its number it is this one */
	__u32 pid;
	__u32 pad;
	char command[16]; /* terminated */
};

/*
 * Cookie of a probe at the end of a library's function: how it says what it moved, and above that
 * the process of the server whose children it is of; 0: it is of one process alone.
 */
#define DBPS_LIBRARY_FORM	  3ull
#define DBPS_LIBRARY_SERVER_SHIFT 8

enum dbps_library_form {
	DBPS_LIBRARY_PLAIN, /* returns the number of bytes */
	DBPS_LIBRARY_EX,    /* returns 1, and writes the number where its fourth argument says */
	DBPS_LIBRARY_EX2,   /* the same, the fifth */
};

/* adoptions: socket cookie -> what a control link told of a session older than dbps. */
struct dbps_adoption {
	__u64 id;
	__u64 sequence; /* `text` is of this statement */
	__u64 start_ns; /* 0: unknown */
	__u32 text_len;
	__u32 flags;  /* DBPS_IN_TRANSACTION, DBPS_ABORTED */
	__u8 command; /* 0: nothing is executed */
	__u8 user_len;
	__u8 db_len;
	__u8 has_text;
	__u8 pad[4];
	char user[DBPS_USER_MAX];
	char db[DBPS_DB_MAX];
	__u8 text[DBPS_TEXT_MIN];
};

/* meta: one entry. Pins are taken over only when all of it is equal. */
struct dbps_meta {
	__u32 layout;
	__u32 text_bytes;
	__u32 prepared_max;
	__u32 tap;	/* enum dbps_tap_kind */
	__u8 build[32]; /* digest of the BPF object */
};

enum dbps_tap_kind {
	DBPS_TAP_TRACEPOINT = 1,
	DBPS_TAP_FEXIT,
	DBPS_TAP_PREEMPTIBLE, /* tracepoints whose programs can be preempted */
	DBPS_TAP_N,
};

#endif
