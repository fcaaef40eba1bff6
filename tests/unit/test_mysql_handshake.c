/*
 * The login of every kind of client is read as it meant it, and no cut-off or made-up one is taken
 * for a login or read beyond its end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "mysql/handshake.h"
#include "mysql/protocol.h"
#include "mysql/result.h"

#define CAPS_COMMON (WIRE_CAP_PROTOCOL_41 | WIRE_CAP_SECURE_CONNECTION | WIRE_CAP_PLUGIN_AUTH)

static void assert_slice(struct wire_slice slice, const char *want)
{
	assert_int_equal(slice.len, strlen(want));
	assert_memory_equal(slice.data, want, slice.len);
}

static void put_login_head(struct wire_writer *writer, uint32_t caps)
{
	wire_put_u32(writer, caps);
	wire_put_u32(writer, 0x1000000);
	wire_put_u8(writer, 33);
	wire_put_zeros(writer, 23);
}

static void put_login(struct wire_writer *writer, uint32_t caps, const char *auth, const char *db,
		      const char *plugin)
{
	put_login_head(writer, caps);
	wire_put_zero_ended(writer, "admin");
	if (caps & (WIRE_CAP_PLUGIN_AUTH_LENENC | WIRE_CAP_SECURE_CONNECTION))
		wire_put_lenenc_bytes(writer, auth, strlen(auth));
	else
		wire_put_zero_ended(writer, auth);
	if (db)
		wire_put_zero_ended(writer, db);
	if (plugin)
		wire_put_zero_ended(writer, plugin);
}

static void the_greeting_is_version_10(void **state)
{
	struct wire_greeting greeting = {"5.7.99-x", 7, "0123456789abcdefghij"};
	struct wire_writer writer = {0};

	(void)state;
	wire_greet(&writer, &greeting);
	assert_memory_equal(writer.bytes + 4,
			    "\n5.7.99-x\0\7\0\0\0"
			    "01234567",
			    23);
	assert_memory_equal(writer.bytes + writer.len - 22, WIRE_AUTH_NATIVE, 22);
	assert_memory_equal(writer.bytes + writer.len - 35, "89abcdefghij", 13);
	assert_int_equal(writer.bytes[0], writer.len - 4);
	wire_writer_done(&writer);
}

static void scrambles_are_printable(void **state)
{
	char scramble[WIRE_SCRAMBLE_LEN], other[WIRE_SCRAMBLE_LEN];

	(void)state;
	assert_int_equal(wire_scramble(scramble), 0);
	assert_int_equal(wire_scramble(other), 0);
	assert_memory_not_equal(scramble, other, sizeof(other));
	for (size_t i = 0; i < sizeof(scramble); i++)
		assert_true(scramble[i] > ' ' && scramble[i] < 0x7f);
}

static void all_forms_of_a_login_are_read(void **state)
{
	static const uint32_t forms[] = {
		CAPS_COMMON | WIRE_CAP_CONNECT_WITH_DB,
		CAPS_COMMON | WIRE_CAP_CONNECT_WITH_DB | WIRE_CAP_PLUGIN_AUTH_LENENC,
		WIRE_CAP_PROTOCOL_41 | WIRE_CAP_PLUGIN_AUTH | WIRE_CAP_CONNECT_WITH_DB,
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		struct wire_writer writer = {0};
		struct wire_login login;

		put_login(&writer, forms[i], "secret", "mariadb-3306", WIRE_AUTH_NATIVE);
		assert_int_equal(wire_login_read(writer.bytes, writer.len, &login), 0);
		assert_slice(login.user, "admin");
		assert_slice(login.auth, "secret");
		assert_slice(login.db, "mariadb-3306");
		assert_slice(login.plugin, WIRE_AUTH_NATIVE);
		assert_int_equal(login.caps, forms[i]);
		wire_writer_done(&writer);
	}
}

static void what_was_not_offered_is_not_agreed(void **state)
{
	struct wire_writer writer = {0};
	struct wire_login login;

	(void)state;
	put_login(&writer, UINT32_MAX, "", "", "");
	assert_int_equal(wire_login_read(writer.bytes, writer.len, &login), 0);
	assert_int_equal(login.caps, WIRE_CAPS_OFFERED);
	wire_writer_done(&writer);
}

static void last_fields_may_be_absent(void **state)
{
	struct wire_writer writer = {0};
	struct wire_login login;

	(void)state;
	put_login(&writer, CAPS_COMMON | WIRE_CAP_CONNECT_WITH_DB, "", NULL, NULL);
	assert_int_equal(wire_login_read(writer.bytes, writer.len, &login), 0);
	assert_int_equal(login.db.len, 0);
	assert_int_equal(login.plugin.len, 0);
	wire_writer_done(&writer);
}

static void old_clients_are_told_apart(void **state)
{
	struct wire_login login = {.caps = 77};

	(void)state;
	/* The form before 4.1: u16 capabilities, u24 packet, user, password. */
	assert_int_equal(wire_login_read("\x85\x00\x00\x00\x01root\0", 10, &login),
			 -EPROTONOSUPPORT);
	assert_int_equal(login.caps, 77);
}

static void a_tls_request_is_no_login(void **state)
{
	struct wire_writer writer = {0};
	struct wire_login login;

	(void)state;
	put_login_head(&writer, CAPS_COMMON | 1 << 11);
	assert_int_equal(writer.len, 32);
	assert_int_equal(wire_login_read(writer.bytes, writer.len, &login), -EBADMSG);
	wire_writer_done(&writer);
}

/* Each prefix is copied to a block of its own size, so that the sanitizer sees a read beyond it. */
static void every_truncation_is_read_safely(void **state)
{
	struct wire_writer writer = {0};

	(void)state;
	put_login(&writer, CAPS_COMMON | WIRE_CAP_CONNECT_WITH_DB | WIRE_CAP_PLUGIN_AUTH_LENENC,
		  "12345678901234567890", "db", WIRE_AUTH_NATIVE);
	for (size_t len = 0; len < writer.len; len++) {
		_cleanup_free_ uint8_t *copy = malloc(len ? len : 1);
		struct wire_login login;
		int r;

		memcpy(copy, writer.bytes, len);
		r = wire_login_read(copy, len, &login);
		assert_int_equal(r, len < 32 + 6 + 21 ? -EBADMSG : 0);
	}
	wire_writer_done(&writer);
}

static void change_user_is_read(void **state)
{
	static const char body[] = "eve\0\3abcserver\0\x21\0mysql_native_password";
	struct wire_login login;

	(void)state;
	assert_int_equal(wire_change_user_read(body, sizeof(body), CAPS_COMMON, &login), 0);
	assert_slice(login.user, "eve");
	assert_slice(login.auth, "abc");
	assert_slice(login.db, "server");
	assert_slice(login.plugin, "mysql_native_password");
	for (size_t len = 0; len < 8; len++)
		assert_int_equal(wire_change_user_read(body, len, CAPS_COMMON, &login), -EBADMSG);
	assert_int_equal(wire_change_user_read(body, 8, CAPS_COMMON, &login), 0);
}

static void only_a_sha2_password_waits_for_its_word(void **state)
{
	struct wire_login login = {.auth = {"x", 1},
				   .plugin = {WIRE_AUTH_SHA2, strlen(WIRE_AUTH_SHA2)}};

	(void)state;
	assert_true(wire_login_wants_sha2_word(&login));
	login.auth.len = 0;
	assert_false(wire_login_wants_sha2_word(&login));
	login.auth.len = 1;
	login.plugin.len--;
	assert_false(wire_login_wants_sha2_word(&login));
}

static void answers_have_their_form(void **state)
{
	struct wire_writer writer = {.seq = 1};

	(void)state;
	wire_ok(&writer, 0, "");
	assert_int_equal(writer.len, 11);
	assert_memory_equal(writer.bytes, "\7\0\0\1\0\0\0\2\0\0\0", 11);
	writer.len = 0;
	wire_ok(&writer, 1, "hi");
	assert_memory_equal(writer.bytes, "\n\0\0\2\0\0\0\2\0\1\0\2hi", 14);
	writer.len = 0;
	wire_error(&writer, 1094, wire_sqlstate(1094), "no");
	assert_memory_equal(writer.bytes, "\13\0\0\3\xff\x46\4#HY000no", 15);
	writer.len = 0;
	wire_eof(&writer, 0);
	assert_memory_equal(writer.bytes, "\5\0\0\4\xfe\0\0\2\0", 9);
	wire_writer_done(&writer);
}

static void reals_have_no_more_digits_than_they_need(void **state)
{
	static const struct {
		double value;
		const char *text;
	} reals[] = {{0, "\0010"},     {7000, "\0047000"},
		     {1.5, "\0031.5"}, {0.000001, "\0100.000001"},
		     {1e-9, "\0010"},  {10, "\00210"}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(reals); i++) {
		struct wire_writer writer = {0};

		wire_put_real(&writer, reals[i].value);
		assert_int_equal(writer.len, strlen(reals[i].text));
		assert_memory_equal(writer.bytes, reals[i].text, writer.len);
		wire_writer_done(&writer);
	}
}

static void long_messages_are_cut(void **state)
{
	struct wire_writer writer = {0};
	char text[2000];

	(void)state;
	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	wire_error(&writer, 1064, "42000", text);
	assert_int_equal(writer.len, 4 + 9 + WIRE_MESSAGE_TEXT_MAX);
	wire_writer_done(&writer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_greeting_is_version_10),
		cmocka_unit_test(scrambles_are_printable),
		cmocka_unit_test(all_forms_of_a_login_are_read),
		cmocka_unit_test(what_was_not_offered_is_not_agreed),
		cmocka_unit_test(last_fields_may_be_absent),
		cmocka_unit_test(old_clients_are_told_apart),
		cmocka_unit_test(a_tls_request_is_no_login),
		cmocka_unit_test(every_truncation_is_read_safely),
		cmocka_unit_test(change_user_is_read),
		cmocka_unit_test(only_a_sha2_password_waits_for_its_word),
		cmocka_unit_test(answers_have_their_form),
		cmocka_unit_test(reals_have_no_more_digits_than_they_need),
		cmocka_unit_test(long_messages_are_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
