/* SPDX-License-Identifier: MIT */
/* Commands on whole mounts: reload, report and record. */
#include "lanectl-attr.h"
#include "lanectl-json.h"
#include "lanectl-probe.h"
#include "lanectl-text.h"
#include "lanectl.h"
#include "policy/policy.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define RECORD_POLL_US 200000
/* As much as the mount keeps. */
#define RECORD_LAST_FETCHES 200

typedef void (*mount_action)(struct lanectl *ctl, const char *path,
			     const struct target *target, void *data);

static void act_on(struct lanectl *ctl, const char *path, mount_action action, void *data)
{
	cleanup_target struct target target = TARGET_INIT;

	if (target_open_argument(ctl, path, &target))
		action(ctl, path, &target, data);
}

static void act_on_all(struct lanectl *ctl, mount_action action, void *data)
{
	g_autoptr(GPtrArray) probes = probe_mounts(ctl->mounts, PROBE_TIMEOUT);

	if (!probes->len)
		lanectl_fail(ctl, ctl->command->name, "no lanefs is mounted here");
	for (guint i = 0; i < probes->len; i++) {
		const struct probe *probe = g_ptr_array_index(probes, i);

		if (probe->state == PROBE_OK)
			act_on(ctl, probe->mount->point, action, data);
		else
			probe_fail(ctl, probe);
	}
}

/* The mounts named, or all that answer. */
static void act_on_mounts(struct lanectl *ctl, char **paths, mount_action action, void *data)
{
	if (!*paths)
		act_on_all(ctl, action, data);
	for (char **path = paths; *path; path++)
		act_on(ctl, *path, action, data);
}

static void fail(struct lanectl *ctl, const char *path, int error)
{
	if (error == -ENODATA)
		lanectl_fail(ctl, path, "name the mountpoint itself");
	else if (error == -EACCES || error == -EPERM)
		lanectl_fail(ctl, path, "%s; only root and the user that lanefs runs as may, at the "
			     "mountpoint itself", g_strerror(-error));
	else
		lanectl_fail_errno(ctl, path, error);
}

/* Anybody's filesystem may name any process: it has to be a lanefs, of the user who mounted it. */
static bool is_daemon_of(pid_t pid, const struct mount *mount)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/comm", (int)pid);
	g_autofree char *process = g_strdup_printf("/proc/%d", (int)pid);
	const char *owner = mount ? strstr(mount->super_options, "user_id=") : NULL;
	g_autofree char *comm = NULL;
	struct stat attr;

	return owner && g_file_get_contents(path, &comm, NULL, NULL) &&
	       !strcmp(comm, "lanefs\n") && !stat(process, &attr) &&
	       attr.st_uid == strtoul(owner + strlen("user_id="), NULL, 10);
}

/* A read-only mount takes no attribute, but its daemon takes a signal. */
static int reload_by_signal(int fd, const struct mount *mount)
{
	JsonObject *stats;
	int error = attr_get_json(fd, ATTR_STATS, &stats);
	double pid;

	if (error)
		return error;
	pid = json_find_number(stats, "pid");
	json_object_unref(stats);
	if (pid <= 1 || pid > G_MAXINT || !is_daemon_of((pid_t)pid, mount))
		return -ESRCH;
	return kill((pid_t)pid, SIGHUP) ? -errno : 0;
}

static void reload(struct lanectl *ctl, const char *path, const struct target *target,
		   void *data)
{
	g_autofree char *said = NULL;
	int error = attr_set(target->fd, ATTR_RELOAD, "");

	(void)data;
	if (error == -EROFS)
		error = reload_by_signal(target->fd, mounts_by_id(ctl->mounts, target->mount_id));
	/* Who runs it may not have the right to write to SOURCE. */
	else if (error == -EACCES &&
		 !reload_by_signal(target->fd, mounts_by_id(ctl->mounts, target->mount_id)))
		error = 0;
	if (error == -EINVAL && !attr_get(target->fd, ATTR_RELOAD, &said))
		lanectl_fail(ctl, path, "%s", said);
	else if (error)
		fail(ctl, path, error);
}

int reload_run(struct lanectl *ctl, int argc, char **argv)
{
	g_auto(GStrv) paths = NULL;

	if (!lanectl_parse(ctl, argc, argv, NULL, &paths))
		return EXIT_USAGE;
	act_on_mounts(ctl, paths, reload, NULL);
	return EXIT_SUCCESS;
}

static char *size_of(JsonObject *object, const char *path)
{
	double bytes = json_find_number(object, path);

	return bytes < 0 ? NULL : size_format_human((uint64_t)bytes);
}

static void print_opens(JsonObject *report)
{
	static const char *const titles[] = {"LANE", ">OPENS", ">BYTES", NULL};
	struct table *table = table_new(titles, false);
	g_autofree char *text = NULL;

	for (int lane = 0; lane < LANE_COUNT; lane++) {
		g_autofree char *opens = g_strdup_printf("opens.%s.opens", lane_name(lane));
		g_autofree char *bytes = g_strdup_printf("opens.%s.bytes", lane_name(lane));
		g_autofree char *count = text_count((int64_t)json_find_number(report, opens));
		g_autofree char *size = size_of(report, bytes);
		const char *cells[] = {lane_name(lane), count, size};

		table_add(table, cells);
	}
	text = table_format(table, "  ");
	table_free(table);
	printf("%s", text);
}

static void print_saved(JsonObject *report)
{
	g_autofree char *cached = size_of(report, "disk_bytes.cached");
	g_autofree char *policy = size_of(report, "disk_bytes.policy");
	g_autofree char *asked = size_of(report, "disk_bytes.asked");

	printf("  recent opens replayed, of %s asked for: %s from the disk with everything cached, "
	       "%s as the policy has it\n",
	       asked, cached, policy);
}

static void print_known(JsonObject *report)
{
	static const char *const titles[] = {"LANE", "WHOSE", "FILES", "SIZE", "BECAUSE", NULL};
	JsonNode *node = json_find(report, "known");
	struct table *table = table_new(titles, false);
	JsonArray *known = node && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
	g_autofree char *text = NULL;

	for (guint i = 0; known && i < json_array_get_length(known); i++) {
		JsonNode *element = json_array_get_element(known, i);
		JsonObject *entry =
			JSON_NODE_HOLDS_OBJECT(element) ? json_node_get_object(element) : NULL;
		const char *extension = json_find_text(entry, "extension");
		g_autofree char *files = g_strdup_printf("*%s%s", extension && *extension ? "." : "",
							 extension ? extension : "");
		const char *group = json_find_text(entry, "group");
		g_autofree char *whose = g_strdup_printf("%.0f %s", json_find_number(entry, "uid"),
							 group ? group : "");
		const char *cells[] = {json_find_text(entry, "lane"), g_strchomp(whose), files,
				       json_find_text(entry, "sizes"),
				       json_find_text(entry, "text")};

		table_add(table, cells);
	}
	text = table_format(table, "  ");
	printf("%s", table_rows(table) ? text : "  nothing is known of programs yet\n");
	table_free(table);
}

static void print_report(const char *path, JsonObject *report)
{
	g_autofree char *shown = text_escape(path);
	g_autofree char *threshold = size_of(report, "threshold.bytes");
	g_autofree char *fixed = size_of(report, "fixed_threshold");
	const char *said = json_find_text(report, "threshold.text");
	const char *forced = json_find_text(report, "lane");
	g_autofree char *text = text_escape(said ? said : "?");
	g_autofree char *lane = forced ? text_escape(forced) : NULL;

	printf("%s:\n", shown);
	if (lane && strcmp(lane, "auto") != 0)
		printf("  lane=%s for all opens; without it:\n", lane);
	if (fixed)
		printf("  threshold %s, by the configuration; auto would be %s (%s)\n", fixed,
		       threshold, text);
	else
		printf("  threshold %s (auto: %s)\n", threshold, text);
	print_saved(report);
	printf("  hot: %.0f files\n\n", json_find_number(report, "hot.files"));
	if (json_find_bool(report, "shadow"))
		puts("  shadow=on: all opens are cached, so that sendfile and mmap cannot be told from\n"
		     "  reads, nor which lane is faster; these lanes the opens would have had:");
	print_opens(report);
	putchar('\n');
	print_known(report);
}

static void report(struct lanectl *ctl, const char *path, const struct target *target,
		   void *data)
{
	struct json_list *list = data;
	JsonObject *object;
	int error = attr_get_json(target->fd, ATTR_REPORT, &object);

	if (error) {
		fail(ctl, path, error);
	} else if (ctl->json) {
		json_set_path(object, "path", path);
		json_list_add(list, object);
	} else {
		print_report(path, object);
		json_object_unref(object);
	}
}

int report_run(struct lanectl *ctl, int argc, char **argv)
{
	g_auto(GStrv) paths = NULL;
	struct json_list list;

	if (!lanectl_parse(ctl, argc, argv, NULL, &paths))
		return EXIT_USAGE;
	json_list_begin(&list, ctl->json, "reports");
	act_on_mounts(ctl, paths, report, &list);
	json_list_end(&list);
	return EXIT_SUCCESS;
}

/* Set by a signal. */
static volatile sig_atomic_t record_stopped;

static void record_stop(int signal_number)
{
	(void)signal_number;
	record_stopped = 1;
}

/* Prints what there is from *next on, and moves it.  Whether there was anything, or -errno. */
static int record_fetch(struct lanectl *ctl, const char *path, int fd, uint64_t *next)
{
	g_autofree char *name = g_strdup_printf(ATTR_TRACE "%" G_GUINT64_FORMAT, *next);
	g_autofree char *text = NULL;
	unsigned long long after, lost;
	int error = attr_get(fd, name, &text);
	const char *lines;

	if (error)
		return error;
	lines = strchr(text, '\n');
	if (!lines || sscanf(text, "next %llu lost %llu", &after, &lost) != 2)
		return -EBADMSG;
	if (lost && *next)
		lanectl_fail(ctl, path, "%llu opens came too fast and are not recorded", lost);
	*next = after;
	/* Of a lanefs all of it is plain text, but anybody can mount something that calls itself so. */
	for (const char *at = lines + 1; *at; at++)
		putchar(*at == '\n' || g_ascii_isprint(*at) ? *at : '?');
	return fflush(stdout) ? -errno : lines[1] != '\0';
}

static void record(struct lanectl *ctl, const char *path, const struct target *target,
		   void *data)
{
	const int *seconds = data;
	int64_t end = g_get_monotonic_time() + (int64_t)*seconds * G_USEC_PER_SEC;
	uint64_t next = 0;
	int got = 0;

	while (got >= 0 && !record_stopped && (!*seconds || g_get_monotonic_time() < end)) {
		got = record_fetch(ctl, path, target->fd, &next);
		if (!got)
			g_usleep(RECORD_POLL_US);
	}
	/* What was there at the end; more may come for ever. */
	for (int i = 0; got >= 0 && i < RECORD_LAST_FETCHES; i++) {
		got = record_fetch(ctl, path, target->fd, &next);
		if (!got)
			break;
	}
	if (got < 0)
		fail(ctl, path, got);
}

int record_run(struct lanectl *ctl, int argc, char **argv)
{
	g_auto(GStrv) paths = NULL;
	int seconds = 0;
	struct sigaction stop = {.sa_handler = record_stop};
	const GOptionEntry entries[] = {
		{"seconds", 's', 0, G_OPTION_ARG_INT, &seconds, "End after that many; 0: on Ctrl-C",
		 "N"},
		G_OPTION_ENTRY_NULL,
	};

	if (!lanectl_parse(ctl, argc, argv, entries, &paths))
		return EXIT_USAGE;
	if (!*paths || paths[1])
		return lanectl_usage(ctl, "one mountpoint is needed");
	if (seconds < 0)
		return lanectl_usage(ctl, "a number of seconds is 0 or more");
	sigaction(SIGINT, &stop, NULL);
	sigaction(SIGTERM, &stop, NULL);
	act_on(ctl, *paths, record, &seconds);
	return EXIT_SUCCESS;
}
