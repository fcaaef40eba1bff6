/*
 * Encrypted sessions whose plaintext is not followed (bpf/dark.bpf.h): the handshake and the login
 * are told from the statements behind them, however calls cut the records.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dbps/kernel.h"
#include "turns.h"

/* ---------------------------------------------------------------- what it asks of the kernel */

#define __noinline __attribute__((noinline))

static long bpf_probe_read_user(void *dst, __u32 n, const void *src)
{
	memcpy(dst, src, n);
	return 0;
}

static int plain_note(struct dbps_session *s)
{
	(void)s;
	return 0;
}

static int plain_unread(const struct dbps_session *s)
{
	(void)s;
	return 0;
}

static void session_end(struct dbps_session *s, __u32 error, __u8 phase)
{
	(void)error;
	s->phase = phase;
}

/* The one server that is known, whatever map is asked. */
static struct dbps_server_seen server_seen;
static int dbps_servers;

static void *bpf_map_lookup_elem(const int *map, const __u32 *key)
{
	(void)map;
	(void)key;
	return &server_seen;
}

/* As in bpf/session.bpf.h, of which this file is a part. */
static void received_opaque(struct dbps_record *r)
{
	struct dbps_session *s = &r->s;

	if (s->phase == DBPS_PHASE_OPAQUE && s->flags & DBPS_SENT)
		session_end(s, 0, DBPS_PHASE_IDLE);
	if (s->phase != DBPS_PHASE_IDLE)
		return;
	s->sequence++;
	s->flags &= ~DBPS_SENT;
	s->phase = DBPS_PHASE_OPAQUE;
}

int dark_logged_in(struct dbps_session *s, __u64 base, __u32 n);
int dark_send_waits(struct dbps_session *s);
int dark_received(struct dbps_record *r, __u64 base, __u32 n);
int dark_looks(const struct dbps_session *s, bool now);
int dark_sent(struct dbps_session *s);
int dark_waits(struct dbps_session *s, __u64 requested);
#include "../../bpf/dark.bpf.h"

/* ---------------------------------------------------------------- the driver ---------------- */

static struct dbps_record *new_record(void)
{
	struct dbps_record *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	r->s.flags = DBPS_FRAMED_IN | DBPS_TLS;
	r->s.phase = DBPS_PHASE_AUTH;
	memset(&server_seen, 0, sizeof(server_seen));
	return r;
}

static size_t record(uint8_t *to, uint8_t type, size_t n)
{
	memcpy(to, (uint8_t[5]){type, 3, 3, (uint8_t)(n >> 8), (uint8_t)n}, 5);
	memset(to + 5, 23, n); /* bytes that look like a record's first */
	return n + 5;
}

/* One call's bytes, cut at one place; SIZE_MAX: a byte a call. */
static void reads(struct dbps_record *r, const uint8_t *bytes, size_t n, size_t cut)
{
	size_t step = cut == SIZE_MAX ? 1 : cut && cut < n ? cut : n;

	for (size_t at = 0; at < n; at += step) {
		if (at && cut != SIZE_MAX)
			step = n - at;
		dark_received(r, (__u64)(bytes + at), (__u32)step);
	}
}

static void sends(struct dbps_record *r)
{
	r->s.flags |= DBPS_SENT;
}

/* ---------------------------------------------------------------- tests --------------------- */

/* TLS 1.3: hello, then the end of the handshake with the login behind it, then two statements. */
static void check_login_with_the_handshake(size_t cut)
{
	struct dbps_record *r = new_record();
	uint8_t bytes[1024];
	size_t n;

	n = record(bytes, 22, 200);
	reads(r, bytes, n, cut);
	sends(r);
	n = record(bytes, 20, 1);
	n += record(bytes + n, 23, 53);
	n += record(bytes + n, 23, 90);
	reads(r, bytes, n, cut);
	assert_int_equal(r->s.phase, DBPS_PHASE_AUTH);
	assert_int_equal(r->s.sequence, 0);
	sends(r);
	for (unsigned int i = 1; i <= 2; i++) {
		n = record(bytes, 23, 40);
		reads(r, bytes, n, cut);
		assert_int_equal(r->s.phase, DBPS_PHASE_OPAQUE);
		assert_int_equal(r->s.sequence, i);
		sends(r);
		assert_int_equal(dark_waits(&r->s, TLS_HEADER), 0);
		assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
	}
	free(r);
}

static void test_login_is_told_from_statements_at_every_cut(void **state)
{
	(void)state;
	for (size_t cut = 0; cut < 220; cut++)
		check_login_with_the_handshake(cut);
	check_login_with_the_handshake(SIZE_MAX);
}

/* Where no record is where one should begin, or an event was lost, the next call begins with one.
 */
static void test_lost_records_are_found_again(void **state)
{
	struct dbps_record *r = new_record();
	uint8_t bytes[256];
	size_t n;

	(void)state;
	reads(r, (const uint8_t *)"no record at all", 16, 0);
	assert_int_equal(r->s.lost, 1);
	n = record(bytes, 22, 200);
	reads(r, bytes, n - 9, 0); /* its end is not seen */
	assert_int_equal(r->s.lost, 0);
	r->s.lost = 1;
	sends(r);
	n = record(bytes, 23, 90);
	reads(r, bytes, n, 0);
	assert_int_equal(r->s.phase, DBPS_PHASE_AUTH);
	assert_int_equal(r->s.in.skip, 1);
	sends(r);
	reads(r, bytes, n, 0);
	assert_int_equal(r->s.sequence, 1);
	free(r);
}

static void test_older_session_shows_to_be_encrypted(void **state)
{
	struct dbps_record *r = new_record();
	uint8_t bytes[128];
	size_t n = record(bytes, 23, 90);

	(void)state;
	r->s.flags = DBPS_JOINED;
	r->s.phase = DBPS_PHASE_UNKNOWN;
	assert_false(dark_is_older(&r->s, (__u64)bytes, (__u32)n - 1));
	assert_true(dark_is_older(&r->s, (__u64)bytes, (__u32)n));
	assert_true(r->s.flags & DBPS_TLS);
	reads(r, bytes, n, 0);
	assert_int_equal(r->s.phase, DBPS_PHASE_OPAQUE);
	free(r);
}

/* A server that is told by a poll what it can read shows no end but its answer; one that has looked
 * for a record where there was none does. */
static void test_answer_is_the_end_where_the_server_never_looks(void **state)
{
	uint8_t bytes[128];
	size_t n = record(bytes, 23, 90);

	(void)state;
	for (int looks = 0; looks < 2; looks++) {
		struct dbps_record *r = new_record();

		r->s.phase = DBPS_PHASE_IDLE;
		dark_waits(&r->s, looks ? TLS_HEADER : 65536);
		reads(r, bytes, n, 0);
		assert_int_equal(r->s.phase, DBPS_PHASE_OPAQUE);
		sends(r);
		dark_sent(&r->s);
		assert_int_equal(r->s.phase, looks ? DBPS_PHASE_OPAQUE : DBPS_PHASE_IDLE);
		assert_int_equal(!(r->s.flags & DBPS_RESYNCED), looks);
		dark_send_waits(&r->s); /* more of the answer is to come */
		assert_int_equal(r->s.phase, DBPS_PHASE_OPAQUE);
		free(r);
	}
}

/* A length and a token, apart and together; what the handshake sends has no wrap tokens. */
static void test_first_wrap_token_is_the_login(void **state)
{
	uint8_t bytes[64] = {0, 0, 0, 60, 5, 4, 6, 0xff};

	(void)state;
	for (size_t cut = 0; cut <= 4; cut += 4) {
		struct dbps_record *r = new_record();

		r->s.flags |= DBPS_PGSQL;
		bytes[4] = 0x60;
		reads(r, bytes, sizeof(bytes), cut);
		assert_int_equal(r->s.in.skip, 0);
		sends(r);
		bytes[4] = 5;
		reads(r, bytes, sizeof(bytes), cut);
		assert_int_equal(r->s.in.skip, 1);
		assert_int_equal(r->s.sequence, 0);
		sends(r);
		reads(r, bytes, sizeof(bytes), cut);
		assert_int_equal(r->s.phase, DBPS_PHASE_OPAQUE);
		assert_int_equal(r->s.sequence, 1);
		free(r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_login_is_told_from_statements_at_every_cut),
		cmocka_unit_test(test_lost_records_are_found_again),
		cmocka_unit_test(test_older_session_shows_to_be_encrypted),
		cmocka_unit_test(test_answer_is_the_end_where_the_server_never_looks),
		cmocka_unit_test(test_first_wrap_token_is_the_login),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
