/*
 * The audit: every kill, refused ones too, as one record: when, who, what, why, how and what came
 * of it. The last ones are kept in memory for SHOW KILLS; all go to a file and to the log.
 */
#ifndef DBPS_AUDIT_H
#define DBPS_AUDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kill/kill.h"

struct dbps_audit;

/* How many kills are kept in memory; the file has more. */
#define DBPS_AUDIT_KEPT 1000
/* Bytes kept of a statement's text, and of the KILL itself. */
#define DBPS_AUDIT_TEXT_MAX 512

/* Texts are terminated UTF-8; "" is not known. dbps_audit_fields describes them. */
struct dbps_audit_record {
	uint64_t number;  /* of the kill, rising over restarts; 0: it has none yet */
	uint64_t time_us; /* CLOCK_REALTIME when it was asked for */
	/* who */
	uint64_t uid;
	uint64_t pid;
	char caller[64];
	char program[64];
	/* what */
	char kill[DBPS_AUDIT_TEXT_MAX + 1]; /* as it was written */
	uint64_t id;
	uint64_t cookie;
	uint64_t sequence;
	uint64_t seen; /* 1: the caller may see this session */
	char server[DBPS_SERVER_NAME_MAX];
	char user[DBPS_USER_MAX + 1];
	char host[80];
	char db[DBPS_DB_MAX + 1];
	char text[DBPS_AUDIT_TEXT_MAX + 1]; /* what it executed, masked */
	uint64_t text_bytes;		    /* of the whole text */
	/* why */
	char reason[256];
	/* how, and what came of it */
	char how[96];
	char outcome[32]; /* begun, confirmed, missed, pending, refused, "unknown (dbpsd ended)" */
	uint64_t error;	  /* MySQL error code of a refusal, 0: none */
	double ms;	  /* from the request to the outcome */
	char answer[384];
};

enum dbps_audit_type { DBPS_AUDIT_INTEGER, DBPS_AUDIT_REAL, DBPS_AUDIT_TIME, DBPS_AUDIT_TEXT };

/* The record as a table: the file, SHOW KILLS and the manual page go by it. */
struct dbps_audit_field {
	const char *name; /* key in the file, column of SHOW KILLS */
	enum dbps_audit_type type;
	size_t offset;
	size_t size;  /* of a text's array */
	bool session; /* tells of the session: not for those who may not see it */
	const char *help;
};

extern const struct dbps_audit_field dbps_audit_fields[];
extern const size_t dbps_n_audit_fields;

/** @return Whether the record has a value there; numbers that tell of a session need one. */
bool dbps_audit_knows(const struct dbps_audit_record *record, const struct dbps_audit_field *field);

/* --- for who kills: each kill calls _asked, _found when there is a session, _begun, _ended --- */

/** @brief Begin a record: when, who, what was asked and why. */
void dbps_audit_asked(struct dbps_audit_record *ret_record,
		      const struct dbps_kill_request *request);

/**
 * @brief Add the session that was found; `row` should have its text. Again when it is read again.
 * @param seen Whether the caller might see it then; a session that was killed is nobody's own.
 */
void dbps_audit_found(struct dbps_audit_record *record, const struct dbps_row *row, bool seen);

/**
 * @brief The kill is about to act: from now on it is not lost when dbpsd dies. A kill that never
 *        acts (refused, missed) need not call this.
 * @param audit NULL: does nothing.
 */
void dbps_audit_begun(struct dbps_audit *audit, struct dbps_audit_record *record);

/**
 * @brief The outcome, once for each kill.
 * @param how Names of the enactors that acted, "" for none.
 */
void dbps_audit_ended(struct dbps_audit *audit, struct dbps_audit_record *record,
		      const struct dbps_kill_answer *answer, const char *how);

/**
 * @brief A kill that is refused before dbps_kill() could be asked.
 * @param row The session that was meant; NULL: none is known.
 * @param text What the caller is told.
 */
void dbps_audit_refused(struct dbps_audit *audit, const struct dbps_kill_request *request,
			const struct dbps_row *row, unsigned int error, const char *text);

/* --- for the daemon --- */

struct dbps_audit_options {
	const char *file;   /* NULL: memory and log only */
	uint64_t max_bytes; /* of the file, before it is renamed to FILE.1 */
};

/**
 * @brief Open the file and load the last kills from it. A file that cannot be used is logged, told
 *        by dbps_audit_status(), tried again at the next kill, and is no error.
 * @param ret_audit Owned by the caller (dbps_audit_close()).
 * @return 0 or -ENOMEM.
 */
int dbps_audit_open(const struct dbps_audit_options *options, struct dbps_audit **ret_audit);

/** @brief NULL is fine. */
void dbps_audit_close(struct dbps_audit *audit);

/**
 * @brief The last kills, the newest first.
 * @param caller With PROCESS all; else its own, without what it may not see.
 * @param ret_records Owned by the caller (free()).
 */
int dbps_audit_read(struct dbps_audit *audit, const struct dbps_caller *caller, size_t limit,
		    struct dbps_audit_record **ret_records, size_t *ret_n);

/** @return What an error of the status means; "" for 0. */
const char *dbps_audit_error_text(int error);

struct dbps_audit_status {
	const char *file;   /* NULL: none */
	int error;	    /* why the file cannot be written now, negative errno; 0 */
	uint64_t unwritten; /* lines that are not in the file */
	uint64_t unread;    /* lines of it that were torn, found at start */
};

/* "2026-11-22T13:52:18.000123Z" */
#define DBPS_AUDIT_TIME_BYTES 48
void dbps_audit_time_text(uint64_t time_us, char ret_text[DBPS_AUDIT_TIME_BYTES]);

void dbps_audit_status(struct dbps_audit *audit, struct dbps_audit_status *ret_status);

#endif
