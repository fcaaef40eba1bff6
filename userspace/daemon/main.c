/*
 * dbpsd: the daemon. Makes its parts in order, tells systemd that it is ready, and then sleeps in
 * one poll() until somebody connects or a signal comes.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <malloc.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>

#include "access/protect.h"
#include "cleanup.h"
#include "daemon/console.h"
#include "daemon/daemon.h"
#include "daemon/discovery.h"
#include "daemon/handout.h"
#include "kernel/kernel.h"
#include "kill/audit.h"
#include "kill/drain.h"
#include "kill/demote.h"
#include "log/log.h"
#include "server/registry.h"

static const char usage[] =
	"dbpsd: shows and kills the database sessions of this host, from the kernel\n"
	"\n"
	"usage: dbpsd [--config FILE] [--socket PATH] [--pin DIR|none] [--set KEY=VALUE] "
	"[--verbose]\n"
	"\n"
	"  --config FILE     settings (default " DBPS_CONFIG_FILE ", which need not exist)\n"
	"  --socket PATH     console socket (default " DBPS_SOCKET_PATH ")\n"
	"  --pin DIR|none    where the BPF maps are pinned, so that sessions outlive a crash of "
	"the\n"
	"                    daemon (default " DBPS_PIN_DIR ")\n"
	"  --set KEY=VALUE   one setting, as the file has it: --set session.text_bytes=4096\n"
	"  --verbose         log what is done\n"
	"  --version, --help\n"
	"\n"
	"Ask it with `dbps ps`, or: mariadb -S " DBPS_SOCKET_PATH " -e 'show processlist'\n"
	"Several run side by side, each with its own --socket and --pin.\n";

enum { OPTION_CONFIG = 1, OPTION_SOCKET, OPTION_PIN, OPTION_SET };

static const struct option options[] = {
	{"config", required_argument, NULL, OPTION_CONFIG},
	{"socket", required_argument, NULL, OPTION_SOCKET},
	{"pin", required_argument, NULL, OPTION_PIN},
	{"set", required_argument, NULL, OPTION_SET},
	{"verbose", no_argument, NULL, 'v'},
	{"version", no_argument, NULL, 'V'},
	{"help", no_argument, NULL, 'h'},
	{},
};

/* A setting could not be taken: say why, once. */
static int refuse(int r, char *why)
{
	dbps_log(LOG_ERR, "dbpsd: %s", why ?: strerror(-r));
	free(why);
	return r;
}

static int set_key(struct dbps_config *config, const char *key, const char *value)
{
	char *why = NULL;
	int r = dbps_config_set(config, key, value, &why);

	return r ? refuse(r, why) : 0;
}

/* `KEY=VALUE` */
static int set_pair(struct dbps_config *config, char *pair)
{
	char *equals = strchr(pair, '=');

	if (!equals)
		return refuse(-EINVAL, strdup("--set wants KEY=VALUE"));
	*equals = 0;
	return set_key(config, pair, equals + 1);
}

static int read_file(struct dbps_config *config, const char *path)
{
	char *why = NULL;
	int r = dbps_config_read(config, path ?: DBPS_CONFIG_FILE, &why);

	if (r == -ENOENT && !path) {
		free(why);
		return 0;
	}
	return r ? refuse(r, why) : 0;
}

/* The file first, then the options over it. Returns 0, 1 when all is done, or a negative errno. */
static int read_settings(int argc, char **argv, struct dbps_config *config)
{
	const char *file = NULL;
	int c, r;

	while ((c = getopt_long(argc, argv, "vhV", options, NULL)) != -1) {
		if (c == OPTION_CONFIG)
			file = optarg;
		else if (c == 'h')
			return fputs(usage, stdout), 1;
		else if (c == 'V')
			return puts("dbpsd " DBPS_VERSION), 1;
		else if (c == '?')
			return -EINVAL;
	}
	if (optind < argc)
		return refuse(-EINVAL, strdup("takes no arguments; see dbpsd --help"));
	r = read_file(config, file);
	optind = 1;
	while (!r && (c = getopt_long(argc, argv, "vhV", options, NULL)) != -1) {
		if (c == OPTION_SOCKET)
			r = set_key(config, "daemon.socket", optarg);
		else if (c == OPTION_PIN)
			r = set_key(config, "daemon.pin_dir", optarg);
		else if (c == OPTION_SET)
			r = set_pair(config, optarg);
		else if (c == 'v')
			config->log_level = LOG_INFO;
	}
	return r;
}

/* ---------------------------------------------------------------- the parts ----------------- */

/* As much text as sockets have room for: with more, no session could be followed at all. */
static unsigned int fit_text(struct dbps_config *config)
{
	unsigned int room = dbps_kernel_text_room(config->text_bytes);

	if (room < config->text_bytes)
		dbps_log(
			LOG_WARNING,
			"session.text_bytes is %u, but sockets have room for %u bytes on this "
			"kernel: "
			"longer texts are cut (net.core.optmem_max, or Linux 7 with at most 8 KiB)",
			config->text_bytes, room);
	config->text_bytes = room;
	return room;
}

static int open_kernel(struct dbps_daemon *daemon)
{
	struct dbps_kernel_options opts = {
		.pin_dir = daemon->config.pin_dir,
		.text_bytes = fit_text(&daemon->config),
		.prepared_max = daemon->config.prepared_max,
	};
	struct dbps_server_seen self = {.state = DBPS_SERVER_ADOPTED};
	char *why = NULL;
	int r = dbps_kernel_open(&opts, &daemon->kernel, &why);

	if (r)
		return refuse(r, why);
	if (dbps_kernel_taken_over(daemon->kernel))
		dbps_log(LOG_NOTICE, "took over the sessions that an earlier dbpsd followed");
	/* The console greets and polls like any server (server/own.h). */
	r = dbps_kernel_server_add(daemon->kernel, getpid(), &self);
	return r ? r : dbps_kernel_poller_add(daemon->kernel, getpid());
}

static int open_registry(struct dbps_daemon *daemon)
{
	struct dbps_registry_options opts = {
		.link_user = daemon->config.link_user,
		.link_option_file = daemon->config.link_option_file,
		.link_enabled = daemon->config.link_enabled,
	};

	return dbps_registry_new(daemon->kernel, &opts, &daemon->registry);
}

static int open_audit(struct dbps_daemon *daemon)
{
	struct dbps_audit_options opts = {
		.file = dbps_config_audit_file(&daemon->config),
		.max_bytes = daemon->config.audit_max_bytes,
	};

	return dbps_audit_open(&opts, &daemon->audit);
}

/* Once the socket is this dbpsd's own: what an earlier one with it left is undone. */
static int open_demotions(struct dbps_daemon *daemon)
{
	_cleanup_free_ char *file = NULL;

	if (asprintf(&file, "%s.demoted", daemon->config.socket) < 0) {
		file = NULL;
		return -ENOMEM;
	}
	return dbps_demotions_new(daemon->kernel, daemon->registry, file, &daemon->demotions);
}

/* ---------------------------------------------------------------- the loop ------------------ */

/* Where others come in. */
struct doors {
	struct dbps_console *console;
	struct dbps_handouts *handouts;
};

static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	/* A file at its limit (RLIMIT_FSIZE) is an error of write(2), no end of dbpsd. */
	signal(SIGXFSZ, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static int loop(const struct doors *doors, int signal_fd)
{
	struct pollfd fds[] = {
		{.fd = signal_fd, .events = POLLIN},
		{.fd = dbps_console_fd(doors->console), .events = POLLIN},
		{.fd = dbps_handouts_fd(doors->handouts), .events = POLLIN},
	};

	for (;;) {
		if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
			return log_errno(-errno, "poll");
		if (fds[0].revents)
			return 0;
		if (fds[1].revents)
			dbps_console_accept(doors->console);
		if (fds[2].revents)
			dbps_handouts_run(doors->handouts);
	}
}

static int serve(struct dbps_daemon *daemon, const struct doors *doors, int signal_fd)
{
	struct dbps_discovery *discovery;
	int r = dbps_discovery_new(daemon, &discovery);

	if (r < 0)
		return log_errno(r, "look for database servers");
	/* Loading left much memory behind that is not needed again. */
	malloc_trim(0);
	sd_notify(0, "READY=1\nSTATUS=following database sessions");
	dbps_log(LOG_INFO, "ready on %s", daemon->config.socket);
	r = loop(doors, signal_fd);
	sd_notify(0, "STOPPING=1");
	dbps_discovery_free(discovery);
	return r;
}

static int open_doors(struct dbps_daemon *daemon, struct doors *doors)
{
	int r = dbps_handouts_new(daemon->kernel, daemon->config.socket, &doors->handouts);

	if (r)
		dbps_log(LOG_WARNING, "no server can poll for cancels: %s", strerror(-r));
	r = dbps_console_new(daemon, &doors->console);
	return r ? log_errno(r, "listen on '%s'", daemon->config.socket) : 0;
}

static int run(struct dbps_daemon *daemon)
{
	_cleanup_close_ int signal_fd = open_signals();
	struct doors doors = {};
	int r;

	r = open_kernel(daemon);
	if (!r)
		r = open_registry(daemon);
	if (!r)
		r = open_audit(daemon);
	if (!r)
		r = open_doors(daemon, &doors);
	if (!r)
		r = open_demotions(daemon);
	if (!r)
		r = dbps_drains_new(daemon->kernel, &daemon->drains);
	if (!r)
		r = serve(daemon, &doors, signal_fd);
	dbps_handouts_free(doors.handouts);
	dbps_console_free(doors.console);
	dbps_drains_free(daemon->drains);
	dbps_demotions_free(daemon->demotions);
	dbps_audit_close(daemon->audit);
	dbps_registry_free(daemon->registry);
	dbps_kernel_close(daemon->kernel);
	return r;
}

/*
 * The threads are many and mostly asleep: few arenas serve them, and what is large is given back to
 * the system when it is freed. 38 MB stayed resident after 8 lists of 4,000 sessions without, 9 MB
 * with these.
 */
static void keep_memory_small(void)
{
	mallopt(M_ARENA_MAX, 2);
	mallopt(M_MMAP_THRESHOLD, 128 * 1024);
	mallopt(M_TRIM_THRESHOLD, 128 * 1024);
}

int main(int argc, char **argv)
{
	struct dbps_daemon daemon = {};
	int r = dbps_config_defaults(&daemon.config);

	keep_memory_small();
	if (!r)
		r = read_settings(argc, argv, &daemon.config);
	if (!r) {
		dbps_log_set_level(daemon.config.log_level);
		daemon.access.process = daemon.config.process;
		daemon.access.super = daemon.config.super;
		dbps_protect_set(&(struct dbps_protect_options){
			.users = daemon.config.protect_users,
			.programs = daemon.config.protect_programs,
			.commands = daemon.config.protect_commands,
			.proxies = daemon.config.protect_proxies,
		});
		r = run(&daemon);
	}
	dbps_config_done(&daemon.config);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
