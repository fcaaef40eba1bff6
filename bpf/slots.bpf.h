/*
 * The kernel's hand on the cancel table (dbps/slots.h): what was settled is withdrawn from the
 * servers that poll, before they can go on to the next statement.
 */
#ifndef DBPS_BPF_SLOTS_H
#define DBPS_BPF_SLOTS_H

_Static_assert(DBPS_CANCEL_QUERY == DBPS_CANCEL_STATEMENT &&
		       DBPS_CANCEL_CONNECTION == DBPS_CANCEL_SESSION,
	       "what is wanted of a server is the action of the entry");

__noinline int slots_settled(__u64 cookie, __u32 action)
{
	__u32 zero = 0;
	struct dbps_cancel_table *table = bpf_map_lookup_elem(&dbps_slots, &zero);

	if (table)
		dbps_slots_settled(table, cookie, action);
	return 0;
}

#endif
