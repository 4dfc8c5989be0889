/* SPDX-License-Identifier: MIT */
/* The configuration as a whole: defaults, one -o option, checks across values. */
#include "policy/config.h"

#include "policy/config-keys.h"
#include "policy/mount-options.h"
#include "policy/rule.h"
#include "policy/text.h"

#include <errno.h>
#include <string.h>

#define SOURCE_DEFAULT "default"
#define SOURCE_OPTION "-o"

G_DEFINE_QUARK(lanefs-config-error, config_error)

static void rule_destroy(gpointer rule)
{
	rule_free(rule);
}

struct config *config_new(void)
{
	struct config *config = g_new0(struct config, 1);

	config->rules = g_ptr_array_new_with_free_func(rule_destroy);
	config->mount_options = g_ptr_array_new_with_free_func(g_free);
	config->sources = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
	for (unsigned int i = 0; i < config_keys_count; i++) {
		const struct config_key *key = &config_keys[i];

		if (config_key_parse(key, config, key->initial))
			g_error("default of %s is not accepted: %s", key->name, key->initial);
		config_note_source(config, key->name, SOURCE_DEFAULT);
	}
	return config;
}

void config_free(struct config *config)
{
	if (!config)
		return;
	g_ptr_array_unref(config->rules);
	g_ptr_array_unref(config->mount_options);
	g_hash_table_unref(config->sources);
	g_free(config->state);
	g_free(config);
}

void config_note_source(struct config *config, const char *key, const char *source)
{
	g_hash_table_replace(config->sources, g_strdup(key), g_strdup(source));
}

bool config_bad_value(GError **error, const char *where, const char *key, const char *value,
		      int err, const char *problem, const char *accepted)
{
	g_autofree char *quoted = text_quote(value);

	if (!problem && err == -ERANGE)
		problem = "out of range";
	g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_BAD, "%s %s: value %s: %s%saccepted: %s",
		    where, key, quoted, problem ? problem : "", problem ? ": " : "", accepted);
	return false;
}

static bool unknown_option(const char *name, GError **error)
{
	const char *refusal = mount_option_refusal(name);
	g_autoptr(GString) accepted = NULL;
	g_autofree char *line = NULL;

	if (refusal) {
		g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_BAD, "option %s: not accepted: %s",
			    name, refusal);
		return false;
	}
	accepted = g_string_new(NULL);
	config_key_names(accepted, GROUP_COUNT);
	g_string_append(accepted, ", and the mount options ");
	mount_option_names(accepted);
	line = text_line(name);
	g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_BAD,
		    "option %s: unknown option; accepted: %s", line, accepted->str);
	return false;
}

static bool set_key(struct config *config, const struct config_key *key, const char *value,
		    GError **error)
{
	int err;

	if (!value) {
		g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_BAD,
			    "option %s: needs a value: %s=%s; accepted: %s", key->name, key->name,
			    key->values, key->accepted);
		return false;
	}
	err = config_key_parse(key, config, value);
	if (err)
		return config_bad_value(error, "option", key->name, value, err, NULL,
					key->accepted);
	config_note_source(config, key->name, SOURCE_OPTION);
	return true;
}

static bool set_mount_option(struct config *config, const struct mount_option *option,
			     const char *value, GError **error)
{
	if (option->values && (!value || !*value)) {
		g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_BAD,
			    "option %s: needs a value; accepted: %s", option->name, option->values);
		return false;
	}
	if (!option->values && value)
		return config_bad_value(error, "option", option->name, value, 0,
					"takes no value", option->name);
	mount_option_add(config->mount_options, option, value);
	config_note_source(config, option->name, SOURCE_OPTION);
	return true;
}

bool config_set(struct config *config, const char *option, GError **error)
{
	const char *equals = strchr(option, '=');
	g_autofree char *name = equals ? g_strndup(option, equals - option) : g_strdup(option);
	const char *value = equals ? equals + 1 : NULL;
	const struct config_key *key = config_key_find(name);
	const struct mount_option *mount_option = mount_option_find(name);

	if (key)
		return set_key(config, key, value, error);
	if (mount_option)
		return set_mount_option(config, mount_option, value, error);
	/* Nothing between two commas is nothing asked for, as with mount(8). */
	if (mount_option_is_dropped(name) || !*option)
		return true;
	return unknown_option(name, error);
}

bool config_knows(const char *name)
{
	return config_key_find(name) || mount_option_find(name);
}

bool config_has_mount_option(const struct config *config, const char *name)
{
	size_t length = strlen(name);

	for (unsigned int i = 0; i < config->mount_options->len; i++) {
		const char *option = g_ptr_array_index(config->mount_options, i);

		if (strncmp(option, name, length) == 0 &&
		    (option[length] == '\0' || option[length] == '='))
			return true;
	}
	return false;
}

static bool is_default(const struct config *config, const char *key)
{
	return g_strcmp0(g_hash_table_lookup(config->sources, key), SOURCE_DEFAULT) == 0;
}

/* A value that was accepted before is accepted again. */
static void copy_key(struct config *config, const struct config_key *key,
		     const struct config *from)
{
	g_autofree char *value = config_key_format(key, from);

	config_key_parse(key, config, value);
	config_note_source(config, key->name, g_hash_table_lookup(from->sources, key->name));
}

void config_keep_mount(struct config *config, const struct config *mounted)
{
	for (unsigned int i = 0; i < config_keys_count; i++)
		if (config_keys[i].group == GROUP_MOUNT)
			copy_key(config, &config_keys[i], mounted);
	g_ptr_array_set_size(config->mount_options, 0);
	for (unsigned int i = 0; i < mounted->mount_options->len; i++) {
		const char *option = g_ptr_array_index(mounted->mount_options, i);
		g_autofree char *name = g_strndup(option, strcspn(option, "="));

		g_ptr_array_add(config->mount_options, g_strdup(option));
		config_note_source(config, name, g_hash_table_lookup(mounted->sources, name));
	}
}

bool config_validate(const struct config *config, uint64_t memory, GError **error)
{
	g_autofree char *pool = size_format(config->pool);
	g_autofree char *read_ahead = size_format(config->read_ahead);

	if (config->read_ahead > config->pool) {
		g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_BAD,
			    "pool %s holds less than one window of read-ahead %s: "
			    "set pool to %s or more, or read-ahead to %s or less",
			    pool, read_ahead, read_ahead, pool);
		return false;
	}
	if (memory && config->pool > memory / 4 && !is_default(config, "pool")) {
		g_autofree char *most = size_format_human(memory / 4);

		g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_BAD,
			    "pool %s is more than a quarter of this machine's memory: "
			    "accepted: up to %s",
			    pool, most);
		return false;
	}
	return true;
}
