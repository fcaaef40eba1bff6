/*
 * Whoever reached the socket is known by peer credentials, so the password's scramble is asked for,
 * as every client wants to send one, and not looked at.
 */
#include "mysql/handshake.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

int wire_scramble(char scramble[WIRE_SCRAMBLE_LEN])
{
	if (getrandom(scramble, WIRE_SCRAMBLE_LEN, 0) != WIRE_SCRAMBLE_LEN)
		return -EIO;
	/* Clients take it as a C string: printable, so that no byte ends it. */
	for (int i = 0; i < WIRE_SCRAMBLE_LEN; i++)
		scramble[i] = (char)('0' + ((unsigned char)scramble[i] & 63));
	return 0;
}

void wire_greet(struct wire_writer *writer, const struct wire_greeting *greeting)
{
	wire_begin(writer);
	wire_put_u8(writer, WIRE_PROTOCOL);
	wire_put_zero_ended(writer, greeting->version);
	wire_put_u32(writer, greeting->connection_id);
	wire_put_bytes(writer, greeting->scramble, 8);
	wire_put_u8(writer, 0);
	wire_put_u16(writer, WIRE_CAPS_OFFERED & 0xffff);
	wire_put_u8(writer, WIRE_UTF8MB4);
	wire_put_u16(writer, WIRE_STATUS_AUTOCOMMIT);
	wire_put_u16(writer, WIRE_CAPS_OFFERED >> 16);
	wire_put_u8(writer, WIRE_SCRAMBLE_LEN + 1);
	wire_put_zeros(writer, 10);
	wire_put_bytes(writer, greeting->scramble + 8, WIRE_SCRAMBLE_LEN - 8);
	wire_put_u8(writer, 0);
	wire_put_zero_ended(writer, WIRE_AUTH_NATIVE);
	wire_end(writer);
}

/* A last field may lack its NUL, or be absent although its capability is set (protocol.md 1.4). */
static void read_loose_text(struct wire_cursor *cursor, struct wire_slice *ret)
{
	if (wire_read_zero_ended(cursor, ret))
		*ret = wire_read_rest(cursor);
}

static int read_auth(struct wire_cursor *cursor, uint32_t caps, struct wire_slice *ret)
{
	uint8_t len;
	int r;

	if (caps & WIRE_CAP_PLUGIN_AUTH_LENENC)
		return wire_read_lenenc_bytes(cursor, ret);
	if (!(caps & WIRE_CAP_SECURE_CONNECTION))
		return wire_read_zero_ended(cursor, ret);
	r = wire_read_u8(cursor, &len);
	return r ? r : wire_read_bytes(cursor, len, ret);
}

/* capabilities, largest packet, charset, 19 reserved bytes and 4 that MariaDB uses */
static int read_fixed_part(struct wire_cursor *cursor, uint32_t *ret_caps)
{
	struct wire_slice rest;
	uint32_t caps;
	int r;

	r = wire_read_u32(cursor, &caps);
	if (r)
		return r;
	if (!(caps & WIRE_CAP_PROTOCOL_41))
		return -EPROTONOSUPPORT;
	r = wire_read_bytes(cursor, 4 + 1 + 23, &rest);
	if (!r)
		*ret_caps = caps & WIRE_CAPS_OFFERED;
	return r;
}

int wire_login_read(const void *packet, size_t len, struct wire_login *ret_login)
{
	struct wire_cursor cursor = wire_cursor(packet, len);
	struct wire_login login = {0};
	int r;

	r = read_fixed_part(&cursor, &login.caps);
	if (!r)
		r = wire_read_zero_ended(&cursor, &login.user);
	if (!r)
		r = read_auth(&cursor, login.caps, &login.auth);
	if (r)
		return r;
	if (login.caps & WIRE_CAP_CONNECT_WITH_DB)
		read_loose_text(&cursor, &login.db);
	if (login.caps & WIRE_CAP_PLUGIN_AUTH)
		read_loose_text(&cursor, &login.plugin);
	*ret_login = login;
	return 0;
}

int wire_change_user_read(const void *body, size_t len, uint32_t caps, struct wire_login *ret_login)
{
	struct wire_cursor cursor = wire_cursor(body, len);
	struct wire_login login = {.caps = caps};
	uint16_t charset;
	int r;

	r = wire_read_zero_ended(&cursor, &login.user);
	if (!r)
		r = read_auth(&cursor, caps & ~(uint32_t)WIRE_CAP_PLUGIN_AUTH_LENENC, &login.auth);
	if (r)
		return r;
	read_loose_text(&cursor, &login.db);
	if (cursor.left) {
		r = wire_read_u16(&cursor, &charset);
		if (r)
			return r;
	}
	if (caps & WIRE_CAP_PLUGIN_AUTH)
		read_loose_text(&cursor, &login.plugin);
	*ret_login = login;
	return 0;
}

bool wire_login_wants_sha2_word(const struct wire_login *login)
{
	return login->auth.len && login->plugin.len == strlen(WIRE_AUTH_SHA2) &&
	       !memcmp(login->plugin.data, WIRE_AUTH_SHA2, login->plugin.len);
}

void wire_sha2_word(struct wire_writer *writer)
{
	wire_begin(writer);
	wire_put_u8(writer, 0x01); /* more data */
	wire_put_u8(writer, 0x03); /* fast authentication was enough */
	wire_end(writer);
}
