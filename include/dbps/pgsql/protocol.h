/*
 * What both directions share: the codes of first packets, and how numbers and names are read.
 * protocol.md 4.1.
 */
#ifndef DBPS_PGSQL_PROTOCOL_H
#define DBPS_PGSQL_PROTOCOL_H

#include "dbps/mysql.h"

#define PGSQL_INLINE MYSQL_INLINE

/* 4.1: the code behind the length of a first packet. */
#define PGSQL_CANCEL	  80877102u
#define PGSQL_SSL	  80877103u
#define PGSQL_GSS	  80877104u
#define PGSQL_MAJOR	  3u /* in its upper half */
#define PGSQL_STARTUP_MIN 8u
#define PGSQL_STARTUP_MAX 10000u

/* PQ_RECV_BUFFER_SIZE: what a server asks for that has come to the end of what it read. */
#define PGSQL_BUFFER 8192

/* A message is at most 1 GiB long (MaxAllocSize). */
#define PGSQL_MESSAGE_MAX 0x3fffffffu

/* Words for commands that both protocols have: the processlist says the same for both. */
#define PGSQL_COM_FUNCTION 0xfe

/* Bytes of a name that are compared, and of a NUL behind it. */
#define PGSQL_NAME_MAX 63

#define PGSQL_UNNAMED 0x811c9dc5u /* of the empty name */

/* Messages of one call that are followed, and of them those that one look at the window takes. */
#define PGSQL_MESSAGES_MAX    65536
#define PGSQL_WINDOW_MESSAGES 24

PGSQL_INLINE __u32 pgsql_u32(const __u8 *b)
{
	return (__u32)b[0] << 24 | (__u32)b[1] << 16 | (__u32)b[2] << 8 | b[3];
}

/* Whether the first bytes that a server read, as far as they go, may begin a session. */
PGSQL_INLINE bool pgsql_may_start(const __u8 *b, __u32 n)
{
	__u32 len = pgsql_u32(b), code = pgsql_u32(b + 4);

	if (b[0] || (n > 1 && b[1]))
		return false;
	if (n < 8)
		return true;
	return len >= PGSQL_STARTUP_MIN && len <= PGSQL_STARTUP_MAX &&
	       (code >> 16 == PGSQL_MAJOR || code == PGSQL_SSL || code == PGSQL_GSS);
}

/* The first two NUL-terminated names of a message, as hashes (FNV-1a); 0: too long, or cut. */
struct pgsql_names {
	__u32 hash[2];
};

DBPS_STEP_FN __u64 pgsql_name(const struct dbps_pgsql_head *h, __u32 have, __u32 off)
{
	__u32 hash = PGSQL_UNNAMED;

	if (!h)
		return 0;
	for (__u32 i = 0; i <= PGSQL_NAME_MAX; i++) {
		__u32 at = off + i;

		if (at >= have || at >= DBPS_PGSQL_HEAD)
			return 0;
		if (!h->b[at])
			return (__u64)(at + 1) << 32 | (hash ? hash : 1);
		hash = (hash ^ h->b[at]) * 0x01000193u;
	}
	return 0;
}

PGSQL_INLINE struct pgsql_names pgsql_two_names(const struct dbps_pgsql_head *h, __u32 have)
{
	struct pgsql_names names = {};
	__u64 r = pgsql_name(h, have, 0);

	names.hash[0] = (__u32)r;
	if (r)
		names.hash[1] = (__u32)pgsql_name(h, have, (__u32)(r >> 32));
	return names;
}

/* Whether a block begins with n bytes of a word. Unrolled: the kernel side has no memcmp(). */
PGSQL_INLINE bool pgsql_begins(const __u8 *b, const char *word, __u32 n)
{
	__u32 differ = 0;

#if defined(__clang__)
#pragma clang loop unroll(full)
#endif
	for (__u32 i = 0; i < n; i++)
		differ |= b[i] ^ (__u8)word[i];
	return !differ;
}

/* Whether it is the word, with the NUL behind it. */
#define pgsql_is(b, word) pgsql_begins((b), (word), sizeof(word))

#endif
