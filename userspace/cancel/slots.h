/*
 * The cancel table as dbpsd writes it: a slot for each cancel that servers who poll shall see. The
 * caller locks; servers and the kernel side read and withdraw at any time (dbps/slots.h).
 */
#ifndef DBPS_CANCEL_SLOTS_H
#define DBPS_CANCEL_SLOTS_H

#include "dbps/cancel.h"

/** @brief Empty the table, whatever an earlier daemon left in it. */
void dbps_slots_clear(struct dbps_cancel_table *table);

/**
 * @brief Take a slot that nobody believes yet.
 * @param ret_slot Its number.
 * @return 0; -EEXIST with *ret_slot when there is one already; -ENOSPC when all are in use.
 */
int dbps_slots_prepare(struct dbps_cancel_table *table, uint64_t cookie, uint32_t wanted,
		       unsigned int *ret_slot);

/** @brief Let servers see it. 0; -EALREADY when the kernel side withdrew it meanwhile. */
int dbps_slots_publish(struct dbps_cancel_table *table, unsigned int slot);

/** @brief Give the slot of this cancel up, settled or not. Nothing when there is none. */
void dbps_slots_release(struct dbps_cancel_table *table, uint64_t cookie, uint32_t wanted);

#endif
