/*
 * Text protocol: every value is its decimal or its characters after a length. Numbers are binary
 * (charset 63), texts utf8mb4, as MySQL tells them.
 */
#include "mysql/result.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "mysql/utf8.h"

#define WIDTH_INTEGER 20
#define WIDTH_REAL    22
#define WIDTH_TEXT    (1024 * 4)
#define DECIMALS_ANY  31 /* of a DOUBLE: not fixed */

struct sqlstate {
	unsigned int code;
	char state[WIRE_SQLSTATE_LEN + 1];
};

static const struct sqlstate sqlstates[] = {
	{ER_CON_COUNT_ERROR, "08004"},	     {ER_HANDSHAKE_ERROR, "08S01"},
	{ER_UNKNOWN_COM_ERROR, "08S01"},     {ER_BAD_DB_ERROR, "42000"},
	{ER_SYNTAX_ERROR, "42000"},	     {ER_EMPTY_QUERY, "42000"},
	{ER_NET_PACKET_TOO_LARGE, "08S01"},  {ER_NET_PACKETS_OUT_OF_ORDER, "08S01"},
	{ER_NET_READ_ERROR, "08S01"},	     {ER_NET_READ_INTERRUPTED, "08S01"},
	{ER_DBACCESS_DENIED_ERROR, "42000"}, {ER_SPECIFIC_ACCESS_DENIED_ERROR, "42000"},
	{ER_NON_UNIQ_ERROR, "23000"},	     {ER_BAD_FIELD_ERROR, "42S22"},
	{ER_NO_SUCH_TABLE, "42S02"},	     {ER_SP_DOES_NOT_EXIST, "42000"},
	{ER_QUERY_INTERRUPTED, "70100"},     {ER_DATA_TOO_LONG, "22001"},
};

const char *wire_sqlstate(unsigned int code)
{
	for (size_t i = 0; i < sizeof(sqlstates) / sizeof(sqlstates[0]); i++)
		if (sqlstates[i].code == code)
			return sqlstates[i].state;
	return "HY000";
}

static size_t message_len(const char *text)
{
	return utf8_cut(text, strlen(text), WIRE_MESSAGE_TEXT_MAX);
}

void wire_ok(struct wire_writer *writer, uint16_t warnings, const char *info)
{
	wire_ok_affected(writer, 0, warnings, info);
}

void wire_ok_affected(struct wire_writer *writer, uint64_t affected, uint16_t warnings,
		      const char *info)
{
	wire_begin(writer);
	wire_put_u8(writer, 0x00);
	wire_put_lenenc(writer, affected);
	wire_put_lenenc(writer, 0); /* insert id */
	wire_put_u16(writer, WIRE_STATUS_AUTOCOMMIT);
	wire_put_u16(writer, warnings);
	/* The documentation says "rest of packet"; servers and clients all use a length. */
	if (*info)
		wire_put_text(writer, info, message_len(info));
	wire_end(writer);
}

void wire_error(struct wire_writer *writer, unsigned int code, const char *sqlstate,
		const char *text)
{
	wire_begin(writer);
	wire_put_u8(writer, 0xff);
	wire_put_u16(writer, (uint16_t)code);
	wire_put_u8(writer, '#');
	wire_put_bytes(writer, sqlstate, WIRE_SQLSTATE_LEN);
	wire_put_bytes(writer, text, message_len(text));
	wire_end(writer);
}

void wire_eof(struct wire_writer *writer, uint16_t warnings)
{
	wire_begin(writer);
	wire_put_u8(writer, 0xfe);
	wire_put_u16(writer, warnings);
	wire_put_u16(writer, WIRE_STATUS_AUTOCOMMIT);
	wire_end(writer);
}

static void put_column_form(struct wire_writer *writer, enum wire_type type)
{
	bool text = type == WIRE_TYPE_VAR_STRING || type == WIRE_TYPE_NULL;
	bool real = type == WIRE_TYPE_DOUBLE;
	uint16_t flags = text ? 0 : WIRE_COLUMN_BINARY;

	if (type == WIRE_TYPE_LONGLONG) /* and not WIRE_TYPE_SIGNED */
		flags |= WIRE_COLUMN_UNSIGNED;
	wire_put_u8(writer, 12); /* length of the fixed part */
	wire_put_u16(writer, text ? WIRE_UTF8MB4 : WIRE_BINARY);
	wire_put_u32(writer, text ? WIDTH_TEXT : real ? WIDTH_REAL : WIDTH_INTEGER);
	wire_put_u8(writer, (uint8_t)type);
	wire_put_u16(writer, flags);
	wire_put_u8(writer, real ? DECIMALS_ANY : 0);
	wire_put_zeros(writer, 2);
}

static void put_column(struct wire_writer *writer, const struct wire_column *column)
{
	wire_begin(writer);
	wire_put_lenenc_bytes(writer, "def", 3);
	wire_put_lenenc(writer, 0); /* schema */
	wire_put_lenenc(writer, 0); /* table */
	wire_put_lenenc(writer, 0); /* its own name */
	wire_put_text(writer, column->name, strlen(column->name));
	wire_put_lenenc(writer, 0); /* the column's own name */
	put_column_form(writer, column->type);
	wire_end(writer);
}

void wire_columns(struct wire_writer *writer, const struct wire_column *columns, size_t n)
{
	wire_begin(writer);
	wire_put_lenenc(writer, n);
	wire_end(writer);
	for (size_t i = 0; i < n; i++)
		put_column(writer, &columns[i]);
	wire_eof(writer, 0);
}

void wire_put_null(struct wire_writer *writer)
{
	wire_put_u8(writer, 0xfb);
}

void wire_put_integer(struct wire_writer *writer, uint64_t value)
{
	char digits[24];
	int len = snprintf(digits, sizeof(digits), "%" PRIu64, value);

	wire_put_lenenc_bytes(writer, digits, (size_t)len);
}

void wire_put_real(struct wire_writer *writer, double value)
{
	char digits[512]; /* the largest double has 309 digits before the point */
	int len = snprintf(digits, sizeof(digits), "%.6f", value);

	while (len && digits[len - 1] == '0')
		len--;
	if (len && digits[len - 1] == '.')
		len--;
	wire_put_lenenc_bytes(writer, digits, (size_t)len);
}
