/*
 * Any statements to the console, from any caller, over sessions that are not there: each has one
 * well-formed answer, and none takes longer or more memory than its limits say.
 *
 * The input: a byte that is the caller, then statements with 0x1e between.
 */
#include <setjmp.h>
#include <stdarg.h>

#include "check.h"

#include <cmocka.h>

#include "../unit/console.h"

#define STATEMENTS_MAX 8
#define TIME_LIMIT_MS  100

/* Six texts, and what is behind them with a length of its own. */
#define DEFINITION_FIELDS 7

enum {
	CALLER_RIGHTS = 3,
	CALLER_ON_SERVER = 4,
};

static struct wire_slice next_packet(struct wire_cursor *bytes, uint8_t *seq)
{
	struct wire_slice packet;
	uint32_t len;
	uint8_t has;

	CHECK(!wire_read_u24(bytes, &len) && !wire_read_u8(bytes, &has));
	CHECK(has == (*seq)++ && len);
	CHECK(!wire_read_bytes(bytes, len, &packet));
	return packet;
}

static bool is_end(const struct wire_slice *packet)
{
	return (uint8_t)packet->data[0] == 0xff ||
	       ((uint8_t)packet->data[0] == 0xfe && packet->len < 9);
}

static void check_row(const struct wire_slice *packet, uint64_t columns)
{
	struct wire_cursor cursor = wire_cursor(packet->data, packet->len);
	struct wire_slice value;
	uint8_t null;

	for (uint64_t i = 0; i < columns; i++) {
		if (cursor.left && *cursor.at == 0xfb)
			CHECK(!wire_read_u8(&cursor, &null));
		else
			CHECK(!wire_read_lenenc_bytes(&cursor, &value));
	}
	CHECK(!cursor.left);
}

/* One OK, one ERROR, or one result set, which an ERROR may end. */
static void check_answer(struct wire_cursor *bytes)
{
	uint8_t seq = 0;
	struct wire_slice packet = next_packet(bytes, &seq);
	struct wire_cursor cursor = wire_cursor(packet.data, packet.len);
	uint64_t columns;

	if (!*cursor.at || *cursor.at == 0xff) {
		CHECK(!bytes->left);
		return;
	}
	CHECK(!wire_read_lenenc(&cursor, &columns) && !cursor.left && columns);
	for (uint64_t i = 0; i < columns; i++) {
		packet = next_packet(bytes, &seq);
		check_row(&packet, DEFINITION_FIELDS);
	}
	packet = next_packet(bytes, &seq);
	CHECK(is_end(&packet));
	for (packet = next_packet(bytes, &seq); !is_end(&packet); packet = next_packet(bytes, &seq))
		check_row(&packet, columns);
	CHECK(!bytes->left);
}

/* Of this process: a machine that is busy with others is no failure. */
static double cpu_ms(void)
{
	struct timespec used;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return (double)used.tv_sec * 1e3 + (double)used.tv_nsec / 1e6;
}

static void run(const char *bytes, size_t len)
{
	char *statement = exact_copy(bytes, len);
	struct wire_writer *out = &connection.channel.out;
	struct wire_cursor answer;
	double begun_ms = cpu_ms();

	out->len = 0;
	out->seq = 0;
	sql_execute(&connection, statement, len);
	CHECK(!out->error);
	CHECK(cpu_ms() - begun_ms < 10.0 * TIME_LIMIT_MS);
	answer = wire_cursor(out->bytes, out->len);
	check_answer(&answer);
	free(statement);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	/* What the fakes assert. */
	return setenv("CMOCKA_TEST_ABORT", "1", 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *at = (const char *)data + 1, *end = (const char *)data + size;

	if (!size)
		return 0;
	CHECK(!set_up(NULL));
	test_daemon.config.sql_time_limit_ms = TIME_LIMIT_MS;
	test_daemon.config.sql_memory_limit_mib = 4;
	if (*data & CALLER_RIGHTS)
		become(1000, "admin", *data & CALLER_RIGHTS);
	if (*data & CALLER_ON_SERVER)
		snprintf(connection.server, sizeof(connection.server), "mysql-3307");
	for (int i = 0; i < STATEMENTS_MAX && at < end; i++) {
		const char *stop = memchr(at, 0x1e, (size_t)(end - at));

		stop = stop ? stop : end;
		run(at, (size_t)(stop - at));
		at = stop + 1;
	}
	tear_down(NULL);
	return 0;
}
