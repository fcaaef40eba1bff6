/*
 * SHOW DOCTOR: what this kernel allows and what is used or lost without it, whether a KILL would
 * work on each server and by what, and what could not be followed so far.
 */
#include <inttypes.h>
#include <stdio.h>

#include "cleanup.h"
#include "daemon/daemon.h"
#include "kernel/kernel.h"
#include "kill/audit.h"
#include "kill/enactor.h"
#include "mysql/result.h"
#include "sql/statements.h"

static const struct wire_column doctor_columns[] = {
	{"subject", WIRE_TYPE_VAR_STRING},
	{"item", WIRE_TYPE_VAR_STRING},
	{"status", WIRE_TYPE_VAR_STRING}, /* ok | fallback | missing | problem */
	{"detail", WIRE_TYPE_VAR_STRING},
};

struct finding {
	const char *subject;
	const char *item;
	const char *status;
	char detail[640];
};

static void put_finding(struct wire_writer *out, const struct finding *finding)
{
	wire_begin(out);
	sql_put_string(out, finding->subject);
	sql_put_string(out, finding->item);
	sql_put_string(out, finding->status);
	sql_put_string(out, finding->detail);
	wire_end(out);
}

static void judge_feature(struct wire_writer *out, const struct dbps_feature *feature)
{
	struct finding finding = {.subject = "kernel", .item = feature->name};

	finding.status = dbps_feature_judge(feature, finding.detail, sizeof(finding.detail));
	put_finding(out, &finding);
}

/* What its sessions have. */
static uint32_t flags_of(enum dbps_engine engine)
{
	if (engine == DBPS_ENGINE_PGBOUNCER)
		return DBPS_PGSQL | DBPS_READS_AHEAD;
	if (engine == DBPS_ENGINE_PROXY)
		return 0;
	return engine == DBPS_ENGINE_POSTGRES ? DBPS_KNOWN_ID | DBPS_PGSQL : DBPS_KNOWN_ID;
}

static void judge_link(struct wire_writer *out, const struct dbps_server_view *view)
{
	static const char *const status[] = {
		[DBPS_LINK_NONE] = "missing",
		[DBPS_LINK_OPENING] = "problem",
		[DBPS_LINK_UP] = "ok",
		[DBPS_LINK_DOWN] = "problem",
	};
	struct finding finding = {
		.subject = view->name,
		.item = "control link",
		.status = view->link < ARRAY_SIZE(status) ? status[view->link] : "problem",
	};

	if (flags_of(view->engine) & DBPS_PGSQL || view->engine == DBPS_ENGINE_PROXY)
		finding.status = "ok"; /* needs none */

	snprintf(finding.detail, sizeof(finding.detail), "%s%s",
		 view->link == DBPS_LINK_OPENING ? "being opened: " : "", view->link_text);
	put_finding(out, &finding);
}

static void judge_tls(struct wire_writer *out, const struct dbps_server_view *view)
{
	struct finding finding = {.subject = view->name, .item = "TLS", .status = "missing"};
	const char *found = "";

	if (view->tls_read && !view->tls_unread) {
		finding.status = "ok";
		found = ": encrypted sessions that begin from now on are followed";
	} else if (view->tls_read) {
		finding.status = "fallback";
		found = ": not all encrypted sessions are followed, as the program hands it the "
			"bytes of some itself";
	} else if (view->tls_unread) {
		found = " is probed in vain, as the program hands it the bytes of sockets itself";
	}
	snprintf(finding.detail, sizeof(finding.detail), "%s%s%s", view->tls_text, found,
		 finding.status[0] == 'o'
			 ? ""
			 : "; of encrypted sessions that are not read begin and end of statements "
			   "are shown, no user and no text");
	put_finding(out, &finding);
}

/* A session as this server's are, for enactors to say whether they could end it. */
static struct dbps_kill_target example_of(const struct sql_connection *connection,
					  const struct dbps_server_view *view)
{
	bool tcp = view->addresses[0] != '/' && view->addresses[0] != '@';

	return (struct dbps_kill_target){
		.kernel = connection->daemon->kernel,
		.registry = connection->daemon->registry,
		.session = {.tgid = (uint32_t)view->pid,
			    .flags = flags_of(view->engine),
			    .family = tcp ? DBPS_FAMILY_INET : DBPS_FAMILY_UNIX},
		.server = view,
	};
}

/* The first that would act now, or NULL. */
static const struct dbps_enactor *find_ready(const struct dbps_kill_target *target,
					     const struct dbps_enactor *const *enactors, size_t n)
{
	char why[256];

	for (size_t i = 0; i < n; i++)
		if (enactors[i]->probe(target, why) &&
		    (!enactors[i]->by_link || target->server->link == DBPS_LINK_UP))
			return enactors[i];
	return NULL;
}

/* Its sessions' statements are another server's. */
static bool passes_on(enum dbps_engine engine)
{
	return engine == DBPS_ENGINE_PGBOUNCER || engine == DBPS_ENGINE_PROXY;
}

static void judge_kill_query(struct wire_writer *out, const struct dbps_kill_target *target)
{
	const struct dbps_enactor *enactor =
		find_ready(target, dbps_interrupters, dbps_n_interrupters);
	struct finding finding = {.subject = target->server->name, .item = "KILL QUERY"};

	if (enactor) {
		finding.status = enactor->exact ? "ok" : "fallback";
		snprintf(finding.detail, sizeof(finding.detail), "%s: %s", enactor->name,
			 enactor->describe);
	} else {
		finding.status = target->server->link == DBPS_LINK_NONE ? "missing" : "problem";
		snprintf(finding.detail, sizeof(finding.detail), "%s",
			 passes_on(target->server->engine)
				 ? "a statement is ended in its session of the server behind"
				 : "nothing can reach a running statement without the control "
				   "link");
	}
	put_finding(out, &finding);
}

static void judge_kill(struct wire_writer *out, const struct dbps_kill_target *target)
{
	const struct dbps_enactor *closer = find_ready(target, dbps_closers, dbps_n_closers);
	const struct dbps_enactor *ender = find_ready(target, dbps_enders, dbps_n_enders);
	struct finding finding = {.subject = target->server->name, .item = "KILL"};

	if (closer && closer->ends) {
		finding.status = "ok";
		snprintf(finding.detail, sizeof(finding.detail), "%s: %s", closer->name,
			 closer->describe);
		put_finding(out, &finding);
		return;
	}
	finding.status = ender ? "ok" : "fallback";
	snprintf(finding.detail, sizeof(finding.detail), "%s: %s; %s%s%s",
		 closer ? closer->name : "none",
		 closer ? closer->describe : "nothing can end a session's socket",
		 ender ? ender->name : "a running statement may go on until it looks at its socket",
		 ender ? ": " : "", ender ? ender->describe : "");
	put_finding(out, &finding);
}

static void judge_server(struct wire_writer *out, const struct sql_connection *connection,
			 const struct dbps_server_view *view)
{
	struct dbps_kill_target target = example_of(connection, view);

	judge_link(out, view);
	judge_tls(out, view);
	judge_kill_query(out, &target);
	judge_kill(out, &target);
}

static int judge_losses(struct wire_writer *out, struct dbps_kernel *kernel)
{
	struct finding finding = {.subject = "losses", .item = "all", .status = "ok"};
	__u64 losses[DBPS_LOSS_N];
	bool any = false;
	int r = dbps_kernel_losses(kernel, losses);

	if (r)
		return r;
	for (int i = 0; i < DBPS_LOSS_N; i++) {
		/* Often somebody else's doing, a scanned port: no fault of this host to be alarmed
		 * of. */
		struct finding loss = {"losses", dbps_loss_names[i], "missing", ""};

		snprintf(loss.detail, sizeof(loss.detail), "%" PRIu64 " times",
			 (uint64_t)losses[i]);
		if (losses[i])
			put_finding(out, &loss);
		any |= losses[i] != 0;
	}
	snprintf(finding.detail, sizeof(finding.detail), "nothing was lost");
	if (!any)
		put_finding(out, &finding);
	return 0;
}

static void judge_audit(struct wire_writer *out, struct dbps_audit *audit)
{
	struct finding finding = {.subject = "dbpsd", .item = "audit of kills", .status = "ok"};
	struct dbps_audit_status status;
	int len;

	dbps_audit_status(audit, &status);
	if (!status.file) {
		finding.status = "fallback";
		snprintf(finding.detail, sizeof(finding.detail),
			 "no file (audit.file): the last kills are in memory, all in the log");
		put_finding(out, &finding);
		return;
	}
	len = snprintf(finding.detail, sizeof(finding.detail), "%s", status.file);
	if (status.error || status.unwritten)
		finding.status = "problem";
	if (status.error)
		len += snprintf(finding.detail + len, sizeof(finding.detail) - (size_t)len, ": %s",
				dbps_audit_error_text(status.error));
	if (status.unwritten)
		len += snprintf(finding.detail + len, sizeof(finding.detail) - (size_t)len,
				"; %" PRIu64 " lines are not in it", status.unwritten);
	if (status.unread)
		snprintf(finding.detail + len, sizeof(finding.detail) - (size_t)len,
			 "; %" PRIu64 " torn lines were skipped", status.unread);
	put_finding(out, &finding);
}

int sql_show_doctor(struct sql_connection *connection, struct sql_input *input,
		    unsigned int options)
{
	_cleanup_free_ struct dbps_feature *features = NULL;
	_cleanup_free_ struct dbps_server_view *views = NULL;
	struct wire_writer *out = &connection->channel.out;
	size_t n_features, n_views;
	int r;

	(void)input;
	(void)options;
	r = dbps_kernel_features(&features, &n_features);
	if (!r)
		r = dbps_registry_list(connection->daemon->registry, &views, &n_views);
	if (r)
		return r;
	wire_columns(out, doctor_columns, ARRAY_SIZE(doctor_columns));
	for (size_t i = 0; i < n_features; i++)
		judge_feature(out, &features[i]);
	for (size_t i = 0; i < n_views; i++)
		judge_server(out, connection, &views[i]);
	judge_audit(out, connection->daemon->audit);
	if (judge_losses(out, connection->daemon->kernel))
		put_finding(out, &(struct finding){"losses", "all", "problem", "cannot be read"});
	wire_eof(out, 0);
	return 0;
}
