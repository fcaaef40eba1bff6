/*
 * The kernel's hand on the cancel table (dbps/slots.h), and the only one: the map is frozen, so
 * that servers can be given its descriptor. What was settled is withdrawn from those that poll
 * before they can go on to the next statement.
 */
#ifndef DBPS_BPF_SLOTS_H
#define DBPS_BPF_SLOTS_H

_Static_assert(DBPS_CANCEL_QUERY == DBPS_CANCEL_STATEMENT &&
		       DBPS_CANCEL_CONNECTION == DBPS_CANCEL_SESSION,
	       "what is wanted of a server is the action of the entry");

static __always_inline struct dbps_cancel_table *slots_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&dbps_slots, &zero);
}

__noinline int slots_settled(__u64 cookie, __u32 action)
{
	struct dbps_cancel_table *table = slots_get();

	if (table)
		dbps_slots_settled(table, cookie, action);
	return 0;
}

/* dbps/slots.h, 1. */
static __always_inline bool slots_publish(struct dbps_cancel_table *table,
					  struct dbps_cancel_slot *slot,
					  const struct dbps_cancel_key *key)
{
	struct dbps_cancel *entry;

	dbps_slots_prepare(table, slot, key->cookie, key->action);
	entry = bpf_map_lookup_elem(&dbps_cancels, key);
	if (entry && !*(volatile __u64 *)&entry->settled_ns && dbps_slots_publish(slot))
		return true;
	dbps_slots_release(table, slot);
	return false;
}

/* Run by reading its link: does the one thing that the control entry says. */
SEC("iter/bpf_map_elem")
int dbps_slot(struct bpf_iter__bpf_map_elem *ctx)
{
	struct dbps_control *control = control_get();
	struct dbps_cancel_table *table = slots_get();
	struct dbps_cancel_key key;
	__u32 at;

	if (!ctx->value || !control || !table)
		return 0;
	key = control->slot_key;
	at = control->slot;
	if (control->slot_wish == DBPS_SLOT_CLEAR)
		dbps_slots_clear(table);
	else if (at >= DBPS_CANCEL_SLOTS)
		return 0;
	else if (control->slot_wish == DBPS_SLOT_RELEASE)
		dbps_slots_release(table, &table->slot[at]);
	else
		control->slot_done = slots_publish(table, &table->slot[at], &key);
	return 0;
}

#endif
