/* SPDX-License-Identifier: MIT */
/* One config rule: made, checked, matched, described. */
#include "policy/rule.h"

#include "policy/config-keys.h"
#include "policy/glob.h"
#include "policy/json-text.h"
#include "policy/kind.h"
#include "policy/rule-fields.h"
#include "policy/text.h"

#include <string.h>

static bool unknown_field(const char *where, const char *name, GError **error)
{
	g_autoptr(GString) names = g_string_new(NULL);

	for (unsigned int i = 0; i < rule_fields_count; i++)
		g_string_append_printf(names, "%s%s", i ? ", " : "", rule_fields[i].name);
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
	rule->max_age = INT64_MAX;
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
	g_strfreev(rule->programs);
	g_free(rule->cgroup);
	g_free(rule);
}

bool rule_set(struct config_rule *rule, const char *where, const char *field, const char *value,
	      GError **error)
{
	for (unsigned int i = 0; i < rule_fields_count; i++) {
		const char *problem = NULL;
		int err;

		if (strcmp(rule_fields[i].name, field) != 0)
			continue;
		err = rule_fields[i].set(rule, value, &problem);
		if (err)
			return config_bad_value(error, where, field, value, err, problem,
						rule_fields[i].accepted);
		return true;
	}
	return unknown_field(where, field, error);
}

static bool gives_something(const struct config_rule *rule)
{
	return rule->has_lane || rule->has_threshold || rule->has_read_ahead ||
	       rule->has_stream_window || rule->keep;
}

static bool refuse_range(const char *where, const struct config_rule *rule, const char *what,
			 GError **error)
{
	g_autofree char *low_name = g_strdup_printf("min-%s", what);
	g_autofree char *high_name = g_strdup_printf("max-%s", what);
	g_autofree char *low = NULL;
	g_autofree char *high = NULL;

	for (unsigned int i = 0; i < rule_fields_count; i++) {
		if (strcmp(rule_fields[i].name, low_name) == 0)
			low = rule_fields[i].get(rule);
		if (strcmp(rule_fields[i].name, high_name) == 0)
			high = rule_fields[i].get(rule);
	}
	g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_BAD,
		    "%s: %s %s is above %s %s; accepted: %s up to %s", where, low_name, low,
		    high_name, high, low_name, high_name);
	return false;
}

bool rule_check(const struct config_rule *rule, const char *where, GError **error)
{
	if (!gives_something(rule)) {
		g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_BAD,
			    "%s: gives neither lane nor threshold; accepted: at least one of them, "
			    "or read-ahead, stream-window or keep",
			    where);
		return false;
	}
	if (rule->keep && rule->has_lane && rule->lane != POLICY_CACHED) {
		g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_BAD,
			    "%s: keep=true and lane=%s: nothing is kept in that lane; "
			    "accepted: lane=cached",
			    where, policy_mode_name(rule->lane));
		return false;
	}
	if (rule->min_size > rule->max_size)
		return refuse_range(where, rule, "size", error);
	if (rule->min_age > rule->max_age)
		return refuse_range(where, rule, "age", error);
	return true;
}

static bool matches_program(const struct config_rule *rule, const char *program)
{
	for (char **pattern = rule->programs; program && *pattern; pattern++)
		if (glob_match(*pattern, program, GLOB_WORD))
			return true;
	return false;
}

static bool matches_cgroup(const struct config_rule *rule, const char *cgroup)
{
	return cgroup && glob_match(rule->cgroup, *cgroup == '/' ? cgroup + 1 : cgroup, GLOB_PATH);
}

static bool matches_age(const struct config_rule *rule, int64_t age)
{
	if (!rule->min_age && rule->max_age == INT64_MAX)
		return true;
	return age >= 0 && age >= rule->min_age && age <= rule->max_age;
}

/* What costs least first. */
bool rule_matches(const struct config_rule *rule, const struct policy_facts *facts, uint64_t size,
		  bool writable)
{
	if (!(writable ? rule->on_write : rule->on_read))
		return false;
	if (size < rule->min_size || size > rule->max_size)
		return false;
	if (rule->has_uid && (facts->uid < rule->min_uid || facts->uid > rule->max_uid))
		return false;
	if (!matches_age(rule, facts->age))
		return false;
	if (rule->programs && !matches_program(rule, facts->program))
		return false;
	if (rule->cgroup && !matches_cgroup(rule, facts->cgroup))
		return false;
	if (rule->kinds && (!facts->path || !(kind_of_path(facts->path) & rule->kinds)))
		return false;
	return !rule->path || (facts->path && glob_match(rule->path, facts->path, GLOB_PATH));
}

void rule_describe(const struct config_rule *rule, GString *text)
{
	g_autofree char *name = text_quote(rule->name);
	const char *before = " (";

	g_string_append_printf(text, "rule %s", name);
	for (unsigned int i = 0; i < rule_fields_count; i++) {
		g_autofree char *value = rule_fields[i].get(rule);
		g_autofree char *quoted = NULL;

		if (!value || rule_fields[i].kind == RESULT)
			continue;
		quoted = rule_fields[i].kind == CONDITION_TEXT ? text_quote(value) : g_strdup(value);
		g_string_append_printf(text, "%s%s %s", before, rule_fields[i].name, quoted);
		before = ", ";
	}
	if (*before == ',')
		g_string_append_c(text, ')');
}

void rule_to_json(const struct config_rule *rule, JsonBuilder *json)
{
	json_builder_begin_object(json);
	json_add_text(json, "name", rule->name);
	for (unsigned int i = 0; i < rule_fields_count; i++) {
		g_autofree char *value = rule_fields[i].get(rule);

		if (value)
			json_add_text(json, rule_fields[i].name, value);
	}
	json_add_text(json, "source", rule->source);
	json_builder_end_object(json);
}
