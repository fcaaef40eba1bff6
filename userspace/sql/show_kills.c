/*
 * SHOW KILLS: the audit's last records, the newest first, all of them for PROCESS and one's own for
 * everybody else.
 */
#include <errno.h>
#include <string.h>
#include <sys/param.h>

#include "cleanup.h"
#include "daemon/daemon.h"
#include "kill/audit.h"
#include "mysql/result.h"
#include "sql/statements.h"

static enum wire_type wire_type_of(enum dbps_audit_type type)
{
	if (type == DBPS_AUDIT_INTEGER)
		return WIRE_TYPE_LONGLONG;
	return type == DBPS_AUDIT_REAL ? WIRE_TYPE_DOUBLE : WIRE_TYPE_VAR_STRING;
}

static int put_columns(struct wire_writer *out)
{
	_cleanup_free_ struct wire_column *columns = calloc(dbps_n_audit_fields, sizeof(*columns));

	if (!columns)
		return -ENOMEM;
	for (size_t i = 0; i < dbps_n_audit_fields; i++)
		columns[i] = (struct wire_column){dbps_audit_fields[i].name,
						  wire_type_of(dbps_audit_fields[i].type)};
	wire_columns(out, columns, dbps_n_audit_fields);
	return 0;
}

static void put_field(struct wire_writer *out, const struct dbps_audit_record *record,
		      const struct dbps_audit_field *field)
{
	const void *at = (const char *)record + field->offset;
	char time_text[DBPS_AUDIT_TIME_BYTES];

	if (!dbps_audit_knows(record, field)) {
		wire_put_null(out);
		return;
	}
	switch (field->type) {
	case DBPS_AUDIT_INTEGER:
		wire_put_integer(out, *(const uint64_t *)at);
		break;
	case DBPS_AUDIT_REAL:
		wire_put_real(out, *(const double *)at);
		break;
	case DBPS_AUDIT_TIME:
		dbps_audit_time_text(*(const uint64_t *)at, time_text);
		sql_put_string(out, time_text);
		break;
	case DBPS_AUDIT_TEXT:
		sql_put_string(out, at);
		break;
	}
}

int sql_show_kills(struct sql_connection *connection, struct sql_input *input, unsigned int options)
{
	_cleanup_free_ struct dbps_audit_record *records = NULL;
	struct wire_writer *out = &connection->channel.out;
	uint64_t limit;
	size_t n = 0;
	int r = sql_take_limit(input, &limit);

	(void)options;
	if (r || !sql_at_end(input))
		return -EINVAL;
	r = dbps_audit_read(connection->daemon->audit, &connection->caller,
			    (size_t)MIN(limit, (uint64_t)DBPS_AUDIT_KEPT), &records, &n);
	if (!r)
		r = put_columns(out);
	if (r)
		return r;
	for (size_t i = 0; i < n; i++) {
		wire_begin(out);
		for (size_t f = 0; f < dbps_n_audit_fields; f++)
			put_field(out, &records[i], &dbps_audit_fields[f]);
		wire_end(out);
	}
	wire_eof(out, 0);
	return 0;
}
