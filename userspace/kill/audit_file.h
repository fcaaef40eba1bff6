/*
 * The file of the audit: lines are appended, one write(2) each, by one daemon at a time. Whatever
 * happens to the file is counted and told, and never fails or delays a kill.
 */
#ifndef DBPS_AUDIT_FILE_H
#define DBPS_AUDIT_FILE_H

#include "kill/audit.h"

struct dbps_audit_file;

/** @return 0; -EBADMSG when the line is no record; -ENOMEM. */
typedef int dbps_audit_load(const char *line, size_t len, void *data);

/**
 * @brief Open the file, or not yet when that is not possible, and hand over its last lines and
 * those of FILE.1, the oldest first.
 * @param ret_file Owned by the caller (dbps_audit_file_close()); set on failure too.
 * @return 0 or -ENOMEM.
 */
int dbps_audit_file_open(const struct dbps_audit_options *options, dbps_audit_load *load,
			 void *data, struct dbps_audit_file **ret_file);

/** @brief Append a line and its end. Thread-safe. NULL counts as one that could not be written. */
void dbps_audit_file_write(struct dbps_audit_file *file, const char *line);

void dbps_audit_file_status(struct dbps_audit_file *file, struct dbps_audit_status *ret_status);

/** @brief NULL is fine. */
void dbps_audit_file_close(struct dbps_audit_file *file);

#endif
