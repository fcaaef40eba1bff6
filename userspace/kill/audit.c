/*
 * Records of kills: filled by who kills, kept in memory as the JSON lines that also go to the file,
 * and read back by number, so that the outcome of a kill takes the place of its beginning.
 *
 * 1. A kill has at most two lines of the same number: "begun" before it acts, and its outcome,
 * which has all fields again. The later line counts, in memory as in the file.
 * 2. A "begun" that was loaded from the file belongs to a daemon that is gone, as the file's lock
 * is held by one daemon at a time: its outcome will not come any more.
 * 3. Two locks, never held together by one thread for longer than a copy: that of memory is held
 *    for no system call, so that SHOW KILLS answers while a disk hangs.
 */
#include "kill/audit.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <pthread.h>
#include <string.h>
#include <sys/param.h>
#include <sys/uio.h>
#include <time.h>

#include "cleanup.h"
#include "kill/audit_file.h"
#include "log/log.h"
#include "mysql/utf8.h"

#define BEGUN	   "begun"
#define LEFT_BEGUN "unknown (dbpsd ended)"

#define INTEGER(field, name, session, help)                                                        \
	{                                                                                          \
		name, DBPS_AUDIT_INTEGER, offsetof(struct dbps_audit_record, field), 0, session,   \
			help                                                                       \
	}
#define TEXT(field, name, session, help)                                                           \
	{                                                                                          \
		name, DBPS_AUDIT_TEXT, offsetof(struct dbps_audit_record, field),                  \
			sizeof(((struct dbps_audit_record *)0)->field), session, help              \
	}

const struct dbps_audit_field dbps_audit_fields[] = {
	INTEGER(number, "number", false, "Number of the kill, rising over restarts."),
	{"time", DBPS_AUDIT_TIME, offsetof(struct dbps_audit_record, time_us), 0, false,
	 "When it was asked for, UTC."},
	INTEGER(uid, "uid", false, "User id of the caller."),
	TEXT(caller, "caller", false, "Name of that user."),
	INTEGER(pid, "pid", false, "Process of the caller."),
	TEXT(program, "program", false, "Program that this process ran when it connected."),
	TEXT(kill, "kill", false, "The KILL as it was written."),
	INTEGER(id, "id", false, "Id of the session on the whole-host console."),
	TEXT(server, "server", true, "Its server."),
	TEXT(user, "user", true, "Its user."),
	TEXT(host, "host", true, "Its client's address and port."),
	TEXT(db, "db", true, "Its default database."),
	INTEGER(sequence, "sequence", true, "Number of the statement that was meant."),
	TEXT(text, "text", true, "Beginning of that statement, passwords masked."),
	INTEGER(text_bytes, "text_bytes", true, "Length of the whole statement."),
	TEXT(reason, "reason", false, "Why, as the caller says."),
	TEXT(how, "how", false, "What carried it out."),
	TEXT(outcome, "outcome", false,
	     "confirmed, missed, pending, refused, begun: under way, or " LEFT_BEGUN "."),
	INTEGER(error, "error", false, "Code of the error that refused it, 0: none."),
	{"ms", DBPS_AUDIT_REAL, offsetof(struct dbps_audit_record, ms), 0, false,
	 "Milliseconds from the request to the outcome."},
	TEXT(answer, "answer", false, "What the caller was told."),
	INTEGER(cookie, "cookie", true, "The kernel's cookie of the session's socket."),
	INTEGER(seen, "seen", false, "1: the caller may see this session."),
};

const size_t dbps_n_audit_fields = ARRAY_SIZE(dbps_audit_fields);

/* A kill in memory. */
struct entry {
	uint64_t number;
	uint64_t uid;
	char *line; /* JSON */
};

struct dbps_audit {
	struct dbps_audit_file *file;
	uint64_t left_behind; /* invariant 2: numbers up to this one are of daemons before */
	pthread_mutex_t lock; /* of what follows */
	uint64_t last_number;
	size_t n, next; /* entries, and where the next one goes */
	struct entry entries[DBPS_AUDIT_KEPT];
};

/* ---------------------------------------------------------------- a record as JSON ---------- */

static void *field_at(const struct dbps_audit_record *record, const struct dbps_audit_field *field)
{
	return (char *)record + field->offset;
}

bool dbps_audit_knows(const struct dbps_audit_record *record, const struct dbps_audit_field *field)
{
	const char *at = field_at(record, field);

	if (field->type == DBPS_AUDIT_TEXT)
		return *at;
	if (field->session)
		return record->cookie && *(const uint64_t *)(const void *)at;
	return true;
}

void dbps_audit_time_text(uint64_t time_us, char ret_text[DBPS_AUDIT_TIME_BYTES])
{
	time_t seconds = (time_t)(time_us / 1000000);
	struct tm tm;
	char day[32];

	gmtime_r(&seconds, &tm);
	strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(ret_text, DBPS_AUDIT_TIME_BYTES, "%s.%06uZ", day,
		 (unsigned int)(time_us % 1000000));
}

static uint64_t parse_time(const char *text)
{
	struct tm tm = {0};
	const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	unsigned int us = 0;

	if (!rest || sscanf(rest, ".%6uZ", &us) != 1)
		return 0;
	return (uint64_t)timegm(&tm) * 1000000 + us;
}

/* NULL: not known, not written. */
static json_t *field_to_json(const struct dbps_audit_record *record,
			     const struct dbps_audit_field *field)
{
	const void *at = field_at(record, field);
	char time_text[DBPS_AUDIT_TIME_BYTES];

	switch (field->type) {
	case DBPS_AUDIT_INTEGER:
		return json_integer((json_int_t) * (const uint64_t *)at);
	case DBPS_AUDIT_REAL:
		return json_real(*(const double *)at);
	case DBPS_AUDIT_TIME:
		dbps_audit_time_text(*(const uint64_t *)at, time_text);
		return json_string_nocheck(time_text);
	case DBPS_AUDIT_TEXT:
		break;
	}
	return *(const char *)at ? json_string_nocheck(at) : NULL;
}

static void field_from_json(struct dbps_audit_record *record, const struct dbps_audit_field *field,
			    const json_t *value)
{
	void *at = field_at(record, field);
	const char *text = json_string_value(value);

	if (field->type == DBPS_AUDIT_INTEGER)
		*(uint64_t *)at = (uint64_t)json_integer_value(value);
	else if (field->type == DBPS_AUDIT_REAL)
		*(double *)at = json_number_value(value);
	else if (text && field->type == DBPS_AUDIT_TIME)
		*(uint64_t *)at = parse_time(text);
	else if (text)
		utf8_copy(at, field->size, text, json_string_length(value));
}

/* One line without its end, owned by the caller; NULL: no memory. ASCII, so that the file can be
 * looked at on any terminal.
 */
static char *to_line(const struct dbps_audit_record *record)
{
	json_t *object = json_object();
	char *line = NULL;

	for (size_t i = 0; i < dbps_n_audit_fields; i++)
		if (object)
			json_object_set_new_nocheck(object, dbps_audit_fields[i].name,
						    field_to_json(record, &dbps_audit_fields[i]));
	if (object)
		line = json_dumps(object,
				  JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(9));
	json_decref(object);
	return line;
}

static int from_line(const char *line, size_t len, struct dbps_audit_record *ret_record)
{
	struct dbps_audit_record record = {0};
	json_t *object = json_loadb(line, len, 0, NULL);

	for (size_t i = 0; i < dbps_n_audit_fields; i++)
		field_from_json(&record, &dbps_audit_fields[i],
				json_object_get(object, dbps_audit_fields[i].name));
	json_decref(object);
	if (!record.number)
		return -EBADMSG;
	*ret_record = record;
	return 0;
}

/* ---------------------------------------------------------------- memory -------------------- */

/* The newest first: kills that are under way are among the last. */
static struct entry *find_entry(struct dbps_audit *audit, uint64_t number)
{
	for (size_t back = 1; back <= audit->n; back++) {
		size_t at = (audit->next + DBPS_AUDIT_KEPT - back) % DBPS_AUDIT_KEPT;

		if (audit->entries[at].number == number)
			return &audit->entries[at];
	}
	return NULL;
}

/* Invariant 1. Takes the line over. */
static void keep_line(struct dbps_audit *audit, const struct dbps_audit_record *record, char *line)
{
	struct entry *entry = find_entry(audit, record->number);

	if (!entry) {
		entry = &audit->entries[audit->next];
		audit->next = (audit->next + 1) % DBPS_AUDIT_KEPT;
		audit->n = MIN(audit->n + 1, (size_t)DBPS_AUDIT_KEPT);
	}
	free(entry->line);
	*entry = (struct entry){record->number, record->uid, line};
	audit->last_number = MAX(audit->last_number, record->number);
}

static uint64_t take_number(struct dbps_audit *audit)
{
	uint64_t number;

	pthread_mutex_lock(&audit->lock);
	number = ++audit->last_number;
	pthread_mutex_unlock(&audit->lock);
	return number;
}

static void store(struct dbps_audit *audit, struct dbps_audit_record *record)
{
	char *line;

	if (!record->number)
		record->number = take_number(audit);
	line = to_line(record);
	dbps_audit_file_write(audit->file, line);
	if (!line)
		return;
	pthread_mutex_lock(&audit->lock);
	keep_line(audit, record, line);
	pthread_mutex_unlock(&audit->lock);
}

/* ---------------------------------------------------------------- the log ------------------- */

static void value_text(const struct dbps_audit_record *record, const struct dbps_audit_field *field,
		       char *ret, size_t size)
{
	const void *at = field_at(record, field);

	if (field->type == DBPS_AUDIT_INTEGER)
		snprintf(ret, size, "%" PRIu64, *(const uint64_t *)at);
	else if (field->type == DBPS_AUDIT_REAL)
		snprintf(ret, size, "%.3f", *(const double *)at);
	else if (field->type == DBPS_AUDIT_TIME)
		dbps_audit_time_text(*(const uint64_t *)at, ret);
	else
		snprintf(ret, size, "%s", (const char *)at);
}

/* "DBPS_KILL_OUTCOME=confirmed" */
static char *journal_field(const struct dbps_audit_record *record,
			   const struct dbps_audit_field *field)
{
	char value[DBPS_AUDIT_TEXT_MAX + 1];
	char *text = NULL;

	value_text(record, field, value, sizeof(value));
	if (asprintf(&text, "DBPS_KILL_%s=%s", field->name, value) < 0)
		return NULL;
	for (char *c = text; *c != '='; c++)
		*c = (char)toupper((unsigned char)*c);
	return text;
}

/* Names come from strangers: none of them may begin a line of its own. */
static void make_message(const struct dbps_audit_record *record, char *ret, size_t size)
{
	snprintf(ret, size,
		 "kill %" PRIu64 " by %s (uid %" PRIu64 ", pid %" PRIu64 "%s%s)%s%s: %s"
		 "%s%s%s%s: %s",
		 record->number, record->caller, record->uid, record->pid,
		 record->program[0] ? ", " : "", record->program,
		 record->reason[0] ? ", reason " : "", record->reason, record->kill,
		 record->server[0] ? " on " : "", record->server, record->user[0] ? ", user " : "",
		 record->user, record->answer);
	for (char *c = ret; *c; c++)
		if (iscntrl((unsigned char)*c))
			*c = '?';
}

static void log_fields(const struct dbps_audit_record *record, const char *message)
{
	struct iovec fields[ARRAY_SIZE(dbps_audit_fields)];
	int n = 0;

	for (size_t i = 0; i < dbps_n_audit_fields; i++) {
		char *text = journal_field(record, &dbps_audit_fields[i]);

		if (text)
			fields[n++] = (struct iovec){text, strlen(text)};
	}
	dbps_log_fields(LOG_NOTICE, message, fields, n);
	while (n)
		free(fields[--n].iov_base);
}

static void log_kill(const struct dbps_audit_record *record)
{
	char message[2048];

	make_message(record, message, sizeof(message));
	if (dbps_log_is_journal())
		log_fields(record, message);
	else
		dbps_log(LOG_NOTICE, "%s", message);
}

/* ---------------------------------------------------------------- who kills ----------------- */

static void copy_text(char *to, size_t size, const char *text)
{
	utf8_copy(to, size, text ? text : "", text ? strlen(text) : 0);
}

void dbps_audit_asked(struct dbps_audit_record *ret_record, const struct dbps_kill_request *request)
{
	const struct dbps_caller *caller = request->caller;
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	memset(ret_record, 0, sizeof(*ret_record));
	ret_record->time_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
	ret_record->uid = caller->uid;
	ret_record->pid = (uint64_t)caller->pid;
	copy_text(ret_record->caller, sizeof(ret_record->caller), caller->user);
	copy_text(ret_record->program, sizeof(ret_record->program), caller->program);
	ret_record->id = request->id;
	copy_text(ret_record->reason, sizeof(ret_record->reason), request->reason);
	if (request->statement)
		copy_text(ret_record->kill, sizeof(ret_record->kill), request->statement);
	else
		snprintf(ret_record->kill, sizeof(ret_record->kill), "KILL %s %" PRIu64,
			 request->connection ? "CONNECTION" : "QUERY", request->id);
}

void dbps_audit_found(struct dbps_audit_record *record, const struct dbps_row *row, bool seen)
{
	const struct dbps_session *session = row->session;

	record->cookie = session->cookie;
	record->sequence = session->sequence;
	record->seen = seen;
	copy_text(record->server, sizeof(record->server), row->server_name);
	utf8_copy(record->user, sizeof(record->user), session->user, session->user_len);
	copy_text(record->host, sizeof(record->host), row->host);
	utf8_copy(record->db, sizeof(record->db), session->db, session->db_len);
	utf8_copy(record->text, sizeof(record->text), row->info ? row->info : "",
		  row->info ? row->info_len : 0);
	record->text_bytes = row->info ? row->info_whole : 0;
}

void dbps_audit_begun(struct dbps_audit *audit, struct dbps_audit_record *record)
{
	if (!audit)
		return;
	copy_text(record->outcome, sizeof(record->outcome), BEGUN);
	store(audit, record);
}

void dbps_audit_ended(struct dbps_audit *audit, struct dbps_audit_record *record,
		      const struct dbps_kill_answer *answer, const char *how)
{
	static const char *const words[] = {
		[DBPS_KILL_CONFIRMED] = "confirmed",
		[DBPS_KILL_MISSED] = "missed",
		[DBPS_KILL_PENDING] = "pending",
		[DBPS_KILL_REFUSED] = "refused",
	};

	if (!audit)
		return;
	copy_text(record->outcome, sizeof(record->outcome), words[answer->outcome]);
	copy_text(record->answer, sizeof(record->answer), answer->text);
	copy_text(record->how, sizeof(record->how), how);
	record->error = answer->error;
	record->ms = answer->elapsed_ms;
	store(audit, record);
	log_kill(record);
}

void dbps_audit_refused(struct dbps_audit *audit, const struct dbps_kill_request *request,
			const struct dbps_row *row, unsigned int error, const char *text)
{
	struct dbps_kill_answer answer = {.outcome = DBPS_KILL_REFUSED, .error = error};
	struct dbps_audit_record record;

	snprintf(answer.text, sizeof(answer.text), "%s", text);
	dbps_audit_asked(&record, request);
	if (row)
		dbps_audit_found(&record, row, dbps_caller_sees(request->caller, row));
	dbps_audit_ended(audit, &record, &answer, "");
}

/* ---------------------------------------------------------------- the daemon ---------------- */

static int load_line(const char *line, size_t len, void *data)
{
	struct dbps_audit *audit = data;
	struct dbps_audit_record record;
	char *copy = strndup(line, len);

	if (!copy)
		return -ENOMEM;
	if (from_line(copy, len, &record)) {
		free(copy);
		return -EBADMSG;
	}
	keep_line(audit, &record, copy);
	return 0;
}

int dbps_audit_open(const struct dbps_audit_options *options, struct dbps_audit **ret_audit)
{
	struct dbps_audit *audit = calloc(1, sizeof(*audit));
	int r;

	if (!audit)
		return -ENOMEM;
	pthread_mutex_init(&audit->lock, NULL);
	r = dbps_audit_file_open(options, load_line, audit, &audit->file);
	if (r < 0) {
		dbps_audit_close(audit);
		return r;
	}
	audit->left_behind = audit->last_number;
	*ret_audit = audit;
	return 0;
}

void dbps_audit_close(struct dbps_audit *audit)
{
	if (!audit)
		return;
	dbps_audit_file_close(audit->file);
	for (size_t i = 0; i < audit->n; i++)
		free(audit->entries[i].line);
	pthread_mutex_destroy(&audit->lock);
	free(audit);
}

/* Copies of the lines that the caller may see. */
static int copy_lines(struct dbps_audit *audit, const struct dbps_caller *caller, size_t limit,
		      char **lines, size_t *ret_n)
{
	bool all = caller->rights & DBPS_RIGHT_PROCESS;
	size_t n = 0;
	int r = 0;

	pthread_mutex_lock(&audit->lock);
	for (size_t back = 1; back <= audit->n && n < limit && !r; back++) {
		size_t at = (audit->next + DBPS_AUDIT_KEPT - back) % DBPS_AUDIT_KEPT;

		if (!all && audit->entries[at].uid != caller->uid)
			continue;
		lines[n] = strdup(audit->entries[at].line);
		r = lines[n++] ? 0 : -ENOMEM;
	}
	pthread_mutex_unlock(&audit->lock);
	*ret_n = n;
	return r;
}

static void hide_session(struct dbps_audit_record *record)
{
	for (size_t i = 0; i < dbps_n_audit_fields; i++) {
		const struct dbps_audit_field *field = &dbps_audit_fields[i];

		if (field->session)
			memset(field_at(record, field), 0, field->size ?: sizeof(uint64_t));
	}
}

/* Two kills of the same moment may have been stored in any order. */
static int compare_numbers(const void *a, const void *b)
{
	const struct dbps_audit_record *x = a, *y = b;

	return (x->number < y->number) - (x->number > y->number);
}

int dbps_audit_read(struct dbps_audit *audit, const struct dbps_caller *caller, size_t limit,
		    struct dbps_audit_record **ret_records, size_t *ret_n)
{
	_cleanup_free_ char **lines = calloc(DBPS_AUDIT_KEPT, sizeof(*lines));
	_cleanup_free_ struct dbps_audit_record *records = NULL;
	size_t n = 0;
	int r = lines ? copy_lines(audit, caller, limit, lines, &n) : -ENOMEM;

	records = calloc(n + 1, sizeof(*records));
	if (!records)
		r = -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		if (!r)
			r = from_line(lines[i], strlen(lines[i]), &records[i]);
		if (!r && records[i].number <= audit->left_behind &&
		    !strcmp(records[i].outcome, BEGUN))
			copy_text(records[i].outcome, sizeof(records[i].outcome), LEFT_BEGUN);
		if (!r && !(caller->rights & DBPS_RIGHT_PROCESS) && !records[i].seen)
			hide_session(&records[i]);
		free(lines[i]);
	}
	if (r)
		return r;
	qsort(records, n, sizeof(*records), compare_numbers);
	*ret_records = TAKE_PTR(records);
	*ret_n = n;
	return 0;
}

void dbps_audit_status(struct dbps_audit *audit, struct dbps_audit_status *ret_status)
{
	dbps_audit_file_status(audit->file, ret_status);
}
