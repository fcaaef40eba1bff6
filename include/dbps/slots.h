/*
 * The slots of the cancel table: taken, made pending, withdrawn and given up. The kernel side runs
 * this, as nobody in user space may write the table that servers map; so do the unit tests.
 *
 * Why a server that polls never ends the statement after the one that was meant:
 * 1. A slot is prepared, then its entry in the cancel map is seen unsettled, then the slot is made
 * PENDING by a compare-and-swap from PREPARED.
 * 2. Whoever settles the entry does that first, and then withdraws the slots of this cookie and
 * action, PREPARED ones as well. A full barrier stands between the two on both sides, so either the
 * slot's taker sees the entry settled, or the settling side sees the slot.
 * 3. The entry of a statement is settled in the server's own thread, when the last byte of its
 * answer left, or when the next request was read: before that server can poll for the next one.
 *
 * A slot's word counts its uses: who reads it before and after the cookie knows that both belong
 * together, and a compare-and-swap never meets a later use.
 */
#ifndef DBPS_SLOTS_H
#define DBPS_SLOTS_H

#include "cancel.h"

#ifndef __VMLINUX_H__
#include <stdbool.h>
#endif

#define DBPS_SLOT_USE (1ULL << 16)

static inline __u32 dbps_slot_state(__u64 word)
{
	return word & 0xff;
}

static inline __u32 dbps_slot_wanted(__u64 word)
{
	return word >> 8 & 0xff;
}

static inline __u64 dbps_slot_with(__u64 word, __u32 state)
{
	return (word & ~0xffULL) | state;
}

static inline __u64 dbps_slot_read(const struct dbps_cancel_slot *slot)
{
	return *(volatile const __u64 *)&slot->word;
}

/* Exchanges, and is a full barrier. */
static inline void dbps_slot_write(__u64 *to, __u64 value)
{
	__sync_lock_test_and_set(to, value);
}

static inline bool dbps_slot_is(const struct dbps_cancel_slot *slot, __u64 cookie, __u32 wanted)
{
	__u64 word = dbps_slot_read(slot);

	return dbps_slot_state(word) != DBPS_SLOT_FREE && slot->cookie == cookie &&
	       dbps_slot_wanted(word) == wanted;
}

/* --- the daemon's wishes; one at a time --- */

/** @return The number of the slot that this cancel has; DBPS_CANCEL_SLOTS: none. */
static inline __u32 dbps_slots_find(const struct dbps_cancel_table *table, __u64 cookie,
				    __u32 wanted)
{
	__u32 i = 0;

	while (i < DBPS_CANCEL_SLOTS && !dbps_slot_is(&table->slot[i], cookie, wanted))
		i++;
	return i;
}

/** @return The number of a slot that nobody has; DBPS_CANCEL_SLOTS: none. */
static inline __u32 dbps_slots_find_free(const struct dbps_cancel_table *table)
{
	__u32 i = 0;

	while (i < DBPS_CANCEL_SLOTS &&
	       dbps_slot_state(dbps_slot_read(&table->slot[i])) != DBPS_SLOT_FREE)
		i++;
	return i;
}

static inline void dbps_slots_prepare(struct dbps_cancel_table *table,
				      struct dbps_cancel_slot *slot, __u64 cookie, __u32 wanted)
{
	__u64 use = (dbps_slot_read(slot) & ~(DBPS_SLOT_USE - 1)) + DBPS_SLOT_USE;

	dbps_slot_write(&slot->word, use);
	dbps_slot_write(&slot->cookie, cookie);
	__sync_fetch_and_add(&table->pending, 1);
	dbps_slot_write(&slot->word, use | (__u64)wanted << 8 | DBPS_SLOT_PREPARED);
}

/**
 * @pre Its entry was seen unsettled after it was prepared.
 * @return Whether servers see it: it was not settled meanwhile.
 */
static inline bool dbps_slots_publish(struct dbps_cancel_slot *slot)
{
	__u64 prepared = dbps_slot_with(dbps_slot_read(slot), DBPS_SLOT_PREPARED);

	return __sync_val_compare_and_swap(&slot->word, prepared,
					   dbps_slot_with(prepared, DBPS_SLOT_PENDING)) == prepared;
}

/* The cancel is given up, settled or not. */
static inline void dbps_slots_release(struct dbps_cancel_table *table,
				      struct dbps_cancel_slot *slot)
{
	if (dbps_slot_state(dbps_slot_read(slot)) == DBPS_SLOT_FREE)
		return;
	dbps_slot_write(&slot->word, dbps_slot_with(dbps_slot_read(slot), DBPS_SLOT_FREE));
	__sync_fetch_and_add(&table->pending, -1);
}

/* All are, whoever had them. */
static inline void dbps_slots_clear(struct dbps_cancel_table *table)
{
	for (__u32 i = 0; i < DBPS_CANCEL_SLOTS; i++) {
		struct dbps_cancel_slot *slot = &table->slot[i];

		dbps_slot_write(&slot->word, dbps_slot_with(dbps_slot_read(slot), DBPS_SLOT_FREE));
	}
	*(volatile __u32 *)&table->pending = 0;
	*(volatile __u32 *)&table->version = DBPS_CANCEL_VERSION;
}

/* --- what happens --- */

/* Somebody may be making it PENDING: then the second try finds it so. A slot that is used anew has
 * another word, and is left alone. */
static inline void dbps_slot_withdraw(struct dbps_cancel_slot *slot, __u64 word)
{
	__u64 seen = __sync_val_compare_and_swap(&slot->word, word,
						 dbps_slot_with(word, DBPS_SLOT_WITHDRAWN));

	if (seen != word && seen == dbps_slot_with(word, DBPS_SLOT_PENDING))
		__sync_val_compare_and_swap(&slot->word, seen,
					    dbps_slot_with(word, DBPS_SLOT_WITHDRAWN));
}

/* The entry of `cookie` for `wanted` was just settled. */
static inline void dbps_slots_settled(struct dbps_cancel_table *table, __u64 cookie, __u32 wanted)
{
	dbps_slot_write(&table->fence, cookie);
	if (!*(volatile __u32 *)&table->pending)
		return;
	for (__u32 i = 0; i < DBPS_CANCEL_SLOTS; i++) {
		struct dbps_cancel_slot *slot = &table->slot[i];
		__u64 word = dbps_slot_read(slot);

		if (slot->cookie == cookie && dbps_slot_wanted(word) == wanted &&
		    (dbps_slot_state(word) == DBPS_SLOT_PREPARED ||
		     dbps_slot_state(word) == DBPS_SLOT_PENDING))
			dbps_slot_withdraw(slot, word);
	}
}

#endif
