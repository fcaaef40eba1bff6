/*
 * Comparing two sessions field by field: what differs is told, and ends the run.
 */
#ifndef FUZZ_SAME_H
#define FUZZ_SAME_H

#include "kernel.h"

UNTRACED_BEGIN
static void same_number(const char *name, __u64 a, __u64 b)
{
	if (a == b)
		return;
	fprintf(stderr, "%s: %llu or %llu\n", name, (unsigned long long)a, (unsigned long long)b);
	abort();
}

#define SAME(field)	     same_number(#field, a->field, b->field)
#define SAME_BYTES(field, n) CHECK(!memcmp(a->field, b->field, n))

static void same_statement(const struct dbps_session *a, const struct dbps_session *b)
{
	SAME(phase);
	SAME(command);
	SAME(sequence);
	SAME(end_ns);
	SAME(rows);
	SAME(errors);
	SAME(last_error);
	SAME(status);
	SAME(results);
	SAME(text_off);
	SAME(text_len);
	SAME(stmt_id);
	SAME(last_stmt_id);
	SAME(lost);
	if (a->phase == DBPS_PHASE_DEFS || a->phase == DBPS_PHASE_PREPARE_DEFS)
		SAME(defs_left);
}

static void same_times(const struct dbps_session *a, const struct dbps_session *b)
{
	SAME(start_ns);
	if (a->flags & DBPS_IN_TRANSACTION)
		SAME(trx_start_ns);
}

static void same_login(const struct dbps_session *a, const struct dbps_session *b)
{
	SAME(caps);
	SAME(attr_pid);
	SAME(prepare_era);
	SAME(user_len);
	SAME(db_len);
	SAME(program_len);
	SAME_BYTES(user, a->user_len);
	SAME_BYTES(db, a->db_len);
	SAME_BYTES(program, a->program_len);
}

/* gathered: bytes of a header that are in `hdr`. */
static void same_stream(const struct dbps_stream *a, const struct dbps_stream *b, __u32 gathered)
{
	SAME(left);
	SAME(hdr_have);
	SAME(full);
	SAME_BYTES(hdr, gathered);
	if (!a->left && !a->full)
		return;
	SAME(got);
	SAME(seq);
	SAME(skip);
}

static void same_request(const struct dbps_request *a, const struct dbps_request *b)
{
	SAME(len);
	SAME(have);
	SAME_BYTES(body, a->have);
}

static void same_kernel(const struct kernel *a, const struct kernel *b)
{
	for (size_t i = 0; i < DBPS_LOSS_N; i++)
		SAME(losses[i]);
	SAME(n_acts);
	SAME_BYTES(acts, a->n_acts * sizeof(*a->acts));
	for (size_t i = 0; i < PREPARED_N; i++) {
		CHECK(!a->prepared[i].request == !b->prepared[i].request);
		if (!a->prepared[i].request)
			continue;
		SAME(prepared[i].key.era);
		SAME(prepared[i].key.stmt_id);
		same_request(a->prepared[i].request, b->prepared[i].request);
	}
}
UNTRACED_END

#endif
