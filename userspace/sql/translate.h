/*
 * SQL as the MySQL family writes it, made SQLite's where one and the same text would mean
 * something else there: quotes, escapes, comments, and functions without parentheses.
 */
#ifndef DBPS_SQL_TRANSLATE_H
#define DBPS_SQL_TRANSLATE_H

#include <stdio.h>

#include "sql/input.h"

/**
 * @brief Take tokens up to `end` and write them.
 * @param end In the text of the input; the token there is the next one after.
 * @return 0; -EINVAL with the input at what cannot be said in SQLite; -ENOMEM.
 */
int sql_translate(struct sql_input *input, const char *end, FILE *out);

#endif
