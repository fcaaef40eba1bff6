/*
 * The answers of a server: OK, ERR, EOF and text result sets, each one call (protocol.md 1.7, 1.8).
 * Failures stick in the writer.
 */
#ifndef DBPS_WIRE_RESULT_H
#define DBPS_WIRE_RESULT_H

#include <stddef.h>
#include <stdint.h>

#include "mysql/protocol.h"
#include "mysql/writer.h"

/* Texts of errors and infos are cut to this: client libraries keep 511 bytes of an error. */
#define WIRE_MESSAGE_TEXT_MAX 511

struct wire_column {
	const char *name;
	enum wire_type type;
};

/** @param info For people, "" for none; clients print it under "Query OK". */
void wire_ok(struct wire_writer *writer, uint16_t warnings, const char *info);
void wire_ok_affected(struct wire_writer *writer, uint64_t affected, uint16_t warnings,
		      const char *info);
void wire_error(struct wire_writer *writer, unsigned int code, const char *sqlstate,
		const char *text);
void wire_eof(struct wire_writer *writer, uint16_t warnings);

/** @brief Begin a result set: count, definitions, EOF. Rows and wire_eof() follow. */
void wire_columns(struct wire_writer *writer, const struct wire_column *columns, size_t n);

/* A row is wire_begin(), as many values as columns, wire_end(). Text: wire_put_text(). */
void wire_put_null(struct wire_writer *writer);
void wire_put_integer(struct wire_writer *writer, uint64_t value);
/** @brief A real with as many digits as it needs, at most 6 after the point. */
void wire_put_real(struct wire_writer *writer, double value);

#endif
