/*
 * A feature of the kernel in words, the same for SHOW DOCTOR and for a dbps that finds no dbpsd.
 */
#include <stdio.h>

#include "kernel/kernel.h"

const char *dbps_feature_judge(const struct dbps_feature *feature, char *ret_detail, size_t size)
{
	const char *instead = feature->instead, *lost = feature->lost;

	if (feature->unused) {
		snprintf(ret_detail, size, "%s: not needed here", feature->used_for);
		return "unused";
	}
	if (feature->present) {
		snprintf(ret_detail, size, "%s", feature->used_for);
		return "ok";
	}
	snprintf(ret_detail, size, "%s: %s%s%s%s%s", feature->used_for, feature->why,
		 instead ? "; instead: " : "", instead ? instead : "", lost ? "; lost: " : "",
		 lost ? lost : "");
	if (instead)
		return "fallback";
	return feature->needed ? "problem" : "missing";
}
