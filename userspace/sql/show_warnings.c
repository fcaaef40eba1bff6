/*
 * SHOW WARNINGS and SHOW ERRORS: the conditions that the previous statement left.
 */
#include <errno.h>

#include "cleanup.h"
#include "mysql/result.h"
#include "sql/statements.h"

#define OPTION_WARNINGS (1u << 0)
#define OPTION_ERRORS	(1u << 1)

static const struct wire_column condition_columns[] = {
	{"Level", WIRE_TYPE_VAR_STRING},
	{"Code", WIRE_TYPE_LONGLONG},
	{"Message", WIRE_TYPE_VAR_STRING},
};

static void put_condition(struct wire_writer *out, const struct sql_condition *condition)
{
	wire_begin(out);
	sql_put_string(out, condition->error ? "Error" : "Warning");
	wire_put_integer(out, condition->code);
	sql_put_string(out, condition->text);
	wire_end(out);
}

static int show(struct sql_connection *connection, struct sql_input *input, bool errors_only)
{
	const struct sql_conditions *conditions = &connection->conditions;
	struct wire_writer *out = &connection->channel.out;
	uint64_t limit;
	int r = sql_take_limit(input, &limit);

	if (r || !sql_at_end(input))
		return -EINVAL;
	wire_columns(out, condition_columns, ARRAY_SIZE(condition_columns));
	for (size_t i = 0; i < conditions->n_kept && limit; i++) {
		if (errors_only && !conditions->kept[i].error)
			continue;
		put_condition(out, &conditions->kept[i]);
		limit--;
	}
	wire_eof(out, 0);
	return 0;
}

int sql_show_warnings(struct sql_connection *connection, struct sql_input *input,
		      unsigned int options)
{
	(void)options;
	return show(connection, input, false);
}

int sql_show_errors(struct sql_connection *connection, struct sql_input *input,
		    unsigned int options)
{
	(void)options;
	return show(connection, input, true);
}

int sql_show_count(struct sql_connection *connection, struct sql_input *input, unsigned int options)
{
	bool errors = options & OPTION_ERRORS;
	const struct wire_column column = {
		errors ? "@@session.error_count" : "@@session.warning_count", WIRE_TYPE_LONGLONG};
	const struct sql_conditions *conditions = &connection->conditions;
	struct wire_writer *out = &connection->channel.out;

	(void)input;
	if (!(options & (OPTION_WARNINGS | OPTION_ERRORS)))
		return -EINVAL;
	wire_columns(out, &column, 1);
	wire_begin(out);
	wire_put_integer(out, errors ? conditions->n_errors : conditions->n);
	wire_end(out);
	wire_eof(out, 0);
	return 0;
}
