/*
 * A slot's word counts its uses, so that a reader who saw it before and after reading the cookie
 * knows that both belong together, and a compare-and-swap never meets a later use.
 */
#include "cancel/slots.h"

#include <errno.h>
#include <stdbool.h>

#include "dbps/slots.h"

#define USE (1ULL << 16)

static uint64_t load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static void free_slot(struct dbps_cancel_slot *slot)
{
	uint64_t word = dbps_slot_with(load((const uint64_t *)&slot->word), DBPS_SLOT_FREE);

	__atomic_store_n(&slot->word, word, __ATOMIC_SEQ_CST);
}

static bool is_free(const struct dbps_cancel_slot *slot)
{
	return dbps_slot_state(load((const uint64_t *)&slot->word)) == DBPS_SLOT_FREE;
}

/* The slot of this cancel, or -1. */
static int find(const struct dbps_cancel_table *table, uint64_t cookie, uint32_t wanted)
{
	for (int i = 0; i < DBPS_CANCEL_SLOTS; i++) {
		const struct dbps_cancel_slot *slot = &table->slot[i];

		if (!is_free(slot) && slot->cookie == cookie &&
		    dbps_slot_wanted(load((const uint64_t *)&slot->word)) == wanted)
			return i;
	}
	return -1;
}

static int find_free(const struct dbps_cancel_table *table)
{
	for (int i = 0; i < DBPS_CANCEL_SLOTS; i++)
		if (is_free(&table->slot[i]))
			return i;
	return -1;
}

void dbps_slots_clear(struct dbps_cancel_table *table)
{
	for (int i = 0; i < DBPS_CANCEL_SLOTS; i++)
		free_slot(&table->slot[i]);
	__atomic_store_n(&table->pending, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&table->version, DBPS_CANCEL_VERSION, __ATOMIC_RELEASE);
}

int dbps_slots_prepare(struct dbps_cancel_table *table, uint64_t cookie, uint32_t wanted,
		       unsigned int *ret_slot)
{
	int found = find(table, cookie, wanted);
	struct dbps_cancel_slot *slot;
	uint64_t use;

	if (found >= 0) {
		*ret_slot = (unsigned int)found;
		return -EEXIST;
	}
	found = find_free(table);
	if (found < 0)
		return -ENOSPC;
	slot = &table->slot[found];
	use = (load((const uint64_t *)&slot->word) & ~(USE - 1)) + USE;
	__atomic_store_n(&slot->word, use, __ATOMIC_SEQ_CST);
	__atomic_store_n(&slot->cookie, cookie, __ATOMIC_SEQ_CST);
	__atomic_add_fetch(&table->pending, 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&slot->word, use | wanted << 8 | DBPS_SLOT_PREPARED, __ATOMIC_SEQ_CST);
	*ret_slot = (unsigned int)found;
	return 0;
}

int dbps_slots_publish(struct dbps_cancel_table *table, unsigned int slot)
{
	__u64 *word = &table->slot[slot].word;
	__u64 prepared = dbps_slot_with(*word, DBPS_SLOT_PREPARED);

	return __sync_bool_compare_and_swap(word, prepared,
					    dbps_slot_with(prepared, DBPS_SLOT_PENDING))
		       ? 0
		       : -EALREADY;
}

void dbps_slots_release(struct dbps_cancel_table *table, uint64_t cookie, uint32_t wanted)
{
	int found = find(table, cookie, wanted);

	if (found < 0)
		return;
	free_slot(&table->slot[found]);
	__atomic_sub_fetch(&table->pending, 1, __ATOMIC_SEQ_CST);
}
