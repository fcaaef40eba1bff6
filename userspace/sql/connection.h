/*
 * One connection of the console: who calls, what it has chosen, and how its statements are
 * answered. Belongs to the thread that serves it; only the counters are shared.
 */
#ifndef DBPS_SQL_CONNECTION_H
#define DBPS_SQL_CONNECTION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "access/access.h"
#include "mysql/channel.h"
#include "mysql/cursor.h"
#include "mysql/protocol.h"
#include "server/registry.h"
#include "session/columns.h"

struct dbps_daemon;

/* What clients are told; the number at its front is what they decide by. */
#define SQL_SERVER_VERSION DBPS_CONSOLE_VERSION DBPS_VERSION
/* The largest packet that is believed. */
#define SQL_MAX_PACKET (1u << 20)

/* Of all connections together. */
struct sql_counters {
	uint64_t started_ns; /* CLOCK_MONOTONIC */
	atomic_uint live;
	atomic_ullong connections;
	atomic_ullong refused;	   /* ERROR 1040 */
	atomic_ullong bad_packets; /* cut off, too large, out of order, or not to be understood */
	atomic_ullong statements;
	atomic_ullong kills;
};

/* What SHOW WARNINGS tells of the previous statement. */
struct sql_condition {
	unsigned int code;
	bool error;
	char text[512];
};

#define SQL_CONDITIONS_MAX 64 /* kept; more are only counted, as max_error_count of the servers */

struct sql_conditions {
	size_t n;		    /* all of them */
	size_t n_errors;	    /* errors among them */
	size_t n_kept;		    /* at most SQL_CONDITIONS_MAX */
	struct sql_condition *kept; /* the first ones */
};

struct sql_connection {
	const struct dbps_daemon *daemon;
	struct sql_counters *counters;
	struct dbps_caller caller;
	uint32_t id;	 /* from DBPS_ID_CONSOLE on */
	uint64_t cookie; /* of its socket, by which its cancels are polled; 0: none */
	uint32_t caps;
	char login[64];			   /* user name given at login: shown, means nothing */
	char server[DBPS_SERVER_NAME_MAX]; /* chosen server, "" for the whole host */
	struct sql_conditions conditions;
	struct wire_channel channel;
};

/* Which sessions a statement is about: those of one server with plain ids, or the whole host's. */
struct sql_scope {
	bool host;
	uint32_t server; /* index, when not the host */
};

/** @brief Where the connection's statements look now. -ENOENT when its server is not known. */
int sql_scope(const struct sql_connection *connection, struct sql_scope *ret_scope);
bool sql_scope_has(const struct sql_scope *scope, const struct dbps_row *row);
/** @return The id of a row as this scope shows it. */
uint64_t sql_scope_id(const struct sql_scope *scope, const struct dbps_row *row);

/**
 * @brief Choose a server by name; answers OK, or ERROR 1049 and leaves all as it was.
 * @return 0, or -ENOENT when it was ERROR 1049.
 */
int sql_use(struct sql_connection *connection, struct wire_slice name);

/*
 * Answers. They return 0, so that a statement can end with one; a peer that has gone shows in the
 * channel. Warnings and errors are kept for SHOW WARNINGS.
 */
int sql_ok(struct sql_connection *connection, const char *info);
/** @brief OK with the number of affected rows and all warnings so far counted. */
int sql_ok_affected(struct sql_connection *connection, uint64_t affected, const char *info);
int sql_ok_warning(struct sql_connection *connection, unsigned int code, const char *text);
int sql_error(struct sql_connection *connection, unsigned int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
int sql_error_state(struct sql_connection *connection, unsigned int code, const char *sqlstate,
		    const char *text);

/** @brief Keep a warning for SHOW WARNINGS, beside an answer of any kind. */
void sql_warn(struct sql_connection *connection, unsigned int code, const char *text);
/** @return Warnings so far, as the end of an answer tells them. */
uint16_t sql_warning_count(const struct sql_connection *connection);
/** @brief Forget them: a new statement begins. */
void sql_conditions_clear(struct sql_connection *connection);

/** @brief ERROR 1049: the chosen server has gone. */
int sql_unknown_server(struct sql_connection *connection);

/** @brief One value of a row: the text, or NULL. */
void sql_put_string(struct wire_writer *writer, const char *text);
void sql_put_value(struct wire_writer *writer, enum dbps_type type, const struct dbps_value *value);
enum wire_type sql_wire_type(enum dbps_type type);

/**
 * @return Whether the statement under way should end before its time: somebody killed it, or its
 *         client has gone. Long work asks now and then.
 */
bool sql_interrupted(const struct sql_connection *connection);
/** @return The same, but for a client that has gone: what it asked for is still done. */
bool sql_killed(const struct sql_connection *connection);
/** @brief Wait, until it is interrupted at most. 0, or -EINTR when it was. */
int sql_wait(const struct sql_connection *connection, uint64_t wait_ms);
/** @brief ERROR 1317. */
int sql_error_interrupted(struct sql_connection *connection);

/** @brief Run one statement and write its whole answer. */
void sql_execute(struct sql_connection *connection, const char *text, size_t len);

/**
 * @brief Serve the connection on an open socket until it ends: greeting, login, commands.
 * @pre `daemon`, `counters` and `id` are set, the channel is not.
 */
void sql_serve(struct sql_connection *connection, int fd);

#endif
