/* SPDX-License-Identifier: MIT */
/* The fields of a rule, and what is accepted for each; the table is last. */
#include "policy/rule-fields.h"

#include "policy/config-keys.h"
#include "policy/glob.h"
#include "policy/kind.h"

#include <errno.h>
#include <string.h>

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
	if (strlen(pattern) > PROGRAM_MAX && !strpbrk(pattern, "*?[\\"))
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
	g_auto(GStrv) programs = g_strsplit(*value ? value : ",", ",", -1);

	for (char **program = programs; *program; program++) {
		*problem = program_problem(g_strstrip(*program));
		if (*problem)
			return -EINVAL;
	}
	g_strfreev(rule->programs);
	rule->programs = g_steal_pointer(&programs);
	return 0;
}

static char *get_program(const struct config_rule *rule)
{
	return rule->programs ? g_strjoinv(",", rule->programs) : NULL;
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

static int set_cgroup(struct config_rule *rule, const char *value, const char **problem)
{
	/* As /proc/PID/cgroup has it, or without the slash in front. */
	if (*value == '/')
		value++;
	*problem = *value ? path_problem(value) : "empty";
	if (*problem)
		return -EINVAL;
	g_free(rule->cgroup);
	rule->cgroup = g_strdup(value);
	return 0;
}

static char *get_cgroup(const struct config_rule *rule)
{
	return g_strdup(rule->cgroup);
}

static int set_uid(struct config_rule *rule, const char *value, const char **problem)
{
	g_auto(GStrv) ends = g_strsplit(value, "-", 2);
	guint64 from, to;

	if (!ends[0] || !g_ascii_string_to_unsigned(ends[0], 10, 0, UINT32_MAX - 1, &from, NULL))
		return -EINVAL;
	to = from;
	if (ends[1] && !g_ascii_string_to_unsigned(ends[1], 10, from, UINT32_MAX - 1, &to, NULL))
		return -EINVAL;
	rule->min_uid = (int64_t)from;
	rule->max_uid = (int64_t)to;
	rule->has_uid = true;
	return 0;
}

static char *get_uid(const struct config_rule *rule)
{
	if (!rule->has_uid)
		return NULL;
	if (rule->min_uid == rule->max_uid)
		return g_strdup_printf("%" G_GINT64_FORMAT, rule->min_uid);
	return g_strdup_printf("%" G_GINT64_FORMAT "-%" G_GINT64_FORMAT, rule->min_uid,
			       rule->max_uid);
}

static int set_kind(struct config_rule *rule, const char *value, const char **problem)
{
	return kind_parse(value, &rule->kinds);
}

static char *get_kind(const struct config_rule *rule)
{
	return rule->kinds ? kind_format(rule->kinds) : NULL;
}

static const struct age_unit {
	char letter;
	int64_t seconds;
} age_units[] = { { 'w', 604800 }, { 'd', 86400 }, { 'h', 3600 }, { 'm', 60 }, { 's', 1 } };

/* "90s", "2h", "7d": seconds. */
static int parse_age(const char *value, int64_t *out)
{
	size_t digits = strspn(value, "0123456789");
	g_autofree char *number = g_strndup(value, digits);
	guint64 count;

	if (!digits || !value[digits] || value[digits + 1] ||
	    !g_ascii_string_to_unsigned(number, 10, 0, 1000000000, &count, NULL))
		return -EINVAL;
	for (unsigned int i = 0; i < G_N_ELEMENTS(age_units); i++) {
		if (age_units[i].letter != value[digits])
			continue;
		*out = (int64_t)count * age_units[i].seconds;
		return 0;
	}
	return -EINVAL;
}

static char *format_age(int64_t age)
{
	unsigned int i = 0;

	while (age % age_units[i].seconds)
		i++;
	return g_strdup_printf("%" G_GINT64_FORMAT "%c", age / age_units[i].seconds,
			       age_units[i].letter);
}

static int set_min_age(struct config_rule *rule, const char *value, const char **problem)
{
	return parse_age(value, &rule->min_age);
}

static char *get_min_age(const struct config_rule *rule)
{
	return rule->min_age ? format_age(rule->min_age) : NULL;
}

static int set_max_age(struct config_rule *rule, const char *value, const char **problem)
{
	return parse_age(value, &rule->max_age);
}

static char *get_max_age(const struct config_rule *rule)
{
	return rule->max_age != INT64_MAX ? format_age(rule->max_age) : NULL;
}

static int set_read_ahead(struct config_rule *rule, const char *value, const char **problem)
{
	int err = size_parse(value, -1, &rule->read_ahead);

	rule->has_read_ahead |= err == 0;
	return err;
}

static char *get_read_ahead(const struct config_rule *rule)
{
	return rule->has_read_ahead ? size_format(rule->read_ahead) : NULL;
}

static int set_stream_window(struct config_rule *rule, const char *value, const char **problem)
{
	uint64_t bytes;
	int err = size_parse(value, -1, &bytes);

	if (!err && bytes < STREAM_WINDOW_LEAST)
		err = -ERANGE;
	if (err)
		return err;
	rule->stream_window = bytes;
	rule->has_stream_window = true;
	return 0;
}

static char *get_stream_window(const struct config_rule *rule)
{
	return rule->has_stream_window ? size_format(rule->stream_window) : NULL;
}

static int set_keep(struct config_rule *rule, const char *value, const char **problem)
{
	if (strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
		return -EINVAL;
	rule->keep = strcmp(value, "true") == 0;
	return 0;
}

static char *get_keep(const struct config_rule *rule)
{
	return rule->keep ? g_strdup("true") : NULL;
}

#define ACCEPTED_AGE "a number and one of s, m, h, d, w such as 2h"

const struct rule_field rule_fields[] = {
	{ "path", CONDITION_TEXT, "a pattern for paths below SOURCE such as films/**",
	  set_path, get_path },
	{ "program", CONDITION_TEXT,
	  "patterns for program names such as nginx or media-*, with commas between",
	  set_program, get_program },
	{ "cgroup", CONDITION_TEXT,
	  "a pattern for control groups such as system.slice/nginx.service",
	  set_cgroup, get_cgroup },
	{ "uid", CONDITION, "a user id such as 1000, or a range such as 1000-1999",
	  set_uid, get_uid },
	{ "kind", CONDITION,
	  "some of archive, audio, database, dataset, disk-image, document, image, log, video",
	  set_kind, get_kind },
	{ "min-size", CONDITION, ACCEPTED_SIZE, set_min_size, get_min_size },
	{ "max-size", CONDITION, ACCEPTED_SIZE, set_max_size, get_max_size },
	{ "min-age", CONDITION, ACCEPTED_AGE, set_min_age, get_min_age },
	{ "max-age", CONDITION, ACCEPTED_AGE, set_max_age, get_max_age },
	{ "access", CONDITION, "read, write or any", set_access, get_access },
	{ "lane", RESULT, ACCEPTED_LANE, set_lane, get_lane },
	{ "threshold", RESULT, ACCEPTED_THRESHOLD, set_threshold, get_threshold },
	{ "read-ahead", RESULT, ACCEPTED_SIZE, set_read_ahead, get_read_ahead },
	{ "stream-window", RESULT, ACCEPTED_SIZE ", 1M or more",
	  set_stream_window, get_stream_window },
	{ "keep", RESULT, "true or false", set_keep, get_keep },
};

const unsigned int rule_fields_count = G_N_ELEMENTS(rule_fields);
