/*
 * Log lines of the daemon and error lines of the CLI: to stderr, with a syslog level prefix when
 * stderr is the journal. Each line names its object and, for an errno, says it in words.
 */
#ifndef DBPS_LOG_H
#define DBPS_LOG_H

/* Levels are those of syslog(3): LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_DEBUG. */
#include <stdbool.h>
#include <syslog.h>

/** @brief Set the highest level that is printed (default LOG_NOTICE). */
void dbps_log_set_level(int level);

/** @brief Print one line. Thread-safe; keeps errno. */
void dbps_log(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));

struct iovec;

/** @return Whether stderr is the journal, so that fields of a line reach somebody. */
bool dbps_log_is_journal(void);

/**
 * @brief Log one line that has fields for programs: "NAME=value", NAME of A-Z, 0-9 and _. They
 * reach the journal when stderr is the journal; elsewhere the line is printed alone.
 */
void dbps_log_fields(int level, const char *line, const struct iovec *fields, int n);

/**
 * @brief Print one line at LOG_ERR that ends with the words for an error.
 * @param r Negative errno.
 * @return r, so that it can be returned in the same statement.
 */
int log_errno(int r, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
