/* SPDX-License-Identifier: MIT */
/* One config rule; the table of its fields is in the middle, what uses it below. */
#include "policy/rule.h"

#include "policy/config-keys.h"
#include "policy/glob.h"
#include "policy/json-text.h"
#include "policy/text.h"

#include <errno.h>
#include <string.h>

/* TASK_COMM_LEN of the kernel, less the NUL. */
#define COMM_MAX 15

/* A pattern that no path below SOURCE can match is a mistake: they look like "a/b". */
static const char *path_problem(const char *pattern)
{
	g_auto(GStrv) parts = NULL;

	if (!*pattern)
		return "empty";
	if (*pattern == '/')
		return "begins with '/'";
	if (g_str_has_suffix(pattern, "/"))
		return "ends with '/'";
	parts = g_strsplit(pattern, "/", -1);
	for (char **part = parts; *part; part++) {
		if (!**part)
			return "has two '/' in a row";
		if (strcmp(*part, ".") == 0 || strcmp(*part, "..") == 0)
			return "has '.' or '..' in it";
	}
	return glob_check(pattern);
}

static const char *program_problem(const char *pattern)
{
	if (!*pattern)
		return "empty";
	if (strlen(pattern) > COMM_MAX && !strpbrk(pattern, "*?[\\"))
		return "the kernel keeps 15 bytes of a program's name: shorten it to those";
	return glob_check(pattern);
}

static int set_path(struct config_rule *rule, const char *value, const char **problem)
{
	*problem = path_problem(value);
	if (*problem)
		return -EINVAL;
	g_free(rule->path);
	rule->path = g_strdup(value);
	return 0;
}

static char *get_path(const struct config_rule *rule)
{
	return g_strdup(rule->path);
}

static int set_program(struct config_rule *rule, const char *value, const char **problem)
{
	*problem = program_problem(value);
	if (*problem)
		return -EINVAL;
	g_free(rule->program);
	rule->program = g_strdup(value);
	return 0;
}

static char *get_program(const struct config_rule *rule)
{
	return g_strdup(rule->program);
}

static int set_min_size(struct config_rule *rule, const char *value, const char **problem)
{
	return size_parse(value, -1, &rule->min_size);
}

static char *get_min_size(const struct config_rule *rule)
{
	return rule->min_size ? size_format(rule->min_size) : NULL;
}

static int set_max_size(struct config_rule *rule, const char *value, const char **problem)
{
	return size_parse(value, -1, &rule->max_size);
}

static char *get_max_size(const struct config_rule *rule)
{
	return rule->max_size != UINT64_MAX ? size_format(rule->max_size) : NULL;
}

static int set_access(struct config_rule *rule, const char *value, const char **problem)
{
	bool any = strcmp(value, "any") == 0;
	bool read = any || strcmp(value, "read") == 0;
	bool write = any || strcmp(value, "write") == 0;

	if (!read && !write)
		return -EINVAL;
	rule->on_read = read;
	rule->on_write = write;
	return 0;
}

static char *get_access(const struct config_rule *rule)
{
	if (rule->on_read && rule->on_write)
		return NULL;
	return g_strdup(rule->on_read ? "read" : "write");
}

static int set_lane(struct config_rule *rule, const char *value, const char **problem)
{
	int err = policy_mode_parse(value, -1, &rule->lane);

	rule->has_lane |= err == 0;
	return err;
}

static char *get_lane(const struct config_rule *rule)
{
	return rule->has_lane ? g_strdup(policy_mode_name(rule->lane)) : NULL;
}

static int set_threshold(struct config_rule *rule, const char *value, const char **problem)
{
	int err = threshold_parse(value, -1, &rule->threshold);

	rule->has_threshold |= err == 0;
	return err;
}

static char *get_threshold(const struct config_rule *rule)
{
	if (!rule->has_threshold)
		return NULL;
	return rule->threshold == THRESHOLD_AUTO ? g_strdup("auto") : size_format(rule->threshold);
}

enum field_kind {
	CONDITION_TEXT, /* a condition in the user's own words: quoted in lines of text */
	CONDITION,
	RESULT,
};

static const struct rule_field {
	const char *name;
	enum field_kind kind;
	const char *accepted;
	/* 0 or -errno; *problem may be set to say more than that */
	int (*set)(struct config_rule *rule, const char *value, const char **problem);
	/* the value as text, new string; NULL when it was not given */
	char *(*get)(const struct config_rule *rule);
} fields[] = {
	{ "path", CONDITION_TEXT, "a pattern for paths below SOURCE such as films/**",
	  set_path, get_path },
	{ "program", CONDITION_TEXT, "a pattern for program names such as nginx or media-*",
	  set_program, get_program },
	{ "min-size", CONDITION, ACCEPTED_SIZE, set_min_size, get_min_size },
	{ "max-size", CONDITION, ACCEPTED_SIZE, set_max_size, get_max_size },
	{ "access", CONDITION, "read, write or any", set_access, get_access },
	{ "lane", RESULT, ACCEPTED_LANE, set_lane, get_lane },
	{ "threshold", RESULT, ACCEPTED_THRESHOLD, set_threshold, get_threshold },
};

static bool unknown_field(const char *where, const char *name, GError **error)
{
	g_autoptr(GString) names = g_string_new(NULL);

	for (unsigned int i = 0; i < G_N_ELEMENTS(fields); i++)
		g_string_append_printf(names, "%s%s", i ? ", " : "", fields[i].name);
	g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_BAD, "%s %s: unknown field; accepted: %s",
		    where, name, names->str);
	return false;
}

struct config_rule *rule_new(const char *name, const char *source)
{
	struct config_rule *rule = g_new0(struct config_rule, 1);

	rule->name = g_strdup(name);
	rule->source = g_strdup(source);
	rule->max_size = UINT64_MAX;
	rule->on_read = true;
	rule->on_write = true;
	return rule;
}

void rule_free(struct config_rule *rule)
{
	if (!rule)
		return;
	g_free(rule->name);
	g_free(rule->source);
	g_free(rule->path);
	g_free(rule->program);
	g_free(rule);
}

bool rule_set(struct config_rule *rule, const char *where, const char *field, const char *value,
	      GError **error)
{
	for (unsigned int i = 0; i < G_N_ELEMENTS(fields); i++) {
		const char *problem = NULL;
		int err;

		if (strcmp(fields[i].name, field) != 0)
			continue;
		err = fields[i].set(rule, value, &problem);
		if (err)
			return config_bad_value(error, where, field, value, err, problem,
						fields[i].accepted);
		return true;
	}
	return unknown_field(where, field, error);
}

bool rule_check(const struct config_rule *rule, const char *where, GError **error)
{
	if (!rule->has_lane && !rule->has_threshold) {
		g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_BAD,
			    "%s: gives neither lane nor threshold; accepted: at least one of them",
			    where);
		return false;
	}
	if (rule->min_size > rule->max_size) {
		g_autofree char *min = size_format(rule->min_size);
		g_autofree char *max = size_format(rule->max_size);

		g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_BAD,
			    "%s: min-size %s is above max-size %s; "
			    "accepted: min-size up to max-size",
			    where, min, max);
		return false;
	}
	return true;
}

bool rule_matches(const struct config_rule *rule, const struct policy_facts *facts, uint64_t size,
		  bool writable)
{
	if (!(writable ? rule->on_write : rule->on_read))
		return false;
	if (size < rule->min_size || size > rule->max_size)
		return false;
	if (rule->program &&
	    (!facts->program || !glob_match(rule->program, facts->program, GLOB_WORD)))
		return false;
	return !rule->path || (facts->path && glob_match(rule->path, facts->path, GLOB_PATH));
}

void rule_describe(const struct config_rule *rule, GString *text)
{
	g_autofree char *name = text_quote(rule->name);
	const char *before = " (";

	g_string_append_printf(text, "rule %s", name);
	for (unsigned int i = 0; i < G_N_ELEMENTS(fields); i++) {
		g_autofree char *value = fields[i].get(rule);
		g_autofree char *quoted = NULL;

		if (!value || fields[i].kind == RESULT)
			continue;
		quoted = fields[i].kind == CONDITION_TEXT ? text_quote(value) : g_strdup(value);
		g_string_append_printf(text, "%s%s %s", before, fields[i].name, quoted);
		before = ", ";
	}
	if (*before == ',')
		g_string_append_c(text, ')');
}

void rule_to_json(const struct config_rule *rule, JsonBuilder *json)
{
	json_builder_begin_object(json);
	json_add_text(json, "name", rule->name);
	for (unsigned int i = 0; i < G_N_ELEMENTS(fields); i++) {
		g_autofree char *value = fields[i].get(rule);

		if (value)
			json_add_text(json, fields[i].name, value);
	}
	json_add_text(json, "source", rule->source);
	json_builder_end_object(json);
}
