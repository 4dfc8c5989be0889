/* SPDX-License-Identifier: MIT */
#include "memory.h"

#include <glib.h>
#include <string.h>
#include <sys/sysinfo.h>

uint64_t memory_total(void)
{
	struct sysinfo info;

	return sysinfo(&info) ? UINT64_MAX : (uint64_t)info.totalram * info.mem_unit;
}

/* "max" and what cannot be read are no limit. */
static uint64_t read_limit(const char *root, const char *group, const char *file)
{
	g_autofree char *path = g_build_filename(root, group, file, NULL);
	g_autofree char *text = NULL;

	if (!g_file_get_contents(path, &text, NULL, NULL) || !g_ascii_isdigit(*text))
		return UINT64_MAX;
	return g_ascii_strtoull(text, NULL, 10);
}

/* The least of the group's and its ancestors'. */
static uint64_t group_limit(const char *root, char *group, const char *file)
{
	uint64_t limit = UINT64_MAX;
	char *slash;

	do {
		limit = MIN(limit, read_limit(root, group, file));
		slash = strrchr(group, '/');
		if (slash)
			*slash = '\0';
	} while (slash);
	return limit;
}

/* A line of /proc/self/cgroup: "ID:CONTROLLERS:PATH", with ID 0 for version 2 (cgroups(7)). */
static uint64_t line_limit(const char *line)
{
	g_auto(GStrv) fields = g_strsplit(line, ":", 3);
	g_auto(GStrv) controllers = NULL;

	if (g_strv_length(fields) != 3)
		return UINT64_MAX;
	if (!strcmp(fields[0], "0"))
		return group_limit("/sys/fs/cgroup", fields[2], "memory.max");
	controllers = g_strsplit(fields[1], ",", -1);
	if (!g_strv_contains((const char *const *)controllers, "memory"))
		return UINT64_MAX;
	return group_limit("/sys/fs/cgroup/memory", fields[2], "memory.limit_in_bytes");
}

uint64_t memory_limit(void)
{
	uint64_t limit = memory_total();
	g_autofree char *text = NULL;
	g_auto(GStrv) lines = NULL;

	if (!g_file_get_contents("/proc/self/cgroup", &text, NULL, NULL))
		return limit;
	lines = g_strsplit(text, "\n", -1);
	for (char **line = lines; *line; line++)
		limit = MIN(limit, line_limit(*line));
	return limit;
}
