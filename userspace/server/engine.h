/*
 * Which database a server is and what it is called, told from its executable and its greeting.
 */
#ifndef DBPS_ENGINE_H
#define DBPS_ENGINE_H

#include <stdbool.h>
#include <stddef.h>

#include "process.h"
#include "registry.h"

/** @return The engine that this executable belongs to; UNKNOWN for any other program. */
enum dbps_engine dbps_engine_of_executable(const char *name);

/**
 * @brief The engine: that of a proxy by its executable, else from the greeted version first, else
 * from the executable.
 * @param version As greeted; "" when unknown.
 */
enum dbps_engine dbps_engine_of(const char *version, const char *executable);

/** @return The version without MariaDB's "5.5.5-" (protocol.md 1.2): a pointer into it. */
const char *dbps_engine_version(const char *greeted);

/**
 * @brief What a server is called: `<engine>-<lowest TCP port>`, or for one without TCP
 *        `<engine>-<socket's base name without .sock>`. A program that is no known engine, or a
 * proxy, gives its own name.
 */
void dbps_engine_server_name(enum dbps_engine engine, const char *executable,
			     const struct dbps_listeners *listeners, char *ret_name, size_t size);

#endif
