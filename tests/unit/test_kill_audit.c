/*
 * The audit's records: what a line of the file holds whatever the texts are, what is loaded after a
 * restart or a crash, and that trouble with the file is told and stops no kill.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "kill/audit.h"
#include "log/log.h"

#define ALL (DBPS_RIGHT_PROCESS | DBPS_RIGHT_SUPER)

static char directory[] = "/tmp/dbps-test-audit-XXXXXX";
static char path[64], old_path[80];
static struct dbps_audit *audit;
static const struct dbps_caller root = {
	.uid = 0, .pid = 77, .rights = ALL, .user = "root", .program = "/usr/bin/dbps"};

static int make_directory(void **state)
{
	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	dbps_log_set_level(LOG_EMERG);
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/state/kills.jsonl", directory);
	snprintf(old_path, sizeof(old_path), "%s.1", path);
	return 0;
}

static int remove_directory(void **state)
{
	char state_directory[64];

	(void)state;
	snprintf(state_directory, sizeof(state_directory), "%s/state", directory);
	rmdir(state_directory);
	return rmdir(directory);
}

static void open_audit(const char *file, uint64_t max_bytes)
{
	const struct dbps_audit_options options = {.file = file, .max_bytes = max_bytes};

	assert_int_equal(dbps_audit_open(&options, &audit), 0);
}

static void close_audit(void)
{
	dbps_audit_close(audit);
	audit = NULL;
}

static int remove_files(void **state)
{
	(void)state;
	close_audit();
	unlink(path);
	unlink(old_path);
	return 0;
}

/* As a daemon that starts anew finds the file. */
static void restart(void)
{
	close_audit();
	open_audit(path, 1 << 20);
}

static struct dbps_audit_record asked(uint64_t id)
{
	const struct dbps_kill_request request = {.id = id, .caller = &root};
	struct dbps_audit_record record;

	dbps_audit_asked(&record, &request);
	return record;
}

static void end(struct dbps_audit_record *record, const char *text)
{
	const struct dbps_kill_answer answer = {.outcome = DBPS_KILL_CONFIRMED, .elapsed_ms = 1.25};
	struct dbps_kill_answer copy = answer;

	snprintf(copy.text, sizeof(copy.text), "%s", text);
	dbps_audit_ended(audit, record, &copy, "control link");
}

static void note(uint64_t id)
{
	struct dbps_audit_record record = asked(id);

	end(&record, "done");
}

static struct dbps_audit_record *read_all(size_t *ret_n)
{
	struct dbps_audit_record *records = NULL;

	assert_int_equal(dbps_audit_read(audit, &root, SIZE_MAX, &records, ret_n), 0);
	return records;
}

static void assert_ids(const uint64_t *ids, size_t n)
{
	size_t n_seen;
	_cleanup_free_ struct dbps_audit_record *records = read_all(&n_seen);

	assert_int_equal(n_seen, n);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(records[i].id, ids[i]);
}

/* The whole file, terminated. */
static char *read_file(const char *name)
{
	_cleanup_fclose_ FILE *file = fopen(name, "re");
	char *text = calloc(1, 1 << 20);

	assert_non_null(file);
	assert_non_null(text);
	assert_true(fread(text, 1, (1 << 20) - 1, file) > 0);
	return text;
}

static size_t count_lines(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

static void append(const char *text)
{
	_cleanup_fclose_ FILE *file = fopen(path, "ae");

	assert_non_null(file);
	fputs(text, file);
}

static struct dbps_audit_status status(void)
{
	struct dbps_audit_status now;

	dbps_audit_status(audit, &now);
	return now;
}

/* ---------------------------------------------------------------- a line -------------------- */

static void a_kill_is_two_lines_and_one_record(void **state)
{
	struct dbps_audit_record record = asked(5);
	_cleanup_free_ char *text = NULL;
	struct stat st;

	(void)state;
	open_audit(path, 1 << 20);
	dbps_audit_begun(audit, &record);
	assert_int_equal(record.number, 1);
	end(&record, "confirmed: it is done");
	text = read_file(path);
	assert_int_equal(count_lines(text), 2);
	assert_non_null(strstr(text, "\"outcome\":\"begun\""));
	assert_non_null(strstr(strchr(text, '\n'), "\"outcome\":\"confirmed\""));
	assert_non_null(strstr(text, "\"program\":\"/usr/bin/dbps\""));
	assert_non_null(strstr(text, "\"kill\":\"KILL QUERY 5\""));
	assert_ids((uint64_t[]){5}, 1);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void any_text_is_one_line_of_json(void **state)
{
	static const char text[] = "a\nb\r\t\"\\\x01\x1b[2J\xff\xc3\xa4\0z\xe2\x80\xa8";
	struct dbps_session session = {.cookie = 9, .user_len = 3, .user = "x\ny", .sequence = 4};
	struct dbps_row row = {.session = &session,
			       .info = (char *)text,
			       .info_len = sizeof(text) - 1,
			       .info_whole = 1000};
	struct dbps_audit_record record = asked(5);
	_cleanup_free_ char *file = NULL;
	json_t *object;

	(void)state;
	open_audit(path, 1 << 20);
	dbps_audit_found(&record, &row, true);
	end(&record, "x");
	file = read_file(path);
	assert_int_equal(count_lines(file), 1);
	for (const char *c = file; c[1]; c++)
		assert_true(*c >= 0x20 && *c < 0x7f);
	object = json_loads(file, 0, NULL);
	assert_non_null(object);
	assert_string_equal(json_string_value(json_object_get(object, "text")),
			    "a\nb\r\t\"\\\x01\x1b[2J\xef\xbf\xbd\xc3\xa4\xef\xbf\xbdz\xe2\x80\xa8");
	assert_string_equal(json_string_value(json_object_get(object, "user")), "x\ny");
	assert_int_equal(json_integer_value(json_object_get(object, "text_bytes")), 1000);
	json_decref(object);
}

static void texts_are_cut_between_characters(void **state)
{
	char text[2 * DBPS_AUDIT_TEXT_MAX];
	struct dbps_session session = {.cookie = 9};
	struct dbps_row row = {.session = &session, .info = text, .info_len = sizeof(text)};
	struct dbps_audit_record record = asked(5);

	(void)state;
	memset(text, 'x', sizeof(text));
	memcpy(text + DBPS_AUDIT_TEXT_MAX - 1, "\xc3\xa4", 2);
	dbps_audit_found(&record, &row, true);
	assert_int_equal(strlen(record.text), DBPS_AUDIT_TEXT_MAX - 1);
}

static void every_field_survives_the_file(void **state)
{
	struct dbps_audit_record record = asked(0xfffffffffffULL), *records;
	size_t n;

	(void)state;
	open_audit(path, 1 << 20);
	for (size_t i = 0; i < dbps_n_audit_fields; i++) {
		const struct dbps_audit_field *field = &dbps_audit_fields[i];
		char *at = (char *)&record + field->offset;

		if (field->type == DBPS_AUDIT_TEXT)
			memset(at, 'a' + (int)i % 26, field->size - 1);
		else if (field->type == DBPS_AUDIT_REAL)
			*(double *)(void *)at = 1.5;
		else if (field->type == DBPS_AUDIT_INTEGER)
			*(uint64_t *)(void *)at = (1ULL << 52) + i;
	}
	record.number = 7;
	record.time_us = 1700000000000123;
	end(&record, "told");
	restart();
	records = read_all(&n);
	assert_int_equal(n, 1);
	for (size_t i = 0; i < dbps_n_audit_fields; i++) {
		const struct dbps_audit_field *field = &dbps_audit_fields[i];
		const char *seen = (const char *)&records[0] + field->offset;
		const char *written = (const char *)&record + field->offset;

		if (field->type == DBPS_AUDIT_TEXT)
			assert_string_equal(seen, written);
		else
			assert_memory_equal(seen, written, sizeof(uint64_t));
	}
	free(records);
}

/* ---------------------------------------------------------------- restart and crash --------- */

static void kills_outlive_the_daemon_and_numbers_go_on(void **state)
{
	struct dbps_audit_record record;

	(void)state;
	open_audit(path, 1 << 20);
	note(1);
	note(2);
	restart();
	assert_ids((uint64_t[]){2, 1}, 2);
	record = asked(3);
	end(&record, "done");
	assert_int_equal(record.number, 3);
	assert_ids((uint64_t[]){3, 2, 1}, 3);
}

static void a_kill_left_under_way_is_unknown(void **state)
{
	struct dbps_audit_record left = asked(1), *records;
	size_t n;

	(void)state;
	open_audit(path, 1 << 20);
	dbps_audit_begun(audit, &left);
	note(2);
	records = read_all(&n);
	assert_string_equal(records[1].outcome, "begun");
	free(records);
	restart();
	left = asked(3);
	dbps_audit_begun(audit, &left);
	records = read_all(&n);
	assert_int_equal(n, 3);
	assert_string_equal(records[0].outcome, "begun");
	assert_string_equal(records[1].outcome, "confirmed");
	assert_string_equal(records[2].outcome, "unknown (dbpsd ended)");
	free(records);
}

static void a_torn_line_is_skipped_and_spoils_no_other(void **state)
{
	(void)state;
	open_audit(path, 1 << 20);
	note(1);
	close_audit();
	append("{\"number\":2,\"time\":\"2026-1");
	open_audit(path, 1 << 20);
	assert_int_equal(status().unread, 1);
	assert_ids((uint64_t[]){1}, 1);
	note(3);
	restart();
	assert_int_equal(status().unread, 1);
	assert_ids((uint64_t[]){3, 1}, 2);
}

static void lines_of_any_other_kind_are_skipped(void **state)
{
	(void)state;
	open_audit(path, 1 << 20);
	note(1);
	close_audit();
	append("\n\nhello\n[]\n{}\n{\"number\":\"x\"}\nnull\n{\"number\":9}\n");
	open_audit(path, 1 << 20);
	assert_int_equal(status().unread, 5);
	assert_ids((uint64_t[]){0, 1}, 2);
}

static void only_the_last_ones_are_kept_in_memory(void **state)
{
	struct dbps_audit_record first = asked(1), *records;
	size_t n;

	(void)state;
	open_audit(path, 64 << 20);
	dbps_audit_begun(audit, &first);
	for (uint64_t i = 2; i <= DBPS_AUDIT_KEPT + 10; i++)
		note(i);
	/* The outcome of one that has left comes back as the newest that was heard of. */
	end(&first, "late");
	for (int pass = 0; pass < 2; pass++) {
		records = read_all(&n);
		assert_int_equal(n, DBPS_AUDIT_KEPT);
		assert_int_equal(records[0].id, DBPS_AUDIT_KEPT + 10);
		assert_int_equal(records[n - 1].id, 1);
		assert_string_equal(records[n - 1].answer, "late");
		free(records);
		restart();
	}
}

/* ---------------------------------------------------------------- the file ------------------ */

static void a_full_file_is_renamed_once(void **state)
{
	_cleanup_free_ char *now = NULL;
	_cleanup_free_ char *old = NULL;
	size_t n;

	(void)state;
	open_audit(path, 4096);
	for (uint64_t i = 1; i <= 100; i++)
		note(i);
	now = read_file(path);
	old = read_file(old_path);
	assert_true(strlen(now) <= 4096 && strlen(old) <= 4096);
	assert_int_equal(status().error, 0);
	restart();
	/* Both are loaded, and nothing between them is missing. */
	struct dbps_audit_record *records = read_all(&n);

	assert_int_equal(n, count_lines(now) + count_lines(old));
	for (size_t i = 0; i < n; i++)
		assert_int_equal(records[i].id, 100 - i);
	free(records);
}

static void a_file_that_was_taken_away_is_made_anew(void **state)
{
	_cleanup_free_ char *text = NULL;

	(void)state;
	open_audit(path, 1 << 20);
	note(1);
	assert_int_equal(unlink(path), 0);
	note(2);
	text = read_file(path);
	assert_int_equal(count_lines(text), 1);
	assert_int_equal(status().unwritten, 0);
}

static void a_full_disk_stops_no_kill(void **state)
{
	(void)state;
	open_audit("/dev/full", 1 << 20);
	note(1);
	note(2);
	assert_int_equal(status().error, -ENOSPC);
	assert_int_equal(status().unwritten, 2);
	assert_ids((uint64_t[]){2, 1}, 2);
}

static void a_line_cut_by_a_full_disk_is_torn(void **state)
{
	struct rlimit whole, limit;

	(void)state;
	open_audit(path, 1 << 20);
	note(1);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &whole), 0);
	limit = whole;
	limit.rlim_cur = 400;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	note(2); /* cut */
	note(3); /* nothing of it */
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &whole), 0);
	assert_int_equal(status().unwritten, 2);
	assert_int_not_equal(status().error, 0);
	note(4);
	assert_int_equal(status().error, 0);
	assert_ids((uint64_t[]){4, 3, 2, 1}, 4);
	restart();
	assert_int_equal(status().unread, 1);
	assert_ids((uint64_t[]){4, 1}, 2);
}

static void a_file_that_cannot_be_made_is_tried_again(void **state)
{
	char blocked[64];

	(void)state;
	snprintf(blocked, sizeof(blocked), "%s/state", directory);
	rmdir(blocked);
	close(open(blocked, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	open_audit(path, 1 << 20);
	note(1);
	assert_int_equal(status().error, -ENOTDIR);
	assert_int_equal(status().unwritten, 1);
	assert_int_equal(unlink(blocked), 0);
	note(2);
	assert_int_equal(status().error, 0);
	assert_ids((uint64_t[]){2, 1}, 2);
	restart();
	assert_ids((uint64_t[]){2}, 1);
}

static void what_is_no_file_is_refused(void **state)
{
	(void)state;
	open_audit(directory, 1 << 20);
	assert_int_equal(status().error, -EISDIR);
	note(1);
	assert_ids((uint64_t[]){1}, 1);
	close_audit();
	open_audit(path, 1 << 20);
	close_audit();
	unlink(path);
	assert_int_equal(symlink("/dev/null", path), 0);
	open_audit(path, 1 << 20);
	assert_int_equal(status().error, -ELOOP);
}

static void another_daemons_file_is_left_alone(void **state)
{
	_cleanup_free_ char *before = NULL;
	_cleanup_free_ char *after = NULL;
	struct dbps_audit *first;

	(void)state;
	open_audit(path, 1 << 20);
	note(1);
	before = read_file(path);
	first = audit;
	open_audit(path, 1 << 20);
	assert_int_equal(status().error, -EWOULDBLOCK);
	note(2);
	/* Nor is it told whose kills are under way there. */
	assert_ids((uint64_t[]){2}, 1);
	after = read_file(path);
	assert_string_equal(before, after);
	dbps_audit_close(first);
}

static void without_a_file_kills_are_in_memory(void **state)
{
	(void)state;
	open_audit(NULL, 1 << 20);
	note(1);
	assert_ids((uint64_t[]){1}, 1);
	assert_null(status().file);
	assert_int_equal(status().unwritten, 0);
}

static void no_audit_is_no_fault(void **state)
{
	struct dbps_audit_record record = asked(1);

	(void)state;
	dbps_audit_begun(NULL, &record);
	dbps_audit_ended(NULL, &record, &(struct dbps_kill_answer){0}, "");
	dbps_audit_close(NULL);
}

#define test(f) cmocka_unit_test_teardown(f, remove_files)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(a_kill_is_two_lines_and_one_record),
		test(any_text_is_one_line_of_json),
		test(texts_are_cut_between_characters),
		test(every_field_survives_the_file),
		test(kills_outlive_the_daemon_and_numbers_go_on),
		test(a_kill_left_under_way_is_unknown),
		test(a_torn_line_is_skipped_and_spoils_no_other),
		test(lines_of_any_other_kind_are_skipped),
		test(only_the_last_ones_are_kept_in_memory),
		test(a_full_file_is_renamed_once),
		test(a_file_that_was_taken_away_is_made_anew),
		test(a_full_disk_stops_no_kill),
		test(a_line_cut_by_a_full_disk_is_torn),
		test(a_file_that_cannot_be_made_is_tried_again),
		test(what_is_no_file_is_refused),
		test(another_daemons_file_is_left_alone),
		test(without_a_file_kills_are_in_memory),
		test(no_audit_is_no_fault),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
