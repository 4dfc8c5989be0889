/* SPDX-License-Identifier: MIT */
#include "memory.h"

#include <glib.h>
#include <stdbool.h>
#include <string.h>
#include <sys/sysinfo.h>

uint64_t memory_total(void)
{
	struct sysinfo info;

	return sysinfo(&info) ? UINT64_MAX : (uint64_t)info.totalram * info.mem_unit;
}

/* The number behind name in a file of lines "name number"; missing: what to say else. */
static uint64_t number_after(const char *text, const char *name, uint64_t missing)
{
	size_t length = strlen(name);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncmp(line, name, length))
			return g_ascii_strtoull(line + length, NULL, 10);
	}
	return missing;
}

uint64_t memory_available(void)
{
	g_autofree char *text = NULL;
	uint64_t kib;

	if (!g_file_get_contents("/proc/meminfo", &text, NULL, NULL))
		return UINT64_MAX;
	kib = number_after(text, "MemAvailable:", UINT64_MAX);
	return kib == UINT64_MAX ? kib : kib * 1024;
}

double memory_stall(void)
{
	g_autofree char *text = NULL;
	const char *average;

	/* Opening works and reading does not where the kernel has PSI switched off. */
	if (!g_file_get_contents("/proc/pressure/memory", &text, NULL, NULL))
		return -1;
	average = strstr(text, "some avg10=");
	return average ? g_ascii_strtod(average + strlen("some avg10="), NULL) : -1;
}

/* The files of a group, of either version; of what a group holds, what can be had back. */
static const struct group_version {
	const char *root, *limit, *usage;
	const char *reclaimable[3];
} version_1 = {
	"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
	{ "total_inactive_file ", "total_active_file " },
}, version_2 = {
	"/sys/fs/cgroup", "memory.max", "memory.current",
	{ "inactive_file ", "active_file ", "slab_reclaimable " },
};

/* "max" and what cannot be read are UINT64_MAX. */
static uint64_t read_number(const struct group_version *version, const char *group,
			    const char *file)
{
	g_autofree char *path = g_build_filename(version->root, group, file, NULL);
	g_autofree char *text = NULL;

	if (!g_file_get_contents(path, &text, NULL, NULL) || !g_ascii_isdigit(*text))
		return UINT64_MAX;
	return g_ascii_strtoull(text, NULL, 10);
}

static uint64_t read_reclaimable(const struct group_version *version, const char *group)
{
	g_autofree char *path = g_build_filename(version->root, group, "memory.stat", NULL);
	g_autofree char *text = NULL;
	uint64_t bytes = 0;

	if (!g_file_get_contents(path, &text, NULL, NULL))
		return 0;
	for (size_t i = 0; i < G_N_ELEMENTS(version->reclaimable); i++)
		if (version->reclaimable[i])
			bytes += number_after(text, version->reclaimable[i], 0);
	return bytes;
}

static void look_at_group(const struct group_version *version, const char *group, bool usage,
			  struct memory_group *out)
{
	uint64_t used, reclaimable, available, limit = read_number(version, group, version->limit);

	/* Version 1 says "none" with a number of its own. */
	if (limit >= memory_total())
		return;
	if (!usage) {
		out->limit = MIN(out->limit, limit);
		return;
	}
	used = read_number(version, group, version->usage);
	reclaimable = read_reclaimable(version, group);
	used -= MIN(used, reclaimable);
	available = limit - MIN(used, limit);
	if (available < out->available)
		*out = (struct memory_group){ .limit = limit, .available = available };
}

/*
 * So many groups are looked at, from a process's own on: users may nest them without end, each costs some
 * hundred us, and who opens something else waits meanwhile.
 */
#define GROUPS_MOST 10

/* The group and its ancestors. */
static void look_at_groups(const struct group_version *version, char *group, bool usage,
			   struct memory_group *out)
{
	unsigned int count = 0;
	char *slash;

	do {
		look_at_group(version, group, usage, out);
		slash = strrchr(group, '/');
		if (slash)
			*slash = '\0';
	} while (slash && ++count < GROUPS_MOST);
}

/*
 * The group's path of a line of /proc/PID/cgroup, "ID:CONTROLLERS:PATH", with ID 0 for
 * version 2 (cgroups(7)); NULL when it is not the memory controller's.
 */
static char *memory_path(const char *line, const struct group_version **version)
{
	g_auto(GStrv) fields = g_strsplit(line, ":", 3);
	g_auto(GStrv) controllers = NULL;

	if (g_strv_length(fields) != 3)
		return NULL;
	*version = &version_2;
	if (!strcmp(fields[0], "0"))
		return g_strdup(fields[2]);
	*version = &version_1;
	controllers = g_strsplit(fields[1], ",", -1);
	if (!g_strv_contains((const char *const *)controllers, "memory"))
		return NULL;
	return g_strdup(fields[2]);
}

static char **cgroup_lines(pid_t pid)
{
	g_autofree char *path = pid ? g_strdup_printf("/proc/%d/cgroup", (int)pid) :
		g_strdup("/proc/self/cgroup");
	g_autofree char *text = NULL;

	if (!g_file_get_contents(path, &text, NULL, NULL))
		return NULL;
	return g_strsplit(text, "\n", -1);
}

static void look_at_process(pid_t pid, bool usage, struct memory_group *out)
{
	g_auto(GStrv) lines = cgroup_lines(pid);
	const struct group_version *version;

	*out = (struct memory_group){ .limit = UINT64_MAX, .available = UINT64_MAX };
	for (char **line = lines; line && *line; line++) {
		g_autofree char *group = memory_path(*line, &version);

		if (group)
			look_at_groups(version, group, usage, out);
	}
}

uint64_t memory_limit(void)
{
	struct memory_group group;

	look_at_process(0, false, &group);
	return MIN(memory_total(), group.limit);
}

void memory_group_of(pid_t pid, struct memory_group *group)
{
	look_at_process(pid, true, group);
}

char *memory_cgroup_of(pid_t pid)
{
	g_auto(GStrv) lines = cgroup_lines(pid);
	const struct group_version *version;
	char *found = NULL;

	for (char **line = lines; line && *line; line++) {
		char *group = memory_path(*line, &version);

		/* Version 2's line is there too where version 1 has the controllers. */
		if (group && (!found || version == &version_1)) {
			g_free(found);
			found = g_steal_pointer(&group);
		}
		g_free(group);
	}
	return found;
}
