/* SPDX-License-Identifier: MIT */
#include "lanectl-attr.h"
#include "lanectl-json.h"
#include "lanectl-probe.h"
#include "lanectl-text.h"
#include "lanectl.h"
#include "policy/policy.h"

#include <errno.h>
#include <stdio.h>

static char *count_at(JsonObject *object, const char *path)
{
	double number = json_find_number(object, path);

	return number < 0 ? NULL : text_count((int64_t)number);
}

static char *size_at(JsonObject *object, const char *path)
{
	double number = json_find_number(object, path);

	return number < 0 ? NULL : size_format_human((uint64_t)number);
}

static void print_lanes(JsonObject *stats)
{
	static const char *const titles[] = {"LANE", ">OPENS", ">OPEN NOW", NULL};
	struct table *table = table_new(titles, false);
	g_autofree char *text = NULL;

	for (int lane = 0; lane < LANE_COUNT; lane++) {
		JsonObject *lanes = json_find_object(stats, "lanes");
		JsonObject *counters = json_find_object(lanes, lane_name(lane));
		g_autofree char *opens = count_at(counters, "opens");
		g_autofree char *open = count_at(counters, "open");
		const char *cells[] = {lane_name(lane), opens, open};

		table_add(table, cells);
	}
	text = table_format(table, "  ");
	table_free(table);
	printf("\n%s", text);
}

static void print_requests(JsonObject *stats)
{
	static const char *const titles[] = {"",	">REQUESTS",  ">BYTES", ">FROM BACKING",
					     ">ERRORS", ">IN FLIGHT", NULL};
	static const char *const kinds[] = {"reads", "writes"};
	struct table *table = table_new(titles, false);
	g_autofree char *text = NULL;

	for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
		JsonObject *kind = json_find_object(stats, kinds[i]);
		g_autofree char *requests = count_at(kind, "requests");
		g_autofree char *bytes = size_at(kind, "bytes");
		g_autofree char *backing = size_at(kind, "backing_bytes");
		g_autofree char *errors = count_at(kind, "errors");
		g_autofree char *in_flight = count_at(kind, "in_flight");
		const char *cells[] = {kinds[i], requests, bytes, backing, errors, in_flight};

		table_add(table, cells);
	}
	text = table_format(table, "  ");
	table_free(table);
	printf("\n%s", text);
}

static void print_window(JsonObject *stats)
{
	static const struct {
		const char *label, *path;
		bool bytes;
	} rows[] = {
		{"answered from windows", "window.hits", false},
		{"waited for windows", "window.waits", false},
		{"read ahead for nobody", "window.over_read", true},
		{"chunks dropped unused", "window.chunks_unused", false},
		{"dropped behind readers", "window.dropped_behind", true},
		{"pool", "pool.size", true},
		{"pool in use", "pool.in_use", true},
		{"beside the pool", "pool.beside", true},
		{"pool resident", "pool.resident", true},
	};
	struct table *table = table_new((const char *const[]){"", ">", NULL}, true);
	g_autofree char *text = NULL;

	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
		g_autofree char *value = rows[i].bytes ? size_at(stats, rows[i].path) :
							 count_at(stats, rows[i].path);
		const char *cells[] = {rows[i].label, value};

		if (value)
			table_add(table, cells);
	}
	text = table_format(table, "  ");
	table_free(table);
	printf("\n%s", text);
}

/* Only the steps, powers of two of a unit, that something met. */
static void print_latency(JsonObject *stats, const char *name, const char *what, const char *unit)
{
	const char *const titles[] = {what, ">COUNT", NULL};
	JsonNode *node = json_object_get_member(stats, name);
	JsonArray *counts = node && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
	struct table *table = table_new(titles, false);
	g_autofree char *text = NULL;

	for (guint i = 0; counts && i < json_array_get_length(counts); i++) {
		gint64 count = json_array_get_int_element(counts, i);
		g_autofree char *within = g_strdup_printf("%u %s", 1u << i, unit);
		g_autofree char *number = text_count(count);
		bool last = i + 1 == json_array_get_length(counts);
		const char *cells[] = {last ? "longer" : within, number};

		if (count > 0)
			table_add(table, cells);
	}
	text = table_rows(table) ? table_format(table, "  ") : NULL;
	table_free(table);
	if (text)
		printf("\n%s", text);
}

/* What only a mount has. */
static void print_tables(JsonObject *stats)
{
	static const struct {
		const char *label, *path;
	} rows[] = {
		{"known inodes", "inodes.known"},
		{"of them kept open", "inodes.descriptors"},
		{"retained", "inodes.retained"},
		{"open files", "files.open"},
		{"open directories", "directories.open"},
		{"listings kept", "directories.listings_kept"},
		{"backing ids", "backing_ids"},
	};
	struct table *table = table_new((const char *const[]){"", ">", NULL}, true);
	g_autofree char *text = NULL;

	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
		g_autofree char *count = count_at(stats, rows[i].path);
		const char *cells[] = {rows[i].label, count};

		table_add(table, cells);
	}
	text = table_format(table, "  ");
	table_free(table);
	printf("\n%s", text);
}

static void print_mount_head(JsonObject *stats)
{
	g_autofree char *source = json_find_path(stats, "source");
	const char *version = json_find_text(stats, "version");
	g_autofree char *uptime = text_duration(json_find_number(stats, "uptime"));
	g_autofree char *shown = text_escape(source ? source : "?");
	g_autofree char *release = text_escape(version ? version : "?");

	printf("  of %s, pid %.0f, up %s, version %s\n", shown, json_find_number(stats, "pid"),
	       uptime, release);
}

struct output {
	struct lanectl *ctl;
	struct json_list list;
	bool printed;
};

/* Takes the reference of stats. */
static void print_stats(struct output *out, const char *path, JsonObject *stats)
{
	g_autofree char *shown = text_escape(path);

	if (out->ctl->json) {
		json_set_path(stats, "path", path);
		json_list_add(&out->list, stats);
		return;
	}
	printf("%s%s:\n", out->printed ? "\n" : "", shown);
	out->printed = true;
	if (json_find(stats, "pid"))
		print_mount_head(stats);
	print_lanes(stats);
	print_requests(stats);
	if (json_find(stats, "window"))
		print_window(stats);
	if (json_find(stats, "read_latency"))
		print_latency(stats, "read_latency", "READS WITHIN", "us");
	if (json_find(stats, "decision_latency"))
		print_latency(stats, "decision_latency", "LANE CHOSEN WITHIN", "ns");
	if (json_find(stats, "inodes"))
		print_tables(stats);
	json_object_unref(stats);
}

static void stats_of_path(struct output *out, const char *path)
{
	cleanup_target struct target target = TARGET_INIT;
	JsonObject *stats;
	int error;

	if (!target_open_argument(out->ctl, path, &target))
		return;
	error = attr_get_json(target.fd, ATTR_STATS, &stats);
	if (!error)
		print_stats(out, path, stats);
	else if (error == -ENODATA)
		lanectl_fail(out->ctl, path,
			     "counters are kept of mounts and files; name a file or the mountpoint");
	else
		lanectl_fail_errno(out->ctl, path, error);
}

static void stats_of_mounts(struct output *out, double timeout)
{
	g_autoptr(GPtrArray) probes = probe_mounts(out->ctl->mounts, timeout);

	for (guint i = 0; i < probes->len; i++) {
		struct probe *probe = g_ptr_array_index(probes, i);

		if (probe->state == PROBE_OK)
			print_stats(out, probe->mount->point, json_object_ref(probe->stats));
		else
			probe_fail(out->ctl, probe);
	}
	if (!probes->len && !out->ctl->json)
		puts("No lanefs is mounted here.");
}

int stats_run(struct lanectl *ctl, int argc, char **argv)
{
	struct output out = {.ctl = ctl};
	g_auto(GStrv) paths = NULL;
	double timeout = PROBE_TIMEOUT;
	const GOptionEntry entries[] = {PROBE_OPTION(timeout), G_OPTION_ENTRY_NULL};

	if (!lanectl_parse(ctl, argc, argv, entries, &paths))
		return EXIT_USAGE;
	if (!probe_timeout_is_valid(timeout))
		return lanectl_usage(ctl, PROBE_TIMEOUT_PROBLEM);
	json_list_begin(&out.list, ctl->json, "stats");
	if (!*paths)
		stats_of_mounts(&out, timeout);
	for (char **path = paths; *path; path++)
		stats_of_path(&out, *path);
	json_list_end(&out.list);
	return EXIT_SUCCESS;
}
