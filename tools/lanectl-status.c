/* SPDX-License-Identifier: MIT */
#include "lanectl-attr.h"
#include "lanectl-json.h"
#include "lanectl-probe.h"
#include "lanectl-text.h"
#include "lanectl.h"
#include "policy/config.h"

#include <stdio.h>
#include <string.h>

/* What one mount has to show. */
struct row {
	const struct probe *probe; /* borrowed */
	char *source; /* owned */
	GPtrArray *options; /* of char *, "key=value", owned */
};

/* As it is given to -o: "ro" has no value, but the configuration gives it one. */
static char *option_text(const char *key, const char *value)
{
	return strcmp(value, "true") ? g_strdup_printf("%s=%s", key, value) : g_strdup(key);
}

static unsigned int count_rules(JsonObject *config)
{
	JsonNode *rules = json_find(config, "rules");
	double left_out = json_find_number(config, "rules_left_out");

	if (left_out > 0)
		return (unsigned int)left_out;
	return rules && JSON_NODE_HOLDS_ARRAY(rules) ?
		       json_array_get_length(json_node_get_array(rules)) : 0;
}

/* The configuration of a mount without any option, to compare with; a new reference. */
static JsonObject *default_config(void)
{
	struct config *config = config_new();
	g_autofree char *text = config_to_json(config, 0);
	JsonObject *defaults = NULL;

	config_free(config);
	attr_parse_json(text, &defaults);
	return defaults;
}

static bool is_default(JsonObject *option, JsonObject *option_by_default)
{
	return !g_strcmp0(json_find_text(option, "source"), "default") ||
	       !g_strcmp0(json_find_text(option, "value"),
			  json_find_text(option_by_default, "value"));
}

/* The options of a mount that do not have their default values. */
static GPtrArray *options_set(JsonObject *config, JsonObject *defaults)
{
	GPtrArray *options = g_ptr_array_new_with_free_func(g_free);
	g_autoptr(GList) keys = config ? json_object_get_members(config) : NULL;
	unsigned int rules = count_rules(config);

	for (GList *key = keys; key; key = key->next) {
		JsonObject *option = json_find_object(config, key->data);
		const char *value = json_find_text(option, "value");

		if (value && !is_default(option, json_find_object(defaults, key->data)))
			g_ptr_array_add(options, option_text(key->data, value));
	}
	if (rules)
		g_ptr_array_add(options, g_strdup_printf("rules=%u", rules));
	return options;
}

static char *join_options(const GPtrArray *options)
{
	GString *out = g_string_new(NULL);

	for (guint i = 0; i < options->len; i++)
		g_string_append_printf(out, "%s%s", i ? "," : "",
				       (const char *)g_ptr_array_index(options, i));
	return g_string_free(out, FALSE);
}

static char *count_text(JsonObject *stats, const char *path)
{
	double number = json_find_number(stats, path);

	return number < 0 ? NULL : g_strdup_printf("%.0f", number);
}

static void add_row(struct table *table, const struct row *row)
{
	JsonObject *stats = row->probe->stats;
	g_autofree char *pid = count_text(stats, "pid");
	g_autofree char *files = count_text(stats, "files.open");
	g_autofree char *inodes = count_text(stats, "inodes.known");
	g_autofree char *options = join_options(row->options);
	const char *passthrough = json_find_bool(stats, "passthrough.available") ? "yes" : "no";
	const char *cells[] = {
		row->probe->mount->point,
		row->source,
		probe_state_name(row->probe->state),
		pid,
		json_find_text(stats, "transport.name"),
		stats ? passthrough : NULL,
		files,
		inodes,
		*options ? options : NULL,
	};

	table_add(table, cells);
}

/* Why a means is not used, below the table, for a reason is longer than a column. */
static void print_reason(const struct row *row, const char *means, const char *path)
{
	const char *reason = json_find_text(row->probe->stats, path);
	g_autofree char *point = text_escape(row->probe->mount->point);
	g_autofree char *shown = text_escape(reason ? reason : "");

	if (*shown)
		printf("%s: no %s: %s\n", point, means, shown);
}

static void print_table(const GPtrArray *rows)
{
	static const char *const titles[] = {"MOUNTPOINT", "SOURCE",	  "STATE", ">PID",
					     "TRANSPORT",  "PASSTHROUGH", ">OPEN", ">INODES",
					     "OPTIONS",	   NULL};
	struct table *table = table_new(titles, false);
	g_autofree char *text = NULL;

	for (guint i = 0; i < rows->len; i++)
		add_row(table, g_ptr_array_index(rows, i));
	text = table_format(table, "");
	table_free(table);
	fputs(*text ? text : "No lanefs is mounted here.\n", stdout);
	for (guint i = 0; i < rows->len; i++) {
		const struct row *row = g_ptr_array_index(rows, i);

		print_reason(row, "passthrough", "passthrough.reason");
		print_reason(row, "io_uring transport", "transport.reason");
		print_reason(row, "ACL of the root kept by the kernel", "root_acl.reason");
		print_reason(row, "file handles", "handles.reason");
		print_reason(row, "io_uring reads", "direct.reason");
		print_reason(row, "page-out of mapped files", "page_out.reason");
		print_reason(row, "fanotify", "notify.reason");
		print_reason(row, "state of what is learned", "state.reason");
	}
}

static JsonObject *row_json(const struct row *row)
{
	const struct mount *mount = row->probe->mount;
	JsonObject *object = json_object_new();
	JsonArray *options = json_array_new();

	json_set_path(object, "mountpoint", mount->point);
	json_set_path(object, "source", row->source);
	json_set_text(object, "state", probe_state_name(row->probe->state));
	json_set_path(object, "root", mount->root);
	json_set_text(object, "mount_options", mount->options);
	for (guint i = 0; i < row->options->len; i++) {
		const char *option = g_ptr_array_index(row->options, i);

		json_array_add_string_element(options, option);
	}
	json_object_set_array_member(object, "options", options);
	if (row->probe->stats)
		json_object_set_object_member(object, "stats", json_object_ref(row->probe->stats));
	else
		json_object_set_null_member(object, "stats");
	if (row->probe->config)
		json_object_set_object_member(object, "config",
					      json_object_ref(row->probe->config));
	else
		json_object_set_null_member(object, "config");
	return object;
}

static void row_free(struct row *row)
{
	g_ptr_array_unref(row->options);
	g_free(row->source);
	g_free(row);
}

static GPtrArray *rows_of(const GPtrArray *probes)
{
	GPtrArray *rows = g_ptr_array_new_with_free_func((GDestroyNotify)row_free);
	g_autoptr(JsonObject) defaults = default_config();

	for (guint i = 0; i < probes->len; i++) {
		const struct probe *probe = g_ptr_array_index(probes, i);
		struct row *row = g_new0(struct row, 1);
		char *source = json_find_path(probe->stats, "source");

		row->probe = probe;
		row->source = source ? source : g_strdup(probe->mount->source);
		row->options = options_set(probe->config, defaults);
		g_ptr_array_add(rows, row);
	}
	return rows;
}

int status_run(struct lanectl *ctl, int argc, char **argv)
{
	g_autoptr(GPtrArray) probes = NULL;
	g_autoptr(GPtrArray) rows = NULL;
	g_auto(GStrv) args = NULL;
	struct json_list list;
	double timeout = PROBE_TIMEOUT;
	const GOptionEntry entries[] = {PROBE_OPTION(timeout), G_OPTION_ENTRY_NULL};

	if (!lanectl_parse(ctl, argc, argv, entries, &args))
		return EXIT_USAGE;
	if (!probe_timeout_is_valid(timeout))
		return lanectl_usage(ctl, PROBE_TIMEOUT_PROBLEM);
	if (*args)
		return lanectl_usage(ctl, "\"%s\": takes no path", *args);
	probes = probe_mounts(ctl->mounts, timeout);
	rows = rows_of(probes);
	if (!ctl->json)
		print_table(rows);
	json_list_begin(&list, ctl->json, "mounts");
	for (guint i = 0; ctl->json && i < rows->len; i++)
		json_list_add(&list, row_json(g_ptr_array_index(rows, i)));
	json_list_end(&list);
	for (guint i = 0; i < probes->len; i++)
		probe_fail(ctl, g_ptr_array_index(probes, i));
	return EXIT_SUCCESS;
}
