/* SPDX-License-Identifier: MIT */
#include "lanectl-attr.h"
#include "lanectl-json.h"
#include "lanectl-text.h"
#include "lanectl.h"
#include "policy/policy.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char *matched_word(JsonObject *step)
{
	JsonNode *matched = json_find(step, "matched");

	if (!matched || json_node_is_null(matched))
		return "-";
	return json_find_bool(step, "matched") ? "yes" : "no";
}

static char *steps_table(JsonObject *explained)
{
	static const char *const titles[] = {"RULE", "MATCH", "=BECAUSE", NULL};
	JsonNode *node = json_find(explained, "steps");
	struct table *table = table_new(titles, false);
	JsonArray *steps = node && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
	guint count = steps ? json_array_get_length(steps) : 0;
	char *text;

	for (guint i = 0; i < count; i++) {
		JsonNode *element = json_array_get_element(steps, i);
		JsonObject *step =
			JSON_NODE_HOLDS_OBJECT(element) ? json_node_get_object(element) : NULL;
		const char *cells[] = {json_find_text(step, "rule"), matched_word(step),
				       json_find_text(step, "text")};

		table_add(table, cells);
	}
	text = table_format(table, "  ");
	table_free(table);
	return text;
}

static void print_explained(const char *path, JsonObject *explained)
{
	static const char *const titles[] = {"", "=", NULL};
	struct table *table = table_new(titles, true);
	const char *lane = json_find_text(explained, "lane");
	const char *wanted = json_find_text(explained, "wanted");
	double threshold = json_find_number(explained, "threshold");
	g_autofree char *size = threshold >= 0 ? size_format_human((uint64_t)threshold) : NULL;
	const char *const rows[][2] = {
		{"lane", lane},
		{"wanted", wanted},
		{"why", text_why(json_find_text(explained, "why"), lane)},
		{"threshold", size},
	};
	g_autofree char *shown = text_escape(path);
	g_autofree char *steps = steps_table(explained);
	g_autofree char *facts = NULL;

	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
		bool degraded = i != 1 || g_strcmp0(lane, wanted);

		if (rows[i][1] && degraded)
			table_add(table, rows[i]);
	}
	facts = table_format(table, "  ");
	table_free(table);
	printf("%s:\n%s\n%s", shown, facts, steps);
}

/* What to suppose of the opener and the file; NULL: as it is. */
struct supposed {
	char *program;
	char *size;
	char *access;
};

static void add_pair(GString *name, const char *key, const char *value)
{
	g_autofree char *escaped = g_uri_escape_string(value, NULL, FALSE);
	bool first = name->len == strlen(ATTR_EXPLAIN ".");

	g_string_append_printf(name, "%s%s=%s", first ? "" : "&", key, escaped);
}

/* The attribute that answers; file: one that is not there yet in the directory asked, or NULL. */
static char *supposed_attribute(const struct supposed *supposed, const char *file)
{
	GString *name = g_string_new(ATTR_EXPLAIN ".");

	if (supposed->program)
		add_pair(name, "program", supposed->program);
	if (supposed->size)
		add_pair(name, "size", supposed->size);
	if (supposed->access)
		add_pair(name, "access", supposed->access);
	if (file)
		add_pair(name, "name", file);
	return g_string_free(name, FALSE);
}

/* path may be a file, a directory that stands for a new file, or a file that is not there. */
static JsonObject *explain_supposed(struct lanectl *ctl, const char *path,
				    const struct supposed *supposed)
{
	cleanup_target struct target target = TARGET_INIT;
	g_autofree char *directory = NULL;
	g_autofree char *file = NULL;
	g_autofree char *name = NULL;
	JsonObject *explained = NULL;
	int error;

	if (!g_file_test(path, G_FILE_TEST_EXISTS)) {
		directory = g_path_get_dirname(path);
		file = g_path_get_basename(path);
	}
	if (!target_open_argument(ctl, directory ? directory : path, &target))
		return NULL;
	name = supposed_attribute(supposed, file);
	error = attr_get_json(target.fd, name, &explained);
	if (error == -ERANGE || error == -ENAMETOOLONG)
		lanectl_fail(ctl, path, "its name is too long to ask about");
	else if (error)
		lanectl_fail_errno(ctl, path, error);
	return explained;
}

static JsonObject *explain(struct lanectl *ctl, const char *path, const struct supposed *supposed)
{
	cleanup_target struct target target = TARGET_INIT;
	JsonObject *explained = NULL;
	int error;

	if (supposed->program || supposed->size || supposed->access)
		return explain_supposed(ctl, path, supposed);
	if (!target_open_argument(ctl, path, &target))
		return NULL;
	if (!S_ISREG(target.mode)) {
		lanectl_fail(ctl, path, S_ISDIR(target.mode) ?
			     "a directory has no lane; name a file in it" :
			     "not a regular file, so it has no lane");
		return NULL;
	}
	error = attr_get_json(target.fd, ATTR_EXPLAIN, &explained);
	if (error)
		lanectl_fail_errno(ctl, path, error);
	return explained;
}

int explain_run(struct lanectl *ctl, int argc, char **argv)
{
	g_auto(GStrv) paths = NULL;
	struct supposed supposed = {0};
	struct json_list list;
	bool printed = false;
	uint64_t size;
	const GOptionEntry entries[] = {
		{"for", 0, 0, G_OPTION_ARG_STRING, &supposed.program,
		 "Suppose that this program opens it", "PROGRAM"},
		{"size", 0, 0, G_OPTION_ARG_STRING, &supposed.size, "Suppose that it is this large",
		 "SIZE"},
		{"access", 0, 0, G_OPTION_ARG_STRING, &supposed.access,
		 "Suppose that it is opened to read or to write", "read|write"},
		G_OPTION_ENTRY_NULL,
	};

	if (!lanectl_parse(ctl, argc, argv, entries, &paths))
		return EXIT_USAGE;
	if (!*paths)
		return lanectl_usage(ctl, "no file given");
	if (supposed.size && size_parse(supposed.size, -1, &size))
		return lanectl_usage(ctl, "--size %s: accepted: a size such as 3G", supposed.size);
	if (supposed.access && strcmp(supposed.access, "read") && strcmp(supposed.access, "write"))
		return lanectl_usage(ctl, "--access %s: accepted: read, write", supposed.access);
	json_list_begin(&list, ctl->json, "files");
	for (char **path = paths; *path; path++) {
		JsonObject *explained = explain(ctl, *path, &supposed);

		if (!explained)
			continue;
		if (ctl->json) {
			json_set_path(explained, "path", *path);
			json_list_add(&list, explained);
			continue;
		}
		if (printed)
			putchar('\n');
		print_explained(*path, explained);
		printed = true;
		json_object_unref(explained);
	}
	json_list_end(&list);
	g_free(supposed.program);
	g_free(supposed.size);
	g_free(supposed.access);
	return EXIT_SUCCESS;
}
