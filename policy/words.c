/* SPDX-License-Identifier: MIT */
/* The words of the interface: lanes and policies. */
#include "policy/policy.h"

#include <errno.h>
#include <string.h>

static const char *const lane_names[LANE_COUNT] = {
	[LANE_CACHED] = "cached",
	[LANE_DIRECT] = "direct",
	[LANE_STREAM] = "stream",
};

static const char *const mode_names[] = {
	[POLICY_AUTO] = "auto",
	[POLICY_CACHED] = "cached",
	[POLICY_DIRECT] = "direct",
	[POLICY_STREAM] = "stream",
};

const char *lane_name(enum lane lane)
{
	g_return_val_if_fail((unsigned int)lane < LANE_COUNT, "?");
	return lane_names[lane];
}

const char *policy_mode_name(enum policy_mode mode)
{
	g_return_val_if_fail((unsigned int)mode < G_N_ELEMENTS(mode_names), "?");
	return mode_names[mode];
}

int policy_mode_parse(const char *text, gssize len, enum policy_mode *out)
{
	size_t n = len < 0 ? strlen(text) : (size_t)len;

	for (unsigned int i = 0; i < G_N_ELEMENTS(mode_names); i++) {
		if (n == strlen(mode_names[i]) && memcmp(text, mode_names[i], n) == 0) {
			*out = (enum policy_mode)i;
			return 0;
		}
	}
	return -EINVAL;
}
