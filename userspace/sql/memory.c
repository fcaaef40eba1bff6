/*
 * malloc() with a count in front. What one thread releases was taken by it since its begin; what
 * SQLite keeps for ever (its first statement makes that) is forgotten at the end.
 */
#include "sql/memory.h"

#include <malloc.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/param.h>

static _Thread_local struct {
	size_t used, limit; /* bytes */
	bool shares;
} own;

static atomic_size_t shared; /* the sum of `used` of all threads that share */

static void count(size_t more, size_t less)
{
	less = MIN(less, own.used + more);
	own.used += more - less;
	if (own.shares)
		atomic_fetch_add(&shared, more - less);
}

static bool has_room(size_t bytes)
{
	if (own.used + bytes > own.limit)
		return false;
	return !own.shares || atomic_load(&shared) + bytes <= SQL_MEMORY_SHARES * own.limit;
}

static void *take(int bytes)
{
	void *p = has_room((size_t)bytes) ? malloc((size_t)bytes) : NULL;

	count(malloc_usable_size(p), 0);
	return p;
}

static void give(void *p)
{
	count(0, malloc_usable_size(p));
	free(p);
}

static void *resize(void *p, int bytes)
{
	size_t before = malloc_usable_size(p);
	void *resized = (size_t)bytes <= before || has_room((size_t)bytes - before)
				? realloc(p, (size_t)bytes)
				: NULL;

	if (resized)
		count(malloc_usable_size(resized), before);
	return resized;
}

static int size_of(void *p)
{
	return (int)malloc_usable_size(p);
}

static int round_up(int bytes)
{
	return (bytes + 7) & ~7;
}

static int start(void *data)
{
	(void)data;
	return SQLITE_OK;
}

static void stop(void *data)
{
	(void)data;
}

/* Counting all threads together would be a lock for each piece of memory. */
static void configure(void)
{
	static const sqlite3_mem_methods methods = {
		.xMalloc = take,
		.xFree = give,
		.xRealloc = resize,
		.xSize = size_of,
		.xRoundup = round_up,
		.xInit = start,
		.xShutdown = stop,
	};

	sqlite3_config(SQLITE_CONFIG_MALLOC, &methods);
	sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

void sql_memory_begin(size_t limit_bytes, bool shares)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, configure);
	own.used = 0;
	own.limit = limit_bytes;
	own.shares = shares;
}

void sql_memory_end(void)
{
	count(0, own.used);
	own.shares = false;
}
