/* SPDX-License-Identifier: MIT */
/* The configuration to read: for --help, and as JSON with every value's source. */
#include "policy/config.h"

#include "policy/config-keys.h"
#include "policy/json-text.h"
#include "policy/mount-options.h"
#include "policy/rule.h"

#include <string.h>

static void add_value(JsonBuilder *json, const struct config *config, const char *key,
		      const char *value, enum config_group group)
{
	json_builder_set_member_name(json, key);
	json_builder_begin_object(json);
	json_add_text(json, "value", value);
	json_add_text(json, "source", g_hash_table_lookup(config->sources, key));
	json_add_text(json, "group", config_group_name(group));
	json_builder_end_object(json);
}

static void add_mount_option(JsonBuilder *json, const struct config *config, const char *option)
{
	const char *equals = strchr(option, '=');
	g_autofree char *name = equals ? g_strndup(option, equals - option) : g_strdup(option);

	add_value(json, config, name, equals ? equals + 1 : "true", GROUP_MOUNT);
}

static char *to_json(const struct config *config, bool with_rules)
{
	g_autoptr(JsonBuilder) json = json_builder_new();

	json_builder_begin_object(json);
	for (unsigned int i = 0; i < config_keys_count; i++) {
		const struct config_key *key = &config_keys[i];
		g_autofree char *value = config_key_format(key, config);

		add_value(json, config, key->name, value, key->group);
	}
	for (unsigned int i = 0; i < config->mount_options->len; i++)
		add_mount_option(json, config, g_ptr_array_index(config->mount_options, i));

	json_builder_set_member_name(json, "rules");
	json_builder_begin_array(json);
	for (unsigned int i = 0; with_rules && i < config->rules->len; i++)
		rule_to_json(g_ptr_array_index(config->rules, i), json);
	json_builder_end_array(json);
	if (!with_rules) {
		json_builder_set_member_name(json, "rules_left_out");
		json_builder_add_int_value(json, config->rules->len);
	}
	json_builder_end_object(json);
	return json_finish_text(json);
}

char *config_to_json(const struct config *config, size_t most)
{
	char *text = to_json(config, true);

	if (!most || strlen(text) <= most)
		return text;
	g_free(text);
	return to_json(config, false);
}

#define HELP_WIDTH 78

/* The words of text as lines of HELP_WIDTH, indented like the keys. */
static void append_wrapped(GString *help, const char *text)
{
	g_auto(GStrv) words = g_strsplit(text, " ", -1);
	size_t column = 0;

	for (char **word = words; *word; word++) {
		if (column && column + 1 + strlen(*word) > HELP_WIDTH) {
			g_string_append_c(help, '\n');
			column = 0;
		}
		g_string_append_printf(help, "%s%s", column ? " " : "  ", *word);
		column += (column ? 1 : 2) + strlen(*word);
	}
	g_string_append_c(help, '\n');
}

char *config_help(void)
{
	g_autoptr(GString) help = g_string_new(NULL);
	g_autoptr(GString) names = g_string_new("and the mount options ");

	for (unsigned int i = 0; i < config_keys_count; i++) {
		const struct config_key *key = &config_keys[i];
		g_autofree char *form = g_strdup_printf("%s=%s", key->name, key->values);

		g_string_append_printf(help, "  %-31s %s (default: %s)\n", form, key->meaning,
				       key->initial);
	}
	mount_option_names(names);
	append_wrapped(help, names->str);
	return g_string_free(g_steal_pointer(&help), FALSE);
}
