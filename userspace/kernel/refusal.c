/*
 * Refusals: why a kernel did not take the programs, for a sysadmin who has to get rights, another
 * kernel, or somebody who mends dbps. Versions are not compared: what is missing is asked for.
 */
#include "internal.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/utsname.h>

#include "cleanup.h"
#include "log/log.h"

/* libbpf names the program or the map, which an errno does not. It has no place for an object to
 * print to, and a process opens one. */
static char complaint[512];

static int take_print(enum libbpf_print_level level, const char *format, va_list args)
{
	static const char prefix[] = "libbpf: ";
	char line[sizeof(complaint)];

	if (level == LIBBPF_DEBUG)
		return 0;
	vsnprintf(line, sizeof(line), format, args);
	line[strcspn(line, "\n")] = 0;
	dbps_log(LOG_DEBUG, "%s", line);
	if (level == LIBBPF_WARN && !complaint[0])
		snprintf(complaint, sizeof(complaint), "%s",
			 strncmp(line, prefix, strlen(prefix)) != 0 ? line : line + strlen(prefix));
	return 0;
}

void kernel_refusal_begin(void)
{
	complaint[0] = 0;
	libbpf_set_print(take_print);
}

static char *refuse_rights(int r)
{
	_cleanup_free_ char *lockdown = NULL;
	_cleanup_fclose_ FILE *f = fopen("/sys/kernel/security/lockdown", "re");
	size_t size = 0;
	char *why;

	if (f && getline(&lockdown, &size, f) > 0)
		lockdown[strcspn(lockdown, "\n")] = 0;
	if (asprintf(&why,
		     "this kernel refuses the BPF programs (%s%s%s): dbpsd needs root, or "
		     "CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN and CAP_SYS_PTRACE",
		     strerror(-r), lockdown ? "; lockdown " : "", lockdown ?: "") < 0)
		return NULL;
	return why;
}

/* The first thing that dbpsd needs and that is not there. */
static const struct dbps_feature *find_lacking(const struct dbps_feature *features, size_t n)
{
	char detail[512];

	for (size_t i = 0; i < n; i++)
		if (!strcmp(dbps_feature_judge(&features[i], detail, sizeof(detail)), "problem"))
			return &features[i];
	return NULL;
}

char *kernel_refusal(int r, const char *verdict)
{
	_cleanup_free_ struct dbps_feature *features = NULL;
	const struct dbps_feature *lacking;
	struct utsname host;
	size_t n = 0;
	char *why;
	int len;

	/* The verifier's refusals are EACCES, mostly. */
	if (!verdict[0] && (r == -EPERM || r == -EACCES))
		return refuse_rights(r);
	uname(&host);
	if (r == -ENOMEM || dbps_kernel_features(&features, &n))
		n = 0;
	lacking = find_lacking(features, n);
	if (lacking)
		len = asprintf(&why,
			       "Linux %s lacks what dbpsd needs: %s: %s; `dbps doctor` tells all "
			       "that is missing",
			       host.release, lacking->name, lacking->why);
	else
		len = asprintf(&why, "Linux %s refuses what dbpsd loads: %s%s%s%s", host.release,
			       complaint[0] ? complaint : strerror(-r), verdict[0] ? ": " : "",
			       verdict,
			       r == -ENOMEM ? "" : "; `dbps doctor` misses nothing: please report");
	return len < 0 ? NULL : why;
}
