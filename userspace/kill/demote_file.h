/*
 * What has to be undone of demotions, in a file: so that it is known when dbpsd was killed. It is
 * of one boot, as threads are.
 */
#ifndef DBPS_DEMOTE_FILE_H
#define DBPS_DEMOTE_FILE_H

#include "kill/priority.h"

/* A thread that was lowered. */
struct dbps_demoted {
	struct dbps_thread process; /* its first thread: what stands for the process */
	struct dbps_thread thread;
	uint64_t since_ticks;
	struct dbps_priority saved;
};

/** @brief Write all of them in place of what was there; none: remove the file. 0 or negative errno.
 */
int dbps_demoted_save(const char *file, const struct dbps_demoted *list, size_t n);

/**
 * @brief Read them.
 * @param ret_list Owned by the caller (free()); those of an earlier boot are left out.
 * @return 0; -ENOENT when there is no file; -EPERM when it is not a file of this user alone; other
 *         negative errno.
 */
int dbps_demoted_load(const char *file, struct dbps_demoted **ret_list, size_t *ret_n);

#endif
