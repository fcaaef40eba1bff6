/*
 * The slots of the cancel table as the kernel side handles them: a cancel that is settled is
 * withdrawn from the servers that poll. The same code runs in the unit tests.
 *
 * Why a server that polls never ends the statement after the one that was meant:
 * 1. A slot is prepared, then its entry in the cancel map is seen unsettled, then the slot is made
 * PENDING by a compare-and-swap from PREPARED.
 * 2. Whoever settles the entry does that first, and then withdraws the slots of this cookie and
 * action, PREPARED ones as well. A full barrier stands between the two on both sides, so either
 * the daemon sees the entry settled, or the settling side sees the slot.
 * 3. The entry of a statement is settled in the server's own thread, when the last byte of its
 * answer left, or when the next request was read: before that server can poll for the next one.
 */
#ifndef DBPS_SLOTS_H
#define DBPS_SLOTS_H

#include "cancel.h"

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

/* The daemon may be making it PENDING: then the second try finds it so. A slot that is used anew
 * has another word, and is left alone. */
static inline void dbps_slot_withdraw(struct dbps_cancel_slot *slot, __u64 word)
{
	__u64 seen = __sync_val_compare_and_swap(&slot->word, word,
						 dbps_slot_with(word, DBPS_SLOT_WITHDRAWN));

	if (seen != word && seen == dbps_slot_with(word, DBPS_SLOT_PENDING))
		__sync_val_compare_and_swap(&slot->word, seen,
					    dbps_slot_with(word, DBPS_SLOT_WITHDRAWN));
}

/* The cancel of `cookie` for `wanted` was just settled. */
static inline void dbps_slots_settled(struct dbps_cancel_table *table, __u64 cookie, __u32 wanted)
{
	__sync_lock_test_and_set(&table->fence, cookie);
	if (!*(volatile __u32 *)&table->pending)
		return;
	for (int i = 0; i < DBPS_CANCEL_SLOTS; i++) {
		struct dbps_cancel_slot *slot = &table->slot[i];
		__u64 word = *(volatile __u64 *)&slot->word;

		if (slot->cookie == cookie && dbps_slot_wanted(word) == wanted &&
		    (dbps_slot_state(word) == DBPS_SLOT_PREPARED ||
		     dbps_slot_state(word) == DBPS_SLOT_PENDING))
			dbps_slot_withdraw(slot, word);
	}
}

#endif
