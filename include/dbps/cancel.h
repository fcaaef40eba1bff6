/*
 * For database servers: poll whether dbps wants a connection's statement, or the connection, to
 * end. A poll is one load of a shared word while no such cancel is pending.
 *
 *	watch = dbps_cancel_open(NULL);                 once, in the process that serves
 *	cookie = dbps_cancel_cookie(watch, socket);     once a connection, when it was greeted
 *	if (dbps_cancel_pending(watch, cookie)) ...     wherever a statement can stop
 *
 * What a server does then is its own: it ends the statement with an error (MySQL: 1317), or closes
 * the connection. It tells nobody: dbpsd believes what the kernel sees of the socket. An idle
 * connection need not poll: dbpsd ends its socket. See dbps_cancel(3).
 */
#ifndef DBPS_CANCEL_H
#define DBPS_CANCEL_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#include <stdint.h>
#endif

/* What is wanted of a connection. */
enum dbps_cancel_wanted {
	DBPS_CANCEL_NONE,
	DBPS_CANCEL_STATEMENT, /* end what the connection executes now; it lives on */
	DBPS_CANCEL_SESSION,   /* end that, and close the connection */
};

/*
 * The table that servers map, read only. Written by dbpsd, and by the kernel side, which withdraws
 * a cancel in the moment when the statement that was meant is over.
 */
#define DBPS_CANCEL_VERSION 1
#define DBPS_CANCEL_SLOTS   64

/* How a slot stands: the low byte of its word. */
enum dbps_slot_state {
	DBPS_SLOT_FREE,
	DBPS_SLOT_PREPARED,  /* not to be believed yet */
	DBPS_SLOT_PENDING,   /* wanted now */
	DBPS_SLOT_WITHDRAWN, /* the kernel side saw the end */
};

struct dbps_cancel_slot {
	__u64 word; /* uses of this slot << 16 | enum dbps_cancel_wanted << 8 | state */
	__u64 cookie;
};

struct dbps_cancel_table {
	__u32 version;
	__u32 pending; /* slots in use: the word that is polled */
	__u64 fence;   /* the kernel side's: exchanged, to order its loads */
	struct dbps_cancel_slot slot[DBPS_CANCEL_SLOTS];
};

#ifndef __VMLINUX_H__

/* The console's socket; the table is handed out beside it. */
#define DBPS_CANCEL_SOCKET "/run/dbps/dbps.sock"
#define DBPS_CANCEL_SUFFIX ".cancel"

#ifdef __cplusplus
extern "C" {
#endif

struct dbps_cancel_watch {
	const struct dbps_cancel_table *table; /* never NULL, and always mapped at this place */
	int alive_fd; /* hung up when dbpsd has gone; -1: in dbpsd itself */
};

/**
 * @brief Begin to watch, and let dbpsd know that this process polls. Without a dbpsd nothing is
 *        pending; it is asked again at every dbps_cancel_cookie(), and the watch then begins by
 *        itself, as it does when dbpsd was started anew.
 * @param console The console socket of dbpsd; NULL: DBPS_CANCEL_SOCKET.
 * @return Owned by the caller (dbps_cancel_close()); NULL with errno without memory.
 * @post May be used by all threads of this process at once. A child made by fork() opens its own.
 */
struct dbps_cancel_watch *dbps_cancel_open(const char *console);

/** @brief Stop watching; dbpsd no longer counts on this process. NULL is fine. */
void dbps_cancel_close(struct dbps_cancel_watch *watch);

/**
 * @brief See whether dbpsd was started or stopped meanwhile; for servers whose connections live
 *        long. Waits once for each dbpsd that is started, 20 ms at most.
 * @return 1 when dbpsd knows that this process polls; else 0, also while another thread refreshes.
 */
int dbps_cancel_refresh(struct dbps_cancel_watch *watch);

/**
 * @brief By what the kernel knows a connection (SO_COOKIE), to be kept with it. Refreshes too.
 * @pre The server has sent its first bytes on it: dbpsd does not look for a greeting on a Unix
 *      socket that has a cookie.
 * @return 0 when `socket` is no socket: nothing is ever pending for it.
 */
uint64_t dbps_cancel_cookie(struct dbps_cancel_watch *watch, int socket);

/** @brief Look through the table. @return enum dbps_cancel_wanted. */
int dbps_cancel_scan(const struct dbps_cancel_watch *watch, uint64_t cookie);

/** @return enum dbps_cancel_wanted of this connection. Any thread, also in a signal handler. */
static inline int dbps_cancel_pending(const struct dbps_cancel_watch *watch, uint64_t cookie)
{
	if (__builtin_expect(__atomic_load_n(&watch->table->pending, __ATOMIC_RELAXED) == 0, 1))
		return DBPS_CANCEL_NONE;
	return dbps_cancel_scan(watch, cookie);
}

#ifdef __cplusplus
}
#endif

#endif
#endif
