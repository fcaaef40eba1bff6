/*
 * The memory of SQLite, counted for each statement: a statement runs in one thread from its begin
 * to its end, so a count of the thread is the statement's own, and no other can make it fail.
 */
#ifndef DBPS_SQL_MEMORY_H
#define DBPS_SQL_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* Statements of callers without SUPER may together take so many times what one may. */
#define SQL_MEMORY_SHARES 4

/**
 * @brief From here on SQLite gets at most so many bytes in this thread. sql_memory_end() follows,
 *        when all that it took was released.
 * @param shares Whether this statement is one of those that are limited together, too.
 */
void sql_memory_begin(size_t limit_bytes, bool shares);
void sql_memory_end(void);

#endif
