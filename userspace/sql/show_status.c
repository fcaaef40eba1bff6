/*
 * Names and values: SHOW STATUS with the console's counters and the kernel side's losses, SHOW
 * LOSSES with those alone, SHOW VARIABLES.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "cleanup.h"
#include "daemon/daemon.h"
#include "kernel/kernel.h"
#include "mysql/result.h"
#include "sql/statements.h"
#include "sql/variables.h"

static void put_columns(struct wire_writer *out, const char *name, const char *value,
			enum wire_type type)
{
	const struct wire_column columns[] = {{name, WIRE_TYPE_VAR_STRING}, {value, type}};

	wire_columns(out, columns, ARRAY_SIZE(columns));
}

static void put_counter(struct wire_writer *out, const struct sql_input *filter, const char *name,
			uint64_t value)
{
	if (filter && sql_filter(filter, name) <= 0)
		return;
	wire_begin(out);
	sql_put_string(out, name);
	wire_put_integer(out, value);
	wire_end(out);
}

uint64_t sql_uptime_s(const struct sql_counters *counters)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return ((uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec - counters->started_ns) /
	       1000000000;
}

static void put_losses(struct wire_writer *out, const struct sql_input *filter, const char *prefix,
		       const __u64 losses[DBPS_LOSS_N])
{
	char name[96];

	for (int i = 0; i < DBPS_LOSS_N; i++) {
		snprintf(name, sizeof(name), "%s%s", prefix, dbps_loss_names[i]);
		put_counter(out, filter, name, losses[i]);
	}
}

int sql_show_losses(struct sql_connection *connection, struct sql_input *input,
		    unsigned int options)
{
	struct wire_writer *out = &connection->channel.out;
	__u64 losses[DBPS_LOSS_N];
	int r = dbps_kernel_losses(connection->daemon->kernel, losses);

	(void)input;
	(void)options;
	if (r)
		return r;
	put_columns(out, "name", "count", WIRE_TYPE_LONGLONG);
	put_losses(out, NULL, "", losses);
	wire_eof(out, 0);
	return 0;
}

int sql_show_status(struct sql_connection *connection, struct sql_input *input,
		    unsigned int options)
{
	struct sql_counters *counters = connection->counters;
	struct wire_writer *out = &connection->channel.out;
	struct dbps_signal_stats signals;
	__u64 losses[DBPS_LOSS_N];
	int r = sql_filter(input, "");

	(void)options;
	if (r >= 0)
		r = dbps_kernel_losses(connection->daemon->kernel, losses);
	if (r)
		return r;
	put_columns(out, "Variable_name", "Value", WIRE_TYPE_VAR_STRING);
	put_counter(out, input, "Connections", atomic_load(&counters->connections));
	put_counter(out, input, "Dbps_bad_packets", atomic_load(&counters->bad_packets));
	put_counter(out, input, "Dbps_connections_refused", atomic_load(&counters->refused));
	put_counter(out, input, "Dbps_kills", atomic_load(&counters->kills));
	put_losses(out, input, "Dbps_loss_", losses);
	dbps_kernel_signal_stats(connection->daemon->kernel, &signals);
	put_counter(out, input, "Dbps_signal_window_max_ns", signals.window_max_ns);
	put_counter(out, input, "Dbps_signal_window_ns", signals.window_ns);
	put_counter(out, input, "Dbps_signals", signals.sent);
	put_counter(out, input, "Dbps_signals_late", signals.late);
	put_counter(out, input, "Questions", atomic_load(&counters->statements));
	put_counter(out, input, "Threads_connected", atomic_load(&counters->live));
	put_counter(out, input, "Uptime", sql_uptime_s(counters));
	wire_eof(out, 0);
	return 0;
}

static void put_variable(struct wire_writer *out, const struct sql_variable *variable,
			 const struct sql_connection *connection)
{
	struct dbps_value value = sql_variable_get(variable, connection);

	wire_begin(out);
	sql_put_string(out, variable->name);
	if (variable->on_off)
		sql_put_string(out, value.integer ? "ON" : "OFF");
	else if (variable->type == DBPS_TYPE_TEXT)
		wire_put_text(out, value.text, value.len);
	else
		wire_put_integer(out, value.integer);
	wire_end(out);
}

int sql_show_variables(struct sql_connection *connection, struct sql_input *input,
		       unsigned int options)
{
	struct wire_writer *out = &connection->channel.out;

	(void)options;
	if (sql_filter(input, "") < 0)
		return -EINVAL;
	put_columns(out, "Variable_name", "Value", WIRE_TYPE_VAR_STRING);
	for (size_t i = 0; i < sql_n_variables; i++)
		if (sql_filter(input, sql_variables[i].name) > 0)
			put_variable(out, &sql_variables[i], connection);
	wire_eof(out, 0);
	return 0;
}
