/* SPDX-License-Identifier: MIT */
/*
 * The configuration file: a GKeyFile with [mount], [policy] and [rule NAME].
 *
 * GKeyFile merges a group that is there twice and lets the last of two equal
 * keys win, silently; here both are mistakes, so the lines are looked at first.
 * They can be named then, too.
 * Values are taken raw: GKeyFile's own escapes would eat a pattern's backslash.
 */
#include "policy/config.h"

#include "policy/config-keys.h"
#include "policy/mount-options.h"
#include "policy/rule.h"
#include "policy/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define FILE_SIZE_MAX (1 << 20)
#define RULE_PREFIX "rule "

typedef bool (*set_function)(struct config *config, const char *file, const char *where,
			     const char *key, const char *value, GError **error);

static bool bad(GError **error, const char *where, const char *what)
{
	g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_BAD, "%s: %s", where, what);
	return false;
}

static bool read_failed(const char *file, int err, GError **error)
{
	g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_FILE, "%s: %s", file, g_strerror(err));
	return false;
}

static bool read_file(const char *path, const char *file, GString *text, GError **error)
{
	FILE *stream = fopen(path, "re");
	char buffer[4096];
	size_t got;
	int err;

	if (!stream)
		return read_failed(file, errno, error);
	do {
		errno = 0;
		got = fread(buffer, 1, sizeof(buffer), stream);
		err = errno;
		g_string_append_len(text, buffer, got);
	} while (got == sizeof(buffer) && text->len <= FILE_SIZE_MAX);
	if (ferror(stream)) {
		fclose(stream);
		return read_failed(file, err ? err : EIO, error);
	}
	fclose(stream);
	if (text->len > FILE_SIZE_MAX)
		return bad(error, file, "larger than 1 MiB, so not a configuration file");
	if (memchr(text->str, '\0', text->len))
		return bad(error, file, "holds NUL bytes, so not a configuration file");
	return true;
}

/* "[group]" or "[group] key" of a line; NULL where the line has neither. */
static char *line_entry(char *line, char **group)
{
	char *end;

	g_strstrip(line);
	if (*line == '[') {
		end = strchr(line, ']');
		if (!end)
			return NULL;
		g_free(*group);
		*group = g_strndup(line, end + 1 - line);
		return g_strdup(*group);
	}
	end = strchr(line, '=');
	if (*line == '#' || !end || !*group)
		return NULL;
	*end = '\0';
	return g_strdup_printf("%s %s", *group, g_strchomp(line));
}

/* group: the one it is in or begins, NULL: none; its line is stripped. */
static bool is_good_line(const char *line, const char *group)
{
	if (*line == '[')
		return g_str_has_suffix(line, "]");
	return !*line || *line == '#' || (group && *line != '=' && strchr(line, '='));
}

static bool check_lines(const char *file, const char *text, GError **error)
{
	g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
	g_autofree char *group = NULL;

	for (unsigned int i = 0; lines[i]; i++) {
		g_autofree char *line = g_strstrip(g_strdup(lines[i]));
		g_autofree char *entry = line_entry(lines[i], &group);
		unsigned int first;

		if (!is_good_line(line, group)) {
			g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_BAD,
				    "%s: line %u, \"%s\": accepted: [GROUP], then lines of KEY=VALUE; "
				    "# comment", file, i + 1, line);
			return false;
		}
		if (!entry)
			continue;
		first = GPOINTER_TO_UINT(g_hash_table_lookup(seen, entry));
		if (first) {
			g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_BAD,
				    "%s: %s: there twice, on lines %u and %u; accepted: once",
				    file, entry, first, i + 1);
			return false;
		}
		g_hash_table_insert(seen, g_steal_pointer(&entry), GUINT_TO_POINTER(i + 1));
	}
	return true;
}

static bool unknown_key(const char *where, enum config_group group, const char *name,
			GError **error)
{
	const struct config_key *elsewhere = config_key_find(name);
	const char *refusal = mount_option_refusal(name);
	g_autoptr(GString) names = g_string_new(NULL);
	g_autofree char *hint = NULL;

	if (elsewhere)
		hint = g_strdup_printf("belongs in [%s]", config_group_name(elsewhere->group));
	else if (mount_option_find(name))
		hint = g_strdup_printf("belongs in [%s]", config_group_name(GROUP_MOUNT));
	else if (refusal)
		hint = g_strdup_printf("not accepted: %s", refusal);
	else
		hint = g_strdup("unknown key");

	config_key_names(names, group);
	if (group == GROUP_MOUNT) {
		g_string_append(names, ", and the mount options ");
		mount_option_names(names);
	}
	g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_BAD, "%s %s: %s; accepted: %s", where, name,
		    hint, names->str);
	return false;
}

static bool set_key(struct config *config, enum config_group group, const char *file,
		    const char *where, const char *name, const char *value, GError **error)
{
	const struct config_key *key = config_key_find(name);
	int err;

	if (!key || key->group != group)
		return unknown_key(where, group, name, error);
	err = config_key_parse(key, config, value);
	if (err)
		return config_bad_value(error, where, name, value, err, NULL, key->accepted);
	config_note_source(config, name, file);
	return true;
}

static bool set_policy(struct config *config, const char *file, const char *where,
		       const char *key, const char *value, GError **error)
{
	return set_key(config, GROUP_POLICY, file, where, key, value, error);
}

static bool set_mount(struct config *config, const char *file, const char *where, const char *key,
		      const char *value, GError **error)
{
	const struct mount_option *option = mount_option_find(key);
	bool on = strcmp(value, "true") == 0;

	if (!option)
		return set_key(config, GROUP_MOUNT, file, where, key, value, error);
	if (option->values) {
		if (!*value)
			return config_bad_value(error, where, key, value, 0, NULL, option->values);
		mount_option_add(config->mount_options, option, value);
	} else if (on) {
		mount_option_add(config->mount_options, option, NULL);
	} else if (strcmp(value, "false") == 0) {
		mount_option_remove(config->mount_options, key);
	} else {
		return config_bad_value(error, where, key, value, 0, NULL, "true or false");
	}
	config_note_source(config, key, file);
	return true;
}

static bool load_keys(struct config *config, GKeyFile *keyfile, const char *file,
		      const char *group, const char *where, set_function set, GError **error)
{
	g_auto(GStrv) keys = g_key_file_get_keys(keyfile, group, NULL, NULL);

	for (char **key = keys; key && *key; key++) {
		g_autofree char *value = g_key_file_get_value(keyfile, group, *key, NULL);

		if (!set(config, file, where, *key, g_strstrip(value), error))
			return false;
	}
	return true;
}

/* Where an earlier file has a rule of that name, else behind the last. */
static void put_rule(struct config *config, struct config_rule *rule)
{
	for (unsigned int i = 0; i < config->rules->len; i++) {
		struct config_rule *old = g_ptr_array_index(config->rules, i);

		if (strcmp(old->name, rule->name) == 0) {
			rule_free(old);
			config->rules->pdata[i] = rule;
			return;
		}
	}
	g_ptr_array_add(config->rules, rule);
}

static bool load_rule(struct config *config, GKeyFile *keyfile, const char *file,
		      const char *group, const char *where, GError **error)
{
	const char *name = group + strlen(RULE_PREFIX);
	g_auto(GStrv) fields = g_key_file_get_keys(keyfile, group, NULL, NULL);
	struct config_rule *rule;
	bool good = true;

	if (!*name || g_ascii_isspace(*name) || g_ascii_isspace(name[strlen(name) - 1]))
		return bad(error, where,
			   "a rule needs a name, without spaces around it; accepted: [rule NAME]");
	rule = rule_new(name, file);
	for (char **field = fields; good && field && *field; field++) {
		g_autofree char *value = g_key_file_get_value(keyfile, group, *field, NULL);

		good = rule_set(rule, where, *field, g_strstrip(value), error);
	}
	if (!good || !rule_check(rule, where, error)) {
		rule_free(rule);
		return false;
	}
	put_rule(config, rule);
	return true;
}

static bool load_group(struct config *config, GKeyFile *keyfile, const char *file,
		       const char *group, GError **error)
{
	g_autofree char *where = g_strdup_printf("%s: [%s]", file, group);

	if (strcmp(group, "mount") == 0)
		return load_keys(config, keyfile, file, group, where, set_mount, error);
	if (strcmp(group, "policy") == 0)
		return load_keys(config, keyfile, file, group, where, set_policy, error);
	if (g_str_has_prefix(group, RULE_PREFIX))
		return load_rule(config, keyfile, file, group, where, error);
	return bad(error, where, "unknown group; accepted: [mount], [policy], [rule NAME]");
}

static bool load_groups(struct config *config, GKeyFile *keyfile, const char *file,
			GError **error)
{
	g_auto(GStrv) groups = g_key_file_get_groups(keyfile, NULL);

	for (char **group = groups; *group; group++) {
		if (!load_group(config, keyfile, file, *group, error))
			return false;
	}
	return true;
}

bool config_load_text(struct config *config, const char *file, const char *text, GError **error)
{
	g_autoptr(GKeyFile) keyfile = g_key_file_new();
	g_autoptr(GError) syntax = NULL;
	cleanup_config struct config *trial = config_new();

	if (!check_lines(file, text, error))
		return false;
	if (!g_key_file_load_from_data(keyfile, text, strlen(text), G_KEY_FILE_KEEP_TRANSLATIONS, &syntax))
		return bad(error, file, syntax->message);

	/*
	 * No group's outcome depends on what config held before, so what went
	 * well once goes well again, and config changes all at once or not at all.
	 */
	if (!load_groups(trial, keyfile, file, error))
		return false;
	return load_groups(config, keyfile, file, error);
}

bool config_load(struct config *config, const char *path, const char *file, GError **error)
{
	g_autoptr(GString) text = g_string_new(NULL);
	g_autoptr(GError) problem = NULL;
	g_autofree char *line = NULL;

	if (read_file(path, file, text, &problem) &&
	    config_load_text(config, file, text->str, &problem))
		return true;
	/* It quotes a file that may hold anything. */
	line = text_line(problem->message);
	g_set_error_literal(error, problem->domain, problem->code, line);
	return false;
}
