/*
 * DEMOTE: a statement steps back instead of being killed. Its thread runs only when nothing else
 * wants to, until the statement ends, RESTORE is said, or dbpsd stops; what was changed is kept in
 * a file, so that a dbpsd that was killed leaves nothing behind that the next one does not undo.
 */
#ifndef DBPS_DEMOTE_H
#define DBPS_DEMOTE_H

#include "kill/kill.h"

struct dbps_demotions;

/**
 * @brief Make the table of demotions, and undo those that an earlier dbpsd left behind.
 * @param file Where they are kept; nothing is there while there are none.
 * @param ret_demotions Owned by the caller (dbps_demotions_free()).
 * @return 0 or -ENOMEM.
 */
int dbps_demotions_new(struct dbps_kernel *kernel, struct dbps_registry *registry, const char *file,
		       struct dbps_demotions **ret_demotions);

/** @brief Undo all of them, and release. NULL is fine. */
void dbps_demotions_free(struct dbps_demotions *demotions);

/**
 * @brief Demote what session request->id executes; doing it again changes nothing.
 * @param request Its id, timeout_ms, caller, statement, reason and audit are used.
 * @param ret_answer Always filled: confirmed when it was done, missed when the statement had ended.
 */
void dbps_demote(struct dbps_demotions *demotions, const struct dbps_kill_request *request,
		 struct dbps_kill_answer *ret_answer);

/** @brief Undo it, for one that is to end soon. Nothing when it is not demoted, or for NULL. */
void dbps_demotions_lift(struct dbps_demotions *demotions, uint64_t cookie);

/** @brief Undo it before the statement ends. As dbps_demote(); missed when it was not demoted. */
void dbps_demote_undo(struct dbps_demotions *demotions, const struct dbps_kill_request *request,
		      struct dbps_kill_answer *ret_answer);

#endif
